//! Several writers at once: replicas that dispatch, requesters that repeat themselves, people who decide while a
//! bench reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet_domain::{BenchReport, DeviceId, EntryState, JobId, JobState, Verdict};
use futures::future::{join, join_all};
use uuid::Uuid;

use super::fixture::{Bench, Fixture, VIN, accepted, attempt, finished};
use crate::{DispatchOutcome, Inbound, IngestBatch, JobFilter, JobRow, Page, Store, StoreError};

/// Replicas that dispatch at once.
const REPLICAS: u128 = 4;
const VEHICLES: usize = 5;
const JOBS_OF_A_VEHICLE: usize = 4;

/// A round of dispatch by each of several replicas at once. Identifiers of each lie in a range of their own.
async fn rounds(fixture: &mut Fixture) -> Vec<DispatchOutcome> {
    let base = fixture.uuid().as_u128();
    let each = (1..=REPLICAS).map(|replica| {
        let (store, now) = (fixture.store.clone(), fixture.now);
        async move {
            let mut next = base + (replica << 64);
            let mut mint = || {
                next += 1;
                Uuid::from_u128(next)
            };
            store.dispatch(now, &mut mint).await.unwrap()
        }
    });
    join_all(each).await
}

async fn all_jobs(store: &Arc<dyn Store>) -> Vec<JobRow> {
    let page = Page {
        limit: 1000,
        after: None,
    };
    store.jobs(&JobFilter::default(), &page).await.unwrap().items
}

/// Whether the job is on a bench, by its own row.
fn is_open(job: &JobRow) -> bool {
    matches!(
        job.job.state,
        JobState::Offered | JobState::Withdrawing | JobState::Accepted | JobState::Running
    )
}

/// A batch in which every bench accepts, starts and ends the job that it has.
fn ends(fixture: &mut Fixture, benches: &mut BTreeMap<DeviceId, Bench>, open: &[JobRow]) -> IngestBatch {
    let generation = fixture.store.generation();
    let mut items = Vec::new();
    for job in open {
        let bench = benches.get_mut(job.job.device.as_ref().unwrap()).unwrap();
        let of = attempt(job);
        let started = BenchReport::JobStarted {
            of,
            steps_total: 0,
            time: fixture.now,
        };
        for report in [accepted(job, generation), started, finished(of, Verdict::Passed)] {
            items.push(fixture.event(bench, report));
        }
    }
    batch(fixture, items)
}

fn batch(fixture: &mut Fixture, items: Vec<Inbound>) -> IngestBatch {
    IngestBatch {
        terms: fixture.terms.clone(),
        items,
        misplaced: Vec::new(),
        received_at: fixture.now,
        spare_generation: fixture.generation(),
    }
}

/// Replicas dispatch at once while benches finish: no vehicle is on two benches, no job is offered twice, each
/// offer has a fence of its own, and every job is done once.
pub async fn two_dispatchers_never_give_a_vehicle_away_twice(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut benches: BTreeMap<DeviceId, Bench> = BTreeMap::new();
    for n in 0..VEHICLES {
        let vin = format!("WDB1110101D{n:06}");
        // Two benches for each vehicle: nothing but the hold on it keeps them apart.
        for side in ["left", "right"] {
            let bench = fixture.online(&format!("bench-{n}-{side}"), &vin, &[]).await;
            benches.insert(bench.device.clone(), bench);
        }
        for _ in 0..JOBS_OF_A_VEHICLE {
            let request = fixture.request(&vin, "ESP");
            fixture.store.create_job(request, fixture.now).await.unwrap();
        }
    }
    let mut offered = BTreeMap::new();
    for round in 0.. {
        let jobs = all_jobs(&fixture.store).await;
        let open: Vec<JobRow> = jobs.iter().filter(|job| is_open(job)).cloned().collect();
        let vehicles: BTreeSet<&str> = open.iter().map(|job| job.request.vin.as_str()).collect();
        assert_eq!(vehicles.len(), open.len(), "a vehicle is on two benches");
        let given: BTreeSet<u64> = jobs
            .iter()
            .map(|job| job.job.fence)
            .filter(|fence| *fence > 0)
            .collect();
        assert_eq!(given.len(), offered.len(), "each offer has a fence of its own");
        if jobs.iter().all(|job| job.job.state == JobState::Finished) {
            break;
        }
        assert!(round < 100, "the queue does not get empty");
        let batch = ends(&mut fixture, &mut benches, &open);
        let store = fixture.store.clone();
        let (ingested, outcomes) = join(store.ingest(batch), rounds(&mut fixture)).await;
        for (job, device) in outcomes.into_iter().flat_map(|outcome| outcome.offered) {
            assert_eq!(offered.insert(job, device), None, "offered twice");
        }
        let counts = ingested.unwrap().counts;
        assert_eq!(
            (counts.stored, counts.unprojected),
            (3 * u64::try_from(open.len()).unwrap(), 0)
        );
    }
    assert_eq!(offered.len(), VEHICLES * JOBS_OF_A_VEHICLE);
    for job in offered.into_keys() {
        assert_eq!(fixture.job(job).await.job.verdict, Some(Verdict::Passed));
        assert_eq!(fixture.store.attempts(job).await.unwrap().len(), 1);
    }
}

