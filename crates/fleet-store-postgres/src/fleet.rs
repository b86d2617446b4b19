//! Reading benches and the ledger.

use std::collections::BTreeMap;

use fleet_domain::{DeviceId, JobId, JobKind, JobState, RunId, Slot, SpoolId, Verdict};
use fleet_store::{
    BenchFilter, BenchRow, BenchState, JobSummary, LedgerTotals, Page, Paged, SpoolCounts, StoreCounts,
    StoreError,
};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::PostgresStore;
use crate::column::{narrow, parse, text, to_time};
use crate::error::from_sqlx;
use crate::recorded::by_state;
use crate::value::{from_json, opt_narrow, opt_time, opt_word, word};

/// A bench as it is read.
#[derive(Debug, sqlx::FromRow)]
struct BenchRecord {
    device: String,
    online: bool,
    presence_since: Option<i64>,
    last_seen: i64,
    station: Option<String>,
    vin: Option<String>,
    ecus: String,
    transports: String,
    agent_version: Option<String>,
    public_key: Option<String>,
    run_id: Option<Uuid>,
    list_version: i64,
    sync_version: i64,
    refusing_jobs: Option<String>,
    held_events: i64,
    outstanding: i64,
}

impl BenchRecord {
    fn row(self, store: &PostgresStore) -> Result<BenchRow, StoreError> {
        let device: DeviceId = parse("device", &self.device)?;
        Ok(BenchRow {
            plant: store.plant.clone(),
            slot: Slot::of(&device),
            online: self.online,
            presence_since: opt_time("presence_since", self.presence_since)?,
            last_seen: to_time("last_seen", self.last_seen)?,
            station: self.station,
            vin: self.vin,
            ecus: from_json("ecus", &self.ecus)?,
            transports: from_json("transports", &self.transports)?,
            agent_version: self.agent_version,
            public_key: self.public_key,
            run_id: self.run_id.map(RunId),
            desired_version: narrow("list_version", self.list_version)?,
            stated_version: narrow("sync_version", self.sync_version)?,
            refusing_jobs: self.refusing_jobs,
            held_events: narrow("held_events", self.held_events)?,
            outstanding: narrow("outstanding", self.outstanding)?,
            open_jobs: Vec::new(),
            device,
        })
    }
}

/// A sum may be absurd where a bench states absurd positions: it must not break the page.
const SELECT_BENCH: &str = "SELECT d.device, d.online, d.presence_since, d.last_seen, d.station, d.vin, d.ecus,
        d.transports, d.agent_version, d.public_key, d.run_id, d.list_version, d.sync_version, d.refusing_jobs,
        d.held_events,
        (SELECT least(coalesce(sum(announced - through), 0), 9000000000000000000)::bigint
         FROM spools s WHERE s.device = d.device) AS outstanding
    FROM devices d";

