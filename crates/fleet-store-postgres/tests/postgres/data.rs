//! Data that PostgreSQL does not take as it comes, and the days' partitions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleet_domain::report::StepReport;
use fleet_domain::{AttemptRef, BenchReport, Slot, Verdict};
use fleet_store::conformance::Fixture;
use fleet_store::{EventStanding, Inbound, InboundMessage, JobFilter, Misplaced, Page, Retention, Store};
use fleet_testkit::services::Postgres;

use super::{database, name_of, open};

const VIN: &str = "WDB1110101A000001";

async fn fixture(url: &str) -> Fixture {
    let store: Arc<dyn Store> = Arc::new(open(url).await);
    let mut fixture = Fixture::new(store);
    fixture.lease_all().await;
    fixture
}

fn attempt(job: &fleet_store::JobRow) -> AttemptRef {
    AttemptRef {
        job: job.job.id,
        attempt: job.job.attempt,
        fence: job.job.fence,
    }
}

/// PostgreSQL's text has no NUL. What a bench, a requester or a stranger sends with one is shown with its picture
/// and kept byte by byte; nothing is refused and nobody waits.
#[tokio::test]
async fn nul_in_text_is_shown_as_its_picture() {
    let mut fixture = fixture(&database().await).await;
    let store = fixture.store.clone();
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let mut request = fixture.request(VIN, "E\0S");
    request.parameters.insert("no\0te".to_owned(), "a\0b".to_owned());
    request.request_id = Some("order\0".to_owned());
    let created = store.create_job(request.clone(), fixture.now).await.unwrap();
    assert!(created.new);
    assert!(
        !store.create_job(request.clone(), fixture.now).await.unwrap().new,
        "the same request"
    );
    fixture.dispatch().await;
    let job = fixture.job(request.id).await;
    let of = attempt(&job);
    let BenchReport::StepFinished(step) = fixture.step(of, 0) else {
        unreachable!()
    };
    let step = BenchReport::StepFinished(StepReport {
        name: "read\0".to_owned(),
        detail: Some("\0".to_owned()),
        measurements_json: r#"[{"unit":"\u0000"}]"#.to_owned(),
        ..step
    });
    let finished = BenchReport::JobFinished {
        of,
        verdict: Verdict::Failed,
        reason_code: "no\0".to_owned(),
        detail: Some("why\0".to_owned()),
        software: [("E\0S".to_owned(), "1\0".to_owned())].into(),
        record: Some("a\0".to_owned()),
    };
    let unknown = BenchReport::Unknown {
        r#type: "vds.new\0.v9".to_owned(),
    };
    let items: Vec<Inbound> = [step, finished, unknown]
        .into_iter()
        .map(|report| fixture.event(&mut bench, report))
        .collect();
    let bytes = |item: &Inbound| match &item.message {
        InboundMessage::Event(event) => event.bytes.clone(),
        _ => Bytes::new(),
    };
    let sent: Vec<Bytes> = items.iter().map(bytes).collect();
    let mut batch = fleet_store::IngestBatch {
        terms: fixture.terms.clone(),
        items,
        misplaced: vec![Misplaced {
            slot: Slot::of(&bench.device),
            device: "no\0body".to_owned(),
            channel: "ev\0ents".to_owned(),
            user_properties: vec![("k\0".to_owned(), "v\0".to_owned())],
            bytes: Bytes::from_static(b"\0"),
            reason: "no bench \0".to_owned(),
        }],
        received_at: fixture.now,
        spare_generation: fixture.generation(),
    };
    batch.items.push(Inbound {
        slot: Slot::of(&bench.device),
        device: bench.device.clone(),
        message: InboundMessage::Undecodable {
            channel: "sync\0".to_owned(),
            bytes: Bytes::from_static(b"\0\0"),
            reason: "at \0".to_owned(),
        },
    });
    let outcome = store.ingest(batch).await.unwrap();
    assert_eq!(
        (
            outcome.counts.stored,
            outcome.counts.unprojected,
            outcome.counts.dead
        ),
        (3, 1, 2)
    );
    let steps = store.steps(of.job, 1).await.unwrap();
    assert_eq!(steps[0].name, "read\u{2400}");
    assert_eq!(steps[0].measurements_json, r#"[{"unit":"\u0000"}]"#);
    let job = fixture.job(of.job).await;
    assert_eq!(job.job.reason_code.as_deref(), Some("no\u{2400}"));
    assert_eq!(job.software["E\0S"], "1\0", "in JSON it has an escape");
    let events = store.events(&bench.device, bench.spool, 2, 10).await.unwrap();
    let kept: Vec<Bytes> = events.iter().map(|event| event.bytes.clone()).collect();
    assert_eq!(kept, sent);
    assert_eq!(events[2].r#type, "vds.new\u{2400}.v9");
    let letters = store.dead_letters(&Page::default()).await.unwrap().items;
    assert!(
        letters
            .iter()
            .any(|letter| letter.device == "no\u{2400}body" && letter.bytes[..] == *b"\0")
    );
    let filter = JobFilter {
        vin_part: Some("\0".to_owned()),
        ..JobFilter::default()
    };
    assert_eq!(store.jobs(&filter, &Page::default()).await.unwrap().items, []);
}

/// A row that the database refuses for a reason that nobody foresaw: the event at fault is found and marked, all
/// others are shown, everything is stored, receipted and relayed.
#[tokio::test]
async fn a_refused_row_marks_its_event_and_no_other() {
    let url = database().await;
    let mut fixture = fixture(&url).await;
    let refusal = "ALTER TABLE steps ADD CONSTRAINT whim CHECK (step NOT IN ('step-3', 'step-17'))";
    let server = Postgres::shared().await.unwrap();
    server.execute_in(name_of(&url), refusal).await.unwrap();
    let mut bench = fixture.online("bench-1", VIN, &[]).await;
    let job = fixture.offered(VIN).await;
    let items = fixture.steps(&mut bench, attempt(&job), 40);
    let outcome = fixture.ingest(items).await;
    assert_eq!((outcome.counts.stored, outcome.counts.unprojected), (40, 2));
    assert_eq!(outcome.receipts[0].through, bench.next_seq - 1);
    assert_eq!(fixture.store.steps(job.job.id, 1).await.unwrap().len(), 38);
    assert_eq!(fixture.job(job.job.id).await.steps_done, 38);
    let events = fixture
        .store
        .events(&bench.device, bench.spool, 2, 100)
        .await
        .unwrap();
    let marked: Vec<u64> = events
        .iter()
        .filter(|event| matches!(&event.standing, EventStanding::Unprojected(why) if why.contains("whim")))
        .map(|event| event.seq)
        .collect();
    assert_eq!(marked, [5, 19]);
    assert_eq!(fixture.store.outbox_read(0, 100).await.unwrap().len(), 41);
}

async fn partitions(url: &str) -> Vec<String> {
    let server = Postgres::shared().await.unwrap();
    let names = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
                 WHERE inhparent = 'events'::regclass ORDER BY relname";
    let rows = server.execute_in(name_of(url), names).await.unwrap();
    rows.split_whitespace().map(str::to_owned).collect()
}

/// The days' partitions are made before they are needed, or when they are, and dropped as a whole.
#[tokio::test]
async fn days_have_partitions_of_their_own() {
    let url = database().await;
    let mut fixture = fixture(&url).await;
    let mut bench = fixture.bench("bench-1");
    let first = vec![fixture.started(&mut bench, VIN, &[])];
    fixture.ingest(first).await;
    assert_eq!(partitions(&url).await, ["events_2026_05_04"]);
    fixture
        .store
        .prune(fixture.now, Retention::default())
        .await
        .unwrap();
    let made = ["events_2026_05_04", "events_2026_05_05", "events_2026_05_06"];
    assert_eq!(partitions(&url).await, made);
    fixture.pass(40 * 24 * 60 * 60);
    let second = vec![fixture.started(&mut bench, VIN, &[])];
    fixture.ingest(second).await;
    let retention = Retention {
        keep: Some(Duration::from_hours(24)),
        relay: false,
    };
    let outcome = fixture.store.prune(fixture.now, retention).await.unwrap();
    assert_eq!((outcome.partitions_dropped, outcome.events_removed), (3, 1));
    let left = ["events_2026_06_13", "events_2026_06_14", "events_2026_06_15"];
    assert_eq!(partitions(&url).await, left);
    // A partition that another server dropped is made again.
    let server = Postgres::shared().await.unwrap();
    server
        .execute_in(name_of(&url), "DROP TABLE events_2026_06_13")
        .await
        .unwrap();
    let third = vec![fixture.started(&mut bench, VIN, &[])];
    assert_eq!(fixture.ingest(third).await.counts.stored, 1);
    assert_eq!(partitions(&url).await, left);
}
