//! From every earlier version of the schema, with data in it, to this one.
//!
//! `tests/fixtures/v{n}.sql` is a database as version n left it. A migration that was released is never edited:
//! `frozen.txt` holds its SHA-384. Who adds a migration adds its line there, and a fixture of the version before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleet_clock::wall_now;
use fleet_domain::{DeviceId, JobState, Verdict};
use fleet_store::conformance::Fixture;
use fleet_store::{JobFilter, OutboxCursor, OutboxRead, Page, Retention, Store, StoreError};
use fleet_store_sqlite::{OpenError, SqliteStore};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::{fresh, open};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/sqlite");

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn versions() -> Vec<i64> {
    MIGRATOR.iter().map(|migration| migration.version).collect()
}

fn newest() -> i64 {
    versions().into_iter().max().unwrap()
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap()
}

/// A database as that version left it.
async fn older(path: &Path, version: i64) {
    let sql = std::fs::read_to_string(fixtures().join(format!("v{version}.sql"))).unwrap();
    let mut conn = connect(path).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
}

/// Tables, indexes and their definitions.
async fn schema(path: &Path) -> Vec<(String, String)> {
    let mut conn = connect(path).await;
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'
         ORDER BY 1",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(sound, "ok");
    conn.close().await.unwrap();
    let words = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    rows.into_iter().map(|(name, sql)| (name, words(&sql))).collect()
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
    for version in versions().into_iter().filter(|version| *version < newest()) {
        assert!(
            fixtures().join(format!("v{version}.sql")).exists(),
            "a database of version {version}, with data in it, belongs into tests/fixtures/v{version}.sql"
        );
    }
}

#[tokio::test]
async fn every_earlier_version_is_brought_up_to_date_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new.db");
    open(&new).await.close().await;
    let expected = schema(&new).await;
    for version in versions().into_iter().filter(|version| *version < newest()) {
        let path = folder.path().join(format!("v{version}.db"));
        older(&path, version).await;
        let store = open(&path).await;
        reads_back(&store, version).await;
        works_on(store).await;
        assert_eq!(schema(&path).await, expected, "version {version}");
    }
}

/// What the fixtures hold: three jobs on two benches, nine events of which three had been relayed, and one of
/// everything that can go wrong.
async fn reads_back(store: &SqliteStore, version: i64) {
    let jobs = store
        .jobs(&JobFilter::default(), &Page::default())
        .await
        .unwrap()
        .items;
    let states: Vec<_> = jobs.iter().map(|job| job.job.state).collect();
    assert_eq!(
        states,
        [JobState::Queued, JobState::TakenOver, JobState::Finished],
        "version {version}"
    );
    let done = &jobs[2];
    assert_eq!((done.job.verdict, done.steps_done), (Some(Verdict::Passed), 2));
    assert_eq!(done.request.request_id.as_deref(), Some("order-4711"));
    assert_eq!(done.request.retry, None);
    assert_eq!(store.attempts(done.job.id).await.unwrap().len(), 1);
    assert_eq!(store.steps(done.job.id, 1).await.unwrap().len(), 2);
    let device: DeviceId = "bench-1".parse().unwrap();
    let bench = store.bench(&device).await.unwrap().unwrap();
    assert_eq!(
        (bench.online, bench.station.as_deref()),
        (true, Some("station 7"))
    );
    let spool = store.bench_ledger(&device).await.unwrap()[0];
    assert_eq!((spool.stored, spool.rejected, spool.conflicts), (7, 1, 1));
    assert_eq!(
        (spool.in_kafka, spool.in_outbox),
        (3, 4),
        "the first three had been relayed"
    );
    let totals = store.ledger_totals().await.unwrap();
    assert_eq!((totals.stored, totals.in_kafka, totals.in_outbox), (9, 3, 6));
    assert_eq!((totals.unprojected, totals.dead_letters), (1, 1));
    assert_eq!(store.alarms(&Page::default()).await.unwrap().items.len(), 3);
    assert_eq!(store.procedures().await.unwrap().len(), 1);
    assert_eq!(store.artifacts().await.unwrap().len(), 1);
    assert_eq!(store.changes(0, 100).await.unwrap().rows.len(), 20);
    let relay = store.relay_row().await.unwrap();
    assert_eq!((relay.relayed.seq, relay.newest_seq, relay.waiting), (3, 9, 6));
    let OutboxRead::Rows(rows) = store.outbox_after(relay.relayed, 100).await.unwrap() else {
        panic!("the cursor of version {version} is lost");
    };
    assert_eq!(rows.len(), 6);
    let start = store.outbox_after(OutboxCursor::START, 100).await.unwrap();
    assert_eq!(start, OutboxRead::CursorLost);
}

