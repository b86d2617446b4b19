//! Jobs, attempts, steps and benches as the events tell of them. A projection never decides acceptance:
//! whatever goes wrong here marks the event and nothing else (delivery rule 12).

use fleet_domain::report::StepReport;
use fleet_domain::{
    AttemptRef, BenchReport, DeviceId, Job, JobEvent, JobKind, JobState, Standing, Verdict, Vin, error_chain,
};
use fleet_store::{AlarmKind, NewJob, ProcedureUse, StoreError};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::load::{Equipment, Loaded};
use super::plan::{NewEvent, Planned};
use crate::column::{int, json, time};
use crate::error::from_sqlx;
use crate::jobs::{self, StoredJob};
use crate::outbox::{FENCED, UNPROJECTED};
use crate::work::{CHUNK, Work};

/// Why an event could not be projected.
enum Unprojected {
    /// The event's own fault.
    Data(String),
    /// The database's.
    Store(StoreError),
}

impl From<StoreError> for Unprojected {
    /// A refused statement is the event's fault; everything else is the database's.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Statement(source) => Self::Data(error_chain(source.as_ref())),
            other => Self::Store(other),
        }
    }
}

pub(super) async fn project(
    conn: &mut SqliteConnection,
    loaded: &mut Loaded,
    planned: &mut Planned,
    work: &mut Work,
) -> Result<(), StoreError> {
    let mut steps = Vec::new();
    for at in 0..planned.events.len() {
        let Some(new) = planned.events.get(at) else { break };
        let result = project_one(conn, loaded, new, work).await;
        let is_step = matches!(new.event.report, BenchReport::StepFinished(_));
        if result.is_ok() && is_step {
            steps.push(at);
        }
        mark(planned, at, result, work)?;
    }
    write_steps(conn, loaded, planned, &steps, work).await
}

