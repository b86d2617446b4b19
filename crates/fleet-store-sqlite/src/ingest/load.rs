//! What the messages of a batch need to know, read in a handful of statements.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::withdraw::SyncMark;
use fleet_domain::{
    DeviceId, JobId, Predecessor, Presence, RejectCode, RunId, Seq, Slot, SpoolId, SpoolLedger,
    StoreGeneration,
};
use fleet_recording::wants::{self, Named};
use fleet_recording::{DeviceRow, DeviceState, Digests, Equipment, Loaded, Messages, StepKey, StoredJob};
use fleet_store::{Inbound, StoreError};
use jiff::Timestamp;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::column::{Columns, int, json, time};
use crate::error::from_sqlx;
use crate::{jobs, lease, outbox};

pub(super) async fn load(conn: &mut SqliteConnection, messages: Messages<'_>) -> Result<Loaded, StoreError> {
    let items = messages.items;
    let generation = lease::read_generation(conn).await?;
    let benches = wants::benches(items);
    let mut devices = read_devices(conn, &benches, &wants::heard(items), messages.received_at).await?;
    let named = wants::spools(items, &devices);
    read_spools(conn, &named, wants::successors(items), &mut devices).await?;
    let digests = read_digests(conn, items, &devices).await?;
    let jobs = read_jobs(conn, items, &benches).await?;
    let steps = read_steps(conn, items).await?;
    Ok(Loaded {
        generation,
        devices,
        digests,
        jobs,
        steps,
    })
}

async fn read_devices(
    conn: &mut SqliteConnection,
    benches: &BTreeSet<DeviceId>,
    heard: &BTreeSet<DeviceId>,
    now: Timestamp,
) -> Result<BTreeMap<DeviceId, DeviceState>, StoreError> {
    let list: Vec<(&str, u8)> = benches
        .iter()
        .map(|device| (device.as_str(), Slot::of(device).number()))
        .collect();
    sqlx::query(
        "INSERT INTO devices (device, slot, first_seen, last_seen)
         SELECT value ->> 0, value ->> 1, ?2, ?2 FROM json_each(?1) WHERE true
         ON CONFLICT (device) DO UPDATE SET last_seen = ?2
         WHERE device IN (SELECT value FROM json_each(?3))",
    )
    .bind(json(&list))
    .bind(time(now))
    .bind(json(&heard.iter().map(DeviceId::as_str).collect::<Vec<_>>()))
    .execute(&mut *conn)
    .await
    .map_err(from_sqlx)?;
    let rows = sqlx::query("SELECT d.* FROM json_each(?) b JOIN devices d ON d.device = b.value ->> 0")
        .bind(json(&list))
        .fetch_all(conn)
        .await
        .map_err(from_sqlx)?;
    rows.iter()
        .map(|row| {
            let device: DeviceId = row.parsed("device")?;
            let heard = heard.contains(&device);
            Ok((device, DeviceState::new(device_row(row)?, heard, now)))
        })
        .collect()
}

fn device_row(row: &SqliteRow) -> Result<DeviceRow, StoreError> {
    let last: Vec<(Uuid, Seq)> = row.json("sync_last")?;
    let open: Vec<Uuid> = row.json("sync_jobs")?;
    let runs: Vec<(Uuid, u64)> = row.json("sync_runs")?;
    let presence = row
        .opt_uuid("run_id")?
        .map(|run| {
            Ok::<_, StoreError>(Presence {
                run_id: RunId(run),
                connect_counter: row.u64("connect_counter")?,
                online: row.flag("online")?,
            })
        })
        .transpose()?;
    Ok(DeviceRow {
        told_at: row.time("told_at")?,
        last_ordinal: row.u64("last_ordinal")?,
        newest_spool: row.opt_uuid("newest_spool")?.map(SpoolId),
        presence,
        presence_since: row.opt_time("presence_since")?,
        list_version: row.u64("list_version")?,
        mark: SyncMark {
            generation: row.opt_uuid("sync_generation")?.map(StoreGeneration),
            desired_version: row.u64("sync_version")?,
            last: last
                .into_iter()
                .map(|(spool, seq)| (SpoolId(spool), seq))
                .collect(),
            jobs: open.into_iter().map(JobId).collect(),
        },
        runs: runs
            .into_iter()
            .map(|(run, number)| (RunId(run), number))
            .collect(),
        settled_generation: row.opt_uuid("settled_generation")?.map(StoreGeneration),
        refusing_jobs: row.opt_text("refusing_jobs")?,
        held_events: row.u64("held_events")?,
        equipment: Equipment {
            station: row.opt_text("station")?,
            vin: row.opt_text("vin")?,
            ecus: row.json("ecus")?,
            transports: row.json("transports")?,
            agent_version: row.opt_text("agent_version")?,
            public_key: row.opt_text("public_key")?,
        },
    })
}

