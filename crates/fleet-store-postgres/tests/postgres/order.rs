//! The order of the commits, and transactions that get into each other's way.

use std::sync::Arc;
use std::time::Duration;

use fleet_domain::Slot;
use fleet_store::conformance::Fixture;
use fleet_store::{IngestBatch, OutboxCursor, OutboxRead, Store};
use fleet_testkit::services::Postgres;
use sqlx::{Connection as _, PgConnection};

use super::{database, name_of, open};

const VIN: &str = "WDB1110101A000001";

async fn superuser(url: &str) -> PgConnection {
    let server = Postgres::shared().await.unwrap();
    PgConnection::connect(&server.superuser_url_of(name_of(url)))
        .await
        .unwrap()
}

fn batch(fixture: &mut Fixture, items: Vec<fleet_store::Inbound>) -> IngestBatch {
    IngestBatch {
        terms: fixture.terms.clone(),
        items,
        misplaced: Vec::new(),
        received_at: fixture.now,
        spare_generation: fixture.generation(),
    }
}

/// The gap trap: transactions take a while between drawing their sequences and being seen. Without the lock that
/// keeps the order of the commits, a reader behind the last sequence passes over rows here.
#[tokio::test]
async fn a_commit_that_takes_long_is_not_overtaken() {
    let url = database().await;
    let store = open(&url).await;
    let server = Postgres::shared().await.unwrap();
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_sleep(CASE WHEN random() < 0.3 THEN random() * 0.02 ELSE 0 END); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION slow();
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON changes DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION slow();";
    server.execute_in(name_of(&url), slow).await.unwrap();
    fleet_store::conformance::followers_miss_nothing(Fixture::new(Arc::new(store))).await;
}

/// A long transaction anywhere in the database (a report, a backup) holds up neither writers nor readers.
#[tokio::test]
async fn a_stranger_that_takes_long_holds_up_nobody() {
    let url = database().await;
    let store: Arc<dyn Store> = Arc::new(open(&url).await);
    let mut fixture = Fixture::new(store.clone());
    fixture.lease_all().await;
    let mut stranger = superuser(&url).await;
    let mut open = stranger.begin().await.unwrap();
    sqlx::query("CREATE TABLE notes AS SELECT pg_current_xact_id() AS xid, count(*) FROM events")
        .execute(&mut *open)
        .await
        .unwrap();
    let mut bench = fixture.bench("bench-1");
    let items = vec![fixture.started(&mut bench, VIN, &[])];
    fixture.ingest(items).await;
    let OutboxRead::Rows(rows) = store.outbox_after(OutboxCursor::START, 10).await.unwrap() else {
        panic!("nothing was ever relayed")
    };
    assert_eq!(rows.len(), 1, "seen at once");
    assert!(!store.changes(0, 10).await.unwrap().rows.is_empty());
    open.rollback().await.unwrap();
}

/// A batch locks bench 1, waits for bench 2, and another transaction that has bench 2 wants bench 1: PostgreSQL ends
/// the batch, the store makes it again, and nobody hears of it.
#[tokio::test]
async fn a_deadlock_is_tried_again_and_not_shown() {
    let url = database().await;
    let store: Arc<dyn Store> = Arc::new(open(&url).await);
    let mut fixture = Fixture::new(store.clone());
    fixture.lease_all().await;
    let mut benches: Vec<_> = ["bench-1", "bench-2"]
        .into_iter()
        .map(|name| fixture.bench(name))
        .collect();
    let items = benches
        .iter_mut()
        .map(|bench| fixture.started(bench, VIN, &[]))
        .collect();
    fixture.ingest(items).await;
    let mut stranger = superuser(&url).await;
    // Longer than the store's own: the store is the one that notices, and is ended.
    sqlx::query("SET deadlock_timeout = '60s'")
        .execute(&mut stranger)
        .await
        .unwrap();
    let mut circle = stranger.begin().await.unwrap();
    let lock = "SELECT 1 FROM devices WHERE device = $1 FOR UPDATE";
    sqlx::query(lock)
        .bind("bench-2")
        .execute(&mut *circle)
        .await
        .unwrap();
    let items = benches
        .iter_mut()
        .map(|bench| fixture.started(bench, VIN, &[]))
        .collect();
    let batch = batch(&mut fixture, items);
    let ingesting = tokio::spawn({
        let store = store.clone();
        async move { store.ingest(batch).await }
    });
    let mut watcher = superuser(&url).await;
    loop {
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'fleet-server' AND wait_event_type = 'Lock')",
        )
        .fetch_one(&mut watcher)
        .await
        .unwrap();
        if waiting {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sqlx::query(lock)
        .bind("bench-1")
        .execute(&mut *circle)
        .await
        .unwrap();
    circle.commit().await.unwrap();
    let outcome = ingesting.await.unwrap().unwrap();
    assert_eq!(outcome.counts.stored, 2);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    for _ in 0..100 {
        let ended: i64 = sqlx::query_scalar(deadlocks)
            .fetch_one(&mut watcher)
            .await
            .unwrap();
        if ended > 0 {
            return;
        }
        // The server's counters follow with a delay.
        sqlx::query("SELECT pg_stat_clear_snapshot()")
            .execute(&mut watcher)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("there was no deadlock");
}

/// Two stores, as two servers have them: what the one began the other one knows with its next batch or look.
#[tokio::test]
async fn a_generation_begun_by_one_server_is_known_to_the_other() {
    let url = database().await;
    let (first, second) = (open(&url).await, open(&url).await);
    assert_eq!(first.generation(), second.generation());
    let mut fixture = Fixture::new(Arc::new(first));
    let candidate = fixture.generation();
    let begun = fixture
        .store
        .declare_restored(candidate, fixture.now)
        .await
        .unwrap();
    second.check().await.unwrap();
    assert_eq!(second.generation(), begun);
    let term = second
        .claim_slot(Slot::new(0).unwrap(), "b", fixture.now, Duration::from_secs(6))
        .await
        .unwrap();
    assert!(term.is_some());
}
