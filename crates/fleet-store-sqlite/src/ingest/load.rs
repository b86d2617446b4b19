//! What the messages of a batch need to know, read in a handful of statements.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleet_domain::withdraw::SyncMark;
use fleet_domain::{
    DeviceId, DeviceLedger, Digest, JobId, Predecessor, Presence, RejectCode, RunId, Seq, SpoolId,
    SpoolLedger, StoreGeneration,
};
use fleet_store::{Inbound, InboundMessage, StoreError};
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::column::{Columns, int, json, time};
use crate::error::from_sqlx;
use crate::jobs::{self, StoredJob};
use crate::outbox;

/// Rejections read of one spool: one receipt's worth and a few that the batch may uncover.
const REJECTIONS_READ: i64 = 200;
/// Runs of an agent that are remembered, to know an old sync that the broker delivers again.
pub(super) const RUNS_KEPT: usize = 16;

/// How often the page is told that a bench was heard, where nothing else changed: with each sync, which
/// comes after 48 s at the earliest, whatever else the bench sends.
const TOLD_EVERY: SignedDuration = SignedDuration::from_secs(45);

/// A bench as the batch changes it.
#[derive(Debug)]
pub(super) struct DeviceState {
    pub(super) ledger: DeviceLedger,
    pub(super) presence: Option<Presence>,
    pub(super) presence_since: Option<Timestamp>,
    pub(super) list_version: u64,
    pub(super) mark: SyncMark,
    /// Runs with their highest sync number, the current one last.
    pub(super) runs: Vec<(RunId, u64)>,
    pub(super) settled_generation: Option<StoreGeneration>,
    pub(super) refusing_jobs: Option<String>,
    pub(super) held_events: u64,
    pub(super) equipment: Equipment,
    /// Columns beside the ledger changed.
    pub(super) dirty: bool,
    /// Something that the page shows changed.
    pub(super) shown: bool,
    /// The page was long told nothing of the bench, and it was heard.
    pub(super) tell: bool,
}

/// What the last start of the agent said.
#[derive(Debug, Default)]
pub(super) struct Equipment {
    pub(super) station: Option<String>,
    pub(super) vin: Option<String>,
    pub(super) ecus: Vec<String>,
    pub(super) transports: Vec<String>,
    pub(super) agent_version: Option<String>,
    pub(super) public_key: Option<String>,
}

/// Digests of stored events by place.
pub(super) type Digests = HashMap<(DeviceId, SpoolId, Seq), Digest>;

/// Everything that the batch benches.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) generation: StoreGeneration,
    pub(super) devices: BTreeMap<DeviceId, DeviceState>,
    pub(super) digests: Digests,
    pub(super) jobs: BTreeMap<JobId, StoredJob>,
    pub(super) changed_jobs: BTreeSet<JobId>,
}

type Named = BTreeSet<(DeviceId, SpoolId)>;

pub(super) async fn load(
    conn: &mut SqliteConnection,
    items: &[Inbound],
    generation: StoreGeneration,
    now: Timestamp,
) -> Result<Loaded, StoreError> {
    let benches: BTreeSet<&DeviceId> = items.iter().map(|item| &item.device).collect();
    let heard: BTreeSet<&DeviceId> = items
        .iter()
        .filter(|item| is_heard(&item.message))
        .map(|item| &item.device)
        .collect();
    let (mut devices, mut named) = read_devices(conn, &benches, &heard, now).await?;
    for item in items {
        name_spools(item, &mut named);
        // Its receipt speaks of the spool that was heard of last.
        let newest = devices.get(&item.device).and_then(|state| state.ledger.newest());
        if let (InboundMessage::Unattributed { .. }, Some(newest)) = (&item.message, newest) {
            named.insert((item.device.clone(), newest));
        }
    }
    // Only a sync is judged by what else followed the predecessors that it benches.
    let judged = items
        .iter()
        .any(|item| matches!(item.message, InboundMessage::Sync(_)));
    read_spools(conn, &named, judged, &mut devices).await?;
    let digests = read_digests(conn, items, &devices).await?;
    let jobs = read_jobs(conn, items, &benches).await?;
    Ok(Loaded {
        generation,
        devices,
        digests,
        jobs,
        changed_jobs: BTreeSet::new(),
    })
}

/// Whether the message is the bench's own. A will is the broker's, and comes when the bench is gone.
fn is_heard(message: &InboundMessage) -> bool {
    match message {
        InboundMessage::Assumed(_) => false,
        InboundMessage::Presence(facts) => !facts.will,
        _ => true,
    }
}

