//! Rules 16 and 17, and generations.

use agent_link::{AlarmKind, LinkEffect, LinkInput};
use fleet_wire::receipt::{RejectCode, Rejection};
use spool::sim::SimDisk;

use crate::bench::{Bench, answer, generation, positions, receipt, secs, spool_id};

#[test]
fn the_answer_is_obeyed_even_if_its_through_is_lower() {
    let (mut bench, _) = Bench::connected(5, 10);
    bench.sync(1, &[(1, 1)]);
    bench.receipt(1, 5);
    for seq in 1..=5 {
        bench.puback(1, seq, 0);
    }
    let effects = bench.sync(2, &[(1, 2)]);
    let changed = LinkEffect::GenerationChanged {
        from: Some(generation(1)),
        to: generation(2),
    };
    assert!(effects.contains(&changed), "{effects:?}");
    assert_eq!(positions(&effects), [3]);
    // Durably: the next process knows it too.
    let bench = Bench::start(&bench.disk, 2);
    assert_eq!(
        (bench.uplink.generation(), bench.uplink.outstanding()),
        (Some(generation(2)), 3)
    );
}

#[test]
fn only_the_answer_to_the_last_sync_is_obeyed() {
    let (mut bench, _) = Bench::connected(5, 10);
    bench.receipt(1, 5);
    bench.uplink.sync_spools(8);
    bench.uplink.sync_spools(9);
    assert_eq!(bench.handle(LinkInput::SyncAnswer(answer(8, 1, &[(1, 0)]))), []);
    assert_eq!(bench.uplink.outstanding(), 0);
    bench.handle(LinkInput::SyncAnswer(answer(9, 1, &[(1, 4)])));
    assert_eq!(bench.uplink.outstanding(), 1);
    bench.handle(LinkInput::SyncAnswer(answer(9, 1, &[(1, 0)])));
    assert_eq!(bench.uplink.outstanding(), 1, "the same answer again, late");
}

#[test]
fn the_first_contact_sends_nothing_again() {
    let (mut bench, _) = Bench::connected(5, 10);
    bench.puback(1, 1, 0);
    let effects = bench.sync(1, &[(1, 0)]);
    assert_eq!(
        effects,
        [LinkEffect::GenerationChanged {
            from: None,
            to: generation(1)
        }]
    );
}

#[test]
fn a_receipt_of_another_generation_moves_nothing_and_asks_for_a_sync_once() {
    let (mut bench, _) = Bench::connected(5, 10);
    bench.sync(2, &[(1, 0)]);
    let mut newer = receipt(1, 3);
    newer.store_generation = generation(3);
    assert_eq!(
        bench.handle(LinkInput::Receipt(newer.clone())),
        [LinkEffect::SyncWanted]
    );
    assert_eq!(bench.handle(LinkInput::Receipt(newer)), []);
    assert_eq!(
        bench.handle(LinkInput::Receipt(receipt(1, 3))),
        [],
        "an older one says nothing any more"
    );
    assert_eq!(bench.uplink.outstanding(), 5);
}

#[test]
fn a_server_ahead_of_an_earlier_spool_is_done_with_it() {
    let disk = SimDisk::new(1);
    Bench::start(&disk, 1).write(2, 10);
    let mut bench = Bench::start(&disk, 2);
    bench.write(1, 10);
    bench.connect(1, 10);
    let effects = bench.sync(1, &[(1, 20), (2, 0)]);
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, LinkEffect::SealSpool { .. })),
        "{effects:?}"
    );
    assert_eq!(positions(&effects), [1]);
    assert_eq!(bench.uplink.outstanding(), 1);
}

#[test]
fn a_server_ahead_of_the_spool_being_written_seals_it() {
    let (mut bench, _) = Bench::connected(2, 10);
    let effects = bench.sync(1, &[(1, 7)]);
    let cloned = AlarmKind::ClonedSpool {
        spool: spool_id(1),
        next_seq: 3,
        through: 7,
    };
    assert!(effects.contains(&LinkEffect::Alarm(cloned)), "{effects:?}");
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, LinkEffect::SealSpool { .. })),
        "{effects:?}"
    );
    assert_eq!(
        bench.uplink.spools().next_position(),
        None,
        "nothing more is written to it"
    );
    bench.uplink.begin(spool_id(2)).unwrap();
    bench.write(1, 10);
    let effects = bench.tick(secs(1));
    let [LinkEffect::Publish { position, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        position.predecessor.map(|p| (p.spool, p.last_seq)),
        Some((spool_id(1), 2))
    );
}

#[test]
fn a_rejection_is_told_once_and_stated_in_the_next_sync() {
    let (mut bench, _) = Bench::connected(5, 10);
    let mut refused = receipt(1, 3);
    refused.rejected = vec![Rejection {
        seq: 2,
        code: RejectCode::Malformed,
    }];
    let told = |effects: &[LinkEffect]| {
        effects
            .iter()
            .filter(|e| matches!(e, LinkEffect::Alarm(AlarmKind::Rejected { seq: 2, .. })))
            .count()
    };
    assert_eq!(told(&bench.handle(LinkInput::Receipt(refused.clone()))), 1);
    assert_eq!(told(&bench.handle(LinkInput::Receipt(refused))), 0);
    let (held, former) = bench.uplink.sync_spools(1);
    assert_eq!(
        (held[0].rejections_known, held[0].receipted, held[0].next_seq),
        (2, 3, 6)
    );
    assert_eq!(former, []);
}

#[test]
fn a_sync_names_the_oldest_spools_and_the_newest_where_all_have_no_room() {
    let disk = SimDisk::new(1);
    for start in 1..=70 {
        Bench::start(&disk, start).write(1, 10);
    }
    let mut bench = Bench::start(&disk, 71);
    bench.write(1, 10);
    let (held, _) = bench.uplink.sync_spools(1);
    assert_eq!(held.len(), fleet_wire::limits::MAX_SPOOLS);
    assert_eq!(
        (held[62].spool_id, held[63].spool_id),
        (spool_id(63), spool_id(71))
    );
}
