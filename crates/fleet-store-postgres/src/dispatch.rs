//! Offers: one open job for a vehicle, at most 32 for a bench; deadlines; the list of a bench.
//!
//! Replicas take turns (an advisory lock), so no two rounds choose at once. What a round chooses from is read
//! without locks, for it may be thousands of benches that send events meanwhile; what it chose is locked in the
//! order of every write, read again, and left for the next round where it no longer holds.

mod plan;

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::{DeviceId, JobEvent, JobId, JobState, OfferId, WithdrawTarget};
use fleet_recording::StoredJob;
use fleet_recording::dispatch::{Board, entry, waiting_detail};
use fleet_store::{AlarmKind, DesiredList, DispatchOutcome, JobRow, MAX_OPEN_JOBS, StoreError};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use self::plan::{Plan, candidates, plan};
use crate::PostgresStore;
use crate::column::{int, narrow, parse, time};
use crate::error::from_sqlx;
use crate::jobs::{self, JobRecord};
use crate::lease::read_generation;
use crate::orders::recall_version;
use crate::work::Work;

/// First key of the advisory lock under which replicas take turns; the second is the schema's name.
const TURN: i32 = 0x0056_4444;

pub(crate) async fn dispatch(
    store: &PostgresStore,
    now: Timestamp,
    mint: &mut (dyn FnMut() -> Uuid + Send),
) -> Result<DispatchOutcome, StoreError> {
    let mut outcome = DispatchOutcome::default();
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    take_turn(&mut tx).await?;
    outcome.waiting_for = not_heard_since_restore(&mut tx).await?;
    let plan = plan(&mut tx, &outcome.waiting_for, now).await?;
    let mut locked = lock(&mut tx, &plan).await?;
    outcome.timed_out = time_out(&mut tx, &plan, &mut locked, &mut work).await?;
    outcome.offered = offer(&mut tx, &plan, &mut locked, mint, &mut work).await?;
    let told = park(&plan, &mut locked, now)?;
    outcome.parked = plan.parked.into_iter().map(|(id, _)| id).collect();
    let offered = outcome.offered.iter().map(|(id, _)| id);
    let changed: Vec<&StoredJob> = outcome
        .timed_out
        .iter()
        .chain(offered)
        .chain(&told)
        .filter_map(|id| locked.get(id))
        .collect();
    jobs::save(&mut tx, &changed, &mut work).await?;
    tell_of_waiting(&mut tx, &mut work, &outcome.waiting_for).await?;
    outcome.lists = work.lists().cloned().collect();
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(outcome)
}

/// One round at a time, and none while a new generation begins: its benches must be heard first (rule 28).
async fn take_turn(conn: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1, hashtext(current_schema()::text))")
        .bind(TURN)
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    sqlx::query_scalar!("SELECT one FROM meta FOR SHARE")
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}

