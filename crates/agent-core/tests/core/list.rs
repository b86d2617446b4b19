//! Lists: order, withdrawal, fencing, duplicates.

use agent_core::{Effect, Event};
use fleet_domain::OfferId;
use fleet_wire::command::DesiredState;
use fleet_wire::event::Verdict;
use uuid::Uuid;

use crate::bench::{Bench, commands, entry, generation, key, offered};

fn running() -> Bench {
    let mut bench = Bench::new();
    bench.list(5, vec![offered(1)]);
    bench.prepared(1);
    bench
}

fn stopped(bench: &Bench) -> bool {
    bench.was_asked(|effect| matches!(effect, Effect::StopAttempt { reason: "fenced", .. }))
}

#[test]
fn a_fence_stops_an_attempt_before_the_point_of_no_return() {
    let mut bench = running();
    bench.list(6, vec![entry(1, DesiredState::Fenced)]);
    assert!(stopped(&bench));
}

#[test]
fn a_fence_does_not_stop_an_attempt_after_it() {
    let mut bench = running();
    bench.apply(Event::PointOfNoReturn(key(1)));
    bench.list(6, vec![entry(1, DesiredState::Fenced)]);
    assert!(!stopped(&bench));
    bench.finished(1, Verdict::Passed);
    assert_eq!(bench.told(1).last().map(String::as_str), Some("passed by_runner"));
}

#[test]
fn the_same_list_again_says_nothing_new() {
    let mut bench = Bench::new();
    let list = vec![offered(1), entry(2, DesiredState::Accepted)];
    bench.list(5, list.clone());
    let (said, saved) = (bench.spool.len(), bench.disk.clone());
    for _ in 0..3 {
        bench.list(5, list.clone());
    }
    assert_eq!(bench.spool.len(), said);
    assert_eq!(bench.disk, saved, "and writes nothing");
}

#[test]
fn an_offer_of_an_executed_attempt_is_answered_with_its_result_and_not_started() {
    let mut bench = running();
    bench.finished(1, Verdict::Failed);
    bench.list(6, vec![]);
    let mut again = offered(1);
    again.offer_id = Some(OfferId(Uuid::from_u128(99)));
    again.fence = 8;
    bench.restart();
    bench.list(7, vec![again.clone()]);
    bench.list(7, vec![again]);
    bench.prepared(1);
    assert_eq!(
        bench.told(1),
        ["accepted", "failed by_runner", "accepted", "failed by_runner"]
    );
    assert_eq!(bench.started.len(), 1);
}

#[test]
fn a_new_attempt_of_an_executed_job_is_a_new_attempt() {
    let mut bench = running();
    bench.finished(1, Verdict::Error);
    let mut retry = offered(1);
    retry.attempt = 2;
    retry.offer_id = Some(OfferId(Uuid::from_u128(99)));
    bench.list(6, vec![retry]);
    bench.apply(Event::Prepared(agent_core::AttemptKey { attempt: 2, ..key(1) }));
    assert_eq!(bench.started.len(), 2);
}

#[test]
fn a_withdrawn_offer_is_given_up_and_the_version_is_stated_at_once_when_it_is_durable() {
    let mut bench = Bench::new();
    bench.apply(Event::Connected { connect_counter: 1 });
    bench.list(5, vec![offered(1)]);
    bench.syncs.clear();
    bench.list(6, vec![]);
    assert!(bench.preparing.is_empty());
    let stated: Vec<_> = bench.syncs.iter().map(|sync| sync.durable_list).collect();
    assert_eq!(stated, [Some((generation(1), 6))]);
    bench.prepared(1);
    assert!(bench.started.is_empty() && bench.spool.is_empty());
}

#[test]
fn a_higher_generation_wins_over_a_higher_version_and_the_old_one_is_not_heard_again() {
    let mut bench = Bench::new();
    bench.apply(Event::Commands(commands(1, 40, vec![offered(1)])));
    bench.apply(Event::Commands(commands(2, 1, vec![offered(2)])));
    assert_eq!(
        (bench.state(1).as_str(), bench.state(2).as_str()),
        ("absent", "offered")
    );
    bench.apply(Event::Commands(commands(1, 41, vec![offered(3)])));
    assert_eq!(bench.state(3), "absent");
    assert_eq!(bench.core.durable_list(), Some((generation(2), 1)));
}

#[test]
fn a_new_generation_is_told_at_once_and_starts_at_version_0() {
    let mut bench = Bench::new();
    bench.apply(Event::Connected { connect_counter: 1 });
    bench.list(5, vec![]);
    bench.syncs.clear();
    bench.apply(Event::GenerationChanged(generation(2)));
    let stated: Vec<_> = bench.syncs.iter().map(|sync| sync.durable_list).collect();
    assert_eq!(stated, [Some((generation(2), 0))]);
}

#[test]
fn start_within_counts_from_the_first_receipt_of_the_offer() {
    let mut bench = Bench::new();
    bench.list(5, vec![offered(1)]);
    bench.boot_s += 50;
    bench.list(6, vec![offered(1)]);
    bench.restart();
    bench.boot_s += 10;
    bench.apply(Event::Tick);
    assert_eq!(bench.told(1), ["rejected start_within"]);
}

#[test]
fn jobs_run_one_at_a_time_and_the_more_urgent_one_first() {
    let mut bench = Bench::new();
    let mut urgent = offered(3);
    if let Some(document) = &mut urgent.job {
        document.priority = 5;
    }
    bench.list(5, vec![offered(1), offered(2), urgent]);
    for job in [1, 2, 3] {
        bench.prepared(job);
    }
    assert_eq!(bench.started, [key(1)]);
    bench.finished(1, Verdict::Passed);
    bench.finished(3, Verdict::Passed);
    assert_eq!(bench.started, [key(1), key(3), key(2)]);
}

#[test]
fn an_offer_without_a_job_is_refused_once() {
    let mut bench = Bench::new();
    let mut unreadable = offered(1);
    unreadable.job = None;
    for version in 5..8 {
        bench.list(version, vec![unreadable.clone()]);
    }
    assert_eq!(bench.told(1), ["rejected job_unreadable"]);
}
