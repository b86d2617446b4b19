//! What people and requesters ask for: a job, its recall, a take-over.

use fleet_domain::{DeviceId, JobId, JobState};
use fleet_recording::StoredJob;
use fleet_recording::orders::{Order, adopted, repeated};
use fleet_store::{
    AlarmKind, ChangeKind, ConflictKind, Created, JobChange, NewJob, NotFoundKind, StoreError,
};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::column::{Columns, int};
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
    let known = known(&mut tx, &request).await?;
    let new = known.is_none();
    let stored = match known {
        Some(mut known) if known.row.reported => {
            // A bench told of it before its requester did: the database had been restored.
            known.row.reported = false;
            known.row.request = adopted(&known.row.request, request);
            known
        }
        Some(known) => {
            repeated(known.id(), &known.row.request, request)?;
            return Ok(Created { job: known.row, new });
        }
        None => StoredJob::fresh(request, now),
    };
    jobs::save(&mut tx, &stored, &mut work).await?;
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(Created { job: stored.row, new })
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

pub(crate) async fn decide(
    store: &SqliteStore,
    order: Order,
    job: JobId,
    (reason, principal): (&str, &str),
    now: Timestamp,
) -> Result<JobChange, StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    let mut stored = required(&mut tx, job).await?;
    let version = match order {
        Order::Cancel => recall_version(&mut tx, &stored, &mut work).await?,
        Order::TakeOver => 0,
    };
    stored.apply(order.event(version, reason), now)?;
    stored.row.decided_by = Some(principal.to_owned());
    if order == Order::TakeOver {
        fence(&mut tx, &mut stored, &mut work).await?;
    }
    jobs::save(&mut tx, &stored, &mut work).await?;
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(JobChange {
        job: stored.row,
        lists: work.lists().cloned().collect(),
    })
}

/// Absence stops nothing: the bench is told until it has confirmed.
async fn fence(
    conn: &mut SqliteConnection,
    stored: &mut StoredJob,
    work: &mut Work,
) -> Result<(), StoreError> {
    if let Some(device) = stored.row.job.device.clone() {
        let version = work.next_version(conn, &device).await?;
        stored.fenced = Some((device, version));
    }
    sqlx::query("UPDATE attempts SET fenced = 1 WHERE job = ? AND attempt = ? AND fence = ?")
        .bind(stored.id().0)
        .bind(i64::from(stored.row.job.attempt))
        .bind(int("fence", stored.row.job.fence)?)
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}

pub(crate) async fn release_bench(
    store: &SqliteStore,
    device: &DeviceId,
    (reason, principal): (&str, &str),
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
        AlarmKind::DeclaredRestore,
        format!("released {device}"),
        Some(device),
        format!("{principal} lets offers be made without waiting for bench {device}: {reason}"),
    );
    work.changed(ChangeKind::Bench, device);
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)
}
