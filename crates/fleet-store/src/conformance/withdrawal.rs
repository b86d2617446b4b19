//! Rules 25, 26, 28 and 29: what only the bench can confirm.

use fleet_domain::{BenchReport, JobState};
use jiff::SignedDuration;

use super::fixture::{Bench, Fixture, VIN, accepted};
use crate::{AlarmKind, ConflictKind, JobRow, Page, StoreError};

/// A sync of the bench that states a version of its list.
async fn state(
    fixture: &mut Fixture,
    bench: &Bench,
    version: u64,
    change: impl FnOnce(&mut fleet_domain::SyncFacts),
) {
    let generation = fixture.store.generation();
    let mut facts = fixture.facts(bench, Some(generation), version);
    change(&mut facts);
    fixture.ingest(vec![Fixture::sync(bench, facts)]).await;
}

async fn withdrawing(fixture: &mut Fixture, bench: &Bench) -> (JobRow, u64) {
    let job = fixture.offered(VIN).await;
    let change = fixture
        .store
        .cancel_job(job.job.id, "wrong order", "operator", fixture.now)
        .await
        .unwrap();
    assert_eq!(change.job.job.state, JobState::Withdrawing);
    assert!(fixture.list(&bench.device).await.is_empty());
    let version = fixture.store.desired_list(&bench.device).await.unwrap().version;
    (job, version)
}

/// Nothing but a statement of that bench, with everything before it stored, ends an offer.
pub async fn a_withdrawal_needs_the_bench(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let (job, version) = withdrawing(&mut fixture, &bench).await;
    let id = job.job.id;
    let other = fixture.online("bench-2", VIN, &[]).await;
    let waiting = fixture.offered(VIN).await.job.id;
    let still = |fixture: &Fixture| {
        let store = fixture.store.clone();
        async move {
            let states = [
                store.job(id).await.unwrap().unwrap().job.state,
                store.job(waiting).await.unwrap().unwrap().job.state,
            ];
            assert_eq!(states, [JobState::Withdrawing, JobState::Queued]);
        }
    };
    state(&mut fixture, &bench, version - 1, |_| {}).await;
    still(&fixture).await;
    state(&mut fixture, &bench, version, |facts| facts.generation = None).await;
    still(&fixture).await;
    state(&mut fixture, &other, version + 5, |_| {}).await;
    still(&fixture).await;
    state(&mut fixture, &bench, version, |facts| facts.jobs.push(id)).await;
    still(&fixture).await;
    // The right statement, but an event before it is still on its way.
    let on_its_way = fixture.event(
        &mut bench,
        BenchReport::Unknown {
            r#type: "x".to_owned(),
        },
    );
    state(&mut fixture, &bench, version, |_| {}).await;
    fixture.pass(3600);
    fixture.dispatch().await;
    still(&fixture).await;
    fixture.ingest(vec![on_its_way]).await;
    let done = fixture.job(id).await;
    assert_eq!(
        (done.job.state, done.decided_by.as_deref()),
        (JobState::Canceled, Some("operator"))
    );
    fixture.dispatch().await;
    assert_eq!(fixture.job(waiting).await.job.state, JobState::Offered);
}

/// The bench accepted in the last moment: the job is its own, however the statement looks.
pub async fn an_acceptance_in_flight_wins_over_a_withdrawal(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let (job, version) = withdrawing(&mut fixture, &bench).await;
    let generation = fixture.store.generation();
    let acceptance = fixture.event(&mut bench, accepted(&job, generation));
    // The sync overtakes the acceptance.
    state(&mut fixture, &bench, version, |_| {}).await;
    assert_eq!(fixture.job(job.job.id).await.job.state, JobState::Withdrawing);
    let outcome = fixture.ingest(vec![acceptance]).await;
    let after = fixture.job(job.job.id).await;
    assert_eq!(
        (after.job.state, after.job.withdrawal),
        (JobState::Accepted, None)
    );
    assert_eq!(
        outcome.lists,
        std::slice::from_ref(&bench.device),
        "back in the list"
    );
    // A lost bench: a person decides.
    let other = fixture.online("bench-2", VIN, &[]).await;
    fixture
        .store
        .take_over_job(job.job.id, "bench lost", "supervisor", fixture.now)
        .await
        .unwrap();
    fixture
        .ingest(vec![Fixture::presence(&bench, 1, false, true)])
        .await;
    let next = fixture.offered(VIN).await;
    assert_eq!(next.job.device.as_ref(), Some(&other.device));
    // The first bench states the list that fences it and that it has nothing: the entry goes.
    assert_eq!(fixture.list(&bench.device).await.len(), 1);
    let version = fixture.store.desired_list(&bench.device).await.unwrap().version;
    state(&mut fixture, &bench, version, |facts| facts.jobs.push(job.job.id)).await;
    assert_eq!(fixture.list(&bench.device).await.len(), 1);
    state(&mut fixture, &bench, version, |_| {}).await;
    assert!(fixture.list(&bench.device).await.is_empty());
}

