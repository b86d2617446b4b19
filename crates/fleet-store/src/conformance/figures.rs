//! The figures that are asked for every few seconds equal what a full count finds, whatever happened before; and what
//! stays outstanding is an alarm until it is over.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_domain::{BenchReport, DeviceId, JobState, Place, RejectCode, Slot, Verdict};

use super::fixture::{Bench, Fixture, VIN, attempt, finished};
use crate::{
    AlarmKind, EventStanding, Inbound, InboundMessage, JobFilter, OutboxAdvance, OutboxCursor, OutboxFate,
    OutboxRead, OutboxRow, Page, Patience, RejectedEvent, RelayTerm, Retention,
};

/// Steps of a random history.
const STEPS: u32 = 120;
/// How old an event gets.
const KEPT: Duration = Duration::from_hours(48);

/// A source of choices that repeats itself.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// After a random history of everything that moves a figure, every figure equals the count of the rows.
pub async fn figures_equal_full_counts(mut fixture: Fixture) {
    for seed in 1..=3 {
        fixture.lease_all().await;
        let mut dice = Dice(seed);
        let mut benches: Vec<Bench> = (0..4)
            .map(|n| fixture.bench(&format!("bench-{seed}-{n}")))
            .collect();
        let term = fixture
            .store
            .claim_relay("a", fixture.now, Duration::from_hours(2400))
            .await
            .unwrap()
            .unwrap();
        for step in 0..STEPS {
            let at = usize::try_from(dice.below(4)).unwrap();
            act(&mut fixture, &mut dice, &mut benches[at], term).await;
            if step % 20 == 19 {
                compare(&fixture, &benches).await;
            }
        }
        fixture
            .store
            .prune(fixture.now, Retention::default())
            .await
            .unwrap();
        compare(&fixture, &benches).await;
    }
}

/// One thing that happens.
async fn act(fixture: &mut Fixture, dice: &mut Dice, bench: &mut Bench, term: RelayTerm) {
    match dice.below(10) {
        0..=3 => {
            let count = 1 + dice.below(8);
            let items = (0..count).map(|_| fixture.started(bench, VIN, &[])).collect();
            fixture.ingest(items).await;
        }
        4 => {
            let unknown = BenchReport::Unknown {
                r#type: "vds.new.v9".to_owned(),
            };
            let item = fixture.event(bench, unknown);
            fixture.ingest(vec![item]).await;
        }
        5 => {
            let item = rejected(bench);
            fixture.ingest(vec![item]).await;
        }
        6 => {
            // Comes too early: outstanding until the next run closes the gap.
            let mut ahead = bench.clone();
            ahead.next_seq += dice.below(3);
            let item = fixture.started(&mut ahead, VIN, &[]);
            fixture.ingest(vec![item]).await;
        }
        7 => advance(fixture, dice, term).await,
        8 => {
            let vin = format!("WDB1110101A{:06}", dice.below(1_000_000));
            let request = fixture.request(&vin, "ESP");
            let job = request.id;
            fixture.store.create_job(request, fixture.now).await.unwrap();
            if dice.below(2) == 0 {
                fixture
                    .store
                    .cancel_job(job, "no need", "operator", fixture.now)
                    .await
                    .unwrap();
            }
        }
        _ => {
            fixture.pass(3600);
            // Without a relay, now and then, so that events expire as well.
            let retention = Retention {
                keep: Some(KEPT),
                relay: dice.below(3) > 0,
            };
            fixture.store.prune(fixture.now, retention).await.unwrap();
        }
    }
}

fn rejected(bench: &mut Bench) -> Inbound {
    let seq = bench.next_seq;
    bench.next_seq += 1;
    let bytes = bytes::Bytes::from(format!("nonsense {seq} of {}", bench.spool));
    Inbound {
        slot: Slot::of(&bench.device),
        device: bench.device.clone(),
        message: InboundMessage::Rejected(RejectedEvent {
            place: Place {
                spool: bench.spool,
                seq,
                predecessor: None,
                hole_to: None,
            },
            digest: super::fixture::digest(&bytes),
            code: RejectCode::Malformed,
            reason: "no JSON".to_owned(),
            bytes,
        }),
    }
}

async fn rows(fixture: &Fixture) -> Vec<OutboxRow> {
    let relay = fixture.store.relay_row().await.unwrap();
    let mut cursor = relay.relayed;
    let mut all = Vec::new();
    loop {
        match fixture.store.outbox_after(cursor, 500).await.unwrap() {
            OutboxRead::Rows(rows) => match rows.last() {
                Some(last) => {
                    cursor = OutboxCursor::behind(last);
                    all.extend(rows);
                }
                None => return all,
            },
            OutboxRead::CursorLost => panic!("{cursor:?} is not there"),
        }
    }
}

