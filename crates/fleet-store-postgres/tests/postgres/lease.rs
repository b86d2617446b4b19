//! What the lock on a slot's lease keeps in order.

use std::sync::Arc;
use std::time::Duration;

use fleet_domain::Slot;
use fleet_store::conformance::Fixture;
use fleet_store::{IngestBatch, Store};
use fleet_testkit::services::Postgres;
use sqlx::{Connection as _, PgConnection};

use super::{database, name_of, open};

const VIN: &str = "WDB1110101A000001";
const TTL: Duration = Duration::from_secs(6);

/// Statements of stores that wait for a lock.
async fn waiting(watcher: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'fleet-server' AND wait_event_type = 'Lock'",
    )
    .fetch_one(watcher)
    .await
    .unwrap()
}

async fn until_waiting(watcher: &mut PgConnection, wanted: i64) {
    while waiting(watcher).await < wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Rule 10: a batch that was begun under a term is committed before the slot's next owner begins, or it is left out.
/// The ledger would survive it otherwise: an event is a duplicate by its row, whoever brings it. Not so what counts by
/// the order of arrival alone: an old owner that wakes up would put an earlier run's presence over the current one.
#[tokio::test]
async fn a_slot_changes_hands_behind_the_batch_that_was_begun_under_the_old_term() {
    let url = database().await;
    let store: Arc<dyn Store> = Arc::new(open(&url).await);
    let mut fixture = Fixture::new(store.clone());
    fixture.lease_all().await;
    let bench = fixture.online("bench-1", VIN, &[]).await;
    let superuser = Postgres::shared().await.unwrap().superuser_url_of(name_of(&url));
    let (mut stranger, mut watcher) = (
        PgConnection::connect(&superuser).await.unwrap(),
        PgConnection::connect(&superuser).await.unwrap(),
    );
    // The old owner stands still in the middle of its transaction, behind the look at its term.
    let mut hold = stranger.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM devices WHERE device = 'bench-1' FOR UPDATE")
        .execute(&mut *hold)
        .await
        .unwrap();
    let batch = IngestBatch {
        terms: fixture.terms.clone(),
        items: vec![Fixture::presence(&bench, 2, true, false)],
        misplaced: Vec::new(),
        received_at: fixture.now,
        spare_generation: fixture.generation(),
    };
    let old = tokio::spawn({
        let (store, batch) = (store.clone(), batch.clone());
        async move { store.ingest(batch).await }
    });
    until_waiting(&mut watcher, 1).await;

    // Its lease runs out, and another one wants the slot.
    fixture.pass(3600);
    let slot = Slot::of(&bench.device);
    let mut claim = tokio::spawn({
        let (store, now) = (store.clone(), fixture.now);
        async move { store.claim_slot(slot, "another", now, TTL).await }
    });
    tokio::select! {
        claimed = &mut claim => panic!(
            "the slot changed hands in the middle of a batch of its old owner: {:?}",
            claimed.unwrap().unwrap()
        ),
        () = until_waiting(&mut watcher, 2) => {}
    }
    hold.rollback().await.unwrap();
    assert!(
        old.await.unwrap().unwrap().lost_slots.is_empty(),
        "it was begun in time"
    );
    assert!(
        claim.await.unwrap().unwrap().is_some(),
        "the slot is the other's now"
    );
    let late = store.ingest(batch).await.unwrap();
    assert_eq!(
        late.lost_slots,
        [slot],
        "what the old owner begins from now on is left out"
    );
}