fn mark(
    planned: &mut Planned,
    at: usize,
    result: Result<Standing, Unprojected>,
    work: &mut Work,
) -> Result<(), StoreError> {
    let Some(new) = planned.events.get_mut(at) else {
        return Ok(());
    };
    match result {
        Ok(Standing::Current) => {}
        Ok(Standing::Fenced) => {
            new.standing = (FENCED, None);
            planned.counts.fenced += 1;
        }
        Err(Unprojected::Data(reason)) => {
            work.raise(
                AlarmKind::Unprojected,
                format!("{} {}", new.device, new.event.r#type),
                Some(&new.device),
                format!(
                    "event {} of spool {} of {} ({}) is stored, but can't be shown: {reason}",
                    new.event.place.seq, new.event.place.spool, new.device, new.event.r#type
                ),
            );
            if new.standing.0 == FENCED {
                planned.counts.fenced -= 1;
            }
            new.standing = (UNPROJECTED, Some(reason));
            planned.counts.unprojected += 1;
        }
        Err(Unprojected::Store(error)) => return Err(error),
    }
    Ok(())
}

async fn project_one(
    conn: &mut SqliteConnection,
    loaded: &mut Loaded,
    new: &NewEvent,
    work: &mut Work,
) -> Result<Standing, Unprojected> {
    match &new.event.report {
        BenchReport::AgentStarted {
            agent_version,
            public_key,
            equipment,
            ..
        } => {
            if let Some(state) = loaded.devices.get_mut(&new.device) {
                state.equipment = Equipment {
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
            Ok(Standing::Current)
        }
        BenchReport::Unknown { r#type } => Err(Unprojected::Data(format!(
            "type {type:?} is not known to this version"
        ))),
        BenchReport::Unreadable { reason, .. } => Err(Unprojected::Data(reason.clone())),
        BenchReport::Hole { .. } => Ok(Standing::Current),
        report => match report.attempt() {
            Some(of) => project_attempt(conn, loaded, new, of, work).await,
            None => Ok(Standing::Current),
        },
    }
}

/// An event of an attempt, behind a savepoint: if anything is refused, the job is as it was before it.
async fn project_attempt(
    conn: &mut SqliteConnection,
    loaded: &mut Loaded,
    new: &NewEvent,
    of: AttemptRef,
    work: &mut Work,
) -> Result<Standing, Unprojected> {
    int("fence", of.fence).map_err(StoreError::from)?;
    let known = loaded.jobs.get(&of.job).cloned();
    let mut stored = match known {
        Some(stored) => stored,
        None => reported(new, of, work)?,
    };
    let standing = stored.row.job.standing(&new.device, of);
    let entry = stored.row.job.entry();
    match standing {
        Standing::Current => stored
            .apply(job_event(&new.event.report), work)
            .map_err(|error| Unprojected::Data(error.to_string()))?,
        Standing::Fenced => take_fenced(&mut stored, new, of, work),
    }
    if let BenchReport::JobFinished { software, .. } = &new.event.report
        && standing == Standing::Current
    {
        stored.row.software.clone_from(software);
    }
    if !matches!(new.event.report, BenchReport::StepFinished(_)) {
        sqlx::query("SAVEPOINT attempt")
            .execute(&mut *conn)
            .await
            .map_err(from_sqlx)?;
        let written = write_attempt(conn, new, of, standing, work).await;
        close_savepoint(conn, "attempt", written.is_ok()).await?;
        written?;
    }
    let freed = standing == Standing::Fenced
        && stored.fenced.is_none()
        && loaded
            .jobs
            .get(&of.job)
            .is_some_and(|before| before.fenced.is_some());
    if freed || entry != stored.row.job.entry() {
        work.next_version(conn, &new.device).await?;
    }
    loaded.jobs.insert(of.job, stored);
    loaded.changed_jobs.insert(of.job);
    Ok(standing)
}

async fn close_savepoint(
    conn: &mut SqliteConnection,
    name: &'static str,
    keep: bool,
) -> Result<(), StoreError> {
    let (undo, release) = match name {
        "attempt" => ("ROLLBACK TO attempt", "RELEASE attempt"),
        _ => ("ROLLBACK TO steps", "RELEASE steps"),
    };
    if !keep {
        sqlx::query(undo).execute(&mut *conn).await.map_err(from_sqlx)?;
    }
    sqlx::query(release).execute(conn).await.map_err(from_sqlx)?;
    Ok(())
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
fn reported(new: &NewEvent, of: AttemptRef, work: &mut Work) -> Result<StoredJob, Unprojected> {
    let vin: Vin =
        new.event
            .vin
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|error: fleet_domain::IdError| {
                Unprojected::Data(format!("job {} is not known here, and {error}", of.job))
            })?;
    work.raise(
        AlarmKind::ReportedJob,
        of.job.to_string(),
        Some(&new.device),
        format!(
            "{} reports job {} on {vin}, which is not known here",
            new.device, of.job
        ),
    );
    let mut stored = jobs::fresh(
        NewJob {
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
            parameters: std::collections::BTreeMap::new(),
            device: Some(new.device.clone()),
            start_within_s: 0,
            deadline: None,
            priority: 0,
            requested_by: format!("bench:{}", new.device),
            traceparent: new.event.traceparent.clone(),
            retry: None,
        },
        work.now,
    );
    stored.row.reported = true;
    stored.row.job = Job {
        state: JobState::Offered,
        attempt: of.attempt,
        fence: of.fence,
        device: Some(new.device.clone()),
        ..stored.row.job
    };
    Ok(stored)
}

fn take_fenced(stored: &mut StoredJob, new: &NewEvent, of: AttemptRef, work: &mut Work) {
    stored.row.fenced_events = stored.row.fenced_events.saturating_add(1);
    work.raise(
        AlarmKind::FencedReport,
        of.job.to_string(),
        Some(&new.device),
        format!(
            "{} reports on attempt {} of job {}, which was taken from it",
            new.device, of.attempt, of.job
        ),
    );
    let last_word = matches!(
        new.event.report,
        BenchReport::JobFinished { .. } | BenchReport::JobRejected { .. }
    );
    let told = stored
        .fenced
        .as_ref()
        .is_some_and(|(device, _)| *device == new.device);
    if last_word && told && stored.row.job.attempt == of.attempt && stored.row.job.fence == of.fence {
        stored.fenced = None;
    }
}

/// What the attempt's row learns from an event.
#[derive(Default)]
struct Learned<'a> {
    accepted: bool,
    started: bool,
    finished: bool,
    verdict: Option<Verdict>,
    reason_code: Option<&'a str>,
    detail: Option<&'a str>,
    steps_total: Option<u32>,
    software: Option<String>,
    record: Option<&'a str>,
}

fn learned(report: &BenchReport) -> Learned<'_> {
    match report {
        BenchReport::JobAccepted { .. } => Learned {
            accepted: true,
            ..Learned::default()
        },
        BenchReport::JobStarted { steps_total, .. } => Learned {
            started: true,
            steps_total: Some(*steps_total),
            ..Learned::default()
        },
        BenchReport::JobRejected { code, detail, .. } => Learned {
            finished: true,
            reason_code: Some(code),
            detail: detail.as_deref(),
            ..Learned::default()
        },
        BenchReport::JobFinished {
            verdict,
            reason_code,
            detail,
            software,
            record,
            ..
        } => Learned {
            finished: true,
            verdict: Some(*verdict),
            reason_code: Some(reason_code),
            detail: detail.as_deref(),
            software: Some(json(software)),
            record: record.as_deref(),
            ..Learned::default()
        },
        _ => Learned::default(),
    }
}

