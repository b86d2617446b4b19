//! Rule 29.

use fleet_domain::{Presence, PresenceFacts};
use proptest::prelude::*;

use super::run;

fn says(run_n: u128, connect_counter: u64, online: bool, will: bool) -> PresenceFacts {
    PresenceFacts {
        run_id: run(run_n),
        connect_counter,
        online,
        will,
    }
}

#[test]
fn counters_order_one_run_and_a_will_counts_only_for_the_current_connect() {
    let now = Presence {
        run_id: run(1),
        connect_counter: 5,
        online: true,
    };
    let cases = [
        ("a later connect", says(1, 6, true, false), true),
        ("the same connect", says(1, 5, false, false), true),
        ("an earlier connect", says(1, 4, false, false), false),
        (
            "another run, whatever its counter",
            says(2, 1, false, false),
            true,
        ),
        ("the will of this connect", says(1, 5, false, true), true),
        ("the will of an earlier connect", says(1, 4, false, true), false),
        ("the will of a later connect", says(1, 6, false, true), false),
        ("the will of another run", says(2, 5, false, true), false),
    ];
    for (what, said, counts) in cases {
        let folded = Presence::fold(Some(now), said);
        assert_eq!(folded.is_some(), counts, "{what}");
        if let Some(after) = folded {
            assert_eq!(
                (after.run_id, after.connect_counter, after.online),
                (said.run_id, said.connect_counter, said.online)
            );
        }
    }
    assert!(Presence::fold(None, says(1, 1, true, false)).is_some());
    assert!(
        Presence::fold(None, says(1, 1, false, true)).is_none(),
        "the will of somebody never met"
    );
}

proptest! {
    #[test]
    fn after_any_history_the_current_connect_is_heard(
        history in proptest::collection::vec((1u128..4, 1u64..5, any::<bool>(), any::<bool>()), 0..30)
    ) {
        let mut belief = None;
        for (run_n, counter, online, will) in history {
            belief = Presence::fold(belief, says(run_n, counter, online, will)).or(belief);
        }
        let connected = says(9, 1, true, false);
        let belief = Presence::fold(belief, connected).or(belief).unwrap();
        prop_assert!(belief.online);
        let gone = Presence::fold(Some(belief), says(9, 1, false, true)).unwrap();
        prop_assert!(!gone.online);
    }
}
