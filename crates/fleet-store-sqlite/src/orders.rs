//! What people and requesters ask for: a job, its recall, a take-over.

use fleet_domain::{DeviceId, JobEvent, JobId, JobState};
use fleet_recording::StoredJob;
use fleet_store::{ChangeKind, ConflictKind, Created, JobChange, NewJob, NotFoundKind, Retry, StoreError};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::column::{Columns, int, json, time};
use crate::error::from_sqlx;
use crate::jobs;
use crate::work::Work;

pub(crate) async fn create(
    store: &SqliteStore,
    request: NewJob,
    now: Timestamp,
) -> Result<Created, StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    if let Some(known) = known(&mut tx, &request).await? {
        if known.row.reported {
            // A bench told of it before its requester did: the database had been restored.
            let row = adopt(&mut tx, known, request, &mut work).await?;
            work.finish(&mut tx).await?;
            tx.commit().await.map_err(from_sqlx)?;
            return Ok(Created {
                job: row.row,
                new: false,
            });
        }
        if !same_work(&known.row.request, &request) {
            return Err(StoreError::Conflict(match request.request_id {
                Some(request_id) => ConflictKind::RequestId {
                    request_id,
                    job: known.row.job.id,
                },
                None => ConflictKind::JobId(request.id),
            }));
        }
        return Ok(Created {
            job: known.row,
            new: false,
        });
    }
    let stored = StoredJob::fresh(request, now);
    jobs::save(&mut tx, &stored, &mut work).await?;
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(Created {
        job: stored.row,
        new: true,
    })
}

async fn known(conn: &mut SqliteConnection, request: &NewJob) -> Result<Option<StoredJob>, StoreError> {
    if let Some(stored) = jobs::find(conn, request.id).await? {
        return Ok(Some(stored));
    }
    sqlx::query("SELECT * FROM jobs WHERE requested_by = ? AND request_id = ?")
        .bind(&request.requested_by)
        .bind(&request.request_id)
        .fetch_optional(conn)
        .await
        .map_err(from_sqlx)?
        .as_ref()
        .map(jobs::stored_job)
        .transpose()
}

/// A repeated request has a trace of its own, and perhaps another fresh id or another reason.
fn same_work(known: &NewJob, asked: &NewJob) -> bool {
    let plain = |request: &NewJob| NewJob {
        id: known.id,
        traceparent: None,
        // The reason of the first one stands.
        retry: request.retry.as_ref().map(|retry| Retry {
            of: retry.of,
            reason: String::new(),
        }),
        ..request.clone()
    };
    plain(known) == plain(asked)
}

async fn adopt(
    conn: &mut SqliteConnection,
    mut stored: StoredJob,
    request: NewJob,
    work: &mut Work,
) -> Result<StoredJob, StoreError> {
    sqlx::query(
        "UPDATE jobs SET request_id = ?, requested_by = ?, kind = ?, ecu = ?, procedure_id = ?,
             procedure_version = ?, procedure_sha256 = ?, artifacts = ?, parameters = ?, wanted_device = ?,
             start_within_s = ?, deadline = ?, priority = ?, traceparent = ?, retry_of = ?, retry_reason = ?
         WHERE id = ?",
    )
    .bind(&request.request_id)
    .bind(&request.requested_by)
    .bind(request.kind.as_str())
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
    .bind(stored.row.job.id.0)
    .execute(&mut *conn)
    .await
    .map_err(from_sqlx)?;
    stored.row.reported = false;
    // The vehicle is what the bench found; the rest is what was asked for.
    let vin = stored.row.request.vin.clone();
    stored.row.request = NewJob {
        id: stored.row.job.id,
        vin,
        ..request
    };
    jobs::save(conn, &stored, work).await?;
    Ok(stored)
}

async fn required(conn: &mut SqliteConnection, job: JobId) -> Result<StoredJob, StoreError> {
    jobs::find(conn, job)
        .await?
        .ok_or(StoreError::NotFound(NotFoundKind::Job(job)))
}

/// Version of the first list of the job's bench that shows the change; 0 where no list holds the job.
pub(crate) async fn recall_version(
    conn: &mut SqliteConnection,
    stored: &StoredJob,
    work: &mut Work,
) -> Result<u64, StoreError> {
    match (&stored.row.job.state, &stored.row.job.device) {
        (JobState::Offered, Some(device)) => work.next_version(conn, device).await,
        _ => Ok(0),
    }
}

pub(crate) async fn cancel(
    store: &SqliteStore,
    job: JobId,
    reason: &str,
    principal: &str,
    now: Timestamp,
) -> Result<JobChange, StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    let mut stored = required(&mut tx, job).await?;
    let version = recall_version(&mut tx, &stored, &mut work).await?;
    stored.apply(
        JobEvent::Cancel {
            version,
            reason: reason.to_owned(),
        },
        work.now,
    )?;
    stored.row.decided_by = Some(principal.to_owned());
    finish(tx, stored, work).await
}

pub(crate) async fn take_over(
    store: &SqliteStore,
    job: JobId,
    reason: &str,
    principal: &str,
    now: Timestamp,
) -> Result<JobChange, StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    let mut stored = required(&mut tx, job).await?;
    stored.apply(
        JobEvent::TakeOver {
            reason: reason.to_owned(),
        },
        work.now,
    )?;
    stored.row.decided_by = Some(principal.to_owned());
    if let Some(device) = stored.row.job.device.clone() {
        // Absence stops nothing: the bench is told until it has confirmed.
        let version = work.next_version(&mut tx, &device).await?;
        stored.fenced = Some((device, version));
    }
    sqlx::query("UPDATE attempts SET fenced = 1 WHERE job = ? AND attempt = ? AND fence = ?")
        .bind(job.0)
        .bind(i64::from(stored.row.job.attempt))
        .bind(int("fence", stored.row.job.fence)?)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    finish(tx, stored, work).await
}

async fn finish(
    mut tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    stored: StoredJob,
    mut work: Work,
) -> Result<JobChange, StoreError> {
    jobs::save(&mut tx, &stored, &mut work).await?;
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(JobChange {
        job: stored.row,
        lists: work.lists().cloned().collect(),
    })
}

pub(crate) async fn release_bench(
    store: &SqliteStore,
    device: &DeviceId,
    reason: &str,
    principal: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    let row = sqlx::query(
        "SELECT released_generation IS generation AS released,
             restored = 1 AND settled_generation IS NOT generation AS awaited
         FROM devices, meta WHERE device = ?",
    )
    .bind(device.as_str())
    .fetch_optional(&mut *tx)
    .await
    .map_err(from_sqlx)?
    .ok_or_else(|| StoreError::NotFound(NotFoundKind::Bench(device.to_string())))?;
    if row.flag("released")? {
        return Ok(());
    }
    if !row.flag("awaited")? {
        return Err(StoreError::Conflict(ConflictKind::NotAwaited(device.to_string())));
    }
    sqlx::query("UPDATE devices SET released_generation = (SELECT generation FROM meta) WHERE device = ?")
        .bind(device.as_str())
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    work.raise(
        fleet_store::AlarmKind::DeclaredRestore,
        format!("released {device}"),
        Some(device),
        format!("{principal} lets offers be made without waiting for bench {device}: {reason}"),
    );
    work.changed(ChangeKind::Bench, device);
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)
}
