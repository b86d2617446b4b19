//! What becomes of messages: recorded once, receipted, rejected, kept; never lost, never in the way.

use std::time::Duration;

use base64::Engine as _;
use fleet_domain::{Slot, SpoolId};
use fleet_wire::receipt::RejectCode;
use fleet_wire::{Channel, EventProperties};
use serde_json::{Value, json};

use super::bench::{Bench, unacknowledged};
use super::support::Server;

async fn spool(server: &Server, device: &str) -> Value {
    let ledger = server
        .get(&format!("/api/v1/benches/{device}/ledger"))
        .await
        .expect(200);
    let row = ledger["spools"][0].clone();
    let count = |name: &str| row[name].as_u64().expect("a count");
    assert_eq!(
        count("announced"),
        count("stored") + count("rejected") + count("holes") + count("outstanding"),
        "{row}"
    );
    row
}

#[tokio::test]
async fn events_are_receipted_cumulatively_and_a_repetition_is_a_duplicate() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    let mut sent = Vec::new();
    for _ in 0..20 {
        let body = bench.started();
        sent.push(bench.send(&body).await);
    }
    bench
        .receipt(|receipt| receipt.through == 20 && !receipt.gap)
        .await;
    for (seq, bytes) in (1..).zip(&sent) {
        bench.send_at(seq, bytes.clone()).await;
    }
    server
        .until("/api/v1/benches/bench-1/ledger", |ledger| {
            ledger["spools"][0]["duplicates"] == 20
        })
        .await;
    bench.receipt(|receipt| receipt.through == 20).await;
    let row = spool(&server, "bench-1").await;
    assert_eq!((&row["stored"], &row["in_outbox"]), (&json!(20), &json!(20)));
    // The outbox has each event once, in order, as the same bytes.
    let outbox = server.get("/api/v1/outbox?limit=1000").await.expect(200);
    let rows = outbox["items"].as_array().unwrap();
    let order: Vec<u64> = rows
        .iter()
        .map(|row| row["spool_seq"].as_u64().unwrap())
        .collect();
    assert_eq!(order, (1..=20).collect::<Vec<u64>>());
    for (row, bytes) in rows.iter().zip(&sent) {
        let stored = base64::engine::general_purpose::STANDARD
            .decode(row["event_base64"].as_str().unwrap())
            .unwrap();
        assert!(stored == *bytes, "the stored bytes are those that came");
    }
    server.stop().await;
}

#[tokio::test]
async fn receipts_are_rare_under_load_and_the_last_state_always_comes() {
    let server = Server::start_with(|config| config.ingest.receipt_interval = Duration::from_secs(1)).await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    for _ in 0..200 {
        let body = bench.started();
        bench.send(&body).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut receipts = bench.receipts_within(Duration::from_millis(2500)).await;
    assert_eq!(receipts.pop().expect("receipts").through, 200);
    assert!(
        receipts.len() <= 4,
        "{} receipts in about 3.5 s",
        receipts.len() + 1
    );
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_event_ends_in_the_dead_letters_is_rejected_and_the_stream_goes_on() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    let started = bench.started();
    bench.send(&started).await;
    let other = Bench::connect(&server, "bench-2").await;
    let large = vec![b' '; 262_145];
    let bad: [(&[u8], RejectCode); 4] = [
        (b"{\"specversion\":", RejectCode::Malformed),
        (b"\xff\xfe\x00", RejectCode::Malformed),
        (&large, RejectCode::TooLarge),
        (b"", RejectCode::Malformed),
    ];
    for (seq, (bytes, _)) in (2..).zip(bad) {
        bench.send_at(seq, bytes.to_vec()).await;
    }
    // An event of another bench under this one's name.
    bench.send_at(6, other.encode(6, &other.started())).await;
    bench.next = 7;
    bench.send(&started).await;
    let receipt = bench.receipt(|receipt| receipt.through == 7).await;
    let codes: Vec<(u64, RejectCode)> = receipt.rejected.iter().map(|r| (r.seq, r.code)).collect();
    let mut expected: Vec<(u64, RejectCode)> = (2..).zip(bad.map(|(_, code)| code)).collect();
    expected.push((6, RejectCode::Disagrees));
    assert_eq!(codes, expected);
    let letters = server.get("/api/v1/dead-letters").await.expect(200);
    let letters = letters["items"].as_array().unwrap();
    assert_eq!(letters.len(), 5);
    let first = letters.iter().find(|letter| letter["seq"] == 2).unwrap();
    assert_eq!(
        (&first["code"], &first["size"]),
        (&json!("malformed"), &json!(15))
    );
    assert_eq!(first["bytes_base64"], "eyJzcGVjdmVyc2lvbiI6");
    assert!(
        first["reason"].as_str().is_some_and(|reason| reason.len() > 10),
        "{first}"
    );
    let row = spool(&server, "bench-1").await;
    assert_eq!((&row["stored"], &row["rejected"]), (&json!(2), &json!(5)));
    server.stop().await;
}

#[tokio::test]
async fn a_message_without_usable_properties_is_kept_and_the_receipt_says_unattributed() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    let started = bench.started();
    bench.send(&started).await;
    bench.receipt(|receipt| receipt.through == 1).await;
    let topic = bench.topic(Channel::Events).to_string();
    let bytes = bench.encode(2, &started);
    bench
        .publish(&topic, vec![("spool".to_owned(), "x".to_owned())], bytes.clone())
        .await;
    let receipt = bench.receipt(|receipt| receipt.unattributed).await;
    assert_eq!((receipt.spool_id, receipt.through), (bench.spool, 1));
    let letters = server.get("/api/v1/dead-letters").await.expect(200);
    assert_eq!(letters["items"][0]["code"], "unattributed");
    let alarms = server.get("/api/v1/alarms").await.expect(200);
    assert_eq!(alarms["items"][0]["code"], "unattributed");
    bench.send(&started).await;
    bench.receipt(|receipt| receipt.through == 2).await;
    server.stop().await;
}