async fn read_spools(
    conn: &mut SqliteConnection,
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
    let mut by_device: BTreeMap<DeviceId, Vec<SpoolLedger>> = BTreeMap::new();
    for (device, mut row) in rows {
        if wants::rejections(&row) {
            row.rejections = read_rejections(conn, &device, &row).await?;
        }
        by_device.entry(device).or_default().push(row);
    }
    for (device, rows) in by_device {
        if let Some(state) = devices.get_mut(&device) {
            state.with_spools(rows);
        }
    }
    Ok(())
}

const BY_SPOOL: &str = "SELECT s.* FROM json_each(?) b
     JOIN spools s ON s.device = b.value ->> 0 AND s.spool = unhex(b.value ->> 1)";
const BY_PREDECESSOR: &str = "SELECT s.* FROM json_each(?) b
     JOIN spools s ON s.device = b.value ->> 0 AND s.prev_spool = unhex(b.value ->> 1)";

async fn fetch_spools(
    conn: &mut SqliteConnection,
    named: &Named,
    statement: &'static str,
) -> Result<Vec<(DeviceId, SpoolLedger)>, StoreError> {
    let list: Vec<(&str, String)> = named
        .iter()
        .map(|(device, spool)| (device.as_str(), hex::encode(spool.0)))
        .collect();
    sqlx::query(statement)
        .bind(json(&list))
        .fetch_all(conn)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| Ok((row.parsed("device")?, spool_ledger(row)?)))
        .collect()
}

fn spool_ledger(row: &SqliteRow) -> Result<SpoolLedger, StoreError> {
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
    conn: &mut SqliteConnection,
    device: &DeviceId,
    row: &SpoolLedger,
) -> Result<BTreeMap<Seq, RejectCode>, StoreError> {
    sqlx::query(
        "SELECT seq, code FROM rejections WHERE device = ? AND spool = ? AND seq > ? ORDER BY seq LIMIT ?",
    )
    .bind(device.as_str())
    .bind(row.spool.0)
    .bind(int("rejections known", row.rejections_known)?)
    .bind(wants::REJECTIONS_READ)
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(|row| Ok((row.u64("seq")?, row.word("code", RejectCode::of)?)))
    .collect()
}

/// Digests of what is stored at the places of events that were settled before this batch.
async fn read_digests(
    conn: &mut SqliteConnection,
    items: &[&Inbound],
    devices: &BTreeMap<DeviceId, DeviceState>,
) -> Result<Digests, StoreError> {
    let places = wants::digests(items, devices)
        .into_iter()
        .map(|(device, spool, seq)| Ok((device.as_str(), hex::encode(spool.0), int("seq", seq)?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    if places.is_empty() {
        return Ok(Digests::new());
    }
    sqlx::query(
        "SELECT e.device, e.spool, e.seq, e.digest FROM json_each(?) b
         JOIN events e ON e.device = b.value ->> 0 AND e.spool = unhex(b.value ->> 1)
                      AND e.seq = b.value ->> 2",
    )
    .bind(json(&places))
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

/// The jobs that events speak of, and those that wait for a statement of one of the benches.
async fn read_jobs(
    conn: &mut SqliteConnection,
    items: &[&Inbound],
    devices: &BTreeSet<DeviceId>,
) -> Result<BTreeMap<JobId, StoredJob>, StoreError> {
    let ids: Vec<String> = wants::jobs(items).iter().map(|job| hex::encode(job.0)).collect();
    let devices: Vec<&str> = devices.iter().map(DeviceId::as_str).collect();
    let rows = sqlx::query(
        "SELECT j.* FROM json_each(?1) b JOIN jobs j ON j.id = unhex(b.value)
         UNION
         SELECT j.* FROM json_each(?2) b JOIN jobs j ON j.device = b.value
             AND j.state = 'withdrawing' AND j.state IN ('offered', 'withdrawing', 'accepted', 'running')
         UNION
         SELECT j.* FROM json_each(?2) b JOIN jobs j ON j.fenced_device = b.value",
    )
    .bind(json(&ids))
    .bind(json(&devices))
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?;
    rows.iter()
        .map(|row| {
            let stored = jobs::stored_job(row)?;
            Ok((stored.id(), stored))
        })
        .collect()
}

/// Those steps of the batch that are recorded already.
async fn read_steps(
    conn: &mut SqliteConnection,
    items: &[&Inbound],
) -> Result<BTreeSet<StepKey>, StoreError> {
    let steps = wants::steps(items)
        .iter()
        .map(|step| {
            let fence = int("fence", step.fence)?;
            Ok((hex::encode(step.job.0), step.attempt, fence, step.index))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    if steps.is_empty() {
        return Ok(BTreeSet::new());
    }
    sqlx::query(
        "SELECT s.job, s.attempt, s.fence, s.step_index FROM json_each(?) b
         JOIN steps s ON s.job = unhex(b.value ->> 0) AND s.attempt = b.value ->> 1
                     AND s.fence = b.value ->> 2 AND s.step_index = b.value ->> 3",
    )
    .bind(json(&steps))
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
