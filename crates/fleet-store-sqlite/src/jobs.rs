//! A job's row: read, changed by the machine, written back.

use std::collections::BTreeMap;

use fleet_domain::{DeviceId, Job, JobId, JobKind, JobState, OfferId, Verdict, WithdrawTarget, Withdrawal};
use fleet_recording::StoredJob;
use fleet_store::{ChangeKind, JobRow, NewJob, ProcedureUse, Retry, StoreError};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::column::{Columns, int, json, time, unreadable};
use crate::error::from_sqlx;
use crate::work::Work;

pub(crate) fn stored_job(row: &SqliteRow) -> Result<StoredJob, StoreError> {
    let fenced = row
        .opt_parsed("fenced_device")?
        .map(|device| Ok::<_, StoreError>((device, row.opt_u64("fenced_version")?.unwrap_or(0))))
        .transpose()?;
    Ok(StoredJob {
        row: job_row(row)?,
        fenced,
    })
}

pub(crate) fn job_row(row: &SqliteRow) -> Result<JobRow, StoreError> {
    let withdrawal = row
        .opt_word("withdraw_target", WithdrawTarget::of)?
        .map(|target| {
            Ok::<_, StoreError>(Withdrawal {
                target,
                version: row.opt_u64("withdraw_version")?.unwrap_or(0),
                reason: row.opt_text("withdraw_reason")?.unwrap_or_default(),
            })
        })
        .transpose()?;
    Ok(JobRow {
        job: Job {
            id: JobId(row.uuid("id")?),
            state: row.word("state", JobState::of)?,
            parked: row.opt_text("parked")?,
            verdict: row.opt_word("verdict", Verdict::of)?,
            reason_code: row.opt_text("reason_code")?,
            detail: row.opt_text("detail")?,
            attempt: row.u32("attempt")?,
            fence: row.u64("fence")?,
            device: row.opt_parsed("device")?,
            offer_id: row.opt_uuid("offer_id")?.map(OfferId),
            withdrawal,
            steps_total: row.opt_u32("steps_total")?,
        },
        request: request(row)?,
        reported: row.flag("reported")?,
        created_at: row.time("created_at")?,
        offered_at: row.opt_time("offered_at")?,
        accepted_at: row.opt_time("accepted_at")?,
        started_at: row.opt_time("started_at")?,
        finished_at: row.opt_time("finished_at")?,
        steps_done: row.u32("steps_done")?,
        software: row.json("software")?,
        fenced_events: row.u64("fenced_events")?,
        decided_by: row.opt_text("decided_by")?,
    })
}

fn request(row: &SqliteRow) -> Result<NewJob, StoreError> {
    let priority: i64 = row.raw("priority")?;
    Ok(NewJob {
        id: JobId(row.uuid("id")?),
        request_id: row.opt_text("request_id")?,
        kind: row.word("kind", JobKind::of)?,
        vin: row.parsed("vin")?,
        ecu: row.text("ecu")?,
        procedure: ProcedureUse {
            id: row.text("procedure_id")?,
            version: row.text("procedure_version")?,
            sha256: row.text("procedure_sha256")?,
        },
        artifacts: row.json("artifacts")?,
        parameters: row.json::<BTreeMap<String, String>>("parameters")?,
        device: row.opt_parsed("wanted_device")?,
        start_within_s: row.u32("start_within_s")?,
        deadline: row.opt_time("deadline")?,
        priority: i32::try_from(priority).map_err(|_| unreadable("priority", priority))?,
        requested_by: row.text("requested_by")?,
        traceparent: row.opt_text("traceparent")?,
        retry: row
            .opt_uuid("retry_of")?
            .map(|of| {
                Ok::<_, StoreError>(Retry {
                    of: JobId(of),
                    reason: row.opt_text("retry_reason")?.unwrap_or_default(),
                })
            })
            .transpose()?,
    })
}

/// The job, for a change in this transaction.
pub(crate) async fn find(conn: &mut SqliteConnection, job: JobId) -> Result<Option<StoredJob>, StoreError> {
    sqlx::query("SELECT * FROM jobs WHERE id = ?")
        .bind(job.0)
        .fetch_optional(conn)
        .await
        .map_err(from_sqlx)?
        .as_ref()
        .map(stored_job)
        .transpose()
}

/// Writes the job, the lease on its VIN and the change log.
pub(crate) async fn save(
    conn: &mut SqliteConnection,
    stored: &StoredJob,
    work: &mut Work,
) -> Result<(), StoreError> {
    write(conn, stored).await?;
    let job = &stored.row.job;
    if job.holds_vin() {
        // Where another job holds the vehicle already, a bench began without us: shown, not hidden.
        sqlx::query("INSERT OR IGNORE INTO vin_leases (vin, job, device, fence) VALUES (?, ?, ?, ?)")
            .bind(stored.row.request.vin.as_str())
            .bind(job.id.0)
            .bind(job.device.as_ref().map_or("", DeviceId::as_str))
            .bind(int("fence", job.fence)?)
            .execute(&mut *conn)
            .await
            .map_err(from_sqlx)?;
    } else {
        sqlx::query("DELETE FROM vin_leases WHERE job = ?")
            .bind(job.id.0)
            .execute(&mut *conn)
            .await
            .map_err(from_sqlx)?;
    }
    work.changed(ChangeKind::Job, &job.id);
    for device in stored.shown_on() {
        work.changed(ChangeKind::Bench, device);
    }
    Ok(())
}

