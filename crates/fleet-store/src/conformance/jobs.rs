//! Jobs from request to verdict.

use std::collections::BTreeMap;

use fleet_domain::{BenchReport, EntryState, JobId, JobState, Verdict};

use super::fixture::{Bench, Fixture, OTHER_VIN, VIN, accepted, attempt, finished};
use crate::{AlarmKind, EventStanding, JobRow, MAX_OPEN_JOBS, NewJob, Page, Retry, StoreError};

/// The bench takes the job and begins it.
async fn run(fixture: &mut Fixture, bench: &mut Bench, job: &JobRow) {
    let generation = fixture.store.generation();
    let items = vec![
        fixture.event(bench, accepted(job, generation)),
        fixture.event(
            bench,
            BenchReport::JobStarted {
                of: attempt(job),
                steps_total: 4,
                time: "2026-05-04T06:00:00Z".parse().unwrap(),
            },
        ),
    ];
    fixture.ingest(items).await;
}

/// The whole story, as the page shows it.
pub async fn a_job_runs_from_request_to_verdict(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &["ESP"]).await;
    let job = fixture.offered(VIN).await;
    assert_eq!(job.job.state, JobState::Offered);
    assert_eq!(job.job.device.as_ref(), Some(&bench.device));
    let list = fixture.store.desired_list(&bench.device).await.unwrap();
    assert_eq!((list.version, list.generation), (1, fixture.store.generation()));
    assert_eq!(list.entries[0].state, EntryState::Offered);
    assert_eq!(list.entries[0].offer_id, job.job.offer_id);
    run(&mut fixture, &mut bench, &job).await;
    let of = attempt(&job);
    let steps = fixture.steps(&mut bench, of, 4);
    let outcome = fixture.ingest(steps).await;
    assert!(outcome.lists.is_empty(), "steps don't change the list");
    let running = fixture.job(of.job).await;
    assert_eq!((running.job.state, running.steps_done), (JobState::Running, 4));
    assert_eq!(running.job.steps_total, Some(4));
    assert!(running.accepted_at.is_some() && running.started_at.is_some());
    let shown = fixture.store.bench(&bench.device).await.unwrap().unwrap();
    assert_eq!(shown.open_jobs.len(), 1);
    assert_eq!(
        (shown.online, shown.station.as_deref()),
        (true, Some("station 7"))
    );
    let end = fixture.event(&mut bench, finished(of, Verdict::Passed));
    let outcome = fixture.ingest(vec![end]).await;
    assert_eq!(outcome.lists, std::slice::from_ref(&bench.device));
    let done = fixture.job(of.job).await;
    assert_eq!(
        (done.job.state, done.job.verdict),
        (JobState::Finished, Some(Verdict::Passed))
    );
    assert_eq!(
        done.software,
        BTreeMap::from([("ESP".to_owned(), "2.0".to_owned())])
    );
    let attempts = fixture.store.attempts(of.job).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].record.as_deref(), Some("header.payload.signature"));
    assert_eq!(
        (attempts[0].verdict, attempts[0].fenced),
        (Some(Verdict::Passed), false)
    );
    let steps = fixture.store.steps(of.job, 1).await.unwrap();
    assert_eq!(
        steps.iter().map(|step| step.index).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert!(fixture.list(&bench.device).await.is_empty());
    assert_eq!(
        fixture.offered(VIN).await.job.state,
        JobState::Offered,
        "the vehicle is free"
    );
}

/// Rule 27: replayed requests, and one that means something else.
pub async fn a_repeated_request_is_the_same_job(mut fixture: Fixture) {
    let mut request = fixture.request(VIN, "ESP");
    request.request_id = Some("order-4711".to_owned());
    let first = fixture
        .store
        .create_job(request.clone(), fixture.now)
        .await
        .unwrap();
    assert!(first.new);
    fixture.pass(60);
    let mut again = request.clone();
    again.id = JobId(fixture.uuid());
    again.traceparent = None;
    let second = fixture.store.create_job(again, fixture.now).await.unwrap();
    assert!(!second.new);
    assert_eq!(second.job, first.job);
    let mut other = request.clone();
    "ECM".clone_into(&mut other.ecu);
    let error = fixture.store.create_job(other, fixture.now).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
    // Another requester's order of the same number is another job.
    let mut theirs = request;
    theirs.id = JobId(fixture.uuid());
    "kafka".clone_into(&mut theirs.requested_by);
    assert!(fixture.store.create_job(theirs, fixture.now).await.unwrap().new);
    let jobs = fixture
        .store
        .jobs(&crate::JobFilter::default(), &Page::default())
        .await
        .unwrap();
    assert_eq!(jobs.items.len(), 2);
}

