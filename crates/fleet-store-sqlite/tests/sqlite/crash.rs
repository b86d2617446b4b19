//! Interrupted transactions, killed processes and older files.

use std::future::poll_fn;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fleet_domain::{AttemptRef, BenchReport, JobId};
use fleet_store::conformance::Fixture;
use fleet_store::{IngestBatch, Store};

use super::open;

const VIN: &str = "WDB1110101A000001";

/// Drops the future of a batch at its first, second, third … wake-up (it comes to its end after a dozen or
/// so): nothing of the batch is there, or all of it, and the batch can be given again.
#[tokio::test]
async fn a_batch_that_is_dropped_half_way_leaves_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder.path().join("fleet.db")).await);
    let mut fixture = Fixture::new(store.clone());
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let mut expected = 0;
    for attempt in 1..=40 {
        let of = AttemptRef {
            job: JobId(fixture.uuid()),
            attempt,
            fence: 1,
        };
        let mut items = vec![fixture.started(&mut bench, VIN, &[])];
        items.extend(fixture.steps(&mut bench, of, 9));
        let batch = IngestBatch {
            terms: fixture.terms.clone(),
            items,
            misplaced: Vec::new(),
            received_at: fixture.now,
            spare_generation: fixture.generation(),
        };
        let mut pending = store.ingest(batch.clone());
        let mut polls = 0;
        let done = poll_fn(|context| {
            polls += 1;
            if polls > attempt {
                return Poll::Ready(false);
            }
            pending.as_mut().poll(context).map(|_| true)
        })
        .await;
        drop(pending);
        // The next write waits until the dropped transaction is rolled back.
        store.renew_slots(&[], fixture.now, Duration::ZERO).await.unwrap();
        let left = store.ledger_totals().await.unwrap();
        assert!(
            left.stored == expected || left.stored == expected + 10,
            "{} at wake-up {attempt}, {expected} before",
            left.stored
        );
        assert!(!done || left.stored == expected + 10);
        assert_eq!(left.in_outbox, left.stored, "at wake-up {attempt}");
        let outcome = store.ingest(batch).await.unwrap();
        assert_eq!(outcome.counts.stored + outcome.counts.duplicates, 10);
        expected += 10;
        assert_eq!(store.ledger_totals().await.unwrap().stored, expected);
    }
}

const CHILD: &str = "FLEET_STORE_CHILD";

/// Not a test of its own: the process that the next test kills. It says each batch that was answered.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let store = Arc::new(open(path.as_ref()).await);
    let mut fixture = Fixture::new(store);
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    for n in 1u32.. {
        let of = AttemptRef {
            job: JobId(fixture.uuid()),
            attempt: 1,
            fence: 1,
        };
        let items = fixture.steps(&mut bench, of, 20);
        fixture.ingest(items).await;
        println!("answered {n}");
    }
}

/// SIGKILL while batches are written: every batch that was answered is there, none is there by half.
#[tokio::test]
async fn a_killed_process_keeps_what_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::child_that_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answered = 0u64;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        if let Some(n) = line.unwrap().strip_prefix("answered ") {
            answered = n.parse().unwrap();
        }
        if answered == 25 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        if let Some(n) = line.strip_prefix("answered ") {
            answered = n.parse().unwrap();
        }
    }
    let store = open(&path).await;
    let totals = store.ledger_totals().await.unwrap();
    assert!(
        totals.stored >= answered * 20,
        "{} of {}",
        totals.stored,
        answered * 20
    );
    assert_eq!(totals.stored % 20, 0);
    assert_eq!((totals.outstanding, totals.in_outbox), (0, totals.stored));
    let bench = store.bench(&"bench-1".parse().unwrap()).await.unwrap().unwrap();
    let spool = store.bench_ledger(&bench.device).await.unwrap()[0];
    assert_eq!(spool.through, totals.stored);
    let events = store
        .events(&bench.device, spool.spool, 1, 100_000)
        .await
        .unwrap();
    assert_eq!(u64::try_from(events.len()).unwrap(), totals.stored);
}

/// An older file in place of the database, and nobody says so: the bench's receipts prove it, the bench
/// sends again, and the answer is obeyed although it is lower.
#[tokio::test]
async fn an_older_file_begins_a_new_generation() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("fleet.db"), folder.path().join("backup.db"));
    let store = Arc::new(open(&path).await);
    let mut fixture = Fixture::new(store.clone());
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let generation = store.generation();
    store.close().await;
    std::fs::copy(&path, &copy).unwrap();

    let store = Arc::new(open(&path).await);
    fixture.store = store.clone();
    let later: Vec<_> = (0..3)
        .map(|_| {
            fixture.event(
                &mut bench,
                BenchReport::Unknown {
                    r#type: "x".to_owned(),
                },
            )
        })
        .collect();
    let outcome = fixture.ingest(later.clone()).await;
    let receipted = outcome.receipts[0].through;
    store.close().await;
    std::fs::rename(&copy, &path).unwrap();

    let store = Arc::new(open(&path).await);
    fixture.store = store.clone();
    assert_eq!(store.generation(), generation);
    let mut facts = fixture.facts(&bench, Some(generation), 0);
    facts.held[0].receipted = receipted;
    let outcome = fixture.ingest(vec![Fixture::sync(&bench, facts)]).await;
    assert!(store.generation() > generation);
    assert_eq!(outcome.answers[0].1.spools[0].through, 1);
    let outcome = fixture.ingest(later).await;
    assert_eq!(
        (outcome.counts.stored, outcome.receipts[0].through),
        (3, receipted)
    );
    assert_eq!(outcome.receipts[0].generation, store.generation());
    store.close().await;
    assert_eq!(open(&path).await.generation(), outcome.receipts[0].generation);
}