/// Delivery rule 28.
async fn not_heard_since_restore(conn: &mut PgConnection) -> Result<Vec<DeviceId>, StoreError> {
    let devices: Vec<String> = sqlx::query_scalar!(
        "SELECT device FROM devices, meta WHERE restored
         AND settled_generation IS DISTINCT FROM generation
         AND released_generation IS DISTINCT FROM generation
         ORDER BY device"
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?;
    devices.iter().map(|device| parse("device", device)).collect()
}

pub(crate) async fn awaited_benches(store: &PostgresStore) -> Result<Vec<DeviceId>, StoreError> {
    let mut tx = store.snapshot().await?;
    not_heard_since_restore(&mut tx).await
}

/// Whether the deadline still applies to the job as it stands under its lock.
fn is_late(row: &JobRow, now: Timestamp) -> bool {
    let target = row.job.withdrawal.as_ref().map(|withdrawal| withdrawal.target);
    let open = match row.job.state {
        JobState::Queued | JobState::Offered => true,
        JobState::Withdrawing => target == Some(WithdrawTarget::Queued),
        _ => false,
    };
    open && row.request.deadline.is_some_and(|deadline| deadline <= now)
}

/// Jobs of the round, as they stand under their locks.
type Locked = BTreeMap<JobId, StoredJob>;

/// Locks the benches of the plan by name and its jobs by id.
async fn lock(conn: &mut PgConnection, plan: &Plan) -> Result<Locked, StoreError> {
    let devices: Vec<String> = plan.devices.iter().map(DeviceId::to_string).collect();
    if !devices.is_empty() {
        sqlx::query_scalar!(
            "SELECT device FROM devices WHERE device = ANY($1) ORDER BY device FOR UPDATE",
            &devices[..]
        )
        .fetch_all(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    }
    let ids: Vec<Uuid> = plan
        .late
        .iter()
        .chain(&plan.offers)
        .chain(&plan.untold)
        .map(|job| job.0)
        .collect();
    if ids.is_empty() {
        return Ok(Locked::new());
    }
    let jobs = jobs::lock(conn, &ids).await?;
    Ok(jobs.into_iter().map(|stored| (stored.id(), stored)).collect())
}

async fn time_out(
    conn: &mut PgConnection,
    plan: &Plan,
    locked: &mut Locked,
    work: &mut Work,
) -> Result<Vec<JobId>, StoreError> {
    let now = work.now;
    let mut timed_out = Vec::new();
    for id in &plan.late {
        let Some(stored) = locked.get_mut(id).filter(|stored| is_late(&stored.row, now)) else {
            continue;
        };
        let job = &stored.row.job;
        let offered_to = job.device.as_ref().filter(|_| job.state == JobState::Offered);
        if offered_to.is_some_and(|device| !plan.devices.contains(device)) {
            continue;
        }
        let version = recall_version(conn, stored, work).await?;
        stored.apply(JobEvent::TimeOut { version }, now)?;
        timed_out.push(*id);
    }
    Ok(timed_out)
}

/// Makes the offers that still hold: the job waits, a locked bench can take it, nobody has the vehicle.
async fn offer(
    conn: &mut PgConnection,
    plan: &Plan,
    locked: &mut Locked,
    mint: &mut (dyn FnMut() -> Uuid + Send),
    work: &mut Work,
) -> Result<Vec<(JobId, DeviceId)>, StoreError> {
    if plan.offers.is_empty() {
        return Ok(Vec::new());
    }
    let mut board = Board::new(candidates(conn, Some(&plan.devices)).await?, BTreeSet::new());
    let count = i64::try_from(plan.offers.len()).unwrap_or(i64::MAX);
    let last: i64 = sqlx::query_scalar!(
        "UPDATE fences SET last_fence = last_fence + $1 RETURNING last_fence",
        count
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(from_sqlx)?;
    let mut offered = Vec::new();
    for (id, fence) in plan.offers.iter().zip(last - count + 1..) {
        let waits = |stored: &&StoredJob| stored.row.job.state == JobState::Queued;
        let Some(stored) = locked.get(id).filter(waits) else {
            continue;
        };
        let Ok(device) = board.place(&stored.row.request) else {
            continue;
        };
        let mut stored = stored.clone();
        let event = JobEvent::Offer {
            device: device.clone(),
            offer_id: OfferId(mint()),
            fence: fence.unsigned_abs(),
        };
        stored.apply(event, work.now)?;
        offered.push((stored, device));
    }
    // Between the plan and here a bench may have begun a job of its own on the vehicle.
    let rows: Vec<&StoredJob> = offered.iter().map(|(stored, _)| stored).collect();
    let free: BTreeSet<String> = jobs::hold_vehicles(conn, &rows).await?.into_iter().collect();
    offered.retain(|(stored, _)| free.contains(stored.row.request.vin.as_str()));
    for (_, device) in &offered {
        work.next_version(conn, device).await?;
    }
    write_attempts(conn, &offered, work.now).await?;
    Ok(offered
        .into_iter()
        .map(|(stored, device)| {
            let id = stored.id();
            locked.insert(id, stored);
            (id, device)
        })
        .collect())
}

async fn write_attempts(
    conn: &mut PgConnection,
    offered: &[(StoredJob, DeviceId)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let (mut jobs, mut attempts, mut fences) = (Vec::new(), Vec::new(), Vec::new());
    let (mut devices, mut offers) = (Vec::new(), Vec::new());
    for (stored, device) in offered {
        let job = &stored.row.job;
        jobs.push(job.id.0);
        attempts.push(i64::from(job.attempt));
        fences.push(int("fence", job.fence)?);
        devices.push(device.to_string());
        offers.push(job.offer_id.map_or(Uuid::nil(), |offer| offer.0));
    }
    sqlx::query!(
        "INSERT INTO attempts (job, attempt, fence, device, offer_id, offered_at)
         SELECT r.*, $6
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[]) AS r
         ON CONFLICT DO NOTHING",
        &jobs[..],
        &attempts[..],
        &fences[..],
        &devices[..],
        &offers[..],
        time(now)
    )
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Notes at the jobs that have to wait why they do, where that is new.
fn park(plan: &Plan, locked: &mut Locked, now: Timestamp) -> Result<Vec<JobId>, StoreError> {
    let mut told = Vec::new();
    for (id, reason) in plan.parked.iter().filter(|(id, _)| plan.untold.contains(id)) {
        let waits = |stored: &&mut StoredJob| stored.row.job.state == JobState::Queued;
        if let Some(stored) = locked.get_mut(id).filter(waits) {
            let reason = reason.clone();
            stored.apply(JobEvent::Park { reason }, now)?;
            told.push(*id);
        }
    }
    Ok(told)
}

/// One alarm for each restore.
async fn tell_of_waiting(
    conn: &mut PgConnection,
    work: &mut Work,
    waiting_for: &[DeviceId],
) -> Result<(), StoreError> {
    let row = sqlx::query!(
        "SELECT generation::text AS \"subject!\", detail AS \"told?\" FROM meta
         LEFT JOIN alarms ON kind = $1 AND subject = generation::text WHERE restored",
        AlarmKind::OffersHeld.as_str()
    )
    .fetch_optional(conn)
    .await
    .map_err(from_sqlx)?;
    if let Some(row) = row
        && let Some(detail) = waiting_detail(waiting_for, row.told.as_deref())
    {
        work.raise(AlarmKind::OffersHeld, row.subject, None, detail);
    }
    Ok(())
}

pub(crate) async fn desired_list(
    store: &PostgresStore,
    device: &DeviceId,
) -> Result<DesiredList, StoreError> {
    let mut tx = store.snapshot().await?;
    let generation = read_generation(&mut tx).await?;
    let version: Option<i64> = sqlx::query_scalar!(
        "SELECT list_version FROM devices WHERE device = $1",
        device.as_str()
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let entries = sqlx::query_as!(
        JobRecord,
        "SELECT * FROM jobs WHERE fenced_device = $1 OR (device = $1
             AND (state IN ('offered', 'accepted', 'running') OR (state = 'finished' AND verdict = 'in_doubt')))
         ORDER BY fenced_device IS NOT NULL, n LIMIT $2",
        device.as_str(),
        i64::try_from(MAX_OPEN_JOBS).unwrap_or(i64::MAX)
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(from_sqlx)?
    .into_iter()
    .map(|record| {
        let StoredJob { row, fenced } = record.stored()?;
        Ok(entry(row, fenced.is_some_and(|(bench, _)| bench == *device)))
    })
    .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(DesiredList {
        generation,
        version: narrow("list_version", version.unwrap_or(0))?,
        entries,
    })
}
