//! Retention: nothing goes before its time, nothing goes that a relay still needs, and the ledger says what went.

use std::time::Duration;

use super::fixture::{Bench, Fixture, VIN};
use crate::{Advanced, OutboxAdvance, OutboxCursor, OutboxRead, OutboxRow, PruneOutcome, Retention};

const DAY: i64 = 24 * 60 * 60;

fn retention(relay: bool) -> Retention {
    Retention {
        keep: Some(Duration::from_hours(48)),
        relay,
    }
}

async fn filled(fixture: &mut Fixture, bench: &mut Bench, count: usize) {
    let items = (0..count).map(|_| fixture.started(bench, VIN, &[])).collect();
    assert_eq!(fixture.ingest(items).await.counts.stored, count as u64);
}

async fn rows(fixture: &Fixture, after: OutboxCursor) -> Vec<OutboxRow> {
    match fixture.store.outbox_after(after, 1000).await.unwrap() {
        OutboxRead::Rows(rows) => rows,
        OutboxRead::CursorLost => panic!("{after:?} is not there"),
    }
}

async fn stored(fixture: &Fixture, bench: &Bench) -> usize {
    let events = fixture.store.events(&bench.device, bench.spool, 1, 1000).await;
    events.unwrap().len()
}

/// An event that waits for the relay never goes, however old it is.
pub async fn retention_waits_for_the_relay(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    filled(&mut fixture, &mut bench, 3).await;
    let old = rows(&fixture, OutboxCursor::START).await;
    fixture.pass(DAY);
    let young = fixture.store.prune(fixture.now, retention(true)).await.unwrap();
    assert_eq!(
        (young.events_removed, young.held_by_relay),
        (0, false),
        "it is young"
    );
    fixture.pass(9 * DAY);
    filled(&mut fixture, &mut bench, 2).await;
    let held = fixture.store.prune(fixture.now, retention(true)).await.unwrap();
    assert!(held.held_by_relay);
    assert_eq!((held.events_removed, held.events_expired), (0, 0));
    assert_eq!(stored(&fixture, &bench).await, 5);
    let term = fixture
        .store
        .claim_relay("a", fixture.now, Duration::from_secs(6))
        .await
        .unwrap()
        .unwrap();
    let through = OutboxCursor::behind(&old[2]);
    let advance = OutboxAdvance {
        term,
        through,
        already: Vec::new(),
    };
    let advanced = fixture.store.outbox_advance(&advance, fixture.now).await.unwrap();
    assert_eq!(advanced, Advanced::Done);
    for _ in 0..2 {
        fixture.store.prune(fixture.now, retention(true)).await.unwrap();
    }
    let left = stored(&fixture, &bench).await;
    // The event of the newest relayed row may stay as long as the row.
    assert!((2..=3).contains(&left), "{left}");
    let waiting: Vec<u64> = rows(&fixture, through)
        .await
        .iter()
        .map(|row| row.event.seq)
        .collect();
    assert_eq!(waiting, [4, 5], "the cursor is there, and what waits behind it");
    let totals = fixture.store.ledger_totals().await.unwrap();
    assert_eq!((totals.stored, totals.in_kafka, totals.expired), (5, 3, 0));
    assert_eq!(totals.in_outbox, 2);
}

/// Without a relay the outbox ends with the retention, and the ledger counts what went.
pub async fn without_a_relay_events_expire(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    filled(&mut fixture, &mut bench, 3).await;
    let event = fixture
        .store
        .events(&bench.device, bench.spool, 2, 1)
        .await
        .unwrap();
    fixture.pass(10 * DAY);
    filled(&mut fixture, &mut bench, 2).await;
    let never = fixture
        .store
        .prune(fixture.now, Retention::default())
        .await
        .unwrap();
    assert_eq!(
        (never.events_removed, never.events_expired),
        (0, 0),
        "without a setting"
    );
    let gone = fixture.store.prune(fixture.now, retention(false)).await.unwrap();
    assert_eq!(
        (gone.events_removed, gone.events_expired, gone.outbox_removed),
        (3, 3, 3)
    );
    assert_eq!(stored(&fixture, &bench).await, 2);
    let again = fixture.store.prune(fixture.now, retention(false)).await.unwrap();
    assert_eq!(again, PruneOutcome::default());
    let totals = fixture.store.ledger_totals().await.unwrap();
    assert_eq!((totals.stored, totals.expired, totals.in_outbox), (5, 3, 2));
    let ledger = fixture.store.bench_ledger(&bench.device).await.unwrap();
    assert_eq!(
        (ledger[0].stored, ledger[0].expired, ledger[0].in_outbox),
        (5, 3, 2)
    );
    // A relay that is set up later begins with what is left.
    let left: Vec<u64> = rows(&fixture, OutboxCursor::START)
        .await
        .iter()
        .map(|row| row.event.seq)
        .collect();
    assert_eq!(left, [4, 5]);
    // The ledger alone decides: what is gone is still settled.
    let mut again = bench.clone();
    again.next_seq = 2;
    let mut late = fixture.started(&mut again, VIN, &[]);
    if let crate::InboundMessage::Event(late) = &mut late.message {
        late.bytes = event[0].bytes.clone();
        late.digest = event[0].digest;
    }
    let outcome = fixture.ingest(vec![late]).await;
    assert_eq!((outcome.counts.duplicates, outcome.counts.stored), (1, 0));
}
