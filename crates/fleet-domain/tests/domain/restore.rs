//! What follows from a sync: answers, restored disks, restored databases.

use fleet_domain::{
    Arrival, DeviceLedger, Digest, HeldSpool, LedgerAlarm, Place, Predecessor, RejectCode, Seq, SyncFacts,
};

use super::{generation, run, spool};

/// A ledger that has stored `through` events of each spool.
fn ledger(spools: &[(u128, Seq)]) -> DeviceLedger {
    let mut ledger = DeviceLedger::default();
    for &(n, through) in spools {
        for seq in 1..=through {
            let place = Place {
                spool: spool(n),
                seq,
                predecessor: None,
                hole_to: None,
            };
            ledger.decide(
                &Arrival {
                    place,
                    digest: Digest([1; 32]),
                    rejected: None,
                },
                |_, _| None,
            );
        }
    }
    ledger
}

fn held(n: u128, next_seq: Seq, predecessor: Option<(u128, Seq)>) -> HeldSpool {
    HeldSpool {
        spool: spool(n),
        predecessor: predecessor.map(|(n, last_seq)| Predecessor {
            spool: spool(n),
            last_seq,
        }),
        first_kept: 1,
        next_seq,
        receipted: 0,
        rejections_known: 0,
    }
}

fn sync(held: Vec<HeldSpool>) -> SyncFacts {
    SyncFacts {
        number: 1,
        run_id: run(1),
        connect_counter: 1,
        generation: Some(generation(1)),
        desired_version: 0,
        held,
        complete: true,
        former: Vec::new(),
        jobs: Vec::new(),
        refusing_jobs: None,
    }
}

#[test]
fn every_held_spool_is_answered_in_order_and_announced() {
    let mut ledger = ledger(&[(1, 3)]);
    let facts = sync(vec![held(1, 4, None), held(2, 6, Some((1, 3)))]);
    let decision = ledger.sync(&facts, generation(1), true);
    let answers: Vec<_> = decision
        .spools
        .iter()
        .map(|answer| (answer.spool, answer.through))
        .collect();
    assert_eq!(answers, [(spool(1), 3), (spool(2), 0)]);
    let row = ledger.spool(spool(2)).unwrap();
    assert_eq!((row.announced, row.outstanding()), (5, 5));
    assert!(!decision.bench_restored && decision.alarms.is_empty());
}

#[test]
fn an_earlier_spool_or_a_predecessor_shorter_than_heard_of_shows_a_restored_disk() {
    let cases: [(&str, SyncFacts, bool); 5] = [
        (
            "as heard",
            sync(vec![held(1, 4, None), held(2, 2, Some((1, 3)))]),
            false,
        ),
        (
            "an earlier spool",
            sync(vec![held(1, 3, None), held(2, 2, None)]),
            true,
        ),
        ("a predecessor", sync(vec![held(2, 2, Some((1, 1)))]), true),
        (
            "a former spool",
            SyncFacts {
                former: vec![Predecessor {
                    spool: spool(1),
                    last_seq: 2,
                }],
                ..sync(vec![held(2, 2, None)])
            },
            true,
        ),
        // The server may have heard of events after the sync was written: the bench judges by itself.
        (
            "the spool that is being written",
            sync(vec![held(1, 2, None)]),
            false,
        ),
    ];
    for (what, facts, restored) in cases {
        let decision = ledger(&[(1, 3)]).sync(&facts, generation(1), true);
        assert_eq!(decision.bench_restored, restored, "{what}");
        let alarmed = decision
            .alarms
            .iter()
            .any(|alarm| matches!(alarm, LedgerAlarm::BenchRestored { heard: 3, .. }));
        assert_eq!(alarmed, restored, "{what}");
        let stale = ledger(&[(1, 3)]).sync(&facts, generation(1), false);
        assert!(!stale.bench_restored, "{what}: an old sync proves nothing");
    }
}

