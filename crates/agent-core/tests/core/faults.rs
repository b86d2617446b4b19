//! Disk faults, restored benches, restarts.

use agent_core::{Effect, Event, RestoreError, Saved};
use fleet_wire::command::DesiredState;
use fleet_wire::event::Verdict;

use crate::bench::{Bench, START_WITHIN_S, entry, generation, key, offered};

fn accepted_and_restarted() -> Bench {
    let mut bench = Bench::new();
    bench.apply(Event::Connected { connect_counter: 1 });
    bench.list(5, vec![offered(1), offered(2)]);
    bench.prepared(1);
    bench.prepared(2);
    bench.restart();
    bench
}

#[test]
fn what_was_running_is_recovered_and_what_was_accepted_starts_after_the_first_answered_sync() {
    let mut bench = accepted_and_restarted();
    assert!(bench.preparing.is_empty());
    bench.answered();
    assert!(
        bench.was_asked(
            |effect| matches!(effect, Effect::RecoverAttempt { of, .. } if key(1) == (*of).into())
        )
    );
    bench.prepared(2);
    assert_eq!(bench.started, [key(1)], "not before the first one is decided");
    bench.finished(1, Verdict::InDoubt);
    assert_eq!(bench.started, [key(1), key(2)]);
}

#[test]
fn a_restored_bench_puts_in_doubt_what_it_had_when_it_began_and_nothing_newer() {
    let mut bench = accepted_and_restarted();
    bench.apply(Event::BenchRestored);
    bench.answered();
    assert_eq!(bench.told(1), ["accepted", "indoubt bench_restored"]);
    assert_eq!(bench.told(2), ["accepted", "indoubt bench_restored"]);
    bench.list(6, vec![offered(3)]);
    bench.prepared(3);
    bench.apply(Event::BenchRestored);
    assert_eq!(bench.state(3), "running");
    assert!(!bench.was_asked(|effect| matches!(effect, Effect::RecoverAttempt { .. })));
}

#[test]
fn an_accepted_job_does_not_outlive_a_reboot() {
    let mut bench = accepted_and_restarted();
    bench.reboot();
    bench.answered();
    assert_eq!(bench.told(2), ["accepted", "aborted start_within"]);
}

#[test]
fn without_room_offers_are_refused_and_accepted_jobs_go_on() {
    let mut bench = Bench::new();
    bench.list(5, vec![offered(1)]);
    bench.prepared(1);
    bench.apply(Event::Room {
        refusing: Some("spool has 512 MiB".to_owned()),
    });
    bench.list(6, vec![offered(1), offered(2)]);
    assert_eq!(bench.told(2), ["rejected spool_full"]);
    assert_eq!(bench.state(1), "running");
    bench.apply(Event::Connected { connect_counter: 1 });
    let said = bench.syncs.last().and_then(|sync| sync.refusing_jobs.clone());
    assert_eq!(said.as_deref(), Some("spool has 512 MiB"));
}

#[test]
fn a_state_that_can_not_be_saved_takes_no_job_and_states_the_old_version() {
    let mut bench = Bench::new();
    bench.list(5, vec![]);
    bench.save_fails = true;
    bench.list(6, vec![offered(1)]);
    assert!(bench.preparing.is_empty());
    bench.apply(Event::Connected { connect_counter: 1 });
    assert_eq!(
        bench.syncs.last().map(|sync| sync.durable_list),
        Some(Some((generation(1), 5)))
    );
    assert!(bench.core.refusing_jobs().is_some());
    // The disk has room again: it is tried by itself, and the list is heard when it comes again.
    bench.save_fails = false;
    bench.boot_s += 10;
    bench.apply(Event::Tick);
    assert_eq!(bench.core.refusing_jobs(), None);
    bench.list(6, vec![offered(1)]);
    bench.prepared(1);
    assert_eq!(bench.started, [key(1)]);
}

#[test]
fn a_result_whose_state_can_not_be_saved_is_held_and_told_once_when_it_can() {
    let mut bench = Bench::new();
    bench.list(5, vec![offered(1)]);
    bench.prepared(1);
    bench.save_fails = true;
    bench.finished(1, Verdict::Passed);
    for _ in 0..4 {
        bench.boot_s += 10;
        bench.apply(Event::Tick);
    }
    assert_eq!(bench.told(1), ["accepted"]);
    bench.save_fails = false;
    bench.boot_s += 10;
    bench.apply(Event::Tick);
    bench.restart();
    assert_eq!(bench.told(1), ["accepted", "passed by_runner"]);
    assert_eq!(bench.state(1), "finished");
}

/// Found by the random histories.
#[test]
fn a_doubt_that_could_not_be_saved_is_not_held_against_a_later_offer() {
    let mut bench = Bench::new();
    bench.save_fails = true;
    bench.list(1, vec![entry(1, DesiredState::Accepted)]);
    bench.save_fails = false;
    bench.list(2, vec![offered(1)]);
    bench.prepared(1);
    bench.finished(1, Verdict::Passed);
    assert_eq!(bench.told(1), ["accepted", "passed by_runner"]);
}

#[test]
fn a_spool_that_fails_starts_nothing_and_states_no_version() {
    let mut bench = Bench::new();
    bench.list(5, vec![offered(1)]);
    bench.apply(Event::SpoolFailed {
        detail: "sync failed".to_owned(),
    });
    bench.prepared(1);
    bench.apply(Event::Connected { connect_counter: 1 });
    assert!(bench.started.is_empty() && bench.told(1).is_empty());
    assert_eq!(bench.syncs.last().map(|sync| sync.durable_list), Some(None));
}

#[test]
fn an_acceptance_that_the_spool_lost_is_said_again_before_anything_else() {
    let mut bench = Bench::new();
    bench.list(5, vec![offered(1)]);
    // The state is saved, the power goes before the event is appended.
    bench.power = Some(1);
    bench.prepared(1);
    assert!(bench.told(1).is_empty());
    bench.restart();
    assert_eq!(bench.told(1), ["accepted"]);
    assert!(bench.started.is_empty());
}

#[test]
fn an_orderly_stop_begins_nothing_and_stops_what_can_be_stopped() {
    let mut bench = Bench::new();
    bench.list(5, vec![offered(1), offered(2)]);
    bench.prepared(1);
    bench.apply(Event::Stop);
    assert!(bench.was_asked(|effect| matches!(
        effect,
        Effect::StopAttempt {
            reason: "agent_stopping",
            ..
        }
    )));
    bench.prepared(2);
    bench.finished(1, Verdict::Aborted);
    assert_eq!(bench.started, [key(1)]);
    assert_eq!(bench.state(2), "offered");
}

#[test]
fn next_deadline_is_the_earliest_limit() {
    let mut bench = Bench::new();
    bench.list(5, vec![offered(1)]);
    let limit = bench.boot_s + u64::from(START_WITHIN_S);
    assert_eq!(bench.core.next_deadline().map(|at| at.as_secs()), Some(limit));
}

#[test]
fn a_saved_state_that_was_changed_is_refused() {
    let mut bench = Bench::new();
    bench.list(5, vec![offered(1)]);
    let saved = bench.disk.clone().expect("saved");
    for place in 0..saved.len() {
        let mut broken = saved.clone();
        broken[place] ^= 0x04;
        assert!(Saved::decode(&broken).is_err(), "byte {place}");
    }
    for length in 0..saved.len() {
        assert!(Saved::decode(&saved[..length]).is_err(), "cut to {length}");
    }
    assert!(matches!(Saved::decode(b""), Err(RestoreError::Header)));
}