pub(crate) async fn bench(store: &PostgresStore, device: &DeviceId) -> Result<Option<BenchRow>, StoreError> {
    let mut tx = store.snapshot().await?;
    let mut query = QueryBuilder::<Postgres>::new(SELECT_BENCH);
    query
        .push(" WHERE d.device = ")
        .push_bind(device.as_str().to_owned());
    let record: Option<BenchRecord> = query
        .build_query_as()
        .fetch_optional(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    let Some(record) = record else { return Ok(None) };
    let mut benches = vec![record.row(store)?];
    add_open_jobs(&mut tx, &mut benches).await?;
    Ok(benches.pop())
}

pub(crate) async fn benches(
    store: &PostgresStore,
    filter: &BenchFilter,
    page: &Page,
) -> Result<Paged<BenchRow>, StoreError> {
    let mut tx = store.snapshot().await?;
    let mut query = QueryBuilder::<Postgres>::new(SELECT_BENCH);
    query
        .push(" WHERE d.device > ")
        .push_bind(text(page.after.as_deref().unwrap_or("")).into_owned());
    if let Some(state) = filter.state {
        query
            .push(" AND d.online = ")
            .push_bind(state == BenchState::Online);
    }
    if let Some(part) = &filter.text {
        // strpos and not LIKE: a per cent sign is a per cent sign.
        query
            .push(" AND strpos(lower((d.device || ' ' || coalesce(d.station, '') || ' ' || coalesce(d.vin, '')) COLLATE \"C\"), ")
            .push_bind(text(&part.to_ascii_lowercase()).into_owned())
            .push(") > 0");
    }
    query.push(" ORDER BY d.device LIMIT ").push_bind(page.size() + 1);
    let records: Vec<BenchRecord> = query
        .build_query_as()
        .fetch_all(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    let items = records
        .into_iter()
        .map(|record| record.row(store))
        .collect::<Result<Vec<_>, _>>()?;
    let mut page = Paged::cut(items, page, |bench| bench.device.to_string());
    add_open_jobs(&mut tx, &mut page.items).await?;
    Ok(page)
}

/// An open job as it is read.
#[derive(Debug)]
struct OpenJobRecord {
    id: Uuid,
    kind: String,
    vin: String,
    ecu: String,
    state: String,
    verdict: Option<String>,
    steps_done: i64,
    steps_total: Option<i64>,
    device: String,
}

impl OpenJobRecord {
    fn row(self) -> Result<(DeviceId, JobSummary), StoreError> {
        let summary = JobSummary {
            id: JobId(self.id),
            kind: word("kind", &self.kind, JobKind::of)?,
            vin: parse("vin", &self.vin)?,
            ecu: self.ecu,
            state: word("state", &self.state, JobState::of)?,
            verdict: opt_word("verdict", self.verdict.as_deref(), Verdict::of)?,
            steps_done: narrow("steps_done", self.steps_done)?,
            steps_total: opt_narrow("steps_total", self.steps_total)?,
        };
        Ok((parse("device", &self.device)?, summary))
    }
}

async fn add_open_jobs(conn: &mut PgConnection, benches: &mut [BenchRow]) -> Result<(), StoreError> {
    let names: Vec<String> = benches.iter().map(|bench| bench.device.to_string()).collect();
    let records = sqlx::query_as!(
        OpenJobRecord,
        "SELECT id, kind, vin, ecu, state, verdict, steps_done, steps_total, device AS \"device!\" FROM jobs
         WHERE device = ANY($1)
           AND (state IN ('offered', 'withdrawing', 'accepted', 'running')
                OR (state = 'finished' AND verdict = 'in_doubt'))
         ORDER BY n",
        &names[..]
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?;
    let mut open: BTreeMap<DeviceId, Vec<JobSummary>> = BTreeMap::new();
    for record in records {
        let (device, job) = record.row()?;
        open.entry(device).or_default().push(job);
    }
    for bench in benches {
        bench.open_jobs = open.remove(&bench.device).unwrap_or_default();
    }
    Ok(())
}

/// A spool's part of the ledger as it is read.
#[derive(Debug, sqlx::FromRow)]
struct SpoolRecord {
    spool: Uuid,
    ordinal: i64,
    through: i64,
    announced: i64,
    stored: i64,
    rejected: i64,
    holes: i64,
    duplicates: i64,
    outstanding_since: Option<i64>,
    gaps: i64,
    conflicts: i64,
    in_outbox: i64,
    in_kafka: i64,
    already_in_kafka: i64,
    unrelayable: i64,
    expired: i64,
}

impl SpoolRecord {
    fn row(&self) -> Result<SpoolCounts, StoreError> {
        let (through, announced): (u64, u64) = (
            narrow("through", self.through)?,
            narrow("announced", self.announced)?,
        );
        Ok(SpoolCounts {
            spool: SpoolId(self.spool),
            ordinal: narrow("ordinal", self.ordinal)?,
            through,
            announced,
            stored: narrow("stored", self.stored)?,
            rejected: narrow("rejected", self.rejected)?,
            holes: narrow("holes", self.holes)?,
            outstanding: announced.saturating_sub(through),
            duplicates: narrow("duplicates", self.duplicates)?,
            outstanding_since: opt_time("outstanding_since", self.outstanding_since)?,
            gaps: narrow("gaps", self.gaps)?,
            conflicts: narrow("conflicts", self.conflicts)?,
            in_outbox: narrow("in_outbox", self.in_outbox)?,
            in_kafka: narrow("in_kafka", self.in_kafka)?,
            already_in_kafka: narrow("already_in_kafka", self.already_in_kafka)?,
            unrelayable: narrow("unrelayable", self.unrelayable)?,
            expired: narrow("expired", self.expired)?,
        })
    }
}

pub(crate) async fn bench_ledger(
    store: &PostgresStore,
    device: &DeviceId,
) -> Result<Vec<SpoolCounts>, StoreError> {
    let mut conn = store.reader().await?;
    // What waits follows from the counters: the outbox has no index by spool, which each event would pay for. The
    // conformance suite counts its rows, so that the ledger can be found wrong.
    sqlx::query_as::<_, SpoolRecord>(
        "SELECT spool, ordinal, through, announced, stored, rejected, holes, duplicates, gaps, conflicts,
             outstanding_since, greatest(stored - in_kafka - already_in_kafka - unrelayable - expired, 0) AS in_outbox,
             in_kafka, already_in_kafka,
             unrelayable, expired
         FROM (SELECT s.*, coalesce(r.in_kafka, 0) AS in_kafka,
                   coalesce(r.already_in_kafka, 0) AS already_in_kafka,
                   coalesce(r.unrelayable, 0) AS unrelayable, coalesce(r.expired, 0) AS expired
               FROM spools s LEFT JOIN relayed r ON r.device = s.device AND r.spool = s.spool
               WHERE s.device = $1) of
         ORDER BY ordinal DESC",
    )
    .bind(device.as_str())
    .fetch_all(&mut *conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(SpoolRecord::row)
    .collect()
}

/// The plant's ledger as it is read.
#[derive(Debug, sqlx::FromRow)]
struct TotalsRecord {
    spools: i64,
    announced: i64,
    stored: i64,
    rejected: i64,
    holes: i64,
    outstanding: i64,
    duplicates: i64,
    gaps: i64,
    conflicts: i64,
    in_outbox: i64,
    in_kafka: i64,
    already_in_kafka: i64,
    unrelayable: i64,
    expired: i64,
    unprojected: i64,
    dead_letters: i64,
}

impl TotalsRecord {
    fn row(&self) -> Result<LedgerTotals, StoreError> {
        Ok(LedgerTotals {
            spools: narrow("spools", self.spools)?,
            announced: narrow("announced", self.announced)?,
            stored: narrow("stored", self.stored)?,
            rejected: narrow("rejected", self.rejected)?,
            holes: narrow("holes", self.holes)?,
            outstanding: narrow("outstanding", self.outstanding)?,
            duplicates: narrow("duplicates", self.duplicates)?,
            gaps: narrow("gaps", self.gaps)?,
            conflicts: narrow("conflicts", self.conflicts)?,
            in_outbox: narrow("in_outbox", self.in_outbox)?,
            in_kafka: narrow("in_kafka", self.in_kafka)?,
            already_in_kafka: narrow("already_in_kafka", self.already_in_kafka)?,
            unrelayable: narrow("unrelayable", self.unrelayable)?,
            expired: narrow("expired", self.expired)?,
            unprojected: narrow("unprojected", self.unprojected)?,
            dead_letters: narrow("dead_letters", self.dead_letters)?,
        })
    }
}

pub(crate) async fn ledger_totals(store: &PostgresStore) -> Result<LedgerTotals, StoreError> {
    let mut conn = store.reader().await?;
    totals(&mut conn).await
}

async fn totals(conn: &mut PgConnection) -> Result<LedgerTotals, StoreError> {
    // What waits follows from the counters: this is asked every few seconds, and a million rows may wait. The
    // conformance suite counts them.
    sqlx::query_as::<_, TotalsRecord>(
        "SELECT s.*, r.*,
             greatest(s.stored - r.in_kafka - r.already_in_kafka - r.unrelayable - r.expired, 0) AS in_outbox,
             f.unprojected, f.dead_letters
         FROM (SELECT count(*) AS spools,
                   least(coalesce(sum(announced), 0), 9000000000000000000)::bigint AS announced,
                   least(coalesce(sum(stored), 0), 9000000000000000000)::bigint AS stored,
                   least(coalesce(sum(rejected), 0), 9000000000000000000)::bigint AS rejected,
                   least(coalesce(sum(holes), 0), 9000000000000000000)::bigint AS holes,
                   least(coalesce(sum(announced - through), 0), 9000000000000000000)::bigint AS outstanding,
                   least(coalesce(sum(duplicates), 0), 9000000000000000000)::bigint AS duplicates,
                   least(coalesce(sum(gaps), 0), 9000000000000000000)::bigint AS gaps,
                   least(coalesce(sum(conflicts), 0), 9000000000000000000)::bigint AS conflicts
               FROM spools) s,
              (SELECT coalesce(sum(in_kafka), 0)::bigint AS in_kafka,
                   coalesce(sum(already_in_kafka), 0)::bigint AS already_in_kafka,
                   coalesce(sum(unrelayable), 0)::bigint AS unrelayable,
                   coalesce(sum(expired), 0)::bigint AS expired
               FROM relayed) r,
              (SELECT coalesce(sum(n) FILTER (WHERE name = 'unprojected'), 0)::bigint AS unprojected,
                   coalesce(sum(n) FILTER (WHERE name = 'dead_letters'), 0)::bigint AS dead_letters
               FROM figures) f",
    )
    .fetch_one(conn)
    .await
    .map_err(from_sqlx)?
    .row()
}

pub(crate) async fn counts(store: &PostgresStore) -> Result<StoreCounts, StoreError> {
    let mut tx = store.snapshot().await?;
    let benches = sqlx::query!(
        "SELECT count(*) FILTER (WHERE online) AS \"online!\", count(*) FILTER (WHERE NOT online) AS \"offline!\"
         FROM devices"
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    Ok(StoreCounts {
        jobs: by_state(&mut tx).await?,
        benches_online: narrow("online", benches.online)?,
        benches_offline: narrow("offline", benches.offline)?,
        ledger: totals(&mut tx).await?,
    })
}
