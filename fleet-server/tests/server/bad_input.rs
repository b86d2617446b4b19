//! Each row of "What becomes of a message" in docs/protocol.md against a running server.

use std::time::Duration;

use fleet_domain::Slot;
use fleet_server::config::Limits;
use fleet_wire::receipt::{Receipt, RejectCode};
use fleet_wire::{Channel, EventContext, encode_event};
use jiff::SignedDuration;
use serde_json::Value;

use super::bench::Bench;
use super::support::{SOON, Server};

/// What the table says of a row.
struct Row {
    input: &'static str,
    outcomes: &'static [&'static str],
    receipt: fn(&Receipt) -> bool,
    alarm: Option<&'static str>,
    dead_letter: Option<&'static str>,
}

/// Value of `vds_ingest_events_total` with this outcome.
async fn outcome(server: &Server, outcome: &str) -> u64 {
    let text = server.get("/metrics").await;
    let text = String::from_utf8(text.bytes).expect("text");
    let name = format!("vds_ingest_events_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}"))
        .parse()
        .expect("a number")
}

/// Waits as long as the figure rises.
async fn until_outcome(server: &Server, name: &str, least: u64) {
    let mut before = outcome(server, name).await;
    let mut end = tokio::time::Instant::now() + SOON;
    while before < least {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let now = outcome(server, name).await;
        if now > before {
            (before, end) = (now, tokio::time::Instant::now() + SOON);
        }
        assert!(
            tokio::time::Instant::now() < end,
            "{name} stays at {now}, below {least}"
        );
    }
}

async fn has(server: &Server, path: &str, code: &str) -> bool {
    let list = server.get(path).await.expect(200);
    list["items"]
        .as_array()
        .expect("items")
        .iter()
        .any(|item| item["code"] == code)
}

async fn check(server: &Server, bench: &mut Bench, row: &Row) {
    bench.receipt(row.receipt).await;
    for name in row.outcomes {
        until_outcome(server, name, 1).await;
    }
    if let Some(code) = row.alarm {
        assert!(
            has(server, "/api/v1/alarms", code).await,
            "{}: alarm {code}",
            row.input
        );
    }
    if let Some(code) = row.dead_letter {
        assert!(
            has(server, "/api/v1/dead-letters", code).await,
            "{}: dead letter {code}",
            row.input
        );
    }
}

fn rejected(code: RejectCode) -> impl Fn(&Receipt) -> bool {
    move |receipt| receipt.rejected.iter().any(|row| row.code == code)
}

/// Bytes of the bench's event at a position, with a change to its JSON.
fn changed(bench: &Bench, seq: u64, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(&bench.encode(seq, &bench.started())).expect("JSON");
    change(&mut event);
    serde_json::to_vec(&event).expect("JSON")
}

/// Makes the payload for a position of a bench.
type Payload = fn(&Bench, u64) -> Vec<u8>;

