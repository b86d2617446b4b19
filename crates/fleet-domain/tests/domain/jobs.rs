//! Every (state, event) pair of a job is decided here.

use fleet_domain::{
    AttemptRef, Job, JobAction, JobEvent, JobState, Standing, Verdict, WithdrawTarget, Withdrawal,
    allowed_actions,
};
use proptest::prelude::*;

use super::{device, job, offer};

/// A job in a state, as the machine would have left it.
fn in_state(state: JobState) -> Job {
    let mut job = Job::new(job(1));
    job.state = state;
    if state != JobState::Queued {
        job.attempt = 1;
        job.fence = 7;
        job.device = Some(device("bench-1"));
        job.offer_id = Some(offer(2));
    }
    if state == JobState::Withdrawing {
        job.withdrawal = Some(Withdrawal {
            target: WithdrawTarget::Canceled,
            version: 3,
            reason: "wrong order".to_owned(),
        });
    }
    if state == JobState::Finished {
        job.verdict = Some(Verdict::Passed);
    }
    job
}

fn withdrawing_to_queue() -> Job {
    let mut job = in_state(JobState::Withdrawing);
    job.withdrawal.as_mut().unwrap().target = WithdrawTarget::Queued;
    job
}

fn in_doubt() -> Job {
    let mut job = in_state(JobState::Finished);
    job.verdict = Some(Verdict::InDoubt);
    job
}

fn finished(verdict: Verdict) -> JobEvent {
    JobEvent::Finished {
        verdict,
        reason_code: "ok".to_owned(),
        detail: None,
    }
}

/// One of each kind.
fn events() -> Vec<JobEvent> {
    let text = || "why".to_owned();
    vec![
        JobEvent::Park { reason: text() },
        JobEvent::Offer {
            device: device("bench-2"),
            offer_id: offer(3),
            fence: 8,
        },
        JobEvent::Cancel {
            version: 9,
            reason: text(),
        },
        JobEvent::TimeOut { version: 9 },
        JobEvent::Supersede {
            version: 9,
            by: job(5),
        },
        JobEvent::Requeue {
            version: 9,
            reason: text(),
        },
        JobEvent::WithdrawalConfirmed,
        JobEvent::Accepted,
        JobEvent::RefusedByBench {
            code: text(),
            detail: None,
        },
        JobEvent::Started { steps_total: 4 },
        JobEvent::StepFinished,
        finished(Verdict::Passed),
        JobEvent::TakeOver { reason: text() },
    ]
}

#[test]
fn every_pair_of_state_and_event_is_decided() {
    use JobState as S;
    const NO: Option<JobState> = None;
    // Columns as in `events`: park, offer, cancel, time-out, supersede, requeue, confirmed; accepted, refused,
    // started, step, finished; take-over.
    #[rustfmt::skip]
    let table: [(Job, [Option<JobState>; 13]); 13] = [
        (in_state(S::Queued), [
            Some(S::Queued), Some(S::Offered), Some(S::Canceled), Some(S::TimedOut), Some(S::Superseded), NO, NO,
            NO, NO, NO, NO, NO, NO]),
        (in_state(S::Offered), [
            NO, NO, Some(S::Withdrawing), Some(S::Withdrawing), Some(S::Withdrawing), Some(S::Withdrawing), NO,
            Some(S::Accepted), Some(S::Rejected), Some(S::Running), Some(S::Running), Some(S::Finished), NO]),
        (in_state(S::Withdrawing), [
            NO, NO, NO, NO, NO, NO, Some(S::Canceled),
            Some(S::Accepted), Some(S::Canceled), Some(S::Running), Some(S::Running), Some(S::Finished), Some(S::TakenOver)]),
        (withdrawing_to_queue(), [
            NO, NO, Some(S::Withdrawing), Some(S::Withdrawing), Some(S::Withdrawing), NO, Some(S::Queued),
            Some(S::Accepted), Some(S::Queued), Some(S::Running), Some(S::Running), Some(S::Finished), Some(S::TakenOver)]),
        (in_state(S::Accepted), [
            NO, NO, NO, NO, NO, NO, NO,
            NO, NO, Some(S::Running), Some(S::Running), Some(S::Finished), Some(S::TakenOver)]),
        (in_state(S::Running), [
            NO, NO, NO, NO, NO, NO, NO,
            NO, NO, NO, Some(S::Running), Some(S::Finished), Some(S::TakenOver)]),
        (in_state(S::Finished), [NO; 13]),
        (in_doubt(), [
            NO, NO, NO, NO, NO, NO, NO,
            NO, NO, NO, NO, Some(S::Finished), Some(S::TakenOver)]),
        (in_state(S::Rejected), [NO; 13]),
        (in_state(S::Canceled), [NO; 13]),
        (in_state(S::TimedOut), [NO; 13]),
        (in_state(S::Superseded), [NO; 13]),
        (in_state(S::TakenOver), [NO; 13]),
    ];
    for state in JobState::ALL {
        assert!(
            table.iter().any(|(job, _)| job.state == *state),
            "{state} has a line"
        );
    }
    for (job, expected) in table {
        for (event, expected) in events().into_iter().zip(expected) {
            let name = event.name();
            let result = job.clone().apply(event);
            match (expected, result) {
                (Some(state), Ok(after)) => assert_eq!(after.state, state, "{} + {name}", job.state),
                (None, Err(error)) => assert_eq!((error.state, error.event), (job.state, name)),
                (expected, result) => panic!("{} + {name}: {expected:?} expected, {result:?}", job.state),
            }
        }
    }
}

