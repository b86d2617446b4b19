//! From every earlier version of the schema, with data in it, to this one.
//!
//! `tests/fixtures/v{n}.sql` is a database as version n left it. A migration that was released is never edited:
//! `frozen.txt` holds its SHA-384. Who adds a migration adds its line there, and a fixture of the version before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleet_clock::wall_now;
use fleet_domain::{DeviceId, JobState, StoreGeneration, Verdict};
use fleet_store::conformance::Fixture;
use fleet_store::{JobFilter, OutboxRead, Page, Retention, Store, StoreError};
use fleet_store_postgres::{Migrated, PostgresOptions, PostgresStore};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};

use super::{database, open, options, unprepared};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/postgres");

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn versions() -> Vec<i64> {
    MIGRATOR.iter().map(|migration| migration.version).collect()
}

fn newest() -> i64 {
    versions().into_iter().max().unwrap()
}

fn earlier() -> impl Iterator<Item = i64> {
    versions().into_iter().filter(|version| *version < newest())
}

/// Versions of which there is a database with data: the newest may be among them.
fn with_data() -> impl Iterator<Item = i64> {
    versions()
        .into_iter()
        .filter(|version| fixtures().join(format!("v{version}.sql")).exists())
}

/// A database as that version left it.
async fn older(version: i64) -> String {
    let url = database().await;
    let sql = std::fs::read_to_string(fixtures().join(format!("v{version}.sql"))).unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
    url
}

async fn execute(url: &str, sql: &'static str) {
    let mut conn = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// Every column, constraint, index and option, but for the days' partitions, which come with the data.
async fn schema(url: &str) -> Vec<String> {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let lines = sqlx::query_scalar(
        "WITH tables AS (
             SELECT oid, relname, relkind, reloptions FROM pg_class
             WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
               AND NOT relispartition)
         SELECT concat_ws(' ', 'table', relname, relkind, reloptions::text) FROM tables
         UNION ALL
         SELECT concat_ws(' ', 'column', relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull,
             attidentity, attstorage, c.collname, pg_get_expr(d.adbin, d.adrelid))
         FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
         LEFT JOIN pg_collation c ON c.oid = a.attcollation
         LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
         WHERE relkind <> 'S'
         UNION ALL
         SELECT concat_ws(' ', 'constraint', relname, conname, pg_get_constraintdef(c.oid))
         FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid
         UNION ALL
         SELECT concat_ws(' ', 'index', pg_get_indexdef(i.indexrelid))
         FROM tables t JOIN pg_index i ON i.indrelid = t.oid
         ORDER BY 1",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    conn.close().await.unwrap();
    lines
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn a_released_migration_is_never_edited() {
    let frozen = std::fs::read_to_string(fixtures().join("frozen.txt")).unwrap();
    let frozen: BTreeMap<i64, &str> = frozen
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(version, sum)| (version.parse().unwrap(), sum))
        .collect();
    for migration in MIGRATOR.iter() {
        let sum = hexadecimal(&migration.checksum);
        assert_eq!(
            frozen.get(&migration.version),
            Some(&sum.as_str()),
            "migration {} is not as frozen.txt says: a released one is never edited, a new one gets the line\n{} {sum}",
            migration.version,
            migration.version,
        );
    }
    assert_eq!(
        frozen.into_keys().collect::<Vec<_>>(),
        versions(),
        "a released migration is never removed"
    );
}

#[test]
fn every_earlier_version_has_a_fixture() {
    for version in earlier() {
        assert!(
            fixtures().join(format!("v{version}.sql")).exists(),
            "a database of version {version}, with data in it, belongs into tests/fixtures/v{version}.sql"
        );
    }
}

#[tokio::test]
async fn every_version_is_brought_up_to_date_with_its_data() {
    let new = database().await;
    open(&new).await.close().await;
    let expected = schema(&new).await;
    for version in with_data() {
        let url = older(version).await;
        let store = open(&url).await;
        reads_back(&store, version).await;
        works_on(store).await;
        assert_eq!(schema(&url).await, expected, "version {version}");
    }
}

/// What the fixtures hold: two benches with nine events; the relay is behind the third, one of them was in Kafka
/// already, and the fifth is nothing for Kafka. Three jobs from version 2 on.
async fn reads_back(store: &PostgresStore, version: i64) {
    let device: DeviceId = "bench-1".parse().unwrap();
    let bench = store.bench(&device).await.unwrap().unwrap();
    assert_eq!(
        (bench.online, bench.station.as_deref()),
        (true, Some("station 7"))
    );
    let spool = store.bench_ledger(&device).await.unwrap()[0];
    assert_eq!((spool.stored, spool.rejected, spool.conflicts), (7, 1, 1));
    assert_eq!((spool.in_kafka, spool.already_in_kafka), (2, 1));
    assert_eq!((spool.unrelayable, spool.in_outbox), (1, 3));
    let totals = store.ledger_totals().await.unwrap();
    assert_eq!((totals.stored, totals.in_kafka, totals.in_outbox), (9, 2, 5));
    assert_eq!((totals.unprojected, totals.dead_letters), (1, 2));
    assert_eq!(store.alarms(&Page::default()).await.unwrap().items.len(), 4);
    assert_eq!(store.changes(0, 100).await.unwrap().rows.len(), 23);
    assert_eq!(store.kafka_highs().await.unwrap().len(), 1);
    let events = store.events(&device, spool.spool, 1, 100).await.unwrap();
    assert_eq!(events.len(), 7);
    let relay = store.relay_row().await.unwrap();
    assert_eq!((relay.relayed.seq, relay.newest_seq, relay.waiting), (3, 9, 5));
    let OutboxRead::Rows(rows) = store.outbox_after(relay.relayed, 100).await.unwrap() else {
        panic!("the cursor of version {version} is lost");
    };
    assert_eq!(rows.len(), 6);
    let jobs = store
        .jobs(&JobFilter::default(), &Page::default())
        .await
        .unwrap()
        .items;
    let states: Vec<_> = jobs.iter().map(|job| job.job.state).collect();
    if version < 2 {
        assert_eq!(states, []);
        return;
    }
    assert_eq!(
        states,
        [JobState::Queued, JobState::TakenOver, JobState::Finished]
    );
    let done = &jobs[2];
    assert_eq!((done.job.verdict, done.steps_done), (Some(Verdict::Passed), 2));
    assert_eq!(done.request.request_id.as_deref(), Some("order-4711"));
    assert_eq!(store.attempts(done.job.id).await.unwrap().len(), 1);
    assert_eq!(store.steps(done.job.id, 1).await.unwrap().len(), 2);
    assert_eq!(store.procedures().await.unwrap().len(), 1);
    assert_eq!(store.artifacts().await.unwrap().len(), 1);
}

/// The store goes on where the old one stopped.
async fn works_on(store: PostgresStore) {
    let store = Arc::new(store);
    let mut fixture = Fixture::new(store.clone());
    fixture.pass(3600);
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-3");
    let started = fixture.started(&mut bench, "WDB1110101A000003", &[]);
    assert_eq!(fixture.ingest(vec![started]).await.counts.stored, 1);
    fixture.dispatch().await;
    store.prune(fixture.now, Retention::default()).await.unwrap();
    assert_eq!(store.ledger_totals().await.unwrap().in_outbox, 6);
    store.close().await;
}

#[tokio::test]
async fn a_newer_database_is_refused_and_not_touched() {
    let url = database().await;
    open(&url).await.close().await;
    execute(
        &url,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'of a newer version', true, '\\x00', 0)",
    )
    .await;
    let before = schema(&url).await;
    let store = unprepared(&url);
    for error in [
        store.prepare(wall_now()).await.unwrap_err(),
        store.migrate().await.unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::SchemaTooNew { found: 999, known } if *known == newest()));
        assert_eq!(error.state(), "schema_too_new");
        assert!(error.to_string().contains("999"), "{error}");
    }
    let used = store.ledger_totals().await.unwrap_err();
    assert_eq!(
        used.state(),
        "unreachable",
        "nothing works before it was prepared"
    );
    assert_eq!(schema(&url).await, before);
}