#[tokio::test]
async fn payloads_that_are_no_event_of_this_place_are_rejected_by_name() {
    let rows: [(Row, Payload); 4] = [
        (
            Row {
                input: "the payload names another bench",
                outcomes: &["rejected"],
                receipt: |r| rejected(RejectCode::Disagrees)(r),
                alarm: Some("rejected"),
                dead_letter: Some("disagrees"),
            },
            |bench, seq| {
                changed(bench, seq, |event| {
                    event["source"] = "/plants/plant-1/devices/bench-9".into();
                })
            },
        ),
        (
            Row {
                input: "larger than 256 KiB",
                outcomes: &["rejected"],
                receipt: |r| rejected(RejectCode::TooLarge)(r),
                alarm: Some("rejected"),
                dead_letter: Some("too_large"),
            },
            |_, _| vec![b' '; 262_145],
        ),
        (
            Row {
                input: "not JSON",
                outcomes: &["rejected"],
                receipt: |r| rejected(RejectCode::Malformed)(r),
                alarm: Some("rejected"),
                dead_letter: Some("malformed"),
            },
            |_, _| b"{nonsense".to_vec(),
        ),
        (
            Row {
                input: "specversion other than 1.0",
                outcomes: &["rejected"],
                receipt: |r| rejected(RejectCode::SpecVersion)(r),
                alarm: Some("rejected"),
                dead_letter: Some("spec_version"),
            },
            |bench, seq| changed(bench, seq, |event| event["specversion"] = "2.0".into()),
        ),
    ];
    for (row, payload) in rows {
        let server = Server::start().await;
        let mut bench = Bench::connect(&server, "bench-1").await;
        bench.begin().await;
        bench.send_at(2, payload(&bench, 2)).await;
        check(&server, &mut bench, &row).await;
        // The stream goes on behind it.
        bench.next = 3;
        let started = bench.started();
        bench.send(&started).await;
        bench.receipt(|receipt| receipt.through == 3).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn places_that_can_not_be_are_named() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    let started = bench.started();
    let own = Slot::of(&bench.device);
    let wrong = Slot::all().find(|slot| *slot != own).expect("another slot");

    let topic = format!("vds/v1/plant-1/{wrong}/bench-1/events");
    bench
        .publish(&topic, bench.properties(2).encode(), bench.encode(2, &started))
        .await;
    until_outcome(&server, "dead", 1).await;
    assert!(has(&server, "/api/v1/alarms", "misplaced").await);
    assert!(has(&server, "/api/v1/dead-letters", "misplaced").await);

    let topic = bench.topic(Channel::Events).to_string();
    bench.publish(&topic, Vec::new(), bench.encode(2, &started)).await;
    let row = Row {
        input: "without user properties",
        outcomes: &["dead"],
        receipt: |receipt| receipt.unattributed,
        alarm: Some("unattributed"),
        dead_letter: Some("unattributed"),
    };
    check(&server, &mut bench, &row).await;

    bench
        .publish(&bench.topic(Channel::Sync).to_string(), Vec::new(), "{nonsense")
        .await;
    until_outcome(&server, "dead", 3).await;
    assert!(has(&server, "/api/v1/dead-letters", "undecodable").await);

    // Ahead: a gap until the position before is in.
    let (second, third) = (bench.encode(2, &started), bench.encode(3, &started));
    bench.send_at(3, third.clone()).await;
    let row = Row {
        input: "ahead",
        outcomes: &["gap"],
        receipt: |receipt| receipt.gap && receipt.through == 1,
        alarm: None,
        dead_letter: None,
    };
    check(&server, &mut bench, &row).await;
    let ledger = server.get("/api/v1/benches/bench-1/ledger").await.expect(200);
    let spool = &ledger["spools"][0];
    assert_eq!(
        (spool["gaps"].as_u64(), spool["outstanding"].as_u64()),
        (Some(1), Some(2))
    );
    assert!(spool["outstanding_since"].is_string(), "{spool}");
    bench.send_at(2, second.clone()).await;
    bench.send_at(3, third).await;
    bench
        .receipt(|receipt| receipt.through == 3 && !receipt.gap)
        .await;

    // Back, with the same bytes and with others.
    bench.send_at(2, second).await;
    until_outcome(&server, "duplicate", 1).await;
    bench.send_at(2, bench.encode(2, &started)).await;
    let row = Row {
        input: "back, other bytes",
        outcomes: &["conflict"],
        receipt: |r| r.through == 3 && rejected(RejectCode::Conflict)(r),
        alarm: Some("conflict"),
        dead_letter: None,
    };
    check(&server, &mut bench, &row).await;

    // Another disk of the same bench: its second spool follows a shorter first one.
    let (first, second) = (bench.spool, fleet_domain::SpoolId(fleet_clock::new_uuid()));
    let answer = bench
        .sync_with(|sync| {
            let held = sync.spools.first_mut().expect("a spool");
            held.spool_id = second;
            held.predecessor = Some(fleet_wire::Predecessor {
                spool: first,
                last_seq: 1,
            });
            held.next_seq = 1;
        })
        .await;
    assert!(answer.bench_restored, "{answer:?}");
    assert!(has(&server, "/api/v1/alarms", "bench_restored").await);
    let ledger = server.get("/api/v1/benches/bench-1/ledger").await.expect(200);
    let spools = ledger["spools"].as_array().expect("spools");
    let first = first.0.to_string();
    let spool = spools
        .iter()
        .find(|spool| spool["spool_id"] == first.as_str())
        .expect("the first");
    assert_eq!(
        (
            spool["stored"].as_u64(),
            spool["duplicates"].as_u64(),
            spool["conflicts"].as_u64()
        ),
        (Some(3), Some(1), Some(1)),
        "{spool}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_clock_a_year_off_is_stored_marked_and_shown() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    let now = fleet_clock::wall_now();
    for (seq, days) in [(2, -365), (3, 365)] {
        let context = EventContext {
            id: fleet_domain::EventId(fleet_clock::new_uuid()),
            plant: "plant-1".parse().expect("a plant"),
            device: bench.device.clone(),
            vin: None,
            time: now
                .checked_add(SignedDuration::from_hours(24 * days))
                .expect("a time"),
            spool: bench.spool,
            seq,
            traceparent: None,
        };
        bench
            .send_at(seq, encode_event(&context, &bench.started()).expect("an event"))
            .await;
    }
    bench
        .receipt(|receipt| receipt.through == 3 && receipt.rejected.is_empty())
        .await;
    until_outcome(&server, "clock_off", 2).await;
    let alarms = server.get("/api/v1/alarms").await.expect(200);
    let alarm = alarms["items"]
        .as_array()
        .expect("items")
        .iter()
        .find(|alarm| alarm["code"] == "clock_off");
    let alarm = alarm.unwrap_or_else(|| panic!("{alarms}"));
    assert_eq!(
        (&alarm["device"], &alarm["count"]),
        (&"bench-1".into(), &2.into())
    );
    server.stop().await;
}

#[tokio::test]
async fn a_bench_that_floods_is_held_to_its_limit_and_loses_nothing() {
    let server = Server::start_with(|config| {
        config.ingest.limits = Limits {
            device_rate: 5,
            device_burst: 20,
            ..config.ingest.limits
        };
    })
    .await;
    let mut quiet = Bench::connect(&server, "bench-2").await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    let mut sent = Vec::new();
    for _ in 0..60 {
        let started = bench.started();
        sent.push(bench.send(&started).await);
    }
    until_outcome(&server, "flooded", 10).await;
    server
        .until("/api/v1/alarms", |alarms| {
            alarms["items"].as_array().is_some_and(|items| {
                items
                    .iter()
                    .any(|alarm| alarm["code"] == "flooded" && alarm["device"] == "bench-1")
            })
        })
        .await;
    quiet.begin().await;
    // As its timer does: again what has no receipt, within the limit.
    let end = tokio::time::Instant::now() + SOON * 2;
    let mut through = 0;
    while through < 60 {
        assert!(tokio::time::Instant::now() < end, "{through}");
        for receipt in bench.receipts_within(Duration::from_millis(200)).await {
            through = through.max(receipt.through);
        }
        if let Some(bytes) = sent.get(usize::try_from(through).expect("small")) {
            bench.send_at(through + 1, bytes.clone()).await;
        }
    }
    let ledger = server.get("/api/v1/benches/bench-1/ledger").await.expect(200);
    assert_eq!(ledger["spools"][0]["stored"], 60);
    server.stop().await;
}

/// `DEVICE_IDS=1000000` for the whole million.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_a_client_makes_up_leave_nothing_behind_and_known_benches_go_on() {
    let names: u32 = std::env::var("DEVICE_IDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(20_000);
    let server = Server::start_with(|config| {
        config.ingest.limits = Limits {
            new_devices_per_minute: 50,
            max_devices: 100,
            ..config.ingest.limits
        };
    })
    .await;
    let mut known = Bench::connect(&server, "bench-1").await;
    known.begin().await;
    let hostile = Bench::connect(&server, "hostile").await;
    for n in 0..names {
        let device: fleet_domain::DeviceId = format!("made-up-{n}").parse().expect("a device");
        let slot = Slot::of(&device);
        let topic = format!("vds/v1/plant-1/{slot}/{device}/events");
        hostile
            .publish(&topic, hostile.properties(1).encode(), "{}")
            .await;
        if n % 5000 == 0 {
            let started = known.started();
            known.send(&started).await;
            let through = known.next - 1;
            known.receipt(|receipt| receipt.through == through).await;
        }
    }
    until_outcome(&server, "too_many_devices", u64::from(names) - 500).await;
    let alarms = server
        .until("/api/v1/alarms", |alarms| {
            alarms["items"]
                .as_array()
                .is_some_and(|items| items.iter().any(|alarm| alarm["code"] == "too_many_devices"))
        })
        .await;
    let told = alarms["items"].as_array().expect("items").iter();
    assert!(told.filter(|alarm| alarm["code"] == "too_many_devices").count() <= 2);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(server.database());
    let pool = sqlx::sqlite::SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .expect("a pool");
    for table in ["devices", "spools", "dead_letters"] {
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&pool)
            .await
            .expect("a count");
        assert!(rows <= 400, "{rows} rows in {table}");
    }
    server.stop().await;
}
