//! Offers: one open job for a vehicle, at most 32 for a bench; deadlines; the list of a bench.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::{DeviceId, JobEvent, OfferId};
use fleet_recording::StoredJob;
use fleet_recording::dispatch::{Board, Candidate, ROUND, entry, waiting_detail};
use fleet_store::{AlarmKind, DesiredList, DispatchOutcome, MAX_OPEN_JOBS, StoreError};
use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::SqliteStore;
use crate::column::{Columns, int, time};
use crate::error::from_sqlx;
use crate::jobs;
use crate::lease::read_generation;
use crate::orders::recall_version;
use crate::work::Work;

pub(crate) async fn dispatch(
    store: &SqliteStore,
    now: Timestamp,
    mint: &mut (dyn FnMut() -> Uuid + Send),
) -> Result<DispatchOutcome, StoreError> {
    let mut outcome = DispatchOutcome::default();
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    time_out(&mut tx, &mut work, &mut outcome).await?;
    outcome.waiting_for = not_heard_since_restore(&mut tx).await?;
    tell_of_waiting(&mut tx, &mut work, &outcome.waiting_for).await?;
    if outcome.waiting_for.is_empty() {
        offer_queued(&mut tx, &mut work, mint, &mut outcome).await?;
    }
    outcome.lists = work.lists().cloned().collect();
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(outcome)
}

/// The server's clock judges deadlines, for what no bench has accepted.
async fn time_out(
    conn: &mut SqliteConnection,
    work: &mut Work,
    outcome: &mut DispatchOutcome,
) -> Result<(), StoreError> {
    let late = sqlx::query(
        "SELECT * FROM jobs WHERE deadline <= ? AND (state IN ('queued', 'offered')
             OR (state = 'withdrawing' AND withdraw_target = 'queued'))
         ORDER BY n LIMIT ?",
    )
    .bind(time(work.now))
    .bind(ROUND)
    .fetch_all(&mut *conn)
    .await
    .map_err(from_sqlx)?;
    for row in &late {
        let mut stored = jobs::stored_job(row)?;
        let version = recall_version(conn, &stored, work).await?;
        stored.apply(JobEvent::TimeOut { version }, work.now)?;
        jobs::save(conn, &stored, work).await?;
        outcome.timed_out.push(stored.row.job.id);
    }
    Ok(())
}

