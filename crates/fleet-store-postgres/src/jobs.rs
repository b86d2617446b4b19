//! A job's row: locked, changed by the machine, written back.
//!
//! Rows are written as one JSON list, which PostgreSQL turns into rows of the table's type: one parameter
//! whatever the number of jobs and columns is.

use std::borrow::Cow;
use std::collections::BTreeSet;

use fleet_domain::{DeviceId, Job, JobId, JobKind, JobState, OfferId, Verdict, WithdrawTarget, Withdrawal};
use fleet_recording::StoredJob;
use fleet_store::{ChangeKind, JobRow, NewJob, ProcedureUse, Retry, StoreError};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::column::{int, json, narrow, opt_text, parse, text, time, to_time};
use crate::error::from_sqlx;
use crate::value::{from_json, opt_narrow, opt_parse, opt_time, opt_word, word};
use crate::work::Work;

/// The table's row.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow)]
pub(crate) struct JobRecord {
    /// Order of recording; 0 in a row that is to be written: the database gives it.
    pub(crate) n: i64,
    pub(crate) id: Uuid,
    pub(crate) request_id: Option<String>,
    pub(crate) requested_by: String,
    pub(crate) kind: String,
    pub(crate) vin: String,
    pub(crate) ecu: String,
    pub(crate) procedure_id: String,
    pub(crate) procedure_version: String,
    pub(crate) procedure_sha256: String,
    pub(crate) artifacts: String,
    pub(crate) parameters: String,
    pub(crate) wanted_device: Option<String>,
    pub(crate) start_within_s: i64,
    pub(crate) deadline: Option<i64>,
    pub(crate) priority: i32,
    pub(crate) traceparent: Option<String>,
    pub(crate) retry_of: Option<Uuid>,
    pub(crate) retry_reason: Option<String>,
    pub(crate) reported: bool,
    pub(crate) state: String,
    pub(crate) parked: Option<String>,
    pub(crate) verdict: Option<String>,
    pub(crate) reason_code: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) attempt: i64,
    pub(crate) fence: i64,
    pub(crate) device: Option<String>,
    pub(crate) offer_id: Option<Uuid>,
    pub(crate) withdraw_target: Option<String>,
    pub(crate) withdraw_version: Option<i64>,
    pub(crate) withdraw_reason: Option<String>,
    pub(crate) steps_total: Option<i64>,
    pub(crate) steps_done: i64,
    pub(crate) software: String,
    pub(crate) fenced_events: i64,
    pub(crate) decided_by: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) offered_at: Option<i64>,
    pub(crate) accepted_at: Option<i64>,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) fenced_device: Option<String>,
    pub(crate) fenced_version: Option<i64>,
}

impl JobRecord {
    /// The job with what only the storage needs.
    pub(crate) fn stored(self) -> Result<StoredJob, StoreError> {
        let fenced = opt_parse("fenced_device", self.fenced_device.as_deref())?
            .map(|device| {
                let version = opt_narrow("fenced_version", self.fenced_version)?.unwrap_or(0);
                Ok::<_, StoreError>((device, version))
            })
            .transpose()?;
        Ok(StoredJob {
            row: self.row()?,
            fenced,
        })
    }

    /// The job.
    pub(crate) fn row(self) -> Result<JobRow, StoreError> {
        Ok(JobRow {
            job: self.job()?,
            reported: self.reported,
            created_at: to_time("created_at", self.created_at)?,
            offered_at: opt_time("offered_at", self.offered_at)?,
            accepted_at: opt_time("accepted_at", self.accepted_at)?,
            started_at: opt_time("started_at", self.started_at)?,
            finished_at: opt_time("finished_at", self.finished_at)?,
            steps_done: narrow("steps_done", self.steps_done)?,
            software: from_json("software", &self.software)?,
            fenced_events: narrow("fenced_events", self.fenced_events)?,
            decided_by: self.decided_by.clone(),
            request: self.request()?,
        })
    }