/// The store goes on where the old one stopped.
async fn works_on(store: SqliteStore) {
    let store = std::sync::Arc::new(store);
    let mut fixture = Fixture::new(store.clone());
    fixture.pass(3600);
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-3");
    let started = fixture.started(&mut bench, "WDB1110101A000003", &[]);
    assert_eq!(fixture.ingest(vec![started]).await.counts.stored, 1);
    fixture.dispatch().await;
    fixture
        .store
        .prune(fixture.now, Retention::default())
        .await
        .unwrap();
    assert_eq!(store.ledger_totals().await.unwrap().in_outbox, 7);
    store.close().await;
}

#[tokio::test]
async fn a_newer_database_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    open(&path).await.close().await;
    let mut conn = connect(&path).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'of a newer version', 1, x'00', 0)",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    conn.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let opened = SqliteStore::open(&path, "plant-1".parse().unwrap(), wall_now(), fresh()).await;
    for error in [
        opened.unwrap_err(),
        SqliteStore::migrate(&path).await.unwrap_err(),
    ] {
        let OpenError::Schema { source, .. } = &error else {
            panic!("{error}");
        };
        assert!(matches!(source, StoreError::SchemaTooNew { found: 999, known } if *known == newest()));
        assert_eq!(source.state(), "schema_too_new");
        let text = format!("{error}: {source}");
        assert!(text.contains("fleet.db") && text.contains("999"), "{text}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn an_older_database_is_only_migrated_where_that_is_wished() {
    let folder = tempfile::tempdir().unwrap();
    for version in versions().into_iter().filter(|version| *version < newest()) {
        let path = folder.path().join(format!("v{version}.db"));
        older(&path, version).await;
        let before = schema(&path).await;
        let plant: fleet_domain::PlantId = "plant-1".parse().unwrap();
        let careful = || SqliteStore::open_with(&path, plant.clone(), wall_now(), fresh(), false);
        let error = careful().await.unwrap_err();
        let OpenError::Schema { source, .. } = &error else {
            panic!("{error}");
        };
        assert!(
            matches!(source, StoreError::SchemaTooOld { found, known } if (*found, *known) == (version, newest()))
        );
        assert!(source.to_string().contains("fleet-server migrate"), "{source}");
        assert_eq!(schema(&path).await, before);
        assert_eq!(SqliteStore::migrate(&path).await.unwrap(), (version, newest()));
        careful().await.unwrap().close().await;
    }
    let missing = folder.path().join("missing.db");
    let error =
        SqliteStore::open_with(&missing, "plant-1".parse().unwrap(), wall_now(), fresh(), false).await;
    assert!(matches!(error, Err(OpenError::Schema { .. })));
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_schema_that_changes_under_a_running_server_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let store = open(&path).await;
    store.prepare(wall_now()).await.unwrap();
    store.check().await.unwrap();
    let mut conn = connect(&path).await;
    sqlx::query("UPDATE _sqlx_migrations SET version = 999 WHERE version = 1")
        .execute(&mut conn)
        .await
        .unwrap();
    assert_eq!(
        store.prepare(wall_now()).await.unwrap_err().state(),
        "schema_too_new"
    );
    assert_eq!(store.check().await.unwrap_err().state(), "schema_too_new");
    sqlx::raw_sql(
        "UPDATE _sqlx_migrations SET version = 1 WHERE version = 999; UPDATE meta SET plant = 'plant-2'",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    assert_eq!(store.check().await.unwrap_err().state(), "other_plant");
}
