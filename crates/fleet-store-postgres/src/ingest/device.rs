//! A bench's row: read, and written back as one JSON list, which PostgreSQL turns into rows of the table's type.

use fleet_domain::withdraw::SyncMark;
use fleet_domain::{JobId, Presence, RunId, SpoolId, StoreGeneration};
use fleet_recording::{DeviceRow, DeviceWrite, Equipment};
use fleet_store::StoreError;
use jiff::Timestamp;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::column::{Columns, clamp, json, text, time};
use crate::error::from_sqlx;

/// Resolution of the time at which a bench was heard last.
const HEARD_EVERY_MICROS: i64 = 1_000_000;

pub(super) fn device_row(row: &PgRow) -> Result<DeviceRow, StoreError> {
    let last: Vec<(Uuid, u64)> = row.json("sync_last")?;
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
        last_ordinal: row.u64("last_ordinal")?,
        newest_spool: row.opt_uuid("newest_spool")?.map(SpoolId),
    })
}

/// The columns to write. A time that is `None` stays as it was.
#[derive(serde::Serialize)]
struct DeviceRecord {
    device: String,
    last_seen: Option<i64>,
    told_at: Option<i64>,
    run_id: Option<Uuid>,
    connect_counter: i64,
    online: bool,
    presence_since: Option<i64>,
    station: Option<String>,
    vin: Option<String>,
    ecus: String,
    transports: String,
    agent_version: Option<String>,
    public_key: Option<String>,
    list_version: i64,
    refusing_jobs: Option<String>,
    held_events: i64,
    last_ordinal: i64,
    newest_spool: Option<Uuid>,
    sync_generation: Option<Uuid>,
    sync_version: i64,
    sync_last: String,
    sync_jobs: String,
    sync_runs: String,
    settled_generation: Option<Uuid>,
}

impl DeviceRecord {
    fn of(write: &DeviceWrite, now: Timestamp) -> Self {
        let row = &write.state.row;
        let last: Vec<(Uuid, u64)> = row.mark.last.iter().map(|(spool, seq)| (spool.0, *seq)).collect();
        let open: Vec<Uuid> = row.mark.jobs.iter().map(|job: &JobId| job.0).collect();
        let runs: Vec<(Uuid, u64)> = row.runs.iter().map(|(run, number)| (run.0, *number)).collect();
        let opt = |value: &Option<String>| value.as_deref().map(|value| text(value).into_owned());
        Self {
            device: write.device.to_string(),
            last_seen: write.state.heard.then(|| time(now)),
            told_at: write.told.then(|| time(now)),
            run_id: row.presence.map(|presence| presence.run_id.0),
            connect_counter: clamp(row.presence.map_or(0, |presence| presence.connect_counter)),
            online: row.presence.is_some_and(|presence| presence.online),
            presence_since: row.presence_since.map(time),
            station: opt(&row.equipment.station),
            vin: opt(&row.equipment.vin),
            ecus: json(&row.equipment.ecus),
            transports: json(&row.equipment.transports),
            agent_version: opt(&row.equipment.agent_version),
            public_key: opt(&row.equipment.public_key),
            list_version: clamp(row.list_version),
            refusing_jobs: opt(&row.refusing_jobs),
            held_events: clamp(row.held_events),
            last_ordinal: clamp(row.last_ordinal),
            newest_spool: row.newest_spool.map(|spool| spool.0),
            sync_generation: row.mark.generation.map(|generation| generation.0),
            sync_version: clamp(row.mark.desired_version),
            sync_last: json(&last),
            sync_jobs: json(&open),
            sync_runs: json(&runs),
            settled_generation: row.settled_generation.map(|generation| generation.0),
        }
    }
}

/// Writes the benches of the batch, whose rows are locked. Of most of them nothing is new but that they were heard.
pub(super) async fn write(
    conn: &mut PgConnection,
    devices: &[DeviceWrite],
    now: Timestamp,
) -> Result<(), StoreError> {
    let (whole, rest): (Vec<&DeviceWrite>, Vec<&DeviceWrite>) =
        devices.iter().partition(|write| write.changed || write.told);
    let heard: Vec<&str> = rest
        .into_iter()
        .filter(|write| write.state.heard)
        .map(|write| write.device.as_str())
        .collect();
    write_heard(conn, heard, now).await?;
    let records: Vec<DeviceRecord> = whole
        .into_iter()
        .map(|write| DeviceRecord::of(write, now))
        .collect();
    if records.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE devices d SET
             last_seen = coalesce(r.last_seen, d.last_seen), told_at = coalesce(r.told_at, d.told_at),
             run_id = r.run_id, connect_counter = r.connect_counter, online = r.online,
             presence_since = r.presence_since, station = r.station, vin = r.vin, ecus = r.ecus,
             transports = r.transports, agent_version = r.agent_version, public_key = r.public_key,
             list_version = r.list_version, refusing_jobs = r.refusing_jobs, held_events = r.held_events,
             last_ordinal = r.last_ordinal, newest_spool = r.newest_spool,
             sync_generation = r.sync_generation, sync_version = r.sync_version, sync_last = r.sync_last,
             sync_jobs = r.sync_jobs, sync_runs = r.sync_runs, settled_generation = r.settled_generation
         FROM json_populate_recordset(NULL::devices, $1::text::json) r
         WHERE d.device = r.device",
    )
    .bind(json(&records))
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// When benches were heard, to the second: under load a bench is heard many times in each.
async fn write_heard(conn: &mut PgConnection, heard: Vec<&str>, now: Timestamp) -> Result<(), StoreError> {
    if heard.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE devices SET last_seen = $2
         WHERE device = ANY($1) AND (last_seen <= $2 - $3 OR last_seen > $2)",
    )
    .bind(heard)
    .bind(time(now))
    .bind(HEARD_EVERY_MICROS)
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}