async fn write_attempt(
    conn: &mut SqliteConnection,
    new: &NewEvent,
    of: AttemptRef,
    standing: Standing,
    work: &Work,
) -> Result<(), StoreError> {
    let learned = learned(&new.event.report);
    let at = |known: bool| known.then(|| time(work.now));
    sqlx::query(
        "INSERT INTO attempts (job, attempt, fence, device, accepted_at, started_at, finished_at, verdict,
             reason_code, detail, steps_total, software, record, fenced)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, coalesce(?12, '{}'), ?13, ?14)
         ON CONFLICT (job, attempt, fence) DO UPDATE SET
             accepted_at = coalesce(excluded.accepted_at, accepted_at),
             started_at = coalesce(excluded.started_at, started_at),
             finished_at = coalesce(excluded.finished_at, finished_at),
             verdict = coalesce(excluded.verdict, verdict),
             reason_code = coalesce(excluded.reason_code, reason_code),
             detail = coalesce(excluded.detail, detail),
             steps_total = coalesce(excluded.steps_total, steps_total),
             software = coalesce(?12, software),
             record = coalesce(excluded.record, record),
             fenced = max(excluded.fenced, fenced)",
    )
    .bind(of.job.0)
    .bind(i64::from(of.attempt))
    .bind(int("fence", of.fence)?)
    .bind(new.device.as_str())
    .bind(at(learned.accepted))
    .bind(at(learned.started))
    .bind(at(learned.finished))
    .bind(learned.verdict.map(Verdict::as_str))
    .bind(learned.reason_code)
    .bind(learned.detail)
    .bind(learned.steps_total.map(i64::from))
    .bind(learned.software)
    .bind(learned.record)
    .bind(standing == Standing::Fenced)
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Steps are most of what a bench sends: written together, and halved where something is refused, until
/// the event at fault stands alone.
async fn write_steps(
    conn: &mut SqliteConnection,
    loaded: &mut Loaded,
    planned: &mut Planned,
    steps: &[usize],
    work: &mut Work,
) -> Result<(), StoreError> {
    let mut parts: Vec<Vec<usize>> = steps.chunks(CHUNK).rev().map(<[usize]>::to_vec).collect();
    while let Some(mut part) = parts.pop() {
        sqlx::query("SAVEPOINT steps")
            .execute(&mut *conn)
            .await
            .map_err(from_sqlx)?;
        let written = insert_steps(conn, planned, &part).await;
        close_savepoint(conn, "steps", written.is_ok()).await?;
        let Err(error) = written else { continue };
        match Unprojected::from(error) {
            Unprojected::Store(error) => return Err(error),
            data if part.len() == 1 => {
                for at in part {
                    if let Some(of) = planned.events.get(at).and_then(|new| new.event.report.attempt()) {
                        loaded.changed_jobs.insert(of.job);
                    }
                    let reason = match &data {
                        Unprojected::Data(reason) => reason.clone(),
                        Unprojected::Store(error) => error.to_string(),
                    };
                    mark(planned, at, Err(Unprojected::Data(reason)), work)?;
                }
            }
            Unprojected::Data(_) => {
                let later = part.split_off(part.len() / 2);
                parts.push(later);
                parts.push(part);
            }
        }
    }
    Ok(())
}

async fn insert_steps(
    conn: &mut SqliteConnection,
    planned: &Planned,
    part: &[usize],
) -> Result<(), StoreError> {
    let mut rows: Vec<(&DeviceId, &StepReport, i64, i64)> = Vec::with_capacity(part.len());
    for at in part {
        let Some(new) = planned.events.get(*at) else {
            continue;
        };
        if let BenchReport::StepFinished(step) = &new.event.report {
            let fence = int("fence", step.of.fence)?;
            let duration = int("duration_ms", step.duration_ms)?;
            rows.push((&new.device, step, fence, duration));
        }
    }
    let mut insert = QueryBuilder::<Sqlite>::new(
        "INSERT INTO steps (job, attempt, fence, step_index, step, name, outcome, started_at, finished_at,
             duration_ms, retries, nrc, detail, measurements) ",
    );
    insert.push_values(&rows, |mut row, (_, step, fence, duration)| {
        row.push_bind(step.of.job.0)
            .push_bind(i64::from(step.of.attempt))
            .push_bind(*fence)
            .push_bind(i64::from(step.index))
            .push_bind(&step.step)
            .push_bind(&step.name)
            .push_bind(step.outcome.as_str())
            .push_bind(time(step.started_at))
            .push_bind(time(step.finished_at))
            .push_bind(*duration)
            .push_bind(i64::from(step.retries))
            .push_bind(step.nrc.map(i64::from))
            .push_bind(&step.detail)
            .push_bind(&step.measurements_json);
    });
    insert
        .build()
        .persistent(rows.len() == CHUNK)
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}
