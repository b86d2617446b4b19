//! What the messages of a batch need to know: locked in the order of every write, and read in a handful of
//! statements. Each statement sees what was committed before it, so what is read after a lock is what the lock
//! protects.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::{DeviceId, JobId, Predecessor, RejectCode, RunId, Seq, Slot, SpoolId, SpoolLedger};
use fleet_recording::wants::{self, Named};
use fleet_recording::{DeviceState, Digests, Loaded, Messages, StepKey, StoredJob};
use fleet_store::{Inbound, StoreError};
use jiff::Timestamp;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::device::device_row;
use crate::column::{Columns, clamp, time};
use crate::error::from_sqlx;
use crate::jobs::JobRecord;
use crate::{lease, outbox};

pub(super) async fn load(conn: &mut PgConnection, messages: Messages<'_>) -> Result<Loaded, StoreError> {
    let items = messages.items;
    let generation = lease::read_generation(conn).await?;
    let benches = wants::benches(items);
    let mut devices = lock_devices(conn, &benches, &wants::heard(items), messages.received_at).await?;
    let named = wants::spools(items, &devices);
    read_spools(conn, &named, wants::successors(items), &mut devices).await?;
    let digests = read_digests(conn, items, &devices).await?;
    let jobs = lock_jobs(conn, items, &benches).await?;
    let steps = read_steps(conn, items).await?;
    Ok(Loaded {
        generation,
        devices,
        digests,
        jobs,
        steps,
    })
}

async fn lock_devices(
    conn: &mut PgConnection,
    benches: &BTreeSet<DeviceId>,
    heard: &BTreeSet<DeviceId>,
    now: Timestamp,
) -> Result<BTreeMap<DeviceId, DeviceState>, StoreError> {
    let mut devices = BTreeMap::new();
    let mut missing: BTreeSet<&DeviceId> = benches.iter().collect();
    // New benches are made, by this or another transaction, and locked then.
    for round in 0..2 {
        if missing.is_empty() {
            break;
        }
        if round > 0 {
            insert_devices(conn, &missing, now).await?;
        }
        let names: Vec<&str> = missing.iter().map(|device| device.as_str()).collect();
        let rows =
            sqlx::query("SELECT * FROM devices WHERE device = ANY($1) ORDER BY device FOR NO KEY UPDATE")
                .bind(names)
                .fetch_all(&mut *conn)
                .await
                .map_err(from_sqlx)?;
        for row in &rows {
            let device: DeviceId = row.parsed("device")?;
            missing.remove(&device);
            let heard = heard.contains(&device);
            devices.insert(device, DeviceState::new(device_row(row)?, heard, now));
        }
    }
    Ok(devices)
}

async fn insert_devices(
    conn: &mut PgConnection,
    missing: &BTreeSet<&DeviceId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (names, slots): (Vec<&str>, Vec<i16>) = missing
        .iter()
        .map(|device| (device.as_str(), i16::from(Slot::of(device).number())))
        .unzip();
    sqlx::query(
        "INSERT INTO devices (device, slot, first_seen, last_seen)
         SELECT device, slot, $3, $3 FROM UNNEST($1::text[], $2::smallint[]) AS new (device, slot)
         ORDER BY device COLLATE \"C\"
         ON CONFLICT (device) DO NOTHING",
    )
    .bind(names)
    .bind(slots)
    .bind(time(now))
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Names of spools as two columns.
fn columns(named: &Named) -> (Vec<&str>, Vec<Uuid>) {
    named
        .iter()
        .map(|(device, spool)| (device.as_str(), spool.0))
        .unzip()
}

const BY_SPOOL: &str = "SELECT s.* FROM UNNEST($1::text[], $2::uuid[]) AS named (device, spool)
     JOIN spools s ON s.device = named.device AND s.spool = named.spool";
const BY_PREDECESSOR: &str = "SELECT s.* FROM UNNEST($1::text[], $2::uuid[]) AS named (device, spool)
     JOIN spools s ON s.device = named.device AND s.prev_spool = named.spool";

async fn read_spools(
    conn: &mut PgConnection,
    named: &Named,
    with_successors: bool,
    devices: &mut BTreeMap<DeviceId, DeviceState>,
) -> Result<(), StoreError> {
    let mut rows = fetch_spools(conn, named, BY_SPOOL).await?;
    if with_successors {
        rows.extend(fetch_spools(conn, named, BY_PREDECESSOR).await?);
    }
    let more = wants::predecessors(&rows, named);
    if !more.is_empty() {
        rows.extend(fetch_spools(conn, &more, BY_SPOOL).await?);
    }
    read_rejections(conn, &mut rows).await?;
    let mut by_device: BTreeMap<DeviceId, Vec<SpoolLedger>> = BTreeMap::new();
    for (device, row) in rows {
        by_device.entry(device).or_default().push(row);
    }
    for (device, rows) in by_device {
        if let Some(state) = devices.get_mut(&device) {
            state.with_spools(rows);
        }
    }
    Ok(())
}

async fn fetch_spools(
    conn: &mut PgConnection,
    named: &Named,
    statement: &'static str,
) -> Result<Vec<(DeviceId, SpoolLedger)>, StoreError> {
    let (devices, spools) = columns(named);
    sqlx::query(statement)
        .bind(devices)
        .bind(spools)
        .fetch_all(conn)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| Ok((row.parsed("device")?, spool_ledger(row)?)))
        .collect()
}