/// Delivery rule 28.
async fn not_heard_since_restore(conn: &mut SqliteConnection) -> Result<Vec<DeviceId>, StoreError> {
    sqlx::query(
        "SELECT device FROM devices, meta WHERE restored = 1
         AND settled_generation IS NOT generation AND released_generation IS NOT generation
         ORDER BY device",
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(|row| row.parsed("device"))
    .collect()
}

pub(crate) async fn awaited_benches(store: &SqliteStore) -> Result<Vec<DeviceId>, StoreError> {
    let mut tx = store.snapshot().await?;
    not_heard_since_restore(&mut tx).await
}

/// One alarm for each restore.
async fn tell_of_waiting(
    conn: &mut SqliteConnection,
    work: &mut Work,
    waiting_for: &[DeviceId],
) -> Result<(), StoreError> {
    let Some(row) = sqlx::query(
        "SELECT hex(generation) AS subject, detail FROM meta
         LEFT JOIN alarms ON kind = ? AND subject = hex(generation) WHERE restored = 1",
    )
    .bind(AlarmKind::OffersHeld.as_str())
    .fetch_optional(conn)
    .await
    .map_err(from_sqlx)?
    else {
        return Ok(());
    };
    let told = row.opt_text("detail")?;
    if let Some(detail) = waiting_detail(waiting_for, told.as_deref()) {
        work.raise(AlarmKind::OffersHeld, row.text("subject")?, None, detail);
    }
    Ok(())
}

async fn candidates(conn: &mut SqliteConnection) -> Result<BTreeMap<DeviceId, Candidate>, StoreError> {
    sqlx::query(
        "SELECT device, online, vin, ecus, refusing_jobs,
             (SELECT count(*) FROM jobs j WHERE j.device = d.device
                  AND (state IN ('offered', 'withdrawing', 'accepted', 'running')
                       OR (state = 'finished' AND verdict = 'in_doubt')))
             + (SELECT count(*) FROM jobs j WHERE j.fenced_device = d.device) AS open
         FROM devices d",
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(|row| {
        Ok((
            row.parsed("device")?,
            Candidate {
                online: row.flag("online")?,
                vin: row.opt_text("vin")?,
                ecus: row.json("ecus")?,
                refusing: row.opt_text("refusing_jobs")?,
                open: usize::try_from(row.u64("open")?).unwrap_or(usize::MAX),
            },
        ))
    })
    .collect()
}

async fn offer_queued(
    conn: &mut SqliteConnection,
    work: &mut Work,
    mint: &mut (dyn FnMut() -> Uuid + Send),
    outcome: &mut DispatchOutcome,
) -> Result<(), StoreError> {
    let queue = sqlx::query("SELECT * FROM jobs WHERE state = 'queued' ORDER BY priority DESC, n LIMIT ?")
        .bind(ROUND)
        .fetch_all(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    if queue.is_empty() {
        return Ok(());
    }
    let mut board = Board::new(candidates(conn).await?, held(conn).await?);
    for row in &queue {
        let mut stored = jobs::stored_job(row)?;
        match board.place(&stored.row.request) {
            Ok(device) => {
                offer(conn, work, &mut stored, &device, OfferId(mint())).await?;
                outcome.offered.push((stored.id(), device));
            }
            Err(reason) => {
                outcome.parked.push(stored.id());
                if stored.row.job.parked.as_ref() != Some(&reason) {
                    stored.apply(JobEvent::Park { reason }, work.now)?;
                    jobs::save(conn, &stored, work).await?;
                }
            }
        }
    }
    Ok(())
}

/// Vehicles of the queue that open jobs hold.
async fn held(conn: &mut SqliteConnection) -> Result<BTreeSet<String>, StoreError> {
    let vins: Vec<String> = sqlx::query_scalar(
        "SELECT vin FROM vin_leases l
         WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.vin = l.vin AND j.state = 'queued')",
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(vins.into_iter().collect())
}

async fn offer(
    conn: &mut SqliteConnection,
    work: &mut Work,
    stored: &mut StoredJob,
    device: &DeviceId,
    offer_id: OfferId,
) -> Result<(), StoreError> {
    let row = sqlx::query("UPDATE meta SET last_fence = last_fence + 1 RETURNING last_fence")
        .fetch_one(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    let fence = row.u64("last_fence")?;
    stored.apply(
        JobEvent::Offer {
            device: device.clone(),
            offer_id,
            fence,
        },
        work.now,
    )?;
    work.next_version(conn, device).await?;
    sqlx::query(
        "INSERT OR IGNORE INTO attempts (job, attempt, fence, device, offer_id, offered_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(stored.row.job.id.0)
    .bind(i64::from(stored.row.job.attempt))
    .bind(int("fence", fence)?)
    .bind(device.as_str())
    .bind(offer_id.0)
    .bind(time(work.now))
    .execute(&mut *conn)
    .await
    .map_err(from_sqlx)?;
    jobs::save(conn, stored, work).await
}

pub(crate) async fn desired_list(store: &SqliteStore, device: &DeviceId) -> Result<DesiredList, StoreError> {
    let mut tx = store.snapshot().await?;
    let generation = read_generation(&mut tx).await?;
    let version = sqlx::query("SELECT list_version FROM devices WHERE device = ?")
        .bind(device.as_str())
        .fetch_optional(&mut *tx)
        .await
        .map_err(from_sqlx)?
        .map_or(Ok(0), |row| row.u64("list_version"))?;
    let mut entries = sqlx::query(
        "SELECT * FROM jobs WHERE fenced_device = ?1 OR (device = ?1
             AND (state IN ('offered', 'accepted', 'running') OR (state = 'finished' AND verdict = 'in_doubt')))
         ORDER BY fenced_device IS NOT NULL, n",
    )
    .bind(device.as_str())
    .fetch_all(&mut *tx)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(|row| {
        let StoredJob { row, fenced } = jobs::stored_job(row)?;
        Ok(entry(row, fenced.is_some_and(|(bench, _)| bench == *device)))
    })
    .collect::<Result<Vec<_>, StoreError>>()?;
    entries.truncate(MAX_OPEN_JOBS);
    Ok(DesiredList {
        generation,
        version,
        entries,
    })
}
