//! Reading benches and the ledger.

use std::collections::BTreeMap;

use fleet_domain::{DeviceId, JobId, JobKind, JobState, RunId, Slot, SpoolId, Verdict};
use fleet_store::{
    BenchFilter, BenchRow, BenchState, JobSummary, LedgerTotals, Page, Paged, SpoolCounts, StoreCounts,
    StoreError,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::SqliteStore;
use crate::column::{Columns, json};
use crate::error::from_sqlx;
use crate::recorded::by_state;

const SELECT_BENCH: &str = "SELECT d.*,
    (SELECT CAST(min(total(announced - through), 9e18) AS INTEGER) FROM spools s WHERE s.device = d.device)
        AS outstanding
    FROM devices d";

fn bench_row(store: &SqliteStore, row: &SqliteRow) -> Result<BenchRow, StoreError> {
    let device: DeviceId = row.parsed("device")?;
    Ok(BenchRow {
        plant: store.plant.clone(),
        slot: Slot::of(&device),
        online: row.flag("online")?,
        presence_since: row.opt_time("presence_since")?,
        last_seen: row.time("last_seen")?,
        station: row.opt_text("station")?,
        vin: row.opt_text("vin")?,
        ecus: row.json("ecus")?,
        transports: row.json("transports")?,
        agent_version: row.opt_text("agent_version")?,
        public_key: row.opt_text("public_key")?,
        run_id: row.opt_uuid("run_id")?.map(RunId),
        desired_version: row.u64("list_version")?,
        stated_version: row.u64("sync_version")?,
        refusing_jobs: row.opt_text("refusing_jobs")?,
        held_events: row.u64("held_events")?,
        outstanding: row.u64("outstanding")?,
        open_jobs: Vec::new(),
        device,
    })
}

pub(crate) async fn bench(store: &SqliteStore, device: &DeviceId) -> Result<Option<BenchRow>, StoreError> {
    let mut tx = store.snapshot().await?;
    let mut query = QueryBuilder::<Sqlite>::new(SELECT_BENCH);
    query.push(" WHERE d.device = ").push_bind(device.as_str());
    let Some(row) = query.build().fetch_optional(&mut *tx).await.map_err(from_sqlx)? else {
        return Ok(None);
    };
    let mut benches = vec![bench_row(store, &row)?];
    add_open_jobs(&mut tx, &mut benches).await?;
    Ok(benches.pop())
}

pub(crate) async fn benches(
    store: &SqliteStore,
    filter: &BenchFilter,
    page: &Page,
) -> Result<Paged<BenchRow>, StoreError> {
    let mut tx = store.snapshot().await?;
    let mut query = QueryBuilder::<Sqlite>::new(SELECT_BENCH);
    query
        .push(" WHERE d.device > ")
        .push_bind(page.after.as_deref().unwrap_or(""));
    if let Some(state) = filter.state {
        query
            .push(" AND online = ")
            .push_bind(i64::from(state == BenchState::Online));
    }
    if let Some(text) = &filter.text {
        // instr and not LIKE: a per cent sign is a per cent sign.
        query
            .push(" AND instr(lower(d.device || ' ' || coalesce(station, '') || ' ' || coalesce(vin, '')), ")
            .push_bind(text.to_ascii_lowercase())
            .push(") > 0");
    }
    query.push(" ORDER BY d.device LIMIT ").push_bind(page.size() + 1);
    let rows = query.build().fetch_all(&mut *tx).await.map_err(from_sqlx)?;
    let items = rows
        .iter()
        .map(|row| bench_row(store, row))
        .collect::<Result<Vec<_>, _>>()?;
    let mut page = Paged::cut(items, page, |bench| bench.device.to_string());
    add_open_jobs(&mut tx, &mut page.items).await?;
    Ok(page)
}

async fn add_open_jobs(conn: &mut SqliteConnection, benches: &mut [BenchRow]) -> Result<(), StoreError> {
    let names: Vec<&str> = benches.iter().map(|bench| bench.device.as_str()).collect();
    let rows = sqlx::query(
        "SELECT j.* FROM json_each(?) b JOIN jobs j ON j.device = b.value
         WHERE j.state IN ('offered', 'withdrawing', 'accepted', 'running')
            OR (j.state = 'finished' AND j.verdict = 'in_doubt')
         ORDER BY j.n",
    )
    .bind(json(&names))
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?;
    let mut open: BTreeMap<DeviceId, Vec<JobSummary>> = BTreeMap::new();
    for row in &rows {
        open.entry(row.parsed("device")?).or_default().push(JobSummary {
            id: JobId(row.uuid("id")?),
            kind: row.word("kind", JobKind::of)?,
            vin: row.parsed("vin")?,
            ecu: row.text("ecu")?,
            state: row.word("state", JobState::of)?,
            verdict: row.opt_word("verdict", Verdict::of)?,
            steps_done: row.u32("steps_done")?,
            steps_total: row.opt_u32("steps_total")?,
        });
    }
    for bench in benches {
        bench.open_jobs = open.remove(&bench.device).unwrap_or_default();
    }
    Ok(())
}

pub(crate) async fn bench_ledger(
    store: &SqliteStore,
    device: &DeviceId,
) -> Result<Vec<SpoolCounts>, StoreError> {
    sqlx::query(
        "SELECT s.*, max(stored - in_kafka - already_in_kafka - unrelayable - expired, 0) AS in_outbox
         FROM spools s WHERE s.device = ? ORDER BY ordinal DESC",
    )
    .bind(device.as_str())
    .fetch_all(&store.readers)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(|row| {
        let (through, announced) = (row.u64("through")?, row.u64("announced")?);
        Ok(SpoolCounts {
            spool: SpoolId(row.uuid("spool")?),
            ordinal: row.u64("ordinal")?,
            through,
            announced,
            stored: row.u64("stored")?,
            rejected: row.u64("rejected")?,
            holes: row.u64("holes")?,
            outstanding: announced.saturating_sub(through),
            duplicates: row.u64("duplicates")?,
            outstanding_since: row.opt_time("outstanding_since")?,
            gaps: row.u64("gaps")?,
            conflicts: row.u64("conflicts")?,
            in_outbox: row.u64("in_outbox")?,
            in_kafka: row.u64("in_kafka")?,
            already_in_kafka: row.u64("already_in_kafka")?,
            unrelayable: row.u64("unrelayable")?,
            expired: row.u64("expired")?,
        })
    })
    .collect()
}

pub(crate) async fn ledger_totals(store: &SqliteStore) -> Result<LedgerTotals, StoreError> {
    let row = sqlx::query(
        // total() and not sum(): a bench that claims an absurd position must not break the page.
        "SELECT count(*) AS spools,
             CAST(min(total(announced), 9e18) AS INTEGER) AS announced,
             CAST(min(total(stored), 9e18) AS INTEGER) AS stored,
             CAST(min(total(rejected), 9e18) AS INTEGER) AS rejected,
             CAST(min(total(holes), 9e18) AS INTEGER) AS holes,
             CAST(min(total(announced - through), 9e18) AS INTEGER) AS outstanding,
             CAST(min(total(duplicates), 9e18) AS INTEGER) AS duplicates,
             CAST(min(total(gaps), 9e18) AS INTEGER) AS gaps,
             CAST(min(total(conflicts), 9e18) AS INTEGER) AS conflicts,
             CAST(total(in_kafka) AS INTEGER) AS in_kafka,
             CAST(total(already_in_kafka) AS INTEGER) AS already_in_kafka,
             CAST(total(unrelayable) AS INTEGER) AS unrelayable,
             CAST(total(expired) AS INTEGER) AS expired,
             -- Derived: this is asked every few seconds, and a million rows may wait. The conformance suite counts.
             CAST(max(total(stored) - total(in_kafka) - total(already_in_kafka) - total(unrelayable)
                 - total(expired), 0) AS INTEGER) AS in_outbox,
             (SELECT n FROM figures WHERE name = 'unprojected') AS unprojected,
             (SELECT n FROM figures WHERE name = 'dead_letters') AS dead_letters
         FROM spools",
    )
    .fetch_one(&store.readers)
    .await
    .map_err(from_sqlx)?;
    Ok(LedgerTotals {
        spools: row.u64("spools")?,
        announced: row.u64("announced")?,
        stored: row.u64("stored")?,
        rejected: row.u64("rejected")?,
        holes: row.u64("holes")?,
        outstanding: row.u64("outstanding")?,
        duplicates: row.u64("duplicates")?,
        gaps: row.u64("gaps")?,
        conflicts: row.u64("conflicts")?,
        in_outbox: row.u64("in_outbox")?,
        in_kafka: row.u64("in_kafka")?,
        already_in_kafka: row.u64("already_in_kafka")?,
        unrelayable: row.u64("unrelayable")?,
        expired: row.u64("expired")?,
        unprojected: row.u64("unprojected")?,
        dead_letters: row.u64("dead_letters")?,
    })
}

pub(crate) async fn counts(store: &SqliteStore) -> Result<StoreCounts, StoreError> {
    let row = sqlx::query(
        "SELECT count(*) FILTER (WHERE online = 1) AS online, count(*) FILTER (WHERE online = 0) AS offline
         FROM devices",
    )
    .fetch_one(&store.readers)
    .await
    .map_err(from_sqlx)?;
    Ok(StoreCounts {
        jobs: by_state(store).await?,
        benches_online: row.u64("online")?,
        benches_offline: row.u64("offline")?,
        ledger: ledger_totals(store).await?,
    })
}
