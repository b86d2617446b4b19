//! A projection never decides acceptance: whatever is wrong with an event's meaning marks that event and moves nothing.

use fleet_domain::report::StepReport;
use fleet_domain::{AttemptRef, BenchReport, JobState};
use fleet_recording::Blamed;
use fleet_store::{AlarmKind, EventStanding};

use super::memory::{Memory, accepted, attempt, device, event, finished, step};

/// A job that bench 1 reports, accepted, with its first step done: three events.
fn begun() -> Memory {
    let mut memory = Memory::new();
    let of = attempt(1, 7);
    memory.take(&[
        event(1, 1, 0, accepted(of)),
        event(1, 2, 0, BenchReport::StepFinished(step(of, 0))),
    ]);
    assert_eq!(memory.jobs[&of.job].row.steps_done, 1);
    memory
}

#[test]
fn what_can_not_be_stored_marks_its_event_and_moves_nothing() {
    let of = attempt(1, 7);
    let with = |change: fn(&mut StepReport)| {
        let mut report = step(of, 1);
        change(&mut report);
        BenchReport::StepFinished(report)
    };
    let absurd = AttemptRef {
        fence: u64::MAX,
        ..of
    };
    for (why, report) in [
        (
            "no JSON",
            with(|step| "{not json".clone_into(&mut step.measurements_json)),
        ),
        ("duration_ms", with(|step| step.duration_ms = u64::MAX)),
        ("reported before", with(|step| step.index = 0)),
        ("fence", finished(absurd)),
        ("accepted", accepted(of)),
        (
            "not known to this version",
            BenchReport::Unknown {
                r#type: "vds.new.v9".to_owned(),
            },
        ),
        (
            "missing field",
            BenchReport::Unreadable {
                r#type: "vds.step.finished.v1".to_owned(),
                reason: "missing field `of`".to_owned(),
            },
        ),
    ] {
        let mut memory = begun();
        let before = memory.clone();
        let outcome = memory.take(&[
            event(1, 3, 0, report),
            event(1, 4, 0, BenchReport::StepFinished(step(of, 2))),
        ]);
        assert_eq!(
            (outcome.counts.stored, outcome.counts.unprojected),
            (2, 1),
            "{why}"
        );
        assert_eq!(outcome.receipts[0].through, 4);
        assert_eq!(memory.raised(AlarmKind::Unprojected), 1);
        let EventStanding::Unprojected(reason) = &memory.events[2].2 else {
            panic!("{why}: {:?}", memory.events[2])
        };
        assert!(reason.contains(why), "{reason}");
        assert_eq!(
            memory.events[3].2,
            EventStanding::Projected,
            "the next one is shown"
        );
        let (was, is) = (&before.jobs[&of.job], &memory.jobs[&of.job]);
        assert_eq!(is.row.steps_done, was.row.steps_done + 1, "{why}");
        assert_eq!(memory.attempts, before.attempts, "{why}");
    }
}

#[test]
fn a_job_that_can_not_be_reported_is_not_there_afterwards() {
    let mut memory = Memory::new();
    let of = attempt(4, 1);
    let mut nameless = event(1, 1, 0, accepted(of));
    if let fleet_store::InboundMessage::Event(event) = &mut nameless.message {
        event.vin = None;
    }
    let mut broken = step(of, 0);
    "[".clone_into(&mut broken.measurements_json);
    memory.take(&[nameless, event(1, 2, 0, BenchReport::StepFinished(broken))]);
    assert!(memory.jobs.is_empty() && memory.attempts.is_empty() && memory.steps.is_empty());
    assert_eq!(memory.raised(AlarmKind::ReportedJob), 0);
    memory.take(&[event(1, 3, 0, accepted(of))]);
    assert!(memory.jobs[&of.job].row.reported);
    assert_eq!(memory.raised(AlarmKind::ReportedJob), 1);
}

#[test]
fn a_step_may_be_reported_once_in_a_batch_too() {
    let mut memory = begun();
    let of = attempt(1, 7);
    let twice = || BenchReport::StepFinished(step(of, 5));
    let outcome = memory.take(&[event(1, 3, 0, twice()), event(1, 4, 0, twice())]);
    assert_eq!(outcome.counts.unprojected, 1);
    assert_eq!(memory.jobs[&of.job].row.steps_done, 2);
}

#[test]
fn what_the_database_refused_is_left_out_and_everything_else_stays() {
    let of = attempt(1, 7);
    let items = [
        event(1, 3, 0, BenchReport::StepFinished(step(of, 1))),
        event(1, 4, 0, BenchReport::StepFinished(step(of, 2))),
        event(1, 5, 0, finished(of)),
    ];
    let mut memory = begun();
    let refused = Blamed::from([(1, "no room".to_owned())]);
    let outcome = memory.take_but(&items, &refused);
    assert_eq!((outcome.counts.stored, outcome.counts.unprojected), (3, 1));
    assert_eq!(
        memory.events[3].2,
        EventStanding::Unprojected("no room".to_owned())
    );
    let job = &memory.jobs[&of.job].row;
    assert_eq!((job.job.state, job.steps_done), (JobState::Finished, 2));
}

#[test]
fn events_of_another_attempt_are_kept_and_move_nothing() {
    let mut memory = begun();
    let (of, other) = (attempt(1, 7), attempt(1, 6));
    let outcome = memory.take(&[event(2, 1, 0, accepted(other)), event(2, 2, 0, finished(other))]);
    assert_eq!((outcome.counts.stored, outcome.counts.fenced), (2, 2));
    let job = &memory.jobs[&of.job].row;
    assert_eq!((job.job.state, job.fenced_events), (JobState::Running, 2));
    assert_eq!(job.job.device, Some(device(1)));
    let row = &memory.attempts[&(other.job, other.attempt, other.fence)];
    assert!(row.fenced && row.finished_at.is_some());
    assert_eq!(memory.raised(AlarmKind::FencedReport), 2);
}