#[tokio::test]
async fn a_gap_is_reported_and_closed_by_the_resend() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    let started = bench.started();
    bench.send(&started).await;
    bench.send_at(3, bench.encode(3, &started)).await;
    let receipt = bench.receipt(|receipt| receipt.gap).await;
    assert_eq!(receipt.through, 1);
    bench.send_at(2, bench.encode(2, &started)).await;
    bench.receipt(|receipt| receipt.through == 2).await;
    bench.send_at(3, bench.encode(3, &started)).await;
    bench
        .receipt(|receipt| receipt.through == 3 && !receipt.gap)
        .await;
    server.stop().await;
}

#[tokio::test]
async fn a_topic_of_another_slot_is_kept_aside_and_no_bench_is_told() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    let own = Slot::of(&bench.device);
    let wrong = Slot::all().find(|slot| *slot != own).unwrap();
    let started = bench.started();
    let bytes = bench.encode(2, &started);
    let properties: EventProperties = bench.properties(2);
    for topic in [
        format!("vds/v1/plant-1/{wrong}/bench-1/events"),
        format!("vds/v1/plant-1/{own}/not valid!/events"),
    ] {
        bench.publish(&topic, properties.encode(), bytes.clone()).await;
    }
    // A bench that nobody has heard of, in another slot than its own.
    let stranger = "bench-9".parse().unwrap();
    let wrong = Slot::all().find(|slot| *slot != Slot::of(&stranger)).unwrap();
    let strange = format!("vds/v1/plant-1/{wrong}/bench-9/sync");
    bench.publish(&strange, Vec::new(), "{}").await;
    let letters = server
        .until("/api/v1/dead-letters", |letters| letters["items"][2].is_object())
        .await;
    let letters = letters["items"].as_array().unwrap();
    for (device, channel) in [
        ("bench-1", "events"),
        ("not valid!", "events"),
        ("bench-9", "sync"),
    ] {
        let letter = letters.iter().find(|letter| letter["device"] == device);
        let letter = letter.unwrap_or_else(|| panic!("{device} is not in {letters:?}"));
        assert_eq!(
            (&letter["code"], &letter["channel"]),
            (&json!("misplaced"), &json!(channel))
        );
        assert!(
            letter["reason"]
                .as_str()
                .unwrap()
                .contains(&format!("/{device}/{channel}")),
            "{letter}"
        );
        if channel == "events" {
            assert_eq!(letter["size"], bytes.len());
        }
    }
    let alarms = server.get("/api/v1/alarms").await.expect(200);
    for topic in ["/not valid!/events", "/bench-9/sync"] {
        let alarms = alarms["items"].as_array().unwrap();
        let named = alarms
            .iter()
            .any(|alarm| alarm["code"] == "misplaced" && alarm["detail"].as_str().unwrap().contains(topic));
        assert!(named, "{topic} is in no alarm of {alarms:?}");
    }
    server
        .get("/api/v1/benches/bench-9")
        .await
        .problem(404, "not_found", "nobody was made up");
    assert!(bench.receipts_within(Duration::from_millis(300)).await.is_empty());
    bench.send(&started).await;
    bench.receipt(|receipt| receipt.through == 2).await;
    let benches = server.get("/api/v1/benches").await.expect(200);
    assert_eq!(
        benches["items"].as_array().unwrap().len(),
        1,
        "nobody was made up"
    );
    server.stop().await;
}

