//! A server that is away, read-only, full, frozen or killed: each has its name, and nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use fleet_clock::wall_now;
use fleet_store::conformance::Fixture;
use fleet_store::{IngestBatch, Store, StoreError};
use fleet_testkit::services::{Postgres, PostgresOptions as ServerOptions};

use super::{options, unprepared};

const VIN: &str = "WDB1110101A000001";

fn state<T: std::fmt::Debug>(result: Result<T, StoreError>) -> &'static str {
    result.expect_err("the database is ill").state()
}

/// Asks until the database is well.
async fn until_ready(store: &dyn Store) {
    for _ in 0..200 {
        if store.prepare(wall_now()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the database does not come back");
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

#[tokio::test]
async fn each_illness_has_its_name_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Postgres::start(folder.path(), ServerOptions::default())
        .await
        .unwrap();
    let store = Arc::new(unprepared(&server.url()));
    server.stop().await.unwrap();
    // Down at the start: making a store waits for nothing, and says what is wrong.
    assert_eq!(state(store.prepare(wall_now()).await), "unreachable");
    assert_eq!(state(store.counts().await), "unreachable");
    assert!(store.generation().0.is_nil());
    server.restart().await.unwrap();
    assert_eq!(
        state(store.counts().await),
        "unreachable",
        "it was not checked yet"
    );
    until_ready(&*store).await;
    let mut fixture = Fixture::new(store.clone());
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let items = vec![fixture.started(&mut bench, VIN, &[])];
    let next = batch(&mut fixture, items);

    server.set_read_only(true).await.unwrap();
    let mut seen = store.check().await;
    for _ in 0..100 {
        if seen.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = store.check().await;
    }
    assert_eq!(state(seen), "read_only");
    assert_eq!(state(store.ingest(next.clone()).await), "read_only");
    store.counts().await.expect("what is there can be read");
    server.set_read_only(false).await.unwrap();
    for _ in 0..100 {
        if store.check().await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    server.freeze().unwrap();
    let asked = tokio::time::Instant::now();
    assert_eq!(state(store.check().await), "unreachable");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    server.thaw().unwrap();
    store.check().await.unwrap();

    server.kill().unwrap();
    assert_eq!(state(store.ingest(next.clone()).await), "unreachable");
    server.restart().await.unwrap();
    until_ready(&*store).await;
    assert_eq!(store.ingest(next.clone()).await.unwrap().counts.stored, 1);
    assert_eq!(store.ingest(next).await.unwrap().counts.duplicates, 1);
}

#[tokio::test]
async fn credentials_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let with_password = ServerOptions {
        password: Some("right".to_owned()),
        ..ServerOptions::default()
    };
    let server = Postgres::start(folder.path(), with_password).await.unwrap();
    for (username, password, expected) in [
        (None, None, "refused"),
        (None, Some("wrong"), "refused"),
        (Some("nobody"), Some("right"), "refused"),
        (None, Some("right"), "ok"),
    ] {
        let mut asked = options(&server.url());
        asked.username = username.map(str::to_owned);
        asked.password = password.map(str::to_owned);
        assert!(
            !format!("{asked:?}").contains("right"),
            "a password is never shown"
        );
        let store = fleet_store_postgres::PostgresStore::open(
            &asked,
            fleet_domain::StoreGeneration(uuid::Uuid::nil()),
        )
        .unwrap();
        let found = store.prepare(wall_now()).await;
        let state = found.as_ref().map_or_else(StoreError::state, |()| "ok");
        assert_eq!(state, expected, "{username:?} {password:?}: {found:?}");
    }
}

#[tokio::test]
async fn a_full_disk_takes_nothing_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let small = ServerOptions {
        small_disk: Some(96 * 1024 * 1024),
        ..ServerOptions::default()
    };
    let mut server = Postgres::start(folder.path(), small).await.unwrap();
    let store = Arc::new(unprepared(&server.url()));
    store.prepare(wall_now()).await.unwrap();
    let mut fixture = Fixture::new(store.clone());
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    server.fill_disk().unwrap();
    let mut refused = None;
    for _ in 0..200 {
        let before = bench.clone();
        let items = (0..200).map(|_| fixture.started(&mut bench, VIN, &[])).collect();
        let next = batch(&mut fixture, items);
        match store.ingest(next.clone()).await {
            Ok(outcome) => assert_eq!(outcome.counts.stored, 200),
            Err(error) => {
                assert_eq!(error.state(), "full", "{error:?}");
                refused = Some((before, next));
                break;
            }
        }
    }
    let (before, next) = refused.expect("the disk is full");
    let through = store.bench_ledger(&bench.device).await.unwrap();
    let through = through.first().map_or(0, |row| row.through);
    assert_eq!(through, before.next_seq - 1, "all or nothing");
    server.free_disk().unwrap();
    let outcome = store.ingest(next).await.unwrap();
    assert_eq!(outcome.counts.stored, 200);
    assert_eq!(outcome.receipts[0].through, bench.next_seq - 1);
}

/// The server is killed with -9 again and again while several writers write. What was answered is there, what was
/// not is given again, and everything is there once.
#[tokio::test]
async fn a_killed_server_keeps_what_it_answered() {
    const WRITERS: usize = 4;
    const BATCHES: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    // With fsync: what a kill may take is what was not answered.
    let mut server = Postgres::start(folder.path(), ServerOptions::default())
        .await
        .unwrap();
    let store: Arc<dyn Store> = Arc::new(unprepared(&server.url()));
    until_ready(&*store).await;
    let mut fixture = Fixture::new(store.clone());
    fixture.lease_all().await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..WRITERS {
        let mut bench = fixture.bench(&format!("bench-{n}"));
        let batches: Vec<IngestBatch> = (0..BATCHES)
            .map(|_| {
                let items = (0..5).map(|_| fixture.started(&mut bench, VIN, &[])).collect();
                batch(&mut fixture, items)
            })
            .collect();
        let store = store.clone();
        writers.spawn(async move {
            let mut retried = 0;
            for batch in batches {
                loop {
                    match store.ingest(batch.clone()).await {
                        Ok(outcome) => {
                            let counts = outcome.counts;
                            assert_eq!(counts.stored + counts.duplicates, 5, "all or nothing");
                            break;
                        }
                        Err(error) => {
                            assert_eq!(error.state(), "unreachable", "{error:?}");
                            retried += 1;
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            }
            retried
        });
    }
    for kill in 1..=3u64 {
        // Into the middle of the work, wherever that is.
        let target = kill * 200;
        for _ in 0..1000 {
            let stored = store.ledger_totals().await.map_or(0, |totals| totals.stored);
            if stored >= target {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill().unwrap();
        server.restart().await.unwrap();
    }
    let mut retried = 0;
    while let Some(writer) = writers.join_next().await {
        retried += writer.unwrap();
    }
    assert!(retried > 0, "no kill hit a batch");
    let events = (WRITERS * BATCHES * 5) as u64;
    let totals = store.ledger_totals().await.unwrap();
    assert_eq!(
        (totals.stored, totals.outstanding, totals.in_outbox),
        (events, 0, events)
    );
    let rows = store.outbox_read(0, 10_000).await.unwrap();
    let places: std::collections::BTreeSet<_> = rows
        .iter()
        .map(|row| (row.event.device.clone(), row.event.seq))
        .collect();
    assert_eq!(
        (rows.len() as u64, places.len() as u64),
        (events, events),
        "each once"
    );
}
