//! One attempt as a task: the runner, its reports, the signed record.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_core::{AttemptKey, Event, JobResult};
use agent_link::LinkHandle;
use fleet_domain::error_chain;
use fleet_wire::command::JobDocument;
use fleet_wire::event::{AttemptRef, StepFinished, Verdict};
use fleet_wire::live::Live;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::journal::{self, Journal, Pending};
use crate::key::BenchKey;
use crate::owner::Input;
use crate::prepare::Prepared;
use crate::record::{Context, Records};
use crate::runner::{self, Attempt, FinalReport, FinishedStep, Report, Signer, VehicleConfig};

/// Least time between two live messages of one step.
const LIVE_INTERVAL: Duration = Duration::from_millis(250);

/// What every attempt of this process needs.
#[derive(Debug, Clone)]
pub(crate) struct Workplace {
    pub(crate) vehicle: VehicleConfig,
    pub(crate) signer: Signer,
    pub(crate) journals: PathBuf,
    pub(crate) records: Arc<Records>,
    pub(crate) key: Arc<BenchKey>,
    pub(crate) link: LinkHandle,
    pub(crate) live: watch::Sender<Option<Live>>,
    pub(crate) owner: mpsc::Sender<Input>,
}

/// What the core says of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) of: AttemptRef,
    pub(crate) document: Option<JobDocument>,
    pub(crate) traceparent: Option<String>,
}

impl Order {
    fn span(&self, resumed: bool) -> Span {
        let document = self.document.as_ref();
        let span = tracing::info_span!(
            "agent.run_job",
            job.id = %self.of.job_id,
            job.attempt = self.of.attempt,
            job.resumed = resumed,
            vehicle.vin = document.map(|document| document.vin.as_str()),
            ecu.name = document.map(|document| document.ecu.as_str()),
            job.verdict = tracing::field::Empty,
            job.reason = tracing::field::Empty,
        );
        if let Some(traceparent) = &self.traceparent {
            fleet_telemetry::set_parent(&span, traceparent);
        }
        span
    }
}

impl Workplace {
    /// Runs an attempt to its end and tells the owner. `cancel` is heard before the point of no return.
    pub(crate) async fn run(self, order: Order, prepared: Prepared, cancel: watch::Receiver<bool>) {
        let span = order.span(false);
        let traceparent = fleet_telemetry::traceparent(&span);
        let report = self
            .perform(&order, prepared, cancel, &span)
            .instrument(span.clone())
            .await;
        self.end(order, report, traceparent, span).await;
    }

    async fn perform(
        &self,
        order: &Order,
        prepared: Prepared,
        cancel: watch::Receiver<bool>,
        span: &Span,
    ) -> Result<FinalReport, JobResult> {
        let Prepared { plan, inputs } = prepared;
        let of = order.of;
        let header = runner::header(of.job_id, of.attempt, of.fence, &plan, &inputs);
        let journals = self.journals.clone();
        let journal = tokio::task::spawn_blocking(move || Journal::create(&journals, &header)).await;
        let journal = match journal {
            Ok(Ok(journal)) => journal,
            Ok(Err(error)) => {
                tracing::error!(
                    error = error_chain(&error),
                    "agent.run_job can't begin its journal"
                );
                let begun = error.source.kind() == std::io::ErrorKind::AlreadyExists;
                return Err(without_report(begun, error_chain(&error)));
            }
            Err(error) => return Err(without_report(false, error.to_string())),
        };
        let attempt = Attempt {
            job_id: of.job_id,
            plan,
            inputs,
            vehicle: self.vehicle,
            signer: self.signer.clone(),
            journal,
        };
        let (reports, inbox) = mpsc::channel(64);
        let telling = self.clone().tell(of, inbox, span.clone());
        let (report, ()) = tokio::join!(runner::run(attempt, reports, cancel), telling);
        Ok(report)
    }

    /// Hands the runner's reports on: durable ones to the owner, progress to the live topic.
    async fn tell(self, of: AttemptRef, mut inbox: mpsc::Receiver<Report>, job: Span) {
        let key = AttemptKey::from(of);
        let mut total = 0;
        let mut step_span = None;
        let mut last_live: Option<(u32, Instant)> = None;
        while let Some(report) = inbox.recv().await {
            match report {
                Report::Started { steps_total } => {
                    total = steps_total;
                    step_span = Some(open_step(&job));
                    let traceparent = fleet_telemetry::traceparent(&job);
                    self.core(Event::Started {
                        key,
                        steps_total,
                        traceparent,
                    })
                    .await;
                }
                Report::Step(step) => {
                    let span = step_span.take().unwrap_or_else(|| open_step(&job));
                    span.record("step.id", step.step.as_str());
                    span.record("step.index", step.index);
                    span.record("step.outcome", tracing::field::debug(step.outcome));
                    let traceparent = fleet_telemetry::traceparent(&span);
                    drop(span);
                    if step.index.saturating_add(1) < total {
                        step_span = Some(open_step(&job));
                    }
                    let step = finished(of, step);
                    self.core(Event::StepReported { step, traceparent }).await;
                }
                Report::Progress {
                    step,
                    step_index,
                    steps_total,
                    bytes_done,
                    bytes_total,
                } => {
                    let now = Instant::now();
                    let last = bytes_total > 0 && bytes_done >= bytes_total;
                    let too_soon = last_live.is_some_and(|(index, at)| {
                        index == step_index && now.duration_since(at) < LIVE_INTERVAL
                    });
                    if too_soon && !last {
                        continue;
                    }
                    last_live = Some((step_index, now));
                    let live = Live {
                        job_id: of.job_id,
                        attempt: of.attempt,
                        step,
                        step_index,
                        steps_total,
                        bytes_done,
                        bytes_total,
                        time: fleet_clock::wall_now(),
                    };
                    self.link.publish_live(live.encode());
                    self.live.send_replace(Some(live));
                }
                Report::PastPointOfNoReturn => self.core(Event::PointOfNoReturn(key)).await,
            }
        }
    }

