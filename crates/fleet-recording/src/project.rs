//! Jobs, attempts, steps and benches as the events tell of them. A projection never decides acceptance:
//! whatever goes wrong here marks the event and nothing else (delivery rule 12).

use std::collections::BTreeMap;

use fleet_domain::report::StepReport;
use fleet_domain::{
    AttemptRef, BenchReport, DeviceId, IdError, Job, JobEvent, JobKind, JobState, Standing, Vin,
};
use fleet_store::{AlarmKind, EventStanding, InboundEvent, NewJob, ProcedureUse};
use jiff::Timestamp;

use crate::recorded::{AttemptWrite, Working};
use crate::{Blamed, Equipment, StepKey, StoredJob};

impl<'a> Working<'a> {
    pub(crate) fn project(&mut self, blamed: &Blamed) {
        let mut events = std::mem::take(&mut self.events);
        for new in &mut events {
            let projected = match blamed.get(&new.item) {
                Some(reason) => Err(reason.clone()),
                None => self.project_one(new.item, new.device, new.event),
            };
            new.standing = match projected {
                Ok(Standing::Current) => EventStanding::Projected,
                Ok(Standing::Fenced) => {
                    self.counts.fenced += 1;
                    EventStanding::Fenced
                }
                Err(reason) => {
                    self.tell_unprojected(new.device, new.event, &reason);
                    EventStanding::Unprojected(reason)
                }
            };
        }
        self.events = events;
    }