#[tokio::test]
async fn malformed_control_messages_are_kept_and_hold_nothing_up() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    for channel in [Channel::Sync, Channel::Presence] {
        let topic = bench.topic(channel).to_string();
        bench.publish(&topic, Vec::new(), "{nonsense").await;
    }
    bench
        .publish(&bench.topic(Channel::Live).to_string(), Vec::new(), "{nonsense")
        .await;
    bench.begin().await;
    let letters = server.get("/api/v1/dead-letters").await.expect(200);
    let channels: Vec<&str> = letters["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["channel"].as_str().unwrap())
        .collect();
    assert_eq!(channels, ["presence", "sync"], "newest first");
    let bench = server
        .until("/api/v1/benches/bench-1", |bench| bench["online"] == true)
        .await;
    assert_eq!(bench["station"], "EOL-1");
    server.stop().await;
}

#[tokio::test]
async fn a_sync_is_answered_behind_the_events_before_it_and_with_the_list() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    for _ in 0..10 {
        let body = bench.started();
        bench.send(&body).await;
    }
    let unknown = SpoolId(fleet_clock::new_uuid());
    let answer = bench
        .sync_with(|sync| {
            let mut former = sync.spools[0].clone();
            former.spool_id = unknown;
            former.next_seq = 1;
            sync.spools.insert(0, former);
        })
        .await;
    assert_eq!(answer.number, 1);
    let spools: Vec<(SpoolId, u64)> = answer
        .spools
        .iter()
        .map(|spool| (spool.spool_id, spool.through))
        .collect();
    assert_eq!(
        spools,
        [(unknown, 0), (bench.spool, 10)],
        "in the sync's order; an unknown spool is at 0"
    );
    let list = bench.list(|_| true).await;
    assert_eq!(list.store_generation, answer.store_generation);
    assert!(list.jobs.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_before_its_commit_and_then_it_is_stored_once() {
    let server = Server::start().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    // Another process holds the database's write lock: nothing can be committed.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(server.database());
    let pool = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .unwrap();
    let mut blocker = pool.acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *blocker)
        .await
        .unwrap();
    let mut sent = Vec::new();
    for _ in 0..5 {
        let body = bench.started();
        sent.push(bench.send(&body).await);
    }
    assert!(
        bench.receipts_within(Duration::from_millis(700)).await.is_empty(),
        "no receipt before the commit"
    );
    // The broker still has all of them for the slot's session, in order: none was acknowledged.
    let held = unacknowledged(&server, Slot::of(&bench.device), sent.len()).await;
    assert!(held == sent, "{} messages", held.len());
    sqlx::query("ROLLBACK").execute(&mut *blocker).await.unwrap();
    let receipt = bench.receipt(|receipt| receipt.through == 6).await;
    assert!(receipt.rejected.is_empty());
    let row = spool(&server, "bench-1").await;
    assert_eq!((&row["stored"], &row["outstanding"]), (&json!(6), &json!(0)));
    drop(blocker);
    server.stop().await;
}

#[tokio::test]
async fn readiness_says_when_the_store_can_not_be_written() {
    let server = Server::start_with(|config| config.ingest.lease = Duration::from_secs(3)).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(server.database());
    let pool = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .unwrap();
    let mut blocker = pool.acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *blocker)
        .await
        .unwrap();
    let end = tokio::time::Instant::now() + super::support::SOON;
    loop {
        let ready = server.get("/readyz").await;
        if ready.status == 503 {
            let checks = ready.json();
            let broken: Vec<&Value> = checks["checks"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|check| check["ok"] == false)
                .collect();
            assert!(
                broken
                    .iter()
                    .any(|check| check["name"] == "store" || check["name"] == "slots"),
                "{checks}"
            );
            break;
        }
        assert!(tokio::time::Instant::now() < end, "it stayed ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sqlx::query("ROLLBACK").execute(&mut *blocker).await.unwrap();
    server.until("/readyz", |ready| ready["ready"] == true).await;
    drop(blocker);
    server.stop().await;
}

#[tokio::test]
async fn events_and_jobs_survive_a_restart_and_the_session_goes_on() {
    let mut server = Server::start().await.with_procedure().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    server
        .until("/api/v1/benches/bench-1", |bench| bench["online"] == true)
        .await;
    let (run, spool_id, next) = (bench.run, bench.spool, bench.next);
    drop(bench);
    server.restart().await;
    let away = server.get("/api/v1/benches/bench-1").await.expect(200);
    assert_eq!(
        away["online"], false,
        "nobody is connected to a broker that has just started"
    );
    let mut bench = Bench::connect(&server, "bench-1").await;
    (bench.run, bench.spool, bench.next) = (run, spool_id, next);
    let started = bench.started();
    bench.send(&started).await;
    bench.receipt(|receipt| receipt.through == 2).await;
    assert_eq!(spool(&server, "bench-1").await["stored"], 2);
    bench.presence(true).await;
    server
        .until("/api/v1/benches/bench-1", |bench| bench["online"] == true)
        .await;
    server.stop().await;
}
