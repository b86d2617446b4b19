//! Readers that follow outbox and change log by the last place they have seen, while several writers write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::{join, join_all, join3};
use uuid::Uuid;

use super::fixture::{Fixture, VIN};
use crate::{IngestBatch, OutboxCursor, OutboxRead, OutboxRow, Store};

const WRITERS: usize = 6;
const BATCHES: usize = 12;
const EVENTS: usize = 3;

async fn follow_outbox(store: Arc<dyn Store>, expected: usize) -> Vec<OutboxRow> {
    let (mut cursor, mut seen) = (OutboxCursor::START, Vec::new());
    while seen.len() < expected {
        match store.outbox_after(cursor, 7).await.unwrap() {
            OutboxRead::Rows(rows) => seen.extend(rows),
            OutboxRead::CursorLost => panic!("{cursor:?} is not there"),
        }
        cursor = seen.last().map_or(OutboxCursor::START, OutboxCursor::behind);
        if seen.len() < expected && store.outbox_read(0, 1000).await.unwrap().len() >= expected {
            // Everything is committed: one more look finds what is left, or it was passed over.
            let OutboxRead::Rows(rows) = store.outbox_after(cursor, 1000).await.unwrap() else {
                panic!("{cursor:?} is not there")
            };
            seen.extend(rows);
            break;
        }
    }
    seen
}

async fn follow_changes(store: Arc<dyn Store>, head: Arc<std::sync::atomic::AtomicBool>) -> Vec<u64> {
    let (mut since, mut seen) = (0, Vec::new());
    loop {
        let done = head.load(std::sync::atomic::Ordering::Acquire);
        let part = store.changes(since, 5).await.unwrap();
        assert!(!part.truncated);
        seen.extend(part.rows.iter().map(|row| row.seq));
        since = part.rows.last().map_or(since, |row| row.seq);
        if done && part.rows.is_empty() {
            return seen;
        }
    }
}

/// Writers on different slots at once: a reader that only remembers the last place it has seen misses no row, and
/// sees the events of each bench in their order.
pub async fn followers_miss_nothing(mut fixture: Fixture) {
    fixture.lease_all().await;
    let (terms, now) = (fixture.terms.clone(), fixture.now);
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let mut bench = fixture.bench(&format!("bench-{n}"));
        let batches: Vec<IngestBatch> = (0..BATCHES)
            .map(|_| IngestBatch {
                terms: terms.clone(),
                items: (0..EVENTS)
                    .map(|_| fixture.started(&mut bench, VIN, &[]))
                    .collect(),
                misplaced: Vec::new(),
                received_at: now,
                spare_generation: fixture.generation(),
            })
            .collect();
        let store = fixture.store.clone();
        writers.push(async move {
            for batch in batches {
                let stored = store.ingest(batch).await.unwrap().counts.stored;
                assert_eq!(stored, EVENTS as u64);
            }
        });
    }
    let expected = WRITERS * BATCHES * EVENTS;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (store, requests, flag) = (fixture.store.clone(), fixture.store.clone(), done.clone());
    let all = async {
        let mut next = 0x5000_u128;
        let mut mint = || {
            next += 1;
            Uuid::from_u128(next)
        };
        let others = async {
            for _ in 0..BATCHES {
                // Another kind of writer, with changes only.
                let request = fixture.request(VIN, "ESP");
                requests.create_job(request, now).await.unwrap();
                requests.dispatch(now, &mut mint).await.unwrap();
            }
        };
        join(join_all(writers), others).await;
        done.store(true, std::sync::atomic::Ordering::Release);
    };
    let (outbox, changes, ()) = join3(
        follow_outbox(store.clone(), expected),
        follow_changes(store.clone(), flag),
        all,
    )
    .await;
    let whole = store.outbox_read(0, 1000).await.unwrap();
    assert_eq!(outbox.len(), expected, "rows were passed over");
    assert_eq!(outbox, whole);
    let mut by_bench: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for row in &outbox {
        by_bench
            .entry(row.event.device.clone())
            .or_default()
            .push(row.event.seq);
    }
    let in_order: Vec<u64> = (1..).take(BATCHES * EVENTS).collect();
    assert!(by_bench.values().all(|seqs| *seqs == in_order), "{by_bench:?}");
    let log = store.changes(0, 10_000).await.unwrap();
    let all: Vec<u64> = log.rows.iter().map(|row| row.seq).collect();
    assert_eq!(changes, all, "changes were passed over");
    let distinct: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len());
}