/// The relay goes on by some rows; now and then it refuses one, or finds one in Kafka already.
async fn advance(fixture: &mut Fixture, dice: &mut Dice, term: RelayTerm) {
    let waiting = rows(fixture).await;
    if waiting.is_empty() {
        return;
    }
    let upto = usize::try_from(dice.below(waiting.len() as u64)).unwrap();
    let mut already = Vec::new();
    if let Some(row) = waiting[..=upto]
        .iter()
        .find(|row| row.fate == OutboxFate::Waiting)
    {
        if dice.below(4) == 0 {
            let cursor = OutboxCursor::behind(row);
            fixture
                .store
                .refuse_outbox_row(term, cursor, "too_large", "for Kafka", fixture.now)
                .await
                .unwrap();
        } else if dice.below(3) == 0 {
            already.push(row.seq);
        }
    }
    let advance = OutboxAdvance {
        term,
        through: OutboxCursor::behind(&waiting[upto]),
        already,
    };
    fixture.store.outbox_advance(&advance, fixture.now).await.unwrap();
}

async fn compare(fixture: &Fixture, benches: &[Bench]) {
    let waiting: Vec<OutboxRow> = rows(fixture)
        .await
        .into_iter()
        .filter(|row| row.fate == OutboxFate::Waiting)
        .collect();
    let relay = fixture.store.relay_row().await.unwrap();
    let counts = fixture.store.counts().await.unwrap();
    let totals = fixture.store.ledger_totals().await.unwrap();
    assert_eq!(counts.ledger, totals);
    assert_eq!(relay.waiting, waiting.len() as u64, "what waits for the relay");
    assert_eq!(totals.in_outbox, waiting.len() as u64, "what waits in the totals");
    let mut of_spool: BTreeMap<_, u64> = BTreeMap::new();
    for row in &waiting {
        *of_spool
            .entry((row.event.device.clone(), row.event.spool))
            .or_default() += 1;
    }
    for bench in benches {
        for spool in fixture.store.bench_ledger(&bench.device).await.unwrap() {
            let counted = of_spool
                .get(&(bench.device.clone(), spool.spool))
                .copied()
                .unwrap_or(0);
            assert_eq!(spool.in_outbox, counted, "{spool:?}");
            assert_eq!(
                spool.outstanding_since.is_some(),
                spool.outstanding > 0,
                "{spool:?}"
            );
        }
    }
    assert_eq!(totals.unprojected, unprojected(fixture).await, "not understood");
    assert_eq!(totals.dead_letters, dead_letters(fixture).await, "dead letters");
    let mut jobs: BTreeMap<JobState, u64> = BTreeMap::new();
    let mut page = Page {
        limit: 1000,
        after: None,
    };
    loop {
        let found = fixture.store.jobs(&JobFilter::default(), &page).await.unwrap();
        for job in found.items {
            *jobs.entry(job.job.state).or_default() += 1;
        }
        page.after = found.next;
        if page.after.is_none() {
            break;
        }
    }
    let kept: BTreeMap<JobState, u64> = counts.jobs.into_iter().collect();
    assert_eq!(kept, jobs);
}

async fn unprojected(fixture: &Fixture) -> u64 {
    let mut found = 0;
    for device in fixture.store.device_names(1000).await.unwrap() {
        for spool in fixture.store.bench_ledger(&device).await.unwrap() {
            let events = fixture
                .store
                .events(&device, spool.spool, 1, 10_000)
                .await
                .unwrap();
            let of = events
                .iter()
                .filter(|event| matches!(event.standing, EventStanding::Unprojected(_)));
            found += of.count() as u64;
        }
    }
    found
}

async fn dead_letters(fixture: &Fixture) -> u64 {
    let mut found = 0;
    let mut page = Page {
        limit: 1000,
        after: None,
    };
    loop {
        let letters = fixture.store.dead_letters(&page).await.unwrap();
        found += letters.items.len() as u64;
        page.after = letters.next;
        if page.after.is_none() {
            return found;
        }
    }
}

async fn standing(fixture: &Fixture) -> Vec<(DeviceId, u64)> {
    let alarms = fixture.store.alarms(&Page::default()).await.unwrap();
    alarms
        .items
        .into_iter()
        .filter(|alarm| alarm.kind == AlarmKind::LedgerOutstanding)
        .map(|alarm| (alarm.device.unwrap(), alarm.count))
        .collect()
}

