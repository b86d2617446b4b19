//! Offers: one open job for a vehicle, at most 32 for a bench; deadlines; the list of a bench.

use std::collections::BTreeMap;

use fleet_domain::{DeviceId, EntryState, JobEvent, JobState, OfferId};
use fleet_recording::StoredJob;
use fleet_store::{AlarmKind, DesiredEntry, DesiredList, DispatchOutcome, MAX_OPEN_JOBS, StoreError};
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

/// Jobs looked at in one round; the rest waits for the next.
const ROUND: i64 = 1000;

/// Benches named in an alarm.
const NAMED: usize = 20;

/// What dispatch knows of a bench.
struct Candidate {
    online: bool,
    vin: Option<String>,
    ecus: Vec<String>,
    refusing: Option<String>,
    open: usize,
}

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

/// One alarm for each restore: raised when offers begin to wait, again when others are waited for, and a
/// last time when nobody is.
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
    let detail = match (waiting_for.len(), &told) {
        (0, None) => return Ok(()),
        (0, Some(_)) => "offers are made again after the restore".to_owned(),
        (count, _) => {
            let names: Vec<&str> = waiting_for.iter().take(NAMED).map(DeviceId::as_str).collect();
            let more = if count > NAMED { ", …" } else { "" };
            format!(
                "no job is offered until {count} benches have synced since the restore or are released: {}{more}",
                names.join(", ")
            )
        }
    };
    if told.as_ref() != Some(&detail) {
        work.raise(AlarmKind::OffersHeld, row.text("subject")?, None, detail);
    }
    Ok(())
}

async fn candidates(conn: &mut SqliteConnection) -> Result<BTreeMap<DeviceId, Candidate>, StoreError> {
    sqlx::query(
        "SELECT device, online, vin, ecus, refusing_jobs,
             (SELECT count(*) FROM jobs j WHERE j.device = d.device
                  AND (state IN ('offered', 'withdrawing', 'accepted', 'running') OR verdict = 'in_doubt'))
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
    let queue = sqlx::query(
        "SELECT j.*, hex(l.job) AS holder FROM jobs j LEFT JOIN vin_leases l ON l.vin = j.vin
         WHERE j.state = 'queued' ORDER BY j.priority DESC, j.n LIMIT ?",
    )
    .bind(ROUND)
    .fetch_all(&mut *conn)
    .await
    .map_err(from_sqlx)?;
    if queue.is_empty() {
        return Ok(());
    }
    let mut benches = candidates(conn).await?;
    let mut held: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
    for row in &queue {
        let mut stored = jobs::stored_job(row)?;
        let vin = stored.row.request.vin.as_str().to_owned();
        let holder = row.opt_text("holder")?.filter(|holder| !holder.is_empty());
        let choice = match holder {
            Some(_) => Err("another open job holds the vehicle".to_owned()),
            None if held.contains(&vin) => Err("another open job holds the vehicle".to_owned()),
            None => choose(&stored, &benches),
        };
        match choice {
            Ok(device) => {
                offer(conn, work, &mut stored, &device, OfferId(mint())).await?;
                if let Some(bench) = benches.get_mut(&device) {
                    bench.open += 1;
                }
                held.insert(vin);
                outcome.offered.push((stored.row.job.id, device));
            }
            Err(reason) => {
                outcome.parked.push(stored.row.job.id);
                if stored.row.job.parked.as_ref() != Some(&reason) {
                    stored.apply(JobEvent::Park { reason }, work.now)?;
                    jobs::save(conn, &stored, work).await?;
                }
            }
        }
    }
    Ok(())
}

/// The bench for a job, or why there is none.
fn choose(stored: &StoredJob, benches: &BTreeMap<DeviceId, Candidate>) -> Result<DeviceId, String> {
    let request = &stored.row.request;
    let refusal = |bench: &Candidate| {
        if let Some(reason) = &bench.refusing {
            return Some(format!("takes no new jobs: {reason}"));
        }
        (bench.open >= MAX_OPEN_JOBS).then(|| format!("has {MAX_OPEN_JOBS} open jobs"))
    };
    if let Some(device) = &request.device {
        let bench = benches
            .get(device)
            .ok_or_else(|| format!("bench {device} has never been heard of"))?;
        return match refusal(bench) {
            Some(reason) => Err(format!("bench {device} {reason}")),
            None => Ok(device.clone()),
        };
    }
    let fits = |bench: &&Candidate| {
        bench.vin.as_deref() == Some(request.vin.as_str())
            && (bench.ecus.is_empty() || bench.ecus.contains(&request.ecu))
    };
    if !benches.values().any(|bench| fits(&bench)) {
        return Err("no bench has this vehicle and serves this ECU".to_owned());
    }
    if !benches.values().any(|bench| bench.online && fits(&bench)) {
        return Err("the benches with this vehicle are not connected".to_owned());
    }
    benches
        .iter()
        .filter(|(_, bench)| bench.online && fits(bench) && refusal(bench).is_none())
        .min_by_key(|(device, bench)| (bench.open, (*device).clone()))
        .map(|(device, _)| device.clone())
        .ok_or_else(|| "the benches with this vehicle take no new jobs at the moment".to_owned())
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
    .map(|row| Ok(entry(jobs::stored_job(row)?, device)))
    .collect::<Result<Vec<_>, StoreError>>()?;
    entries.truncate(MAX_OPEN_JOBS);
    Ok(DesiredList {
        generation,
        version,
        entries,
    })
}

fn entry(stored: StoredJob, device: &DeviceId) -> DesiredEntry {
    let job = &stored.row.job;
    let fenced = stored.fenced.as_ref().is_some_and(|(bench, _)| bench == device);
    let state = if fenced || job.state == JobState::TakenOver {
        EntryState::Fenced
    } else {
        job.entry().unwrap_or(EntryState::Fenced)
    };
    DesiredEntry {
        state,
        attempt: job.attempt,
        fence: job.fence,
        offer_id: job.offer_id.filter(|_| state == EntryState::Offered),
        job: stored.row,
    }
}