/// Rule 26: the server's clock, for what nobody has accepted.
pub async fn a_deadline_ends_what_nobody_accepted(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let mut ids = Vec::new();
    for vin in ["WDB1110101C000001", "WDB1110101C000002", "WDB1110101C000003"] {
        let mut request = fixture.request(vin, "ESP");
        request.deadline = Some(fixture.now + SignedDuration::from_secs(100));
        request.device = (ids.len() < 2).then(|| bench.device.clone());
        ids.push(request.id);
        fixture.store.create_job(request, fixture.now).await.unwrap();
    }
    fixture.dispatch().await;
    let generation = fixture.store.generation();
    let taken = fixture.job(ids[0]).await;
    let acceptance = fixture.event(&mut bench, accepted(&taken, generation));
    fixture.ingest(vec![acceptance]).await;
    fixture.pass(99);
    assert!(fixture.dispatch().await.timed_out.is_empty());
    fixture.pass(1);
    let mut timed_out = fixture.dispatch().await.timed_out;
    timed_out.sort();
    assert_eq!(timed_out, [ids[1], ids[2]]);
    let mut states = Vec::new();
    for id in &ids {
        states.push(fixture.job(*id).await.job.state);
    }
    assert_eq!(
        states,
        [JobState::Accepted, JobState::Withdrawing, JobState::TimedOut]
    );
    let version = fixture.store.desired_list(&bench.device).await.unwrap().version;
    state(&mut fixture, &bench, version, |_| {}).await;
    assert_eq!(fixture.job(ids[1]).await.job.state, JobState::TimedOut);
    assert!(fixture.dispatch().await.timed_out.is_empty());
}

/// Rule 28: after a restore nobody knows what the benches are doing.
pub async fn no_offer_before_every_bench_is_heard_after_a_restore(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut first = fixture.online("bench-1", VIN, &[]).await;
    let second = fixture.online("bench-2", VIN, &[]).await;
    let candidate = fixture.generation();
    let generation = fixture
        .store
        .declare_restored(candidate, fixture.now)
        .await
        .unwrap();
    assert_eq!(generation, candidate);
    let job = fixture.request(VIN, "ESP");
    let id = job.id;
    fixture.store.create_job(job, fixture.now).await.unwrap();
    assert_eq!(fixture.dispatch().await.waiting_for.len(), 2);
    // Heard, but not all that it has to say.
    let open = fixture.event(
        &mut first,
        BenchReport::Unknown {
            r#type: "x".to_owned(),
        },
    );
    state(&mut fixture, &first, 0, |_| {}).await;
    assert_eq!(fixture.dispatch().await.waiting_for.len(), 2);
    fixture.ingest(vec![open]).await;
    assert_eq!(
        fixture.dispatch().await.waiting_for,
        std::slice::from_ref(&second.device)
    );
    assert_eq!(
        fixture.store.awaited_benches().await.unwrap(),
        std::slice::from_ref(&second.device)
    );
    let held = held_offers(&fixture).await;
    assert_eq!(held.len(), 1, "one alarm for a restore");
    assert!(
        held[0].contains("bench-2") && !held[0].contains("bench-1"),
        "{held:?}"
    );
    let release = |device| {
        fixture
            .store
            .release_bench(device, "scrapped", "supervisor", fixture.now)
    };
    assert!(
        matches!(
            release(&first.device).await,
            Err(StoreError::Conflict(ConflictKind::NotAwaited(_)))
        ),
        "it was heard"
    );
    release(&second.device).await.unwrap();
    release(&second.device).await.unwrap();
    assert!(fixture.store.awaited_benches().await.unwrap().is_empty());
    let outcome = fixture.dispatch().await;
    assert!(outcome.waiting_for.is_empty());
    assert_eq!(outcome.offered, [(id, first.device)]);
    let held = held_offers(&fixture).await;
    assert!(held[0].contains("again"), "{held:?}");
    let unknown = "never-heard-of".parse().unwrap();
    let refused = fixture
        .store
        .release_bench(&unknown, "scrapped", "supervisor", fixture.now)
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    let alarms = fixture.store.alarms(&Page::default()).await.unwrap().items;
    let released = alarms
        .iter()
        .find(|alarm| alarm.kind == AlarmKind::DeclaredRestore && alarm.device.is_some())
        .unwrap();
    assert!(
        released.detail.contains("supervisor") && released.detail.contains("scrapped"),
        "{released:?}"
    );
    assert_eq!(released.count, 1, "a repeated release is the same one");
}

