//! Every state of a job on the bench with every event: the state after it and what was said durably.

use agent_core::Event;
use fleet_wire::command::DesiredState;
use fleet_wire::event::Verdict;

use crate::bench::{Bench, START_WITHIN_S, entry, generation, key, offered};

/// Where job 1 stands before the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Absent,
    Offered,
    /// Accepted behind job 2, which runs.
    Accepted,
    Running,
    /// Running, past the point of no return.
    Committed,
    InDoubt,
    Finished,
    /// Offered, refused for room.
    Refused,
    /// Accepted before the process was restarted; no sync answered yet.
    CarriedAccepted,
    /// Running before the process was restarted; no sync answered yet.
    CarriedRunning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    ListOffered,
    ListAccepted,
    ListRunning,
    ListInDoubt,
    ListFenced,
    ListUnknownState,
    ListWithoutIt,
    OlderListFenced,
    Prepared,
    PreparationFailed,
    Started,
    PointOfNoReturn,
    Finished,
    BenchRestored,
    SyncAnswered,
    NewGeneration,
    TooLate,
    Stop,
    Restart,
    Reboot,
}

const BEFORE: [Before; 10] = [
    Before::Absent,
    Before::Offered,
    Before::Accepted,
    Before::Running,
    Before::Committed,
    Before::InDoubt,
    Before::Finished,
    Before::Refused,
    Before::CarriedAccepted,
    Before::CarriedRunning,
];

const THEN: [Then; 20] = [
    Then::ListOffered,
    Then::ListAccepted,
    Then::ListRunning,
    Then::ListInDoubt,
    Then::ListFenced,
    Then::ListUnknownState,
    Then::ListWithoutIt,
    Then::OlderListFenced,
    Then::Prepared,
    Then::PreparationFailed,
    Then::Started,
    Then::PointOfNoReturn,
    Then::Finished,
    Then::BenchRestored,
    Then::SyncAnswered,
    Then::NewGeneration,
    Then::TooLate,
    Then::Stop,
    Then::Restart,
    Then::Reboot,
];

fn bring_to(before: Before) -> Bench {
    let mut bench = Bench::new();
    bench.apply(Event::Connected { connect_counter: 1 });
    bench.answered();
    match before {
        Before::Absent => {}
        Before::Offered => bench.list(5, vec![offered(1)]),
        Before::Accepted | Before::CarriedAccepted => {
            bench.list(4, vec![offered(2)]);
            bench.prepared(2);
            bench.list(5, vec![entry(2, DesiredState::Running), offered(1)]);
            bench.prepared(1);
        }
        Before::Running | Before::Committed | Before::Finished | Before::CarriedRunning => {
            bench.list(5, vec![offered(1)]);
            bench.prepared(1);
            bench.apply(Event::Started {
                key: key(1),
                steps_total: 3,
                traceparent: None,
            });
        }
        Before::InDoubt => bench.list(5, vec![entry(1, DesiredState::Accepted)]),
        Before::Refused => {
            bench.apply(Event::Room {
                refusing: Some("full".to_owned()),
            });
            bench.list(5, vec![offered(1)]);
            bench.apply(Event::Room { refusing: None });
        }
    }
    match before {
        Before::Committed => bench.apply(Event::PointOfNoReturn(key(1))),
        Before::Finished => bench.finished(1, Verdict::Passed),
        Before::CarriedAccepted | Before::CarriedRunning => bench.restart(),
        _ => {}
    }
    bench.asked.clear();
    bench
}

fn happen(bench: &mut Bench, then: Then) {
    let with = |state| vec![entry(1, state)];
    match then {
        Then::ListOffered => bench.list(6, vec![offered(1)]),
        Then::ListAccepted => bench.list(6, with(DesiredState::Accepted)),
        Then::ListRunning => bench.list(6, with(DesiredState::Running)),
        Then::ListInDoubt => bench.list(6, with(DesiredState::InDoubt)),
        Then::ListFenced => bench.list(6, with(DesiredState::Fenced)),
        Then::ListUnknownState => bench.list(6, with(DesiredState::Unknown)),
        Then::ListWithoutIt => bench.list(6, vec![]),
        Then::OlderListFenced => {
            bench.list(7, vec![entry(3, DesiredState::Unknown), offered(1)]);
            bench.asked.clear();
            bench.list(6, with(DesiredState::Fenced));
        }
        Then::Prepared => bench.prepared(1),
        Then::PreparationFailed => bench.apply(Event::PreparationFailed {
            key: key(1),
            code: "procedure_hash".to_owned(),
            detail: "another hash".to_owned(),
        }),
        Then::Started => bench.apply(Event::Started {
            key: key(1),
            steps_total: 3,
            traceparent: None,
        }),
        Then::PointOfNoReturn => bench.apply(Event::PointOfNoReturn(key(1))),
        Then::Finished => bench.finished(1, Verdict::Passed),
        Then::BenchRestored => bench.apply(Event::BenchRestored),
        Then::SyncAnswered => bench.answered(),
        Then::NewGeneration => bench.apply(Event::GenerationChanged(generation(2))),
        Then::TooLate => {
            bench.boot_s += u64::from(START_WITHIN_S);
            bench.apply(Event::Tick);
        }
        Then::Stop => bench.apply(Event::Stop),
        Then::Restart => bench.restart(),
        Then::Reboot => bench.reboot(),
    }
}

