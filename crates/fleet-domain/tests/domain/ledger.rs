//! What becomes of an arriving event.

use std::collections::BTreeMap;

use fleet_domain::{
    Arrival, Decision, DeviceLedger, Digest, LedgerAlarm, Place, Predecessor, RejectCode, Seq, SpoolId,
};
use proptest::prelude::*;

use super::spool;

fn content(n: u8) -> Digest {
    Digest([n; 32])
}

/// An event `seq` of spool 1 with the content that belongs there.
fn event(seq: Seq) -> Arrival {
    Arrival {
        place: Place {
            spool: spool(1),
            seq,
            predecessor: None,
            hole_to: None,
        },
        digest: content(u8::try_from(seq).unwrap()),
        rejected: None,
    }
}

fn hole(seq: Seq, to: Seq) -> Arrival {
    let mut arrival = event(seq);
    arrival.place.hole_to = Some(to);
    arrival
}

fn rejected(seq: Seq) -> Arrival {
    Arrival {
        rejected: Some(RejectCode::Malformed),
        ..event(seq)
    }
}

fn forged(seq: Seq) -> Arrival {
    Arrival {
        digest: content(0xff),
        ..event(seq)
    }
}

/// A ledger with the digests of what it stored.
#[derive(Default)]
struct Recorder {
    ledger: DeviceLedger,
    stored: BTreeMap<(SpoolId, Seq), Digest>,
}

impl Recorder {
    fn take(&mut self, arrival: Arrival) -> Decision {
        let stored = &self.stored;
        let decision = self
            .ledger
            .decide(&arrival, |spool, seq| stored.get(&(spool, seq)).copied());
        if decision == Decision::Stored {
            let place = arrival.place;
            let before = self.stored.insert((place.spool, place.seq), arrival.digest);
            assert_eq!(before, None, "stored twice");
        }
        decision
    }
}

#[test]
fn each_arrival_is_decided_by_the_ledger_alone() {
    use Decision as D;
    let cases: [(&str, &[Arrival], &[Decision]); 11] = [
        ("in turn", &[event(1), event(2)], &[D::Stored, D::Stored]),
        ("again", &[event(1), event(1)], &[D::Stored, D::Duplicate]),
        ("too early", &[event(2)], &[D::Gap]),
        (
            "too early, then in turn",
            &[event(1), event(3), event(2), event(3)],
            &[D::Stored, D::Gap, D::Stored, D::Stored],
        ),
        (
            "other content",
            &[event(1), forged(1), event(2)],
            &[D::Stored, D::Conflict, D::Stored],
        ),
        (
            "unreadable, then mended",
            &[rejected(1), event(1), event(2)],
            &[D::Rejected(RejectCode::Malformed), D::Duplicate, D::Stored],
        ),
        (
            "readable, then unreadable",
            &[
                event(1),
                Arrival {
                    rejected: Some(RejectCode::Malformed),
                    ..forged(1)
                },
            ],
            &[D::Stored, D::Conflict],
        ),
        (
            "a hole, then what it stands for",
            &[hole(1, 3), event(2), event(4)],
            &[D::Hole { from: 1, to: 3 }, D::Duplicate, D::Stored],
        ),
        (
            "a hole over what is stored",
            &[event(1), event(2), hole(1, 2)],
            &[D::Stored, D::Stored, D::Duplicate],
        ),
        (
            "a hole over what is partly stored",
            &[event(1), hole(1, 4), event(5)],
            &[D::Stored, D::Hole { from: 2, to: 4 }, D::Stored],
        ),
        (
            "a hole that comes too early",
            &[hole(2, 4), event(1)],
            &[D::Gap, D::Stored],
        ),
    ];
    for (what, arrivals, expected) in cases {
        let mut recorder = Recorder::default();
        let decisions: Vec<_> = arrivals.iter().map(|arrival| recorder.take(*arrival)).collect();
        assert_eq!(decisions, expected, "{what}");
    }
}

#[test]
fn a_conflict_is_alarmed_named_and_holds_nothing_back() {
    let mut recorder = Recorder::default();
    for arrival in [event(1), event(2), forged(1), event(3)] {
        recorder.take(arrival);
    }
    let alarms = recorder.ledger.take_alarms();
    assert_eq!(
        alarms,
        [LedgerAlarm::Conflict {
            spool: spool(1),
            seq: 1
        }]
    );
    let row = recorder.ledger.spool(spool(1)).unwrap();
    assert_eq!(
        (row.through, row.stored, row.rejected, row.conflicts),
        (3, 3, 0, 1)
    );
    assert_eq!(row.rejections()[0].code, RejectCode::Conflict);
}

#[test]
fn a_cleaned_up_event_can_only_be_a_duplicate() {
    let mut recorder = Recorder::default();
    recorder.take(event(1));
    recorder.stored.clear();
    assert_eq!(recorder.take(forged(1)), Decision::Duplicate);
}