async fn held_offers(fixture: &Fixture) -> Vec<String> {
    let alarms = fixture.store.alarms(&Page::default()).await.unwrap().items;
    alarms
        .into_iter()
        .filter(|alarm| alarm.kind == AlarmKind::OffersHeld)
        .map(|alarm| alarm.detail)
        .collect()
}

/// Every message of a bench moves its `last_seen`; the page is told once a minute where nothing else changed.
pub async fn a_bench_that_is_heard_is_told_once_a_minute(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let seen = |fixture: &Fixture| {
        let (store, device) = (fixture.store.clone(), "bench-1".parse().unwrap());
        async move { store.bench(&device).await.unwrap().unwrap().last_seen }
    };
    let told = |fixture: &Fixture, since: u64| {
        let store = fixture.store.clone();
        async move { store.changes(since, 1000).await.unwrap().rows.len() }
    };
    let mut head = fixture.store.changes(0, 1000).await.unwrap().head;
    // A sync each ten seconds for a minute, as after a bad connection.
    for second in (10..=60).step_by(10) {
        fixture.pass(10);
        let version = 0;
        state(&mut fixture, &bench, version, |_| {}).await;
        assert_eq!(seen(&fixture).await, fixture.now, "after {second} s");
    }
    assert_eq!(told(&fixture, head).await, 1, "seven syncs, one change");
    head = fixture.store.changes(0, 1000).await.unwrap().head;
    // The shortest interval of an idle bench: each sync is told.
    for _ in 0..3 {
        fixture.pass(48);
        state(&mut fixture, &bench, 0, |_| {}).await;
    }
    assert_eq!(told(&fixture, head).await, 3);
    fixture.pass(1);
    let event = fixture.started(&mut bench, VIN, &[]);
    fixture.ingest(vec![event]).await;
    assert_eq!(seen(&fixture).await, fixture.now);
    fixture.pass(1);
    fixture
        .ingest(vec![Fixture::presence(&bench, 1, true, false)])
        .await;
    let last = fixture.now;
    assert_eq!(seen(&fixture).await, last);
    // Neither the broker nor the server speaks for it.
    fixture.pass(100);
    let mut assumed = Fixture::presence(&bench, 1, false, false);
    if let crate::InboundMessage::Presence(facts) = assumed.message {
        assumed.message = crate::InboundMessage::Assumed(facts);
    }
    let will = Fixture::presence(&bench, 1, false, true);
    fixture.ingest(vec![will, assumed]).await;
    assert_eq!(seen(&fixture).await, last);
    let row = fixture.store.bench(&bench.device).await.unwrap().unwrap();
    assert!(!row.online);
}

/// Rule 29.
pub async fn presence_follows_the_current_run(mut fixture: Fixture) {
    fixture.lease_all().await;
    let mut bench = fixture.bench("bench-1");
    fixture
        .ingest(vec![Fixture::presence(&bench, 2, true, false)])
        .await;
    let online = |fixture: &Fixture| {
        let (store, device) = (fixture.store.clone(), "bench-1".parse().unwrap());
        async move { store.bench(&device).await.unwrap().unwrap().online }
    };
    assert!(online(&fixture).await);
    fixture
        .ingest(vec![Fixture::presence(&bench, 1, false, true)])
        .await;
    assert!(online(&fixture).await, "the will of an earlier connect");
    let old = bench.clone();
    fixture.restart(&mut bench);
    fixture
        .ingest(vec![
            Fixture::presence(&bench, 1, true, false),
            Fixture::presence(&old, 2, false, true),
        ])
        .await;
    assert!(online(&fixture).await, "the will of an earlier run");
    fixture.pass(5);
    fixture
        .ingest(vec![Fixture::presence(&bench, 1, false, true)])
        .await;
    assert!(!online(&fixture).await);
    let shown = fixture.store.bench(&bench.device).await.unwrap().unwrap();
    assert_eq!(shown.presence_since, Some(fixture.now));
    state(&mut fixture, &bench, 0, |_| {}).await;
    assert!(online(&fixture).await, "a sync heals");
}