    fn job(&self) -> Result<Job, StoreError> {
        let withdrawal = opt_word(
            "withdraw_target",
            self.withdraw_target.as_deref(),
            WithdrawTarget::of,
        )?
        .map(|target| {
            Ok::<_, StoreError>(Withdrawal {
                target,
                version: opt_narrow("withdraw_version", self.withdraw_version)?.unwrap_or(0),
                reason: self.withdraw_reason.clone().unwrap_or_default(),
            })
        })
        .transpose()?;
        Ok(Job {
            id: JobId(self.id),
            state: word("state", &self.state, JobState::of)?,
            parked: self.parked.clone(),
            verdict: opt_word("verdict", self.verdict.as_deref(), Verdict::of)?,
            reason_code: self.reason_code.clone(),
            detail: self.detail.clone(),
            attempt: narrow("attempt", self.attempt)?,
            fence: narrow("fence", self.fence)?,
            device: opt_parse("device", self.device.as_deref())?,
            offer_id: self.offer_id.map(OfferId),
            withdrawal,
            steps_total: opt_narrow("steps_total", self.steps_total)?,
        })
    }

    fn request(self) -> Result<NewJob, StoreError> {
        Ok(NewJob {
            id: JobId(self.id),
            request_id: self.request_id,
            kind: word("kind", &self.kind, JobKind::of)?,
            vin: parse("vin", &self.vin)?,
            ecu: self.ecu,
            procedure: ProcedureUse {
                id: self.procedure_id,
                version: self.procedure_version,
                sha256: self.procedure_sha256,
            },
            artifacts: from_json("artifacts", &self.artifacts)?,
            parameters: from_json("parameters", &self.parameters)?,
            device: opt_parse("wanted_device", self.wanted_device.as_deref())?,
            start_within_s: narrow("start_within_s", self.start_within_s)?,
            deadline: opt_time("deadline", self.deadline)?,
            priority: self.priority,
            requested_by: self.requested_by,
            traceparent: self.traceparent,
            retry: self.retry_of.map(|of| Retry {
                of: JobId(of),
                reason: self.retry_reason.unwrap_or_default(),
            }),
        })
    }

    /// The row to write.
    fn of(stored: &StoredJob) -> Result<Self, StoreError> {
        let (row, job, request) = (&stored.row, &stored.row.job, &stored.row.request);
        let withdrawal = job.withdrawal.as_ref();
        let fenced = stored.fenced.as_ref();
        let retry = request.retry.as_ref();
        let version = |version| int("list version", version);
        let own = |value: &str| text(value).into_owned();
        let opt = |value: &Option<String>| opt_text(value.as_deref()).map(Cow::into_owned);
        Ok(Self {
            n: 0,
            id: job.id.0,
            request_id: opt(&request.request_id),
            requested_by: own(&request.requested_by),
            kind: request.kind.as_str().to_owned(),
            vin: request.vin.as_str().to_owned(),
            ecu: own(&request.ecu),
            procedure_id: own(&request.procedure.id),
            procedure_version: own(&request.procedure.version),
            procedure_sha256: own(&request.procedure.sha256),
            artifacts: json(&request.artifacts),
            parameters: json(&request.parameters),
            wanted_device: request.device.as_ref().map(DeviceId::to_string),
            start_within_s: i64::from(request.start_within_s),
            deadline: request.deadline.map(time),
            priority: request.priority,
            traceparent: opt(&request.traceparent),
            retry_of: retry.map(|retry| retry.of.0),
            retry_reason: retry.map(|retry| own(&retry.reason)),
            reported: row.reported,
            state: job.state.as_str().to_owned(),
            parked: opt(&job.parked),
            verdict: job.verdict.map(|verdict| verdict.as_str().to_owned()),
            reason_code: opt(&job.reason_code),
            detail: opt(&job.detail),
            attempt: i64::from(job.attempt),
            fence: int("fence", job.fence)?,
            device: job.device.as_ref().map(DeviceId::to_string),
            offer_id: job.offer_id.map(|offer| offer.0),
            withdraw_target: withdrawal.map(|w| w.target.as_str().to_owned()),
            withdraw_version: withdrawal.map(|w| version(w.version)).transpose()?,
            withdraw_reason: withdrawal.map(|w| own(&w.reason)),
            steps_total: job.steps_total.map(i64::from),
            steps_done: i64::from(row.steps_done),
            software: json(&row.software),
            fenced_events: int("fenced events", row.fenced_events)?,
            decided_by: opt(&row.decided_by),
            created_at: time(row.created_at),
            offered_at: row.offered_at.map(time),
            accepted_at: row.accepted_at.map(time),
            started_at: row.started_at.map(time),
            finished_at: row.finished_at.map(time),
            fenced_device: fenced.map(|(device, _)| device.to_string()),
            fenced_version: fenced.map(|(_, at)| version(*at)).transpose()?,
        })
    }
}