#[test]
fn a_second_spool_behind_one_predecessor_shows_a_disk_that_forgot_the_first() {
    let mut ledger = ledger(&[(1, 3)]);
    let before = sync(vec![held(1, 4, None), held(2, 5, Some((1, 3)))]);
    assert!(!ledger.sync(&before, generation(1), true).bench_restored);
    let forgot = SyncFacts {
        run_id: run(2),
        ..sync(vec![held(1, 4, None), held(3, 2, Some((1, 3)))])
    };
    for _ in 0..2 {
        assert!(ledger.sync(&forgot, generation(1), true).bench_restored);
    }
    let next = SyncFacts {
        run_id: run(3),
        ..sync(vec![
            held(1, 4, None),
            held(3, 2, Some((1, 3))),
            held(4, 1, Some((3, 1))),
        ])
    };
    let decision = ledger.sync(&next, generation(1), true);
    assert!(!decision.bench_restored && decision.alarms.is_empty());
}

#[test]
fn a_restored_bench_is_told_in_the_run_that_showed_it_and_not_later() {
    let mut ledger = ledger(&[(1, 3)]);
    let mut facts = sync(vec![held(1, 3, None), held(2, 2, Some((1, 2)))]);
    for _ in 0..3 {
        assert!(ledger.sync(&facts, generation(1), true).bench_restored);
    }
    facts.run_id = run(2);
    let decision = ledger.sync(&facts, generation(1), true);
    assert!(!decision.bench_restored && decision.alarms.is_empty());
}

#[test]
fn receipts_beyond_the_ledger_prove_a_restore_within_a_generation_only() {
    let mut facts = sync(vec![held(1, 6, None)]);
    for (known, receipted, restored) in [
        (Some(generation(1)), 3, false),
        (Some(generation(1)), 4, true),
        (None, 5, false),
    ] {
        facts.generation = known;
        facts.held[0].receipted = receipted;
        let decision = ledger(&[(1, 3)]).sync(&facts, generation(1), true);
        assert_eq!(decision.undeclared_restore, restored, "{known:?} {receipted}");
        assert_eq!(decision.spools[0].through, 3, "obeyed although it is lower");
    }
    // A generation of the past: the restore has been declared.
    facts.generation = Some(generation(1));
    assert!(
        !ledger(&[(1, 3)])
            .sync(&facts, generation(2), true)
            .undeclared_restore
    );
}

#[test]
fn what_neither_side_has_becomes_a_hole_so_that_its_successor_can_begin() {
    let mut facts = sync(vec![held(2, 4, Some((1, 5)))]);
    let mut restored = ledger(&[(1, 3)]);
    let decision = restored.sync(&facts, generation(1), true);
    assert_eq!(decision.forgotten, [(spool(1), 4, 5)]);
    assert_eq!(
        decision.alarms,
        [LedgerAlarm::Forgotten {
            spool: spool(1),
            from: 4,
            to: 5,
        }]
    );
    let row = restored.spool(spool(1)).unwrap();
    assert_eq!(
        (row.through, row.stored, row.holes, row.outstanding()),
        (5, 3, 2, 0)
    );
    // A list that was cut does not say what is gone.
    facts.complete = false;
    let decision = ledger(&[(1, 3)]).sync(&facts, generation(1), true);
    assert!(decision.forgotten.is_empty());
    // What is held is sent.
    let facts = sync(vec![held(1, 6, None), held(2, 4, Some((1, 5)))]);
    assert!(
        ledger(&[(1, 3)])
            .sync(&facts, generation(1), true)
            .forgotten
            .is_empty()
    );
}

#[test]
fn rejections_that_the_bench_knows_are_not_named_again() {
    let mut ledger = ledger(&[(1, 1)]);
    for seq in [2, 3] {
        let place = Place {
            spool: spool(1),
            seq,
            predecessor: None,
            hole_to: None,
        };
        let arrival = Arrival {
            place,
            digest: Digest([2; 32]),
            rejected: Some(RejectCode::SpecVersion),
        };
        ledger.decide(&arrival, |_, _| None);
    }
    let mut facts = sync(vec![held(1, 4, None)]);
    facts.held[0].rejections_known = 2;
    let decision = ledger.sync(&facts, generation(1), true);
    let named: Vec<_> = decision.spools[0]
        .rejected
        .iter()
        .map(|r| (r.seq, r.code))
        .collect();
    assert_eq!(named, [(3, RejectCode::SpecVersion)]);
    assert_eq!(ledger.spool(spool(1)).unwrap().rejections().len(), 1);
}