#[test]
fn at_most_a_hundred_rejections_are_named_lowest_first() {
    let mut recorder = Recorder::default();
    for seq in 1..=150 {
        recorder.take(rejected(seq));
    }
    let named = recorder.ledger.spool(spool(1)).unwrap().rejections();
    assert_eq!(named.len(), 100);
    assert_eq!((named[0].seq, named[99].seq), (1, 100));
}

#[test]
fn a_spool_begins_when_its_predecessor_is_complete() {
    let mut recorder = Recorder::default();
    let mut first = event(1);
    first.place.spool = spool(2);
    first.place.predecessor = Some(Predecessor {
        spool: spool(1),
        last_seq: 2,
    });
    let mut second = event(2);
    second.place.spool = spool(2);
    let waiting = Decision::Waiting {
        predecessor: spool(1),
        needed: 2,
    };
    assert_eq!(recorder.take(first), waiting);
    recorder.take(event(1));
    assert_eq!(recorder.take(first), waiting);
    assert_eq!(recorder.take(second), Decision::Gap);
    // Holes and rejections complete a spool too.
    recorder.take(rejected(2));
    assert_eq!(recorder.take(first), Decision::Stored);
    assert_eq!(recorder.take(second), Decision::Stored);
}

#[test]
fn a_predecessor_shorter_than_heard_of_shows_a_restored_disk() {
    let mut recorder = Recorder::default();
    for seq in 1..=3 {
        recorder.take(event(seq));
    }
    let mut first = event(1);
    first.place.spool = spool(2);
    first.place.predecessor = Some(Predecessor {
        spool: spool(1),
        last_seq: 2,
    });
    assert_eq!(recorder.take(first), Decision::Stored);
    assert_eq!(
        recorder.ledger.take_alarms(),
        [LedgerAlarm::BenchRestored {
            spool: spool(1),
            heard: 3,
            stated: 2,
        }]
    );
    recorder.take(first);
    assert!(recorder.ledger.take_alarms().is_empty(), "said once");
}

#[test]
fn spools_are_numbered_as_they_are_heard_of() {
    let mut recorder = Recorder::default();
    for n in [9, 3, 7] {
        let mut arrival = event(1);
        arrival.place.spool = spool(n);
        recorder.take(arrival);
    }
    let ordinal = |n| recorder.ledger.spool(spool(n)).unwrap().ordinal;
    assert_eq!([ordinal(9), ordinal(3), ordinal(7)], [1, 2, 3]);
    assert_eq!(
        (recorder.ledger.newest(), recorder.ledger.last_ordinal()),
        (Some(spool(7)), 3)
    );
}

fn arrivals() -> impl Strategy<Value = Arrival> {
    (1u64..12, 0u64..4, 0u8..12).prop_map(|(seq, more, kind)| match kind {
        0..=7 => event(seq),
        8 => hole(seq, seq + more),
        9 => rejected(seq),
        10 => forged(seq),
        _ => Arrival {
            rejected: Some(RejectCode::TooLarge),
            ..hole(seq, seq + more)
        },
    })
}

proptest! {
    #[test]
    fn the_counts_add_up_and_nothing_is_settled_twice(
        arrivals in proptest::collection::vec(arrivals(), 0..60)
    ) {
        let mut recorder = Recorder::default();
        let mut through = 0;
        for arrival in arrivals {
            let decision = recorder.take(arrival);
            let row = recorder.ledger.spool(spool(1)).unwrap();
            prop_assert!(row.through >= through, "only a sync lowers what a bench believes");
            let moved = matches!(decision, Decision::Stored | Decision::Rejected(_) | Decision::Hole { .. });
            prop_assert_eq!(moved, row.through > through);
            through = row.through;
            prop_assert_eq!(row.announced, row.stored + row.rejected + row.holes + row.outstanding());
            prop_assert_eq!(row.stored, u64::try_from(recorder.stored.len()).unwrap());
            for seq in 1..=12 {
                if recorder.stored.contains_key(&(spool(1), seq)) {
                    prop_assert!(seq <= through);
                }
            }
        }
    }

    #[test]
    fn the_same_arrivals_again_change_only_the_counts_of_messages(
        arrivals in proptest::collection::vec(arrivals(), 0..60)
    ) {
        let mut recorder = Recorder::default();
        for arrival in &arrivals {
            recorder.take(*arrival);
        }
        let facts = |recorder: &Recorder| {
            recorder.ledger.spool(spool(1)).map(|row| (row.stored, row.through))
        };
        // Sent until nothing moves: what was a gap at first is taken later.
        for _ in 0..12 {
            for arrival in &arrivals {
                recorder.take(*arrival);
            }
        }
        let settled = facts(&recorder);
        let kept = recorder.stored.clone();
        for arrival in &arrivals {
            let decision = recorder.take(*arrival);
            prop_assert!(matches!(decision, Decision::Duplicate | Decision::Gap | Decision::Conflict));
        }
        prop_assert_eq!(facts(&recorder), settled);
        prop_assert_eq!(&recorder.stored, &kept);
    }
}