/// The work of a job that has ended, asked for by a person: the same retry again is the same new job.
pub async fn a_retry_is_a_job_of_its_own_and_the_same_again(mut fixture: Fixture) {
    let first = fixture.request(VIN, "ESP");
    let old = first.id;
    fixture
        .store
        .create_job(first.clone(), fixture.now)
        .await
        .unwrap();
    let retry = |id, reason: &str| NewJob {
        id,
        request_id: Some(format!("retry:{old}")),
        retry: Some(Retry {
            of: old,
            reason: reason.to_owned(),
        }),
        ..first.clone()
    };
    let id = JobId(fixture.uuid());
    let created = fixture
        .store
        .create_job(retry(id, "plug was loose"), fixture.now)
        .await;
    assert!(created.unwrap().new);
    let again = fixture
        .store
        .create_job(retry(id, "pressed twice"), fixture.now)
        .await
        .unwrap();
    assert!(!again.new);
    let recorded = fixture.job(id).await.request.retry.unwrap();
    assert_eq!((recorded.of, recorded.reason.as_str()), (old, "plug was loose"));
    assert_eq!(fixture.job(old).await.request.retry, None);
    // The same request id for a retry of another job is another request.
    let mut other = retry(id, "plug was loose");
    other.retry = None;
    let error = fixture.store.create_job(other, fixture.now).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}

/// One VIN, one bench; each offer has a higher fence.
pub async fn one_vehicle_has_one_open_job(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    fixture.online("bench-2", VIN, &[]).await;
    let first = fixture.offered(VIN).await;
    let second = fixture.offered(VIN).await;
    assert_eq!(second.job.state, JobState::Queued);
    assert!(second.job.parked.is_some());
    run(&mut fixture, &mut bench, &first).await;
    let last = fixture.event(&mut bench, finished(attempt(&first), Verdict::Failed));
    fixture.ingest(vec![last]).await;
    fixture.dispatch().await;
    let second = fixture.job(second.job.id).await;
    assert_eq!(
        (second.job.state, second.job.parked.as_ref()),
        (JobState::Offered, None)
    );
    assert!(second.job.fence > first.job.fence);
}

/// The list of a bench is bounded; the rest waits.
pub async fn a_bench_has_at_most_32_open_jobs(mut fixture: Fixture) {
    fixture.lease_all().await;
    let bench = fixture.online("bench-1", VIN, &[]).await;
    for n in 0..MAX_OPEN_JOBS + 3 {
        let mut request = fixture.request(&format!("WDB1110101B{n:06}"), "ESP");
        request.device = Some(bench.device.clone());
        fixture.store.create_job(request, fixture.now).await.unwrap();
    }
    let outcome = fixture.dispatch().await;
    assert_eq!((outcome.offered.len(), outcome.parked.len()), (MAX_OPEN_JOBS, 3));
    assert_eq!(fixture.list(&bench.device).await.len(), MAX_OPEN_JOBS);
    assert_eq!(fixture.dispatch().await.offered, []);
}

/// Vehicle, ECU, connection, willingness and the name decide; who can't get a bench is told why.
pub async fn a_job_goes_to_a_bench_that_can_do_it(mut fixture: Fixture) {
    fixture.lease_all().await;
    let nobody = fixture.offered(VIN).await;
    assert!(nobody.job.parked.is_some_and(|reason| reason.contains("vehicle")));
    let wrong_ecu = fixture.online("bench-1", VIN, &["ECM"]).await;
    let offline = fixture.online("bench-2", VIN, &["ESP"]).await;
    fixture
        .ingest(vec![Fixture::presence(&offline, 1, false, true)])
        .await;
    fixture.dispatch().await;
    let parked = fixture.job(nobody.job.id).await;
    assert!(
        parked
            .job
            .parked
            .is_some_and(|reason| reason.contains("not connected"))
    );
    let fitting = fixture.online("bench-3", VIN, &["ABS", "ESP"]).await;
    let generation = fixture.store.generation();
    let mut facts = fixture.facts(&fitting, Some(generation), 0);
    facts.refusing_jobs = Some("spool full".to_owned());
    fixture.ingest(vec![Fixture::sync(&fitting, facts)]).await;
    assert!(fixture.dispatch().await.offered.is_empty());
    let facts = fixture.facts(&fitting, Some(generation), 0);
    fixture.ingest(vec![Fixture::sync(&fitting, facts)]).await;
    assert_eq!(
        fixture.dispatch().await.offered,
        [(nobody.job.id, fitting.device)]
    );
    // Named: that one and no other, whatever stands in front of it.
    let mut named = fixture.request(OTHER_VIN, "ESP");
    named.device = Some(wrong_ecu.device.clone());
    let mut unknown = fixture.request("WDB1110101A000003", "ESP");
    unknown.device = Some("never-heard-of".parse().unwrap());
    for request in [named.clone(), unknown.clone()] {
        fixture.store.create_job(request, fixture.now).await.unwrap();
    }
    let outcome = fixture.dispatch().await;
    assert_eq!(outcome.offered, [(named.id, wrong_ecu.device)]);
    assert_eq!(outcome.parked, [unknown.id]);
}

