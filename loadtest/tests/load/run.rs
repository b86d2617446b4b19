//! Whole runs, small.

use fleet_testkit::Api;
use loadtest::books;
use loadtest::report::{Outcome, Report};
use loadtest::run::faults::Hooks;
use loadtest::run::{self, DiskKind};
use loadtest::scenario::Scenario;
use loadtest::{Population, PopulationOptions, SharedLog};

use crate::support::Server;

fn scenario(text: &str) -> Scenario {
    Scenario::parse("test.toml".as_ref(), text).expect("a scenario")
}

const STEADY: &str = r#"
name = "steady"
about = "a slice"
benches = 20
phase = [
    { name = "warm-up", lasts = "500ms", rate = 50.0, measured = false },
    { name = "steady", lasts = "3s", rate = 200.0 },
]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_passes_when_every_event_is_where_it_belongs_and_leaves_nothing_behind() {
    let server = Server::start().await;
    for disks in [DiskKind::SharedLog, DiskKind::Folders] {
        let mut lines = Vec::new();
        let options = server.options(disks);
        let report = run::run(&scenario(STEADY), &options, &mut |line| {
            lines.push(line.to_owned());
        })
        .await;
        let report = report.expect("a report");
        assert!(report.books.agree(), "{report}");
        assert_ne!(report.outcome, Outcome::Failed, "{report}");
        assert!((450..=850).contains(&report.counts.due), "{report}");
        // The first event of each bench is none of the schedule.
        assert_eq!(report.books.made, report.counts.due + 20, "{report}");
        assert_eq!(report.books.receipted, report.books.made, "{report}");
        assert_eq!(report.books.server.stored, report.books.made, "{report}");
        let [warm_up, steady] = &report.phases[..] else {
            panic!("{report}")
        };
        assert_eq!(
            warm_up.receipt.count + steady.receipt.count,
            report.counts.due,
            "{report}"
        );
        assert_eq!(
            report.measured.receipt, steady.receipt,
            "only what is measured counts"
        );
        assert!(steady.lag.p50_ms <= steady.durable.p50_ms && steady.durable.p50_ms <= steady.receipt.p50_ms);
        assert_eq!(report.disk.flushes > 0, disks == DiskKind::SharedLog);
        assert!(
            lines
                .iter()
                .any(|line| line.contains("20 of 20 benches connected")),
            "{lines:?}"
        );
        let left: Vec<_> = std::fs::read_dir(&options.folder).expect("the folder").collect();
        assert!(left.is_empty(), "{left:?}");
        let json = serde_json::to_string(&report).expect("JSON");
        let again: Report = serde_json::from_str(&json).expect("the report is read again");
        assert_eq!(again.books, report.books);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_of_the_broker_all_come_back_and_little_is_sent_again() {
    let text = r#"
name = "outage"
about = "a slice"
benches = 20
phase = [
    { name = "before", lasts = "1s", rate = 200.0 },
    { name = "away", lasts = "2s", rate = 200.0 },
    { name = "after", lasts = "2s", rate = 200.0 },
]
fault = [{ name = "broker", kind = "broker-away", begins = "1s", lasts = "2s" }]
passes = { resent_ratio = 1.2, back_within = "20s" }
"#;
    let server = Server::start().await;
    let marker = server.folder.path().join("begun");
    let mut options = server.options(DiskKind::SharedLog);
    options.hooks = Hooks::parse(&[format!("broker.begin=touch {}", marker.display())]).expect("a hook");
    let report = run::run(&scenario(text), &options, &mut |_| {})
        .await
        .expect("a report");
    assert!(report.books.agree(), "{report}");
    assert_ne!(report.outcome, Outcome::Failed, "{report}");
    assert!(marker.exists(), "the hook has run");
    assert!(
        report.counts.disconnects >= 20 && report.counts.connects >= 20,
        "{report}"
    );
    assert!(report.faults[0].back_s.is_some(), "{report}");
    let away = &report.phases[1];
    assert!(
        away.receipt.max_ms > 500.0,
        "who waits for a broker is late by the schedule: {report}"
    );
    assert!(report.resent_ratio < 1.2, "{report}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_criterion_that_is_missed_fails_the_run_with_its_name() {
    let text = r#"
name = "strict"
about = "a slice"
benches = 5
phase = [{ name = "steady", lasts = "1s", rate = 50.0 }]
passes = { receipt_p99 = "1ms" }
"#;
    let server = Server::start().await;
    let report = run::run(&scenario(text), &server.options(DiskKind::SharedLog), &mut |_| {}).await;
    let report = report.expect("a report");
    assert_ne!(report.outcome, Outcome::Passed);
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.contains("p99 until receipt")),
        "{report}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_name_an_event_that_is_lost_and_one_that_counts_twice() {
    let server = Server::start().await;
    let log = SharedLog::open(&server.folder.path().join("log")).expect("a log");
    let broker = server.mqtt.parse().expect("an address");
    let options = PopulationOptions::new("plant-1".parse().expect("a plant"), broker, "books", 3);
    let population =
        Population::start(&options, |_, device| Ok(log.bench(device.as_str()))).expect("benches");
    let soon = std::time::Duration::from_secs(30);
    population.connected(soon).await.expect("connected");
    population.begin(&loadtest::schedule::Curve::steady(60.0), &[]);
    population
        .until("events", soon, |all| all.totals().receipted > 40)
        .await
        .expect("events");
    population.quiet();
    population.settles(soon).await.expect("receipts");
    let mut made = population.end().await.expect("an end").made().expect("the disks");
    let devices: Vec<_> = (0..3)
        .map(|index| options.device(index).expect("a name"))
        .collect();
    let ledgers = books::ledgers(&Api::new(&server.http), &devices)
        .await
        .expect("ledgers");
    assert_eq!(books::compare(&made, &ledgers, false), []);

    // The bench made one more, or one less, than the server has.
    let newest = made
        .iter()
        .max_by_key(|made| (&made.place.device, made.place.seq))
        .expect("events")
        .clone();
    let mut more = newest.clone();
    more.place.seq += 1;
    made.push(more.clone());
    let told = books::compare(&made, &ledgers, false);
    let lost = told
        .iter()
        .find(|line| line.what.contains("not stored"))
        .expect("it is named");
    let place = (lost.device.as_str(), lost.spool, lost.seq);
    assert_eq!(
        place,
        (more.place.device.as_str(), more.place.spool, Some(more.place.seq))
    );
    made.retain(|made| made.place != more.place && made.place != newest.place);
    let told = books::compare(&made, &ledgers, false);
    assert!(
        told.iter()
            .any(|line| line.device == newest.place.device && line.what.contains("the bench made")),
        "{told:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_before_anything_begins() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = loadtest::run::RunOptions {
        server: "http://127.0.0.1:1".to_owned(),
        broker: "mqtt://127.0.0.1:1".to_owned(),
        kafka: None,
        kafka_latency: loadtest::run::KafkaLatency::Record,
        relayed: false,
        name: None,
        disks: DiskKind::SharedLog,
        folder: folder.path().join("disks"),
        keep: false,
        history: None,
        hooks: Hooks::default(),
    };
    let error = run::run(&scenario(STEADY), &options, &mut |_| {})
        .await
        .expect_err("no server");
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
    assert!(!options.folder.exists(), "nothing was begun");
}