/// The job as it will be read: without what a column can't hold, and times to the microsecond.
pub(crate) fn as_kept(stored: &StoredJob) -> Result<StoredJob, StoreError> {
    JobRecord::of(stored)?.stored()
}

/// Locks jobs in the order of their ids and reads them as they stand under the lock; unknown ones are left out.
/// Benches whose list may change are locked before.
pub(crate) async fn lock(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<StoredJob>, StoreError> {
    sqlx::query_as!(
        JobRecord,
        "SELECT * FROM jobs WHERE id = ANY($1) ORDER BY id FOR UPDATE",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .into_iter()
    .map(JobRecord::stored)
    .collect()
}

/// Records a job unless its id, or its requester's request id, is there. Waits for a transaction that records
/// the same one.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    stored: &StoredJob,
    work: &mut Work,
) -> Result<bool, StoreError> {
    let new = insert_missing(conn, &json(&[JobRecord::of(stored)?])).await? > 0;
    if new {
        work.changed(ChangeKind::Job, &stored.id());
    }
    Ok(new)
}

async fn insert_missing(conn: &mut PgConnection, records: &str) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "INSERT INTO jobs (id, request_id, requested_by, kind, vin, ecu, procedure_id, procedure_version,
             procedure_sha256, artifacts, parameters, wanted_device, start_within_s, deadline, priority,
             traceparent, created_at, retry_of, retry_reason, reported, state, attempt, fence, steps_done,
             software, fenced_events)
         SELECT r.id, r.request_id, r.requested_by, r.kind, r.vin, r.ecu, r.procedure_id, r.procedure_version,
             r.procedure_sha256, r.artifacts, r.parameters, r.wanted_device, r.start_within_s, r.deadline,
             r.priority, r.traceparent, r.created_at, r.retry_of, r.retry_reason, r.reported, r.state,
             r.attempt, r.fence, r.steps_done, r.software, r.fenced_events
         FROM json_populate_recordset(NULL::jobs, $1::text::json) r
         WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = r.id)
         ORDER BY r.id
         ON CONFLICT DO NOTHING",
        records
    )
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(done.rows_affected())
}

/// Writes jobs that are locked or new, the holds on their vehicles and the change log.
pub(crate) async fn save(
    conn: &mut PgConnection,
    jobs: &[&StoredJob],
    work: &mut Work,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let records = jobs
        .iter()
        .map(|stored| JobRecord::of(stored))
        .collect::<Result<Vec<_>, _>>()?;
    let records = json(&records);
    insert_missing(conn, &records).await?;
    update(conn, &records).await?;
    free_vehicles(conn, jobs).await?;
    hold_vehicles(conn, jobs).await?;
    for stored in jobs {
        work.changed(ChangeKind::Job, &stored.id());
        for device in stored.shown_on() {
            work.changed(ChangeKind::Bench, device);
        }
    }
    Ok(())
}

/// Writes jobs that a batch changed or found: `new` are those that were not there, which other benches may report at
/// this moment. False when one of them was there after all. Of a job that is there only those columns are written
/// that events change.
pub(crate) async fn record(
    conn: &mut PgConnection,
    jobs: &[StoredJob],
    new: &BTreeSet<JobId>,
    work: &mut Work,
) -> Result<bool, StoreError> {
    if jobs.is_empty() {
        return Ok(true);
    }
    if !new.is_empty() {
        let fresh = jobs
            .iter()
            .filter(|stored| new.contains(&stored.id()))
            .map(JobRecord::of)
            .collect::<Result<Vec<_>, _>>()?;
        if insert_missing(conn, &json(&fresh)).await? < fresh.len() as u64 {
            return Ok(false);
        }
    }
    let rows: Vec<&StoredJob> = jobs.iter().collect();
    progress(conn, &rows).await?;
    free_vehicles(conn, &rows).await?;
    hold_vehicles(conn, &rows).await?;
    for stored in jobs {
        work.changed(ChangeKind::Job, &stored.id());
        for device in stored.shown_on() {
            work.changed(ChangeKind::Bench, device);
        }
    }
    Ok(true)
}