fn spool_ledger(row: &PgRow) -> Result<SpoolLedger, StoreError> {
    let predecessor = row
        .opt_uuid("prev_spool")?
        .map(|spool| {
            Ok::<_, StoreError>(Predecessor {
                spool: SpoolId(spool),
                last_seq: row.opt_u64("prev_last")?.unwrap_or(0),
            })
        })
        .transpose()?;
    Ok(SpoolLedger {
        predecessor,
        through: row.u64("through")?,
        announced: row.u64("announced")?,
        stored: row.u64("stored")?,
        rejected: row.u64("rejected")?,
        holes: row.u64("holes")?,
        rejections_known: row.u64("rejections_known")?,
        duplicates: row.u64("duplicates")?,
        gaps: row.u64("gaps")?,
        conflicts: row.u64("conflicts")?,
        restored_in: row.opt_uuid("restored_in")?.map(RunId),
        ..SpoolLedger::new(SpoolId(row.uuid("spool")?), row.u64("ordinal")?)
    })
}

async fn read_rejections(
    conn: &mut PgConnection,
    rows: &mut [(DeviceId, SpoolLedger)],
) -> Result<(), StoreError> {
    let (mut devices, mut spools, mut known) = (Vec::new(), Vec::new(), Vec::new());
    for (device, row) in rows.iter().filter(|(_, row)| wants::rejections(row)) {
        devices.push(device.to_string());
        spools.push(row.spool.0);
        known.push(clamp(row.rejections_known));
    }
    if devices.is_empty() {
        return Ok(());
    }
    let found = sqlx::query(
        "SELECT named.device, named.spool, r.seq, r.code
         FROM UNNEST($1::text[], $2::uuid[], $3::bigint[]) AS named (device, spool, known)
         CROSS JOIN LATERAL (
             SELECT seq, code FROM rejections
             WHERE device = named.device AND spool = named.spool AND seq > named.known
             ORDER BY seq LIMIT $4) r",
    )
    .bind(devices)
    .bind(spools)
    .bind(known)
    .bind(wants::REJECTIONS_READ)
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?;
    let mut by_spool: BTreeMap<(DeviceId, SpoolId), BTreeMap<Seq, RejectCode>> = BTreeMap::new();
    for row in &found {
        by_spool
            .entry((row.parsed("device")?, SpoolId(row.uuid("spool")?)))
            .or_default()
            .insert(row.u64("seq")?, row.word("code", RejectCode::of)?);
    }
    for (device, row) in rows {
        if let Some(rejections) = by_spool.get(&(device.clone(), row.spool)) {
            row.rejections.clone_from(rejections);
        }
    }
    Ok(())
}

/// Digests of what is stored at the places of events that were settled before this batch.
async fn read_digests(
    conn: &mut PgConnection,
    items: &[&Inbound],
    devices: &BTreeMap<DeviceId, DeviceState>,
) -> Result<Digests, StoreError> {
    let (mut names, mut spools, mut seqs) = (Vec::new(), Vec::new(), Vec::new());
    for (device, spool, seq) in wants::digests(items, devices) {
        names.push(device.as_str());
        spools.push(spool.0);
        seqs.push(clamp(seq));
    }
    if names.is_empty() {
        return Ok(Digests::new());
    }
    sqlx::query(
        "SELECT named.device, named.spool, named.seq, e.digest
         FROM UNNEST($1::text[], $2::uuid[], $3::bigint[]) AS named (device, spool, seq)
         CROSS JOIN LATERAL (
             SELECT digest FROM events
             WHERE device = named.device AND spool = named.spool AND seq = named.seq LIMIT 1) e",
    )
    .bind(names)
    .bind(spools)
    .bind(seqs)
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(|row| {
        let key = (
            row.parsed("device")?,
            SpoolId(row.uuid("spool")?),
            row.u64("seq")?,
        );
        Ok((key, outbox::digest(row)?))
    })
    .collect()
}

/// The jobs that events speak of, and those that wait for a statement of one of the benches; locked by id.
async fn lock_jobs(
    conn: &mut PgConnection,
    items: &[&Inbound],
    benches: &BTreeSet<DeviceId>,
) -> Result<BTreeMap<JobId, StoredJob>, StoreError> {
    let ids: Vec<Uuid> = wants::jobs(items).iter().map(|job| job.0).collect();
    let names: Vec<&str> = benches.iter().map(DeviceId::as_str).collect();
    sqlx::query_as::<_, JobRecord>(
        "WITH waiting AS (
             SELECT id FROM jobs WHERE device = ANY($2) AND state = 'withdrawing'
             UNION ALL
             SELECT id FROM jobs WHERE fenced_device = ANY($2))
         SELECT * FROM jobs WHERE id = ANY($1 || ARRAY(SELECT id FROM waiting)) ORDER BY id FOR UPDATE",
    )
    .bind(ids)
    .bind(names)
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .into_iter()
    .map(|record| {
        let stored = record.stored()?;
        Ok((stored.id(), stored))
    })
    .collect()
}

/// Those steps of the batch that are recorded already.
async fn read_steps(conn: &mut PgConnection, items: &[&Inbound]) -> Result<BTreeSet<StepKey>, StoreError> {
    let (mut jobs, mut attempts, mut fences, mut indexes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for step in wants::steps(items) {
        jobs.push(step.job.0);
        attempts.push(i64::from(step.attempt));
        fences.push(clamp(step.fence));
        indexes.push(i64::from(step.index));
    }
    if jobs.is_empty() {
        return Ok(BTreeSet::new());
    }
    sqlx::query(
        "SELECT s.job, s.attempt, s.fence, s.step_index
         FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS named (job, attempt, fence, step_index)
         JOIN steps s USING (job, attempt, fence, step_index)",
    )
    .bind(jobs)
    .bind(attempts)
    .bind(fences)
    .bind(indexes)
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(|row| {
        Ok(StepKey {
            job: JobId(row.uuid("job")?),
            attempt: row.u32("attempt")?,
            fence: row.u64("fence")?,
            index: row.u32("step_index")?,
        })
    })
    .collect()
}