#[test]
fn an_offer_is_an_attempt_with_a_fence_of_its_own() {
    let job = in_state(JobState::Queued);
    let mut parked = job
        .apply(JobEvent::Park {
            reason: "no bench".to_owned(),
        })
        .unwrap();
    assert_eq!(parked.parked.as_deref(), Some("no bench"));
    for (attempt, fence) in [(1, 4), (2, 9)] {
        let offered = parked
            .apply(JobEvent::Offer {
                device: device("bench-2"),
                offer_id: offer(3),
                fence,
            })
            .unwrap();
        assert_eq!(
            (offered.attempt, offered.fence, &offered.parked),
            (attempt, fence, &None)
        );
        parked = offered
            .apply(JobEvent::Requeue {
                version: 1,
                reason: "bench offline".to_owned(),
            })
            .unwrap()
            .apply(JobEvent::WithdrawalConfirmed)
            .unwrap();
        assert_eq!((parked.state, &parked.device), (JobState::Queued, &None));
    }
}

#[test]
fn a_stronger_recall_changes_where_a_withdrawal_goes_but_not_the_list_that_counts() {
    let job = withdrawing_to_queue()
        .apply(JobEvent::TimeOut { version: 99 })
        .unwrap();
    let withdrawal = job.withdrawal.clone().unwrap();
    assert_eq!(
        (withdrawal.target, withdrawal.version),
        (WithdrawTarget::TimedOut, 3)
    );
    let job = job.apply(JobEvent::WithdrawalConfirmed).unwrap();
    assert_eq!(job.state, JobState::TimedOut);
    assert_eq!(job.reason_code.as_deref(), Some("timed_out"));
}

#[test]
fn a_doubt_is_resolved_by_another_verdict_only() {
    for verdict in Verdict::ALL {
        let result = in_doubt().apply(finished(verdict));
        assert_eq!(result.is_ok(), verdict != Verdict::InDoubt, "{verdict:?}");
        if let Ok(job) = result {
            assert!(!job.holds_vin());
        }
    }
    let decided = in_doubt()
        .apply(JobEvent::TakeOver {
            reason: "read back".to_owned(),
        })
        .unwrap();
    assert_eq!(
        (decided.verdict, decided.holds_vin()),
        (Some(Verdict::InDoubt), false)
    );
}

#[test]
fn an_event_of_another_bench_attempt_or_fence_is_fenced() {
    let job = in_state(JobState::Running);
    let of = AttemptRef {
        job: job.id,
        attempt: 1,
        fence: 7,
    };
    let here = device("bench-1");
    assert_eq!(job.standing(&here, of), Standing::Current);
    assert_eq!(job.standing(&device("bench-2"), of), Standing::Fenced);
    assert_eq!(
        job.standing(&here, AttemptRef { attempt: 2, ..of }),
        Standing::Fenced
    );
    assert_eq!(
        job.standing(&here, AttemptRef { fence: 6, ..of }),
        Standing::Fenced
    );
    for state in JobState::ALL {
        let expected = match state {
            JobState::Offered
            | JobState::Withdrawing
            | JobState::Accepted
            | JobState::Running
            | JobState::Finished => Standing::Current,
            _ => Standing::Fenced,
        };
        assert_eq!(in_state(*state).standing(&here, of), expected, "{state}");
    }
}

#[test]
fn what_a_person_may_do_is_what_the_machine_allows() {
    let mut jobs: Vec<Job> = JobState::ALL.iter().map(|state| in_state(*state)).collect();
    jobs.extend([in_doubt(), withdrawing_to_queue()]);
    for job in jobs {
        for allowed in allowed_actions(&job) {
            let event = match allowed.action {
                JobAction::Cancel => JobEvent::Cancel {
                    version: 1,
                    reason: "r".to_owned(),
                },
                JobAction::TakeOver => JobEvent::TakeOver {
                    reason: "r".to_owned(),
                },
                JobAction::Retry => {
                    assert_eq!(allowed.allowed, job.state.is_final() && !job.holds_vin());
                    continue;
                }
            };
            let possible = job.clone().apply(event).is_ok();
            assert_eq!(allowed.allowed, possible, "{} {}", job.state, allowed.action);
            assert_eq!(allowed.reason.is_some(), !allowed.allowed);
        }
    }
}

proptest! {
    #[test]
    fn the_vehicle_is_held_from_the_offer_until_the_bench_or_a_person_ends_it(
        picks in proptest::collection::vec(0usize..13, 1..40)
    ) {
        let mut job = in_state(JobState::Queued);
        for pick in picks {
            let event = events().swap_remove(pick);
            let name = event.name();
            let Ok(after) = job.clone().apply(event) else { continue };
            if job.holds_vin() && !after.holds_vin() {
                let by = ["finished", "refused_by_bench", "withdrawal_confirmed", "take_over"];
                prop_assert!(by.contains(&name), "{} released by {name}", job.state);
            }
            prop_assert!(after.attempt >= job.attempt);
            prop_assert_eq!(after.withdrawal.is_some(), after.state == JobState::Withdrawing);
            prop_assert_eq!(after.verdict.is_some(), after.state == JobState::Finished);
            prop_assert!(after.parked.is_none() || after.state == JobState::Queued);
            prop_assert_eq!(after.entry().is_some(), after.holds_vin() && after.state != JobState::Withdrawing);
            job = after;
        }
    }
}