/// Everything that an event may change, for jobs that are locked or new.
async fn progress(conn: &mut PgConnection, jobs: &[&StoredJob]) -> Result<(), StoreError> {
    let rows = || jobs.iter().map(|stored| (&stored.row, &stored.row.job));
    let fences = rows()
        .map(|(_, job)| int("fence", job.fence))
        .collect::<Result<Vec<_>, _>>()?;
    let fenced_events = rows()
        .map(|(row, _)| int("fenced events", row.fenced_events))
        .collect::<Result<Vec<_>, _>>()?;
    let fenced_versions = jobs
        .iter()
        .map(|stored| {
            stored
                .fenced
                .as_ref()
                .map(|(_, version)| int("list version", *version))
        })
        .map(Option::transpose)
        .collect::<Result<Vec<_>, _>>()?;
    let withdraw_versions = rows()
        .map(|(_, job)| job.withdrawal.as_ref().map(|of| int("list version", of.version)))
        .map(Option::transpose)
        .collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "UPDATE jobs j SET
             state = r.state, parked = r.parked, verdict = r.verdict, reason_code = r.reason_code,
             detail = r.detail, attempt = r.attempt, fence = r.fence, device = r.device, offer_id = r.offer_id,
             withdraw_target = r.withdraw_target, withdraw_version = r.withdraw_version,
             withdraw_reason = r.withdraw_reason, steps_total = r.steps_total, steps_done = r.steps_done,
             software = r.software, fenced_events = r.fenced_events, offered_at = r.offered_at,
             accepted_at = r.accepted_at, started_at = r.started_at, finished_at = r.finished_at,
             fenced_device = r.fenced_device, fenced_version = r.fenced_version
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                 $8::bigint[], $9::text[], $10::uuid[], $11::text[], $12::bigint[], $13::text[], $14::bigint[],
                 $15::bigint[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[],
                 $21::bigint[], $22::text[], $23::bigint[])
             AS r (id, state, parked, verdict, reason_code, detail, attempt, fence, device, offer_id,
                 withdraw_target, withdraw_version, withdraw_reason, steps_total, steps_done, software,
                 fenced_events, offered_at, accepted_at, started_at, finished_at, fenced_device, fenced_version)
         WHERE j.id = r.id",
    )
    .bind(rows().map(|(_, job)| job.id.0).collect::<Vec<_>>())
    .bind(rows().map(|(_, job)| job.state.as_str()).collect::<Vec<_>>())
    .bind(rows().map(|(_, job)| opt_text(job.parked.as_deref())).collect::<Vec<_>>())
    .bind(rows().map(|(_, job)| job.verdict.map(Verdict::as_str)).collect::<Vec<_>>())
    .bind(rows().map(|(_, job)| opt_text(job.reason_code.as_deref())).collect::<Vec<_>>())
    .bind(rows().map(|(_, job)| opt_text(job.detail.as_deref())).collect::<Vec<_>>())
    .bind(rows().map(|(_, job)| i64::from(job.attempt)).collect::<Vec<_>>())
    .bind(fences)
    .bind(rows().map(|(_, job)| job.device.as_ref().map(DeviceId::as_str)).collect::<Vec<_>>())
    .bind(rows().map(|(_, job)| job.offer_id.map(|offer| offer.0)).collect::<Vec<_>>())
    .bind(
        rows()
            .map(|(_, job)| job.withdrawal.as_ref().map(|of| of.target.as_str()))
            .collect::<Vec<_>>(),
    )
    .bind(withdraw_versions)
    .bind(
        rows()
            .map(|(_, job)| opt_text(job.withdrawal.as_ref().map(|of| of.reason.as_str())))
            .collect::<Vec<_>>(),
    )
    .bind(rows().map(|(_, job)| job.steps_total.map(i64::from)).collect::<Vec<_>>())
    .bind(rows().map(|(row, _)| i64::from(row.steps_done)).collect::<Vec<_>>())
    .bind(rows().map(|(row, _)| json(&row.software)).collect::<Vec<_>>())
    .bind(fenced_events)
    .bind(rows().map(|(row, _)| row.offered_at.map(time)).collect::<Vec<_>>())
    .bind(rows().map(|(row, _)| row.accepted_at.map(time)).collect::<Vec<_>>())
    .bind(rows().map(|(row, _)| row.started_at.map(time)).collect::<Vec<_>>())
    .bind(rows().map(|(row, _)| row.finished_at.map(time)).collect::<Vec<_>>())
    .bind(
        jobs.iter()
            .map(|stored| stored.fenced.as_ref().map(|(device, _)| device.as_str()))
            .collect::<Vec<_>>(),
    )
    .bind(fenced_versions)
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