/// A take-over frees the vehicle; what the lost bench still says is kept and moves nothing.
pub async fn a_taken_over_attempt_is_fenced(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let job = fixture.offered(VIN).await;
    run(&mut fixture, &mut bench, &job).await;
    let change = fixture
        .store
        .take_over_job(job.job.id, "bench burnt", "supervisor", fixture.now)
        .await
        .unwrap();
    assert_eq!(change.lists, std::slice::from_ref(&bench.device));
    assert_eq!(change.job.job.state, JobState::TakenOver);
    assert_eq!(change.job.decided_by.as_deref(), Some("supervisor"));
    let list = fixture.list(&bench.device).await;
    assert_eq!((list.len(), list[0].state), (1, EntryState::Fenced));
    let other = fixture.online("bench-2", VIN, &[]).await;
    fixture
        .ingest(vec![Fixture::presence(&bench, 1, false, true)])
        .await;
    let next = fixture.offered(VIN).await;
    assert_eq!(next.job.device.as_ref(), Some(&other.device));
    assert!(next.job.fence > job.job.fence);
    // It was not burnt after all.
    let of = attempt(&job);
    let step = fixture.step(of, 2);
    let items = vec![
        fixture.event(&mut bench, step),
        fixture.event(&mut bench, finished(of, Verdict::Passed)),
    ];
    let outcome = fixture.ingest(items).await;
    assert_eq!((outcome.counts.stored, outcome.counts.fenced), (2, 2));
    assert!(
        outcome
            .alarms
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::FencedReport)
    );
    let after = fixture.job(job.job.id).await;
    assert_eq!((after.job.state, after.job.verdict), (JobState::TakenOver, None));
    assert_eq!(after.fenced_events, 2);
    let attempts = fixture.store.attempts(job.job.id).await.unwrap();
    assert_eq!(
        (attempts[0].verdict, attempts[0].fenced),
        (Some(Verdict::Passed), true)
    );
    assert_eq!(fixture.store.steps(job.job.id, 1).await.unwrap().len(), 1);
    let events = fixture
        .store
        .events(&bench.device, bench.spool, 4, 9)
        .await
        .unwrap();
    assert!(events.iter().all(|event| event.standing == EventStanding::Fenced));
    assert_eq!(fixture.store.outbox_read(0, 100).await.unwrap().len(), 6);
    assert!(
        fixture.list(&bench.device).await.is_empty(),
        "its last word ends the fenced entry"
    );
    assert_eq!(fixture.job(next.job.id).await.job.state, JobState::Offered);
}

/// Nobody knows what is in the ECU: no other bench gets the vehicle.
pub async fn in_doubt_holds_the_vehicle_until_decided(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let job = fixture.offered(VIN).await;
    run(&mut fixture, &mut bench, &job).await;
    let of = attempt(&job);
    let doubt = fixture.event(&mut bench, finished(of, Verdict::InDoubt));
    fixture.ingest(vec![doubt]).await;
    assert_eq!(fixture.list(&bench.device).await[0].state, EntryState::InDoubt);
    let waiting = fixture.offered(VIN).await;
    assert_eq!(waiting.job.state, JobState::Queued);
    fixture
        .store
        .take_over_job(job.job.id, "read back by hand", "supervisor", fixture.now)
        .await
        .unwrap();
    fixture.dispatch().await;
    assert_eq!(fixture.job(waiting.job.id).await.job.state, JobState::Offered);
    let decided = fixture.job(job.job.id).await;
    assert_eq!(
        (decided.job.state, decided.job.verdict),
        (JobState::TakenOver, Some(Verdict::InDoubt))
    );
}