/// State after the event, and what it added to what was said durably.
#[expect(clippy::match_same_arms, reason = "states stand apart, as in the contract")]
fn expected(before: Before, then: Then) -> (&'static str, &'static [&'static str]) {
    use Before as B;
    use Then as T;
    match (before, then) {
        // Only an offer starts anything, and only what a list says is known at all.
        (B::Absent, T::ListOffered | T::OlderListFenced) => ("offered", &[]),
        (B::Absent, T::ListAccepted | T::ListRunning) => ("in_doubt", &["indoubt unknown_to_bench"]),
        (B::Absent, _) => ("absent", &[]),

        (B::Offered, T::ListOffered | T::OlderListFenced | T::Restart | T::Stop) => ("offered", &[]),
        (B::Offered, T::ListAccepted | T::ListRunning) => ("in_doubt", &["indoubt unknown_to_bench"]),
        (
            B::Offered,
            T::ListInDoubt | T::ListFenced | T::ListUnknownState | T::ListWithoutIt | T::NewGeneration,
        ) => ("absent", &[]),
        (B::Offered, T::Prepared) => ("running", &["accepted"]),
        (B::Offered, T::PreparationFailed) => ("absent", &["rejected procedure_hash"]),
        (B::Offered, T::TooLate) => ("absent", &["rejected start_within"]),
        (B::Offered, T::Reboot) => ("absent", &["rejected offer_void"]),
        (B::Offered, T::Started | T::PointOfNoReturn | T::Finished | T::BenchRestored | T::SyncAnswered) => {
            ("offered", &[])
        }

        // Absence stops nothing; a fence and the clock do.
        (B::Accepted, T::ListFenced) => ("finished", &["aborted fenced"]),
        (B::Accepted, T::TooLate) => ("finished", &["aborted start_within"]),
        (B::Accepted, T::PreparationFailed) => ("finished", &["aborted procedure_hash"]),
        (B::Accepted, T::Finished) => ("finished", &["passed by_runner"]),
        (B::Accepted, _) => ("accepted", &[]),

        (B::Running | B::Committed, T::Finished) => ("finished", &["passed by_runner"]),
        (B::Running | B::Committed, T::Started) => ("running", &["started"]),
        (B::Running | B::Committed, _) => ("running", &[]),

        // Over: it goes when the list has let it go, and never begins again.
        (B::InDoubt, T::ListOffered | T::OlderListFenced) => {
            ("in_doubt", &["accepted", "indoubt unknown_to_bench"])
        }
        (B::InDoubt, T::ListWithoutIt | T::ListFenced) => ("absent", &[]),
        (B::InDoubt, _) => ("in_doubt", &[]),
        (B::Finished, T::ListOffered | T::OlderListFenced) => ("finished", &[]),
        (B::Finished, T::ListWithoutIt | T::ListFenced) => ("absent", &[]),
        (B::Finished, _) => ("finished", &[]),

        (B::Refused, T::ListAccepted | T::ListRunning) => ("in_doubt", &["indoubt unknown_to_bench"]),
        (B::Refused, _) => ("absent", &[]),

        // Until a sync is answered nobody knows whether this disk is the newest.
        (B::CarriedAccepted, T::BenchRestored) => ("in_doubt", &["indoubt bench_restored"]),
        (B::CarriedAccepted, T::Finished) => ("finished", &["passed by_runner"]),
        (B::CarriedAccepted, T::PreparationFailed) => ("finished", &["aborted procedure_hash"]),
        (B::CarriedAccepted, _) => ("accepted", &[]),
        (B::CarriedRunning, T::BenchRestored) => ("in_doubt", &["indoubt bench_restored"]),
        (B::CarriedRunning, T::Finished) => ("finished", &["passed by_runner"]),
        (B::CarriedRunning, T::Started) => ("running", &["started"]),
        (B::CarriedRunning, _) => ("running", &[]),
    }
}

#[test]
fn every_state_with_every_event_is_decided() {
    let mut wrong = Vec::new();
    for before in BEFORE {
        for then in THEN {
            let mut bench = bring_to(before);
            let said = bench.told(1).len();
            let started = bench.started.len();
            happen(&mut bench, then);
            let (state, words) = expected(before, then);
            let told = bench.told(1).split_off(said);
            if bench.state(1) != state || told != words {
                wrong.push(format!(
                    "{before:?} + {then:?}: is {:?} {told:?}, should be {state:?} {words:?}",
                    bench.state(1)
                ));
            }
            let may_start = (before, then) == (Before::Offered, Then::Prepared);
            if (bench.started.len() > started) != may_start {
                wrong.push(format!("{before:?} + {then:?}: started {:?}", bench.started));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
