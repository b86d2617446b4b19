//! A row that the database refuses for a reason that nobody foresaw.

use std::sync::Arc;

use fleet_domain::AttemptRef;
use fleet_store::conformance::Fixture;
use fleet_store::{EventStanding, Store};
use sqlx::{Connection as _, SqliteConnection};

/// The event at fault is found and marked, all others are shown, everything is stored, receipted and relayed.
#[tokio::test]
async fn a_refused_row_marks_its_event_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let store: Arc<dyn Store> = Arc::new(super::open(&path).await);
    let mut other = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::query(
        "CREATE TRIGGER whim BEFORE INSERT ON steps WHEN new.step IN ('step-3', 'step-17')
         BEGIN SELECT raise(ABORT, 'a whim'); END",
    )
    .execute(&mut other)
    .await
    .unwrap();
    let mut fixture = Fixture::new(store.clone());
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", "WDB1110101A000001", &[]).await;
    let job = fixture.offered("WDB1110101A000001").await.job;
    let of = AttemptRef {
        job: job.id,
        attempt: job.attempt,
        fence: job.fence,
    };
    let items = fixture.steps(&mut bench, of, 40);
    let outcome = fixture.ingest(items).await;
    assert_eq!((outcome.counts.stored, outcome.counts.unprojected), (40, 2));
    assert_eq!(outcome.receipts[0].through, bench.next_seq - 1);
    assert_eq!(store.steps(job.id, 1).await.unwrap().len(), 38);
    assert_eq!(fixture.job(job.id).await.steps_done, 38);
    let events = store.events(&bench.device, bench.spool, 2, 100).await.unwrap();
    let marked: Vec<u64> = events
        .iter()
        .filter(|event| matches!(&event.standing, EventStanding::Unprojected(why) if why.contains("a whim")))
        .map(|event| event.seq)
        .collect();
    assert_eq!(marked, [5, 19]);
    assert_eq!(store.outbox_read(0, 100).await.unwrap().len(), 41);
}