/// The list of a bench is bounded by what it still has, not by what was once in doubt.
pub async fn a_decided_doubt_does_not_count_against_its_bench(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let job = fixture.offered(VIN).await;
    run(&mut fixture, &mut bench, &job).await;
    let doubt = fixture.event(&mut bench, finished(attempt(&job), Verdict::InDoubt));
    fixture.ingest(vec![doubt]).await;
    let (store, now) = (fixture.store.clone(), fixture.now);
    store
        .take_over_job(job.job.id, "read back by hand", "supervisor", now)
        .await
        .unwrap();
    let version = store.desired_list(&bench.device).await.unwrap().version;
    let facts = fixture.facts(&bench, Some(store.generation()), version);
    fixture.ingest(vec![Fixture::sync(&bench, facts)]).await;
    assert!(fixture.list(&bench.device).await.is_empty(), "the bench knows");
    for n in 0..MAX_OPEN_JOBS {
        let mut request = fixture.request(&format!("WDB1110101B{n:06}"), "ESP");
        request.device = Some(bench.device.clone());
        store.create_job(request, now).await.unwrap();
    }
    assert_eq!(fixture.dispatch().await.offered.len(), MAX_OPEN_JOBS);
}

/// A local start, or a job that a restored database has lost.
pub async fn an_unknown_job_is_reported(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let mut request = fixture.request(VIN, "ESP");
    request.request_id = Some("order-1".to_owned());
    let of = fleet_domain::AttemptRef {
        job: request.id,
        attempt: 1,
        fence: 9,
    };
    let step = fixture.step(of, 0);
    let step = fixture.event(&mut bench, step);
    let outcome = fixture.ingest(vec![step]).await;
    assert!(
        outcome
            .alarms
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::ReportedJob)
    );
    let job = fixture.job(of.job).await;
    assert!(job.reported);
    assert_eq!((job.job.state, job.steps_done), (JobState::Running, 1));
    assert_eq!(fixture.list(&bench.device).await[0].state, EntryState::Running);
    assert_eq!(
        fixture.offered(VIN).await.job.state,
        JobState::Queued,
        "the vehicle is held"
    );
    let created = fixture
        .store
        .create_job(request.clone(), fixture.now)
        .await
        .unwrap();
    assert!(!created.new, "the replayed request is the job that runs already");
    let job = fixture.job(of.job).await;
    assert_eq!((job.reported, job.request.ecu.as_str()), (false, "ESP"));
    assert!(!fixture.store.create_job(request, fixture.now).await.unwrap().new);
    let last = fixture.event(&mut bench, finished(of, Verdict::Passed));
    fixture.ingest(vec![last]).await;
    assert_eq!(fixture.job(of.job).await.job.verdict, Some(Verdict::Passed));
}

/// Typed refusals that name state and event; nothing changes.
pub async fn what_the_state_forbids_is_refused(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let job = fixture.offered(VIN).await;
    let id = job.job.id;
    let (store, now) = (fixture.store.clone(), fixture.now);
    let version = store.desired_list(&bench.device).await.unwrap().version;
    let error = store.take_over_job(id, "r", "p", now).await.unwrap_err();
    assert!(matches!(error, StoreError::Transition(_)), "{error}");
    run(&mut fixture, &mut bench, &job).await;
    let error = store.cancel_job(id, "r", "p", now).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a job that is running can't take the event \"cancel\""
    );
    assert_eq!(fixture.job(id).await.job.state, JobState::Running);
    let after = store.desired_list(&bench.device).await.unwrap().version;
    assert_eq!(
        after,
        version + 1,
        "accepted and running in one batch; the refusals changed no list"
    );
    let unknown = JobId(fixture.uuid());
    let error = store.cancel_job(unknown, "r", "p", now).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
    let queued = fixture.request(OTHER_VIN, "ESP");
    let queued = store.create_job(queued, now).await.unwrap().job.job.id;
    let change = store
        .cancel_job(queued, "not needed", "operator", now)
        .await
        .unwrap();
    assert_eq!((change.job.job.state, change.lists), (JobState::Canceled, vec![]));
}