/// Rule 27: requests that are repeated while the first one is still on its way.
pub async fn a_request_repeated_at_once_is_one_job(mut fixture: Fixture) {
    for round in 0..10 {
        let mut first = fixture.request(VIN, "ESP");
        first.request_id = (round % 2 == 0).then(|| format!("order-{round}"));
        let mut tries = vec![first; 6];
        for request in tries
            .iter_mut()
            .skip(1)
            .filter(|request| request.request_id.is_some())
        {
            // With a request id each try may bring a fresh id of the job; without one the id is the request's.
            request.id = JobId(fixture.uuid());
        }
        let (store, now) = (fixture.store.clone(), fixture.now);
        let created = join_all(tries.into_iter().map(|request| store.create_job(request, now))).await;
        let created: Vec<_> = created.into_iter().map(Result::unwrap).collect();
        let new = created.iter().filter(|created| created.new).count();
        assert_eq!(new, 1, "round {round}");
        assert!(created.iter().all(|other| other.job == created[0].job));
    }
    assert_eq!(all_jobs(&fixture.store).await.len(), 10);
}

/// A bench's last event and a person's take-over at once: one of them is first, and the other is told.
pub async fn a_take_over_against_a_last_event_has_one_winner(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let mut taken = 0;
    for round in 0..12 {
        let job = fixture.offered(VIN).await;
        assert_eq!(
            job.job.state,
            JobState::Offered,
            "the vehicle is free in round {round}"
        );
        let (id, of, generation) = (job.job.id, attempt(&job), fixture.store.generation());
        let taking = fixture.event(&mut bench, accepted(&job, generation));
        fixture.ingest(vec![taking]).await;
        let last = fixture.event(&mut bench, finished(of, Verdict::Failed));
        let batch = batch(&mut fixture, vec![last]);
        let (store, now) = (fixture.store.clone(), fixture.now);
        let decide = store.take_over_job(id, "bench lost", "supervisor", now);
        let (decided, ingested) = join(decide, store.ingest(batch)).await;
        let outcome = ingested.unwrap();
        assert_eq!((outcome.counts.stored, outcome.counts.unprojected), (1, 0));
        let after = fixture.job(id).await;
        let attempts = store.attempts(id).await.unwrap();
        assert_eq!(
            attempts[0].verdict,
            Some(Verdict::Failed),
            "what the bench says is kept"
        );
        match decided {
            Ok(_) => {
                taken += 1;
                assert_eq!((after.job.state, outcome.counts.fenced), (JobState::TakenOver, 1));
                assert!(attempts[0].fenced);
            }
            Err(StoreError::Transition(_)) => {
                assert_eq!((after.job.state, outcome.counts.fenced), (JobState::Finished, 0));
                assert!(!attempts[0].fenced);
            }
            Err(error) => panic!("{error}"),
        }
        let entries = fixture.list(&bench.device).await;
        assert!(entries.is_empty(), "{round}: {taken} taken over, {entries:?}");
    }
}

/// A bench's acceptance and a recall at once: whoever is first, the bench has the job.
pub async fn a_recall_against_an_acceptance_leaves_the_job_to_the_bench(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    for _ in 0..12 {
        let job = fixture.offered(VIN).await;
        let (id, generation) = (job.job.id, fixture.store.generation());
        let taking = fixture.event(&mut bench, accepted(&job, generation));
        let batch = batch(&mut fixture, vec![taking]);
        let (store, now) = (fixture.store.clone(), fixture.now);
        let recall = store.cancel_job(id, "wrong order", "operator", now);
        let (recalled, ingested) = join(recall, store.ingest(batch)).await;
        match recalled {
            Ok(_) | Err(StoreError::Transition(_)) => {}
            Err(error) => panic!("{error}"),
        }
        ingested.unwrap();
        assert_eq!(fixture.job(id).await.job.state, JobState::Accepted);
        let entries = fixture.list(&bench.device).await;
        let states: Vec<_> = entries.iter().map(|entry| entry.state).collect();
        assert_eq!(states, [EntryState::Accepted]);
        let last = fixture.event(&mut bench, finished(attempt(&job), Verdict::Passed));
        fixture.ingest(vec![last]).await;
    }
}