async fn update(conn: &mut PgConnection, records: &str) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE jobs j SET
             request_id = r.request_id, requested_by = r.requested_by, kind = r.kind, ecu = r.ecu,
             procedure_id = r.procedure_id, procedure_version = r.procedure_version,
             procedure_sha256 = r.procedure_sha256, artifacts = r.artifacts, parameters = r.parameters,
             wanted_device = r.wanted_device, start_within_s = r.start_within_s, deadline = r.deadline,
             priority = r.priority, traceparent = r.traceparent, retry_of = r.retry_of,
             retry_reason = r.retry_reason, reported = r.reported, state = r.state, parked = r.parked,
             verdict = r.verdict, reason_code = r.reason_code, detail = r.detail, attempt = r.attempt,
             fence = r.fence, device = r.device, offer_id = r.offer_id, withdraw_target = r.withdraw_target,
             withdraw_version = r.withdraw_version, withdraw_reason = r.withdraw_reason,
             steps_total = r.steps_total, steps_done = r.steps_done, software = r.software,
             fenced_events = r.fenced_events, decided_by = r.decided_by, offered_at = r.offered_at,
             accepted_at = r.accepted_at, started_at = r.started_at, finished_at = r.finished_at,
             fenced_device = r.fenced_device, fenced_version = r.fenced_version
         FROM json_populate_recordset(NULL::jobs, $1::text::json) r
         WHERE j.id = r.id",
        records
    )
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

async fn free_vehicles(conn: &mut PgConnection, jobs: &[&StoredJob]) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = jobs
        .iter()
        .filter(|stored| !stored.row.job.holds_vin())
        .map(|stored| stored.id().0)
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "DELETE FROM vin_leases WHERE vin IN
             (SELECT vin FROM vin_leases WHERE job = ANY($1) ORDER BY vin FOR UPDATE)",
        &ids[..]
    )
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Takes the vehicles of jobs that hold one. Where another job holds it already, a bench began without us: shown,
/// not hidden. Returns the VINs that were free.
pub(crate) async fn hold_vehicles(
    conn: &mut PgConnection,
    jobs: &[&StoredJob],
) -> Result<Vec<String>, StoreError> {
    let (mut vins, mut ids, mut devices, mut fences) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for stored in jobs.iter().filter(|stored| stored.row.job.holds_vin()) {
        let job = &stored.row.job;
        vins.push(stored.row.request.vin.to_string());
        ids.push(job.id.0);
        devices.push(job.device.as_ref().map(DeviceId::to_string).unwrap_or_default());
        fences.push(int("fence", job.fence)?);
    }
    if vins.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar!(
        "INSERT INTO vin_leases (vin, job, device, fence)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[]) AS r (vin, job, device, fence)
         ORDER BY r.vin COLLATE \"C\", r.job
         ON CONFLICT (vin) DO NOTHING
         RETURNING vin",
        &vins[..],
        &ids[..],
        &devices[..],
        &fences[..]
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)
}
