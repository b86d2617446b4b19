//! Rule 25: when an offer is really gone.

use fleet_domain::withdraw::SyncMark;
use fleet_domain::{Arrival, DeviceLedger, Digest, Place};

use super::{generation, job, spool};

fn ledger(through: u64) -> DeviceLedger {
    let mut ledger = DeviceLedger::default();
    for seq in 1..=through {
        let place = Place {
            spool: spool(1),
            seq,
            predecessor: None,
            hole_to: None,
        };
        let arrival = Arrival {
            place,
            digest: Digest([0; 32]),
            rejected: None,
        };
        ledger.decide(&arrival, |_, _| None);
    }
    ledger
}

#[test]
fn only_a_new_enough_statement_with_everything_before_it_stored_ends_an_offer() {
    let good = SyncMark {
        generation: Some(generation(2)),
        desired_version: 7,
        last: vec![(spool(1), 3)],
        jobs: vec![job(8)],
    };
    let confirms =
        |mark: &SyncMark, through| mark.confirms_withdrawal(job(1), 7, generation(2), &ledger(through));
    assert!(confirms(&good, 3));
    assert!(confirms(&good, 5), "later events do no harm");
    assert!(
        !confirms(&good, 2),
        "an event before it is on its way: it may be the acceptance"
    );
    let cases = [
        (
            "an older list",
            SyncMark {
                desired_version: 6,
                ..good.clone()
            },
        ),
        (
            "another generation",
            SyncMark {
                generation: Some(generation(1)),
                ..good.clone()
            },
        ),
        (
            "no generation",
            SyncMark {
                generation: None,
                ..good.clone()
            },
        ),
        (
            "it has the job",
            SyncMark {
                jobs: vec![job(8), job(1)],
                ..good.clone()
            },
        ),
        (
            "another spool is not stored",
            SyncMark {
                last: vec![(spool(1), 3), (spool(2), 1)],
                ..good.clone()
            },
        ),
        ("no statement at all", SyncMark::default()),
    ];
    for (what, mark) in cases {
        assert!(!confirms(&mark, 3), "{what}");
    }
}
