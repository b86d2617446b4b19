//! Random lists, results, restarts and power cuts: whatever happens, no attempt starts twice, no version is
//! stated that is not durable (checked by the bench at each sync), and each attempt has one final event.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::{AttemptKey, Event};
use fleet_domain::OfferId;
use fleet_wire::EventBody;
use fleet_wire::command::DesiredState;
use fleet_wire::event::Verdict;
use proptest::prelude::*;
use uuid::Uuid;

use crate::bench::{Bench, commands, entry, generation, key};

#[derive(Debug, Clone)]
enum Act {
    /// A list of the generation and version with these states of jobs 1 to 4; with the same offers or new ones.
    List(u128, u64, Vec<Option<DesiredState>>, u128),
    Prepared(u128),
    PreparationFailed(u128),
    PointOfNoReturn(u128),
    Finished(u128, Verdict),
    Connected,
    Answered,
    Restored,
    Generation(u128),
    Wait(u64),
    Restart,
    Reboot,
    /// The power goes after so many effects of what follows.
    PowerCut(usize),
    SaveFails(bool),
}

fn state() -> impl Strategy<Value = Option<DesiredState>> {
    prop_oneof![
        3 => Just(None),
        5 => Just(Some(DesiredState::Offered)),
        1 => Just(Some(DesiredState::Accepted)),
        1 => Just(Some(DesiredState::Running)),
        1 => Just(Some(DesiredState::InDoubt)),
        1 => Just(Some(DesiredState::Fenced)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let job = 1_u128..5;
    let verdict = prop_oneof![
        Just(Verdict::Passed),
        Just(Verdict::InDoubt),
        Just(Verdict::Aborted)
    ];
    prop_oneof![
        6 => (1_u128..3, 1_u64..12, prop::collection::vec(state(), 4), 0_u128..2)
            .prop_map(|(of, version, states, offers)| Act::List(of, version, states, offers)),
        8 => job.clone().prop_map(Act::Prepared),
        1 => job.clone().prop_map(Act::PreparationFailed),
        1 => job.clone().prop_map(Act::PointOfNoReturn),
        4 => (job, verdict).prop_map(|(job, verdict)| Act::Finished(job, verdict)),
        2 => Just(Act::Connected),
        3 => Just(Act::Answered),
        1 => Just(Act::Restored),
        1 => (1_u128..3).prop_map(Act::Generation),
        2 => (1_u64..70).prop_map(Act::Wait),
        2 => Just(Act::Restart),
        1 => Just(Act::Reboot),
        4 => (0_usize..6).prop_map(Act::PowerCut),
        1 => any::<bool>().prop_map(Act::SaveFails),
    ]
}

fn perform(bench: &mut Bench, act: Act) {
    if bench.power == Some(0) {
        bench.restart();
    }
    match act {
        Act::List(of, version, states, offers) => {
            let jobs = states.into_iter().zip(1_u128..).filter_map(|(state, job)| {
                let mut entry = entry(job, state?);
                entry.offer_id = entry
                    .offer_id
                    .map(|_| OfferId(Uuid::from_u128(job + 100 * offers)));
                Some(entry)
            });
            bench.apply(Event::Commands(commands(of, version, jobs.collect())));
        }
        // Only what was asked for is answered.
        Act::Prepared(job) if bench.preparing.remove(&key(job)) => bench.prepared(job),
        Act::PreparationFailed(job) if bench.preparing.remove(&key(job)) => {
            bench.apply(Event::PreparationFailed {
                key: key(job),
                code: "artifact_corrupt".to_owned(),
                detail: String::new(),
            });
        }
        Act::PointOfNoReturn(job) => bench.apply(Event::PointOfNoReturn(key(job))),
        // Only a job that runs comes to an end by the runner.
        Act::Finished(job, verdict) if bench.core.running() == Some(key(job)) => bench.finished(job, verdict),
        Act::Connected => bench.apply(Event::Connected { connect_counter: 1 }),
        Act::Answered => bench.answered(),
        Act::Restored => bench.apply(Event::BenchRestored),
        Act::Generation(of) => bench.apply(Event::GenerationChanged(generation(of))),
        Act::Wait(seconds) => {
            bench.boot_s += seconds;
            bench.apply(Event::Tick);
        }
        Act::Restart => bench.restart(),
        Act::Reboot => bench.reboot(),
        Act::PowerCut(effects) => bench.power = Some(effects),
        Act::SaveFails(fails) => bench.save_fails = fails,
        Act::Prepared(_) | Act::PreparationFailed(_) | Act::Finished(..) => {}
    }
}

/// Results that answer a second offer of an executed attempt: each follows an acceptance of its own.
fn check(bench: &Bench) -> Result<(), TestCaseError> {
    let once: BTreeSet<AttemptKey> = bench.started.iter().copied().collect();
    prop_assert_eq!(
        once.len(),
        bench.started.len(),
        "started twice: {:?}",
        &bench.started
    );
    let mut accepted: BTreeMap<AttemptKey, usize> = BTreeMap::new();
    for (_, body) in &bench.spool {
        if let EventBody::JobAccepted(body) = body {
            *accepted.entry(body.of.into()).or_default() += 1;
        }
    }
    for key in &bench.started {
        prop_assert!(
            accepted.contains_key(key),
            "{key:?} started without an acceptance in the spool"
        );
    }
    for (key, finals) in bench.final_events() {
        // An attempt that the bench did not know has a final event without an acceptance.
        let most = accepted.get(&key).copied().unwrap_or_default() + 1;
        prop_assert!(finals <= most, "{key:?} has {finals} final events");
    }
    let ids: BTreeSet<_> = bench.spool.iter().map(|(id, _)| id).collect();
    prop_assert_eq!(ids.len(), bench.spool.len(), "an event stands in the spool twice");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_attempt_starts_twice_and_no_version_is_stated_too_early(
        acts in prop::collection::vec(act(), 1..60)
    ) {
        let mut bench = Bench::new();
        for act in acts {
            perform(&mut bench, act);
            check(&bench)?;
        }
    }
}