/// What stays outstanding raises one alarm, later for a bench that is away, and the alarm ends with its cause.
pub async fn what_stays_outstanding_is_an_alarm_until_it_is_over(mut fixture: Fixture) {
    let patience = Patience {
        online: Duration::from_mins(5),
        offline: Duration::from_hours(24),
    };
    fixture.lease_all().await;
    let mut benches = Vec::new();
    for (name, online) in [("bench-1", true), ("bench-2", false), ("bench-3", true)] {
        let mut bench = fixture.bench(name);
        let first = fixture.started(&mut bench, VIN, &[]);
        let presence = Fixture::presence(&bench, 1, online, false);
        fixture.ingest(vec![first, presence]).await;
        benches.push(bench);
    }
    // The second event of two benches is missing, the third came.
    let mut missing = Vec::new();
    for bench in &mut benches[..2] {
        let second = fixture.started(bench, VIN, &[]);
        let third = fixture.started(bench, VIN, &[]);
        fixture.ingest(vec![third.clone()]).await;
        missing.push(vec![second, third]);
    }
    let since = fixture.now;
    fixture.pass(299);
    assert_eq!(
        fixture
            .store
            .watch_outstanding(patience, fixture.now)
            .await
            .unwrap(),
        []
    );
    fixture.pass(1);
    let raised = fixture
        .store
        .watch_outstanding(patience, fixture.now)
        .await
        .unwrap();
    let raised: Vec<_> = raised
        .into_iter()
        .map(|alarm| (alarm.kind, alarm.device))
        .collect();
    assert_eq!(
        raised,
        [(AlarmKind::LedgerOutstanding, Some(benches[0].device.clone()))]
    );
    let row = fixture.store.bench_ledger(&benches[0].device).await.unwrap()[0];
    assert_eq!((row.outstanding, row.outstanding_since), (2, Some(since)));
    for _ in 0..3 {
        fixture.pass(60);
        assert_eq!(
            fixture
                .store
                .watch_outstanding(patience, fixture.now)
                .await
                .unwrap(),
            [],
            "it is told once"
        );
    }
    assert_eq!(standing(&fixture).await, [(benches[0].device.clone(), 1)]);
    fixture.pass(24 * 3600);
    fixture
        .store
        .watch_outstanding(patience, fixture.now)
        .await
        .unwrap();
    assert_eq!(
        standing(&fixture).await.len(),
        2,
        "the one that is away is told later"
    );
    let before = fixture.store.changes(0, 1000).await.unwrap().head;
    fixture.ingest(missing.remove(0)).await;
    assert_eq!(
        fixture
            .store
            .watch_outstanding(patience, fixture.now)
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        standing(&fixture).await,
        [(benches[1].device.clone(), 1)],
        "it ends by itself"
    );
    let told = fixture.store.changes(before, 1000).await.unwrap();
    assert!(
        told.rows.iter().any(|row| row.kind == crate::ChangeKind::Alarm),
        "the page hears of it"
    );
    let row = fixture.store.bench_ledger(&benches[0].device).await.unwrap()[0];
    assert_eq!((row.outstanding, row.outstanding_since), (0, None));
}

/// An event whose time is a year off is stored as it is; a person is told.
pub async fn a_clock_that_is_far_off_is_told_and_decides_nothing(mut fixture: Fixture) {
    fixture.lease_all().await;
    let job = {
        fixture.online("bench-1", VIN, &[]).await;
        fixture.offered(VIN).await
    };
    let mut bench = fixture.bench("bench-2");
    let mut items = Vec::new();
    for days in [-365, 365, 0, -30] {
        let mut item = fixture.event(&mut bench, finished(attempt(&job), Verdict::Passed));
        if let InboundMessage::Event(event) = &mut item.message {
            event.time = fixture
                .now
                .checked_add(jiff::SignedDuration::from_hours(24 * days))
                .unwrap();
        }
        items.push(item);
    }
    let outcome = fixture.ingest(items).await;
    assert_eq!((outcome.counts.stored, outcome.counts.clock_off), (4, 2));
    assert_eq!(outcome.receipts[0].through, 4);
    let alarms = fixture.store.alarms(&Page::default()).await.unwrap().items;
    let alarm = alarms
        .iter()
        .find(|alarm| alarm.kind == AlarmKind::ClockOff)
        .unwrap();
    assert_eq!((alarm.device.as_ref(), alarm.count), (Some(&bench.device), 2));
}