#[tokio::test]
async fn a_running_server_notices_that_the_schema_became_too_new() {
    let url = database().await;
    let store = open(&url).await;
    store.check().await.unwrap();
    execute(
        &url,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'of a newer version', true, '\\x00', 0)",
    )
    .await;
    assert_eq!(store.check().await.unwrap_err().state(), "schema_too_new");
}

#[tokio::test]
async fn an_older_database_is_only_migrated_where_that_is_wished() {
    for version in [0].into_iter().chain(earlier()) {
        let url = if version == 0 {
            database().await
        } else {
            older(version).await
        };
        let before = schema(&url).await;
        let careful = PostgresOptions {
            auto_migrate: false,
            ..options(&url)
        };
        let store = PostgresStore::open(&careful, StoreGeneration(uuid::Uuid::from_u128(1))).unwrap();
        let error = store.prepare(wall_now()).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::SchemaTooOld { found, known } if (*found, *known) == (version, newest())),
            "{error}"
        );
        assert!(error.to_string().contains("fleet-server migrate"), "{error}");
        assert_eq!(schema(&url).await, before);
        let done = store.migrate().await.unwrap();
        assert_eq!(
            done,
            Migrated {
                from: version,
                to: newest()
            }
        );
        store.prepare(wall_now()).await.unwrap();
        store.close().await;
    }
}

/// Both servers of a plant are started with a new version.
#[tokio::test]
async fn servers_that_migrate_at_once_do_it_once() {
    let url = older(1).await;
    let stores = [unprepared(&url), unprepared(&url), unprepared(&url)];
    let prepared = stores.each_ref().map(|store| store.prepare(wall_now()));
    let [first, second, third] = prepared;
    let (first, second, third) = tokio::join!(first, second, third);
    for result in [first, second, third] {
        result.unwrap();
    }
    reads_back(&stores[1], 1).await;
}

#[tokio::test]
async fn the_database_of_another_plant_is_refused_whatever_its_schema_is() {
    for version in with_data() {
        let url = older(version).await;
        let other = PostgresOptions {
            plant: "plant-2".parse().unwrap(),
            ..options(&url)
        };
        let store = PostgresStore::open(&other, StoreGeneration(uuid::Uuid::from_u128(1))).unwrap();
        let before = schema(&url).await;
        for error in [
            store.prepare(wall_now()).await.unwrap_err(),
            store.migrate().await.unwrap_err(),
        ] {
            assert_eq!(error.state(), "other_plant", "{error}");
        }
        assert_eq!(schema(&url).await, before);
    }
}