/// All columns: what was asked for changes too, when a job that a bench reported finds its request.
const WRITE: &str = "INSERT INTO jobs (
         id, request_id, requested_by, kind, vin, ecu, procedure_id, procedure_version,
         procedure_sha256, artifacts, parameters, wanted_device, start_within_s, deadline, priority,
         traceparent, retry_of, retry_reason, created_at, reported, state, parked, verdict, reason_code,
         detail, attempt, fence, device, offer_id, withdraw_target, withdraw_version, withdraw_reason,
         steps_total, steps_done, software, fenced_events, decided_by, offered_at, accepted_at,
         started_at, finished_at, fenced_device, fenced_version)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
             ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET
         request_id = excluded.request_id, requested_by = excluded.requested_by, kind = excluded.kind,
         ecu = excluded.ecu, procedure_id = excluded.procedure_id,
         procedure_version = excluded.procedure_version, procedure_sha256 = excluded.procedure_sha256,
         artifacts = excluded.artifacts, parameters = excluded.parameters,
         wanted_device = excluded.wanted_device, start_within_s = excluded.start_within_s,
         deadline = excluded.deadline, priority = excluded.priority, traceparent = excluded.traceparent,
         retry_of = excluded.retry_of, retry_reason = excluded.retry_reason,
         reported = excluded.reported, state = excluded.state, parked = excluded.parked,
         verdict = excluded.verdict, reason_code = excluded.reason_code, detail = excluded.detail,
         attempt = excluded.attempt, fence = excluded.fence, device = excluded.device,
         offer_id = excluded.offer_id, withdraw_target = excluded.withdraw_target,
         withdraw_version = excluded.withdraw_version, withdraw_reason = excluded.withdraw_reason,
         steps_total = excluded.steps_total, steps_done = excluded.steps_done,
         software = excluded.software, fenced_events = excluded.fenced_events,
         decided_by = excluded.decided_by, offered_at = excluded.offered_at,
         accepted_at = excluded.accepted_at, started_at = excluded.started_at,
         finished_at = excluded.finished_at, fenced_device = excluded.fenced_device,
         fenced_version = excluded.fenced_version";

async fn write(conn: &mut SqliteConnection, stored: &StoredJob) -> Result<(), StoreError> {
    let (row, job, request) = (&stored.row, &stored.row.job, &stored.row.request);
    let (withdrawal, fenced) = (job.withdrawal.as_ref(), stored.fenced.as_ref());
    let version = |version| int("list version", version);
    let query = sqlx::query(WRITE)
        .bind(job.id.0)
        .bind(&request.request_id)
        .bind(&request.requested_by)
        .bind(request.kind.as_str())
        .bind(request.vin.as_str())
        .bind(&request.ecu)
        .bind(&request.procedure.id)
        .bind(&request.procedure.version)
        .bind(&request.procedure.sha256)
        .bind(json(&request.artifacts))
        .bind(json(&request.parameters))
        .bind(request.device.as_ref().map(DeviceId::as_str))
        .bind(i64::from(request.start_within_s))
        .bind(request.deadline.map(time))
        .bind(i64::from(request.priority))
        .bind(&request.traceparent)
        .bind(request.retry.as_ref().map(|retry| retry.of.0))
        .bind(request.retry.as_ref().map(|retry| retry.reason.as_str()))
        .bind(time(row.created_at));
    query
        .bind(row.reported)
        .bind(job.state.as_str())
        .bind(&job.parked)
        .bind(job.verdict.map(Verdict::as_str))
        .bind(&job.reason_code)
        .bind(&job.detail)
        .bind(i64::from(job.attempt))
        .bind(int("fence", job.fence)?)
        .bind(job.device.as_ref().map(DeviceId::as_str))
        .bind(job.offer_id.map(|offer| offer.0))
        .bind(withdrawal.map(|w| w.target.as_str()))
        .bind(withdrawal.map(|w| version(w.version)).transpose()?)
        .bind(withdrawal.map(|w| w.reason.as_str()))
        .bind(job.steps_total.map(i64::from))
        .bind(i64::from(row.steps_done))
        .bind(json(&row.software))
        .bind(int("fenced events", row.fenced_events)?)
        .bind(&row.decided_by)
        .bind(row.offered_at.map(time))
        .bind(row.accepted_at.map(time))
        .bind(row.started_at.map(time))
        .bind(row.finished_at.map(time))
        .bind(fenced.map(|(device, _)| device.as_str()))
        .bind(fenced.map(|(_, at)| version(*at)).transpose()?)
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}