async fn read_devices(
    conn: &mut SqliteConnection,
    benches: &BTreeSet<&DeviceId>,
    heard: &BTreeSet<&DeviceId>,
    now: Timestamp,
) -> Result<(BTreeMap<DeviceId, DeviceState>, Named), StoreError> {
    let list: Vec<(&str, u8)> = benches
        .iter()
        .map(|device| (device.as_str(), fleet_domain::Slot::of(device).number()))
        .collect();
    sqlx::query(
        "INSERT INTO devices (device, slot, first_seen, last_seen)
         SELECT value ->> 0, value ->> 1, ?2, ?2 FROM json_each(?1) WHERE true
         ON CONFLICT (device) DO UPDATE SET last_seen = ?2
         WHERE device IN (SELECT value FROM json_each(?3))",
    )
    .bind(json(&list))
    .bind(time(now))
    .bind(json(heard))
    .execute(&mut *conn)
    .await
    .map_err(from_sqlx)?;
    let rows = sqlx::query("SELECT d.* FROM json_each(?) b JOIN devices d ON d.device = b.value ->> 0")
        .bind(json(&list))
        .fetch_all(conn)
        .await
        .map_err(from_sqlx)?;
    let mut devices = BTreeMap::new();
    let mut named = Named::new();
    for row in &rows {
        let device: DeviceId = row.parsed("device")?;
        let state = device_state(row, now, heard.contains(&device))?;
        named.extend(state.mark.last.iter().map(|(spool, _)| (device.clone(), *spool)));
        devices.insert(device, state);
    }
    Ok((devices, named))
}

fn device_state(row: &SqliteRow, now: Timestamp, heard: bool) -> Result<DeviceState, StoreError> {
    let told_at = row.time("told_at")?;
    let silent = told_at > now || now.duration_since(told_at) >= TOLD_EVERY;
    let last: Vec<(Uuid, Seq)> = row.json("sync_last")?;
    let open: Vec<Uuid> = row.json("sync_jobs")?;
    let runs: Vec<(Uuid, u64)> = row.json("sync_runs")?;
    let newest = row.opt_uuid("newest_spool")?.map(SpoolId);
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
    Ok(DeviceState {
        ledger: DeviceLedger::from_rows([], row.u64("last_ordinal")?, newest),
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
        dirty: false,
        shown: false,
        tell: heard && silent,
    })
}

fn name_spools(item: &Inbound, named: &mut Named) {
    let mut name = |spool| {
        named.insert((item.device.clone(), spool));
    };
    match &item.message {
        InboundMessage::Event(event) => {
            name(event.place.spool);
            event.place.predecessor.iter().for_each(|prev| name(prev.spool));
        }
        InboundMessage::Rejected(event) => {
            name(event.place.spool);
            event.place.predecessor.iter().for_each(|prev| name(prev.spool));
        }
        InboundMessage::Sync(sync) => {
            for held in &sync.held {
                name(held.spool);
                held.predecessor.iter().for_each(|prev| name(prev.spool));
            }
            sync.former.iter().for_each(|former| name(former.spool));
        }
        InboundMessage::Unattributed { .. }
        | InboundMessage::Undecodable { .. }
        | InboundMessage::Presence(_)
        | InboundMessage::Assumed(_) => {}
    }
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
    // The predecessor of a spool that has not begun decides whether it may begin.
    let more: Named = rows
        .iter()
        .filter_map(|(device, row)| Some((device.clone(), row.predecessor?.spool)))
        .filter(|name| !named.contains(name))
        .collect();
    if !more.is_empty() {
        rows.extend(fetch_spools(conn, &more, BY_SPOOL).await?);
    }
    let mut by_device: BTreeMap<DeviceId, Vec<SpoolLedger>> = BTreeMap::new();
    for (device, mut row) in rows {
        if row.rejected > 0 || row.conflicts > 0 {
            row.rejections = read_rejections(conn, &device, &row).await?;
        }
        by_device.entry(device).or_default().push(row);
    }
    for (device, rows) in by_device {
        if let Some(state) = devices.get_mut(&device) {
            let (last, newest) = (state.ledger.last_ordinal(), state.ledger.newest());
            state.ledger = DeviceLedger::from_rows(rows, last, newest);
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
    .bind(REJECTIONS_READ)
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
    items: &[Inbound],
    devices: &BTreeMap<DeviceId, DeviceState>,
) -> Result<Digests, StoreError> {
    let mut places: Vec<(&str, String, i64)> = Vec::new();
    for item in items {
        let place = match &item.message {
            InboundMessage::Event(event) => event.place,
            InboundMessage::Rejected(event) => event.place,
            _ => continue,
        };
        let settled = devices
            .get(&item.device)
            .is_some_and(|state| place.seq <= state.ledger.through(place.spool));
        if settled {
            places.push((
                item.device.as_str(),
                hex::encode(place.spool.0),
                int("seq", place.seq)?,
            ));
        }
    }
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
    items: &[Inbound],
    devices: &BTreeSet<&DeviceId>,
) -> Result<BTreeMap<JobId, StoredJob>, StoreError> {
    let ids: BTreeSet<String> = items
        .iter()
        .filter_map(|item| match &item.message {
            InboundMessage::Event(event) => Some(hex::encode(event.report.attempt()?.job.0)),
            _ => None,
        })
        .collect();
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
            Ok((jobs::id(&stored), stored))
        })
        .collect()
}
