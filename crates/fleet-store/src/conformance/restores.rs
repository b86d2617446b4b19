//! Rules 16 to 18: what a sync proves.

use super::fixture::{Fixture, VIN};
use crate::AlarmKind;

/// Rule 16: the answer echoes the number and names every held spool.
pub async fn an_unknown_spool_is_answered_with_zero(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    let first = fixture.started(&mut bench, VIN, &[]);
    let facts = fixture.facts(&bench, None, 0);
    let number = facts.number;
    let outcome = fixture.ingest(vec![Fixture::sync(&bench, facts)]).await;
    let (device, answer) = &outcome.answers[0];
    assert_eq!((device, answer.number), (&bench.device, number));
    assert_eq!(answer.spools[0].through, 0);
    assert!(!answer.bench_restored);
    assert_eq!(answer.generation, fixture.store.generation());
    assert_eq!(
        outcome.lists,
        std::slice::from_ref(&bench.device),
        "it doesn't know the generation yet"
    );
    // Behind earlier messages of the batch.
    let generation = fixture.store.generation();
    let facts = fixture.facts(&bench, Some(generation), 0);
    let outcome = fixture.ingest(vec![first, Fixture::sync(&bench, facts)]).await;
    assert_eq!(outcome.answers[0].1.spools[0].through, 1);
    assert!(outcome.lists.is_empty());
}

/// Rule 18: a database that knows less than it has receipted was restored, and nobody said so.
pub async fn receipts_beyond_the_ledger_begin_a_generation(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let before = fixture.store.generation();
    let lost = fixture.started(&mut bench, VIN, &[]);
    let mut facts = fixture.facts(&bench, Some(before), 0);
    facts.held[0].receipted = 2;
    let outcome = fixture.ingest(vec![Fixture::sync(&bench, facts)]).await;
    let after = fixture.store.generation();
    assert!(after > before);
    assert_eq!(outcome.new_generation, Some(after));
    assert_eq!(outcome.answers[0].1.generation, after);
    assert_eq!(
        outcome.answers[0].1.spools[0].through, 1,
        "obeyed although it is lower"
    );
    assert!(
        outcome
            .alarms
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::UndeclaredRestore)
    );
    assert!(outcome.lists.contains(&bench.device));
    // The same statement in the old generation proves nothing new.
    let mut facts = fixture.facts(&bench, Some(before), 0);
    facts.held[0].receipted = 2;
    let outcome = fixture.ingest(vec![Fixture::sync(&bench, facts), lost]).await;
    assert_eq!((outcome.new_generation, outcome.counts.stored), (None, 1));
    assert_eq!(fixture.store.generation(), after);
    // A clock that ran backwards can't make a lower one.
    let declared = fixture.store.declare_restored(before, fixture.now).await.unwrap();
    assert!(declared > after);
}

/// Rule 17: a disk that is older than what was heard from it.
pub async fn a_restored_bench_is_told(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let image = bench.clone();
    let more = fixture.started(&mut bench, VIN, &[]);
    fixture.ingest(vec![more]).await;
    let mut bench = image;
    fixture.restart(&mut bench);
    let started = fixture.started(&mut bench, VIN, &[]);
    let generation = fixture.store.generation();
    let facts = fixture.facts(&bench, Some(generation), 0);
    let outcome = fixture.ingest(vec![started, Fixture::sync(&bench, facts)]).await;
    assert!(outcome.answers[0].1.bench_restored);
    assert!(
        outcome
            .alarms
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::BenchRestored)
    );
    // The answer may have been lost: the whole run is told; the next one is not.
    let facts = fixture.facts(&bench, Some(generation), 0);
    let outcome = fixture.ingest(vec![Fixture::sync(&bench, facts)]).await;
    assert!(outcome.answers[0].1.bench_restored);
    fixture.restart(&mut bench);
    let started = fixture.started(&mut bench, VIN, &[]);
    let facts = fixture.facts(&bench, Some(generation), 0);
    let outcome = fixture.ingest(vec![started, Fixture::sync(&bench, facts)]).await;
    assert!(!outcome.answers[0].1.bench_restored);
}

/// Rule 17, where the disk forgot a whole spool: the one before it is as long as ever.
pub async fn a_bench_that_forgot_a_spool_is_told(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let mut forgetful = bench.clone();
    fixture.restart(&mut bench);
    let started = fixture.started(&mut bench, VIN, &[]);
    fixture.ingest(vec![started]).await;
    fixture.restart(&mut forgetful);
    // Its first event may be recorded before its sync.
    let started = fixture.started(&mut forgetful, VIN, &[]);
    fixture.ingest(vec![started]).await;
    let generation = fixture.store.generation();
    for _ in 0..2 {
        let facts = fixture.facts(&forgetful, Some(generation), 0);
        let outcome = fixture.ingest(vec![Fixture::sync(&forgetful, facts)]).await;
        assert!(outcome.answers[0].1.bench_restored);
    }
    fixture.restart(&mut forgetful);
    let started = fixture.started(&mut forgetful, VIN, &[]);
    let facts = fixture.facts(&forgetful, Some(generation), 0);
    let outcome = fixture
        .ingest(vec![started, Fixture::sync(&forgetful, facts)])
        .await;
    assert!(
        !outcome.answers[0].1.bench_restored,
        "told in the run that showed it"
    );
}
