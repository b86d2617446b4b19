//! What people and requesters ask for: a job, its recall, a take-over.

use fleet_domain::{DeviceId, JobId, JobState};
use fleet_recording::StoredJob;
use fleet_recording::orders::{Order, adopted, repeated};
use fleet_store::{
    AlarmKind, ChangeKind, ConflictKind, Created, JobChange, NewJob, NotFoundKind, StoreError,
};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::PostgresStore;
use crate::column::int;
use crate::error::{Overtaken, from_sqlx};
use crate::jobs::{self, JobRecord};
use crate::work::Work;

pub(crate) async fn create(
    store: &PostgresStore,
    request: &NewJob,
    now: Timestamp,
) -> Result<Created, StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    let fresh = jobs::as_kept(&StoredJob::fresh(request.clone(), now))?;
    let created = if jobs::insert(&mut tx, &fresh, &mut work).await? {
        Created {
            job: fresh.row,
            new: true,
        }
    } else {
        let asked = fresh.row.request;
        let mut known = known(&mut tx, &asked).await?;
        if known.row.reported {
            // A bench told of it before its requester did: the database had been restored.
            known.row.reported = false;
            known.row.request = adopted(&known.row.request, asked);
            jobs::save(&mut tx, &[&known], &mut work).await?;
        } else {
            repeated(known.id(), &known.row.request, asked)?;
        }
        Created {
            job: known.row,
            new: false,
        }
    };
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(created)
}

/// The job that was in the way of a new one, locked.
async fn known(conn: &mut PgConnection, request: &NewJob) -> Result<StoredJob, StoreError> {
    sqlx::query_as!(
        JobRecord,
        "SELECT * FROM jobs WHERE id = $1 OR (requested_by = $2 AND request_id = $3)
         ORDER BY id = $1 DESC LIMIT 1 FOR UPDATE",
        request.id.0,
        request.requested_by,
        request.request_id.as_deref()
    )
    .fetch_one(conn)
    .await
    .map_err(from_sqlx)?
    .stored()
}

/// Locks the job, and its bench before it: the order of every write.
async fn lock(conn: &mut PgConnection, job: JobId) -> Result<StoredJob, StoreError> {
    let missing = || StoreError::NotFound(NotFoundKind::Job(job));
    let device: Option<String> = sqlx::query_scalar!("SELECT device FROM jobs WHERE id = $1", job.0)
        .fetch_optional(&mut *conn)
        .await
        .map_err(from_sqlx)?
        .ok_or_else(missing)?;
    if let Some(device) = &device {
        sqlx::query_scalar!("SELECT device FROM devices WHERE device = $1 FOR UPDATE", device)
            .fetch_optional(&mut *conn)
            .await
            .map_err(from_sqlx)?;
    }
    let stored = jobs::lock(conn, &[job.0]).await?.pop().ok_or_else(missing)?;
    if stored.row.job.device.as_ref().map(DeviceId::as_str) != device.as_deref() {
        return Err(Overtaken("the job's bench").into());
    }
    Ok(stored)
}

/// Version of the first list of the job's bench that shows the change; 0 where no list holds the job. The bench
/// is locked.
pub(crate) async fn recall_version(
    conn: &mut PgConnection,
    stored: &StoredJob,
    work: &mut Work,
) -> Result<u64, StoreError> {
    match (&stored.row.job.state, &stored.row.job.device) {
        (JobState::Offered, Some(device)) => work.next_version(conn, device).await,
        _ => Ok(0),
    }
}

pub(crate) async fn decide(
    store: &PostgresStore,
    order: Order,
    job: JobId,
    (reason, principal): (&str, &str),
    now: Timestamp,
) -> Result<JobChange, StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    let mut stored = lock(&mut tx, job).await?;
    let version = match order {
        Order::Cancel => recall_version(&mut tx, &stored, &mut work).await?,
        Order::TakeOver => 0,
    };
    stored.apply(order.event(version, reason), now)?;
    stored.row.decided_by = Some(principal.to_owned());
    if order == Order::TakeOver {
        fence(&mut tx, &mut stored, &mut work).await?;
    }
    jobs::save(&mut tx, &[&stored], &mut work).await?;
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(JobChange {
        job: stored.row,
        lists: work.lists().cloned().collect(),
    })
}

/// Absence stops nothing: the bench is told until it has confirmed.
async fn fence(conn: &mut PgConnection, stored: &mut StoredJob, work: &mut Work) -> Result<(), StoreError> {
    if let Some(device) = stored.row.job.device.clone() {
        let version = work.next_version(conn, &device).await?;
        stored.fenced = Some((device, version));
    }
    sqlx::query!(
        "UPDATE attempts SET fenced = true WHERE job = $1 AND attempt = $2 AND fence = $3",
        stored.id().0,
        i64::from(stored.row.job.attempt),
        int("fence", stored.row.job.fence)?
    )
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

pub(crate) async fn release_bench(
    store: &PostgresStore,
    device: &DeviceId,
    (reason, principal): (&str, &str),
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    let row = sqlx::query!(
        "SELECT released_generation IS NOT DISTINCT FROM generation AS \"released!\",
             restored AND settled_generation IS DISTINCT FROM generation AS \"awaited!\"
         FROM devices, meta WHERE device = $1 FOR UPDATE OF devices",
        device.as_str()
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(from_sqlx)?
    .ok_or_else(|| StoreError::NotFound(NotFoundKind::Bench(device.to_string())))?;
    if row.released {
        return Ok(());
    }
    if !row.awaited {
        return Err(StoreError::Conflict(ConflictKind::NotAwaited(device.to_string())));
    }
    sqlx::query!(
        "UPDATE devices SET released_generation = (SELECT generation FROM meta) WHERE device = $1",
        device.as_str()
    )
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