    fn tell_unprojected(&mut self, device: &DeviceId, event: &InboundEvent, reason: &str) {
        self.counts.unprojected += 1;
        self.raised.raise(
            AlarmKind::Unprojected,
            format!("{device} {}", event.r#type),
            Some(device),
            format!(
                "event {} of spool {} of {device} ({}) is stored, but can't be shown: {reason}",
                event.place.seq, event.place.spool, event.r#type
            ),
        );
    }

    /// Changes nothing when it fails.
    fn project_one(
        &mut self,
        item: usize,
        device: &'a DeviceId,
        event: &'a InboundEvent,
    ) -> Result<Standing, String> {
        match &event.report {
            BenchReport::AgentStarted {
                agent_version,
                public_key,
                equipment,
                ..
            } => {
                if let Some(state) = self.loaded.devices.get_mut(device) {
                    state.row.equipment = Equipment {
                        station: equipment.station.clone(),
                        vin: equipment.vin.clone(),
                        ecus: equipment.ecus.clone(),
                        transports: equipment.transports.clone(),
                        agent_version: Some(agent_version.clone()),
                        public_key: Some(public_key.clone()),
                    };
                    state.dirty = true;
                    state.shown = true;
                }
                self.suspects.push(item);
                Ok(Standing::Current)
            }
            BenchReport::Unknown { r#type } => Err(format!("type {type:?} is not known to this version")),
            BenchReport::Unreadable { reason, .. } => Err(reason.clone()),
            BenchReport::Hole { .. } => Ok(Standing::Current),
            report => match report.attempt() {
                Some(of) => self.project_attempt(item, device, event, of),
                None => Ok(Standing::Current),
            },
        }
    }

    fn project_attempt(
        &mut self,
        item: usize,
        device: &'a DeviceId,
        event: &'a InboundEvent,
        of: AttemptRef,
    ) -> Result<Standing, String> {
        fits("fence", of.fence)?;
        let step = match &event.report {
            BenchReport::StepFinished(step) => Some(self.check_step(step)?),
            _ => None,
        };
        let before = self.loaded.jobs.get(&of.job);
        let mut stored = match before {
            Some(stored) => stored.clone(),
            None => reported(device, event, of, self.now)?,
        };
        let is_new = before.is_none();
        let was_fenced = before.is_some_and(|before| before.fenced.is_some());
        let standing = stored.row.job.standing(device, of);
        let entry = stored.row.job.entry();
        match standing {
            Standing::Current => stored
                .apply(job_event(&event.report), self.now)
                .map_err(|error| error.to_string())?,
            Standing::Fenced => take_fenced(&mut stored, device, event, of),
        }
        // From here on nothing fails.
        self.suspects.push(item);
        if is_new {
            self.new_jobs.insert(of.job);
            self.tell_reported(device, &stored);
        }
        if standing == Standing::Fenced {
            self.tell_fenced(device, of);
        }
        match (&event.report, step) {
            (BenchReport::StepFinished(step), Some(key)) => {
                self.loaded.steps.insert(key);
                self.steps.push(step);
                if (of.attempt, of.fence) == (stored.row.job.attempt, stored.row.job.fence) {
                    stored.row.steps_done = stored.row.steps_done.saturating_add(1);
                }
            }
            (report, _) => {
                if let BenchReport::JobFinished { software, .. } = report
                    && standing == Standing::Current
                {
                    stored.row.software.clone_from(software);
                }
                self.learn(device, report, of, standing);
            }
        }
        let freed = standing == Standing::Fenced && was_fenced && stored.fenced.is_none();
        if freed || entry != stored.row.job.entry() {
            self.raise_list(device);
        }
        self.loaded.jobs.insert(of.job, stored);
        self.changed_jobs.insert(of.job);
        Ok(standing)
    }

    /// Whether a step can be recorded: its numbers fit, its measurements are JSON, and it was not reported before.
    fn check_step(&self, step: &StepReport) -> Result<StepKey, String> {
        fits("duration_ms", step.duration_ms)?;
        serde_json::from_str::<serde::de::IgnoredAny>(&step.measurements_json)
            .map_err(|error| format!("the measurements are no JSON: {error}"))?;
        let key = StepKey::new(step.of, step.index);
        if self.loaded.steps.contains(&key) {
            return Err(format!(
                "step {} of attempt {} of job {} was reported before",
                step.index, step.of.attempt, step.of.job
            ));
        }
        Ok(key)
    }

    fn tell_reported(&mut self, device: &DeviceId, stored: &StoredJob) {
        let (id, vin) = (stored.id(), &stored.row.request.vin);
        self.raised.raise(
            AlarmKind::ReportedJob,
            id.to_string(),
            Some(device),
            format!("{device} reports job {id} on {vin}, which is not known here"),
        );
    }

    fn tell_fenced(&mut self, device: &DeviceId, of: AttemptRef) {
        self.raised.raise(
            AlarmKind::FencedReport,
            of.job.to_string(),
            Some(device),
            format!(
                "{device} reports on attempt {} of job {}, which was taken from it",
                of.attempt, of.job
            ),
        );
    }

    /// What the attempt's row learns from an event.
    fn learn(&mut self, device: &DeviceId, report: &BenchReport, of: AttemptRef, standing: Standing) {
        let now = Some(self.now);
        let row = self
            .attempts
            .entry((of.job, of.attempt, of.fence))
            .or_insert_with(|| AttemptWrite {
                of,
                device: device.clone(),
                accepted_at: None,
                started_at: None,
                finished_at: None,
                verdict: None,
                reason_code: None,
                detail: None,
                steps_total: None,
                software: None,
                record: None,
                fenced: false,
            });
        row.fenced |= standing == Standing::Fenced;
        match report {
            BenchReport::JobAccepted { .. } => row.accepted_at = now,
            BenchReport::JobStarted { steps_total, .. } => {
                row.started_at = now;
                row.steps_total = Some(*steps_total);
            }
            BenchReport::JobRejected { code, detail, .. } => {
                row.finished_at = now;
                row.reason_code = Some(code.clone());
                row.detail = detail.clone().or_else(|| row.detail.take());
            }
            BenchReport::JobFinished {
                verdict,
                reason_code,
                detail,
                software,
                record,
                ..
            } => {
                row.finished_at = now;
                row.verdict = Some(*verdict);
                row.reason_code = Some(reason_code.clone());
                row.detail = detail.clone().or_else(|| row.detail.take());
                row.software = Some(software.clone());
                row.record = record.clone().or_else(|| row.record.take());
            }
            _ => {}
        }
    }
}

/// A number that a database's signed 64 bits hold.
fn fits(what: &str, value: u64) -> Result<(), String> {
    i64::try_from(value)
        .map(|_| ())
        .map_err(|_| format!("{what} {value} is larger than the database can hold"))
}

fn job_event(report: &BenchReport) -> JobEvent {
    match report {
        BenchReport::JobAccepted { .. } => JobEvent::Accepted,
        BenchReport::JobRejected { code, detail, .. } => JobEvent::RefusedByBench {
            code: code.clone(),
            detail: detail.clone(),
        },
        BenchReport::JobStarted { steps_total, .. } => JobEvent::Started {
            steps_total: *steps_total,
        },
        BenchReport::JobFinished {
            verdict,
            reason_code,
            detail,
            ..
        } => JobEvent::Finished {
            verdict: *verdict,
            reason_code: reason_code.clone(),
            detail: detail.clone(),
        },
        _ => JobEvent::StepFinished,
    }
}

/// A job that nobody here asked for: a local start, or one that a restored database has lost.
fn reported(
    device: &DeviceId,
    event: &InboundEvent,
    of: AttemptRef,
    now: Timestamp,
) -> Result<StoredJob, String> {
    let vin: Vin = event
        .vin
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error: IdError| format!("job {} is not known here, and {error}", of.job))?;
    let request = NewJob {
        id: of.job,
        request_id: None,
        kind: JobKind::Procedure,
        vin,
        ecu: String::new(),
        procedure: ProcedureUse {
            id: String::new(),
            version: String::new(),
            sha256: String::new(),
        },
        artifacts: Vec::new(),
        parameters: BTreeMap::new(),
        device: Some(device.clone()),
        start_within_s: 0,
        deadline: None,
        priority: 0,
        requested_by: format!("bench:{device}"),
        traceparent: event.traceparent.clone(),
        retry: None,
    };
    let mut stored = StoredJob::fresh(request, now);
    stored.row.reported = true;
    stored.row.job = Job {
        state: JobState::Offered,
        attempt: of.attempt,
        fence: of.fence,
        device: Some(device.clone()),
        ..stored.row.job
    };
    Ok(stored)
}

fn take_fenced(stored: &mut StoredJob, device: &DeviceId, event: &InboundEvent, of: AttemptRef) {
    stored.row.fenced_events = stored.row.fenced_events.saturating_add(1);
    let last_word = matches!(
        event.report,
        BenchReport::JobFinished { .. } | BenchReport::JobRejected { .. }
    );
    let told = stored.fenced.as_ref().is_some_and(|(fenced, _)| fenced == device);
    if last_word && told && stored.row.job.attempt == of.attempt && stored.row.job.fence == of.fence {
        stored.fenced = None;
    }
}