    /// Finds out how an attempt ended that an earlier process began, and tells the owner. Nothing is written to
    /// the vehicle. `found` is its journal, `broken` that there is one which can't be read.
    pub(crate) async fn recover(self, order: Order, found: Option<Pending>, broken: bool) {
        let span = order.span(true);
        let traceparent = fleet_telemetry::traceparent(&span);
        let report = match found {
            Some(pending) => Ok(runner::recover(pending, self.vehicle)
                .instrument(span.clone())
                .await),
            None if broken => Err(JobResult {
                verdict: Verdict::InDoubt,
                reason_code: "journal_unreadable".to_owned(),
                detail: Some("the journal of the interrupted attempt can't be read".to_owned()),
                software: BTreeMap::new(),
                record: None,
            }),
            // The journal is durable before the runner begins: without one nothing was begun.
            None => Err(JobResult {
                verdict: Verdict::Aborted,
                reason_code: "agent_restarted".to_owned(),
                detail: Some("the agent ended before the attempt was begun".to_owned()),
                software: BTreeMap::new(),
                record: None,
            }),
        };
        self.end(order, report, traceparent, span).await;
    }

    async fn end(
        self,
        order: Order,
        report: Result<FinalReport, JobResult>,
        traceparent: Option<String>,
        span: Span,
    ) {
        let key = AttemptKey::from(order.of);
        let result = match report {
            Ok(report) => self.sign(&order, report).await,
            Err(result) => result,
        };
        span.record("job.verdict", tracing::field::debug(result.verdict));
        span.record("job.reason", result.reason_code.as_str());
        span.in_scope(|| {
            tracing::info!(
                job.id = %order.of.job_id,
                verdict = ?result.verdict,
                reason = result.reason_code,
                "attempt has ended"
            );
        });
        drop(span);
        self.live.send_replace(None);
        self.core(Event::Finished {
            key,
            result,
            traceparent,
        })
        .await;
    }

    async fn sign(&self, order: &Order, report: FinalReport) -> JobResult {
        let context = Context {
            of: order.of,
            requested_by: order
                .document
                .as_ref()
                .map(|document| document.requested_by.clone()),
            result_id: fleet_clock::new_uuid(),
            wall: fleet_clock::wall_now(),
            boot: fleet_clock::boot_now(),
        };
        let (records, key) = (self.records.clone(), self.key.clone());
        let written = tokio::task::spawn_blocking(move || {
            let record = records.write(&key, &context, &report);
            (record, report)
        })
        .await;
        match written {
            Ok((record, report)) => JobResult {
                verdict: report.verdict,
                reason_code: report.reason_code,
                detail: report.detail,
                software: report.software,
                // A verdict without its record is worth more than none.
                record: record
                    .inspect_err(|error| {
                        tracing::error!(error = error_chain(error), "a result has no record");
                    })
                    .ok(),
            },
            Err(error) => without_report(true, error.to_string()),
        }
    }

    async fn core(&self, event: Event) {
        // An owner that has ended needs nothing: the journal holds the result.
        let _ = self.owner.send(Input::Core(Box::new(event))).await;
    }
}

/// Removes the journal of an attempt whose final event is durable. Blocks.
pub(crate) fn settle(journals: &std::path::Path, of: AttemptRef) {
    if let Err(error) = journal::settle(journals, of.job_id, of.attempt) {
        // It is tried again at the next start.
        tracing::warn!(job.id = %of.job_id, error = error_chain(&error), "a journal stays");
    }
}

fn without_report(begun: bool, detail: String) -> JobResult {
    JobResult {
        verdict: if begun { Verdict::InDoubt } else { Verdict::Error },
        reason_code: "journal_error".to_owned(),
        detail: Some(detail),
        software: BTreeMap::new(),
        record: None,
    }
}

fn open_step(job: &Span) -> Span {
    tracing::info_span!(
        parent: job,
        "procedure.run_step",
        step.id = tracing::field::Empty,
        step.index = tracing::field::Empty,
        step.outcome = tracing::field::Empty,
    )
}

fn finished(of: AttemptRef, step: FinishedStep) -> StepFinished {
    StepFinished {
        of,
        index: step.index,
        step: step.step,
        name: step.name,
        outcome: step.outcome,
        started_at: step.started_at,
        finished_at: step.finished_at,
        duration_ms: step.duration_ms,
        retries: step.retries,
        nrc: step.nrc,
        detail: step.detail,
        measurements: step.measurements,
    }
}
