//! What happens at the limits: too many bytes, a slot that another server has, a reader that does not read.

use std::time::Duration;

use fleet_domain::Slot;
use fleet_store::Store;
use fleet_store_sqlite::SqliteStore;
use fleet_wire::live::Live;
use fleet_wire::{Channel, Topic};
use jiff::SignedDuration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bench::{Bench, unacknowledged};
use super::support::{SOON, Server};

async fn slots_detail(server: &Server) -> String {
    let ready = server.get("/readyz").await.json();
    let checks = ready["checks"].as_array().expect("checks").clone();
    let slots = checks.iter().find(|check| check["name"] == "slots");
    slots.expect("slots")["detail"].as_str().expect("text").to_owned()
}

async fn until_slots(server: &Server, wanted: &str) {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let detail = slots_detail(server).await;
        if detail.contains(wanted) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{detail}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn above_the_flood_limit_the_connection_ends_and_everything_is_stored_once_in_the_end() {
    let server = Server::start_with(|config| config.ingest.max_buffered_bytes = 32 << 10).await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
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
    // About 160 kB, five times the limit.
    for _ in 0..200 {
        let body = bench.started();
        bench.send(&body).await;
    }
    until_slots(&server, "15 of 16").await;
    // Other slots go on: theirs is another connection, and a few bytes fit.
    sqlx::query("ROLLBACK").execute(&mut *blocker).await.unwrap();
    drop(blocker);
    bench.receipt(|receipt| receipt.through == 201).await;
    until_slots(&server, "16 of 16").await;
    let ledger = server.get("/api/v1/benches/bench-1/ledger").await.expect(200);
    let row = &ledger["spools"][0];
    assert_eq!(
        (row["stored"].as_u64(), row["outstanding"].as_u64()),
        (Some(201), Some(0))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_slot_that_another_server_has_is_left_alone_until_it_is_free() {
    let server = Server::start_with(|config| config.ingest.lease = Duration::from_secs(3)).await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    let slot = Slot::of(&bench.device);
    let other = SqliteStore::open(
        &server.database(),
        "plant-1".parse().unwrap(),
        fleet_clock::wall_now(),
        fleet_domain::StoreGeneration(fleet_clock::new_uuid()),
    )
    .await
    .unwrap();
    // Another server whose clock is ahead takes the lease for expired.
    let later = fleet_clock::wall_now() + SignedDuration::from_mins(10);
    let term = other
        .claim_slot(slot, "another-server", later, Duration::from_mins(10))
        .await
        .unwrap()
        .expect("it is taken over");
    let mut sent = Vec::new();
    for _ in 0..3 {
        let body = bench.started();
        sent.push(bench.send(&body).await);
    }
    until_slots(&server, "15 of 16").await;
    assert!(
        bench.receipts_within(Duration::from_millis(300)).await.is_empty(),
        "no receipt under a lost term"
    );
    let ledger = other.bench_ledger(&bench.device).await.unwrap();
    assert_eq!(
        (ledger[0].stored, ledger[0].through),
        (1, 1),
        "nothing was committed"
    );
    let held = unacknowledged(&server, slot, sent.len()).await;
    assert!(held == sent, "nothing was acknowledged: {} messages", held.len());
    // The loser does not come back while the lease is the other's.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(slots_detail(&server).await.contains("15 of 16"));

    other.release_slots(&[term]).await.unwrap();
    other.close().await;
    until_slots(&server, "16 of 16").await;
    bench.receipt(|receipt| receipt.through == 4).await;
    let ledger = server.get("/api/v1/benches/bench-1/ledger").await.expect(200);
    assert_eq!(ledger["spools"][0]["stored"], 4);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_told_to_begin_anew() {
    let server = Server::start().await;
    let bench = Bench::connect(&server, "bench-0").await;
    let address: std::net::SocketAddr = server.http.trim_start_matches("http://").parse().unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // Little room in the kernel on this side; the other side's is the system's business.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET /api/v1/stream HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    read_until(&mut stream, &mut text, "event: hello").await;

    // More than the queue of one reader (1024 events) and what the kernel takes, each of another bench.
    let step = "x".repeat(10_000);
    for n in 0..3000 {
        let device = format!("bench-{n}").parse().unwrap();
        let topic = Topic::new("plant-1".parse().unwrap(), device, Channel::Live).to_string();
        let live = Live {
            job_id: fleet_domain::JobId(fleet_clock::new_uuid()),
            attempt: 1,
            step: step.clone(),
            step_index: 0,
            steps_total: 1,
            bytes_done: 0,
            bytes_total: 1,
            time: fleet_clock::wall_now(),
        };
        bench.publish(&topic, Vec::new(), live.encode()).await;
    }
    // The last one has passed the server when a reader that reads has it.
    let mut sent = server
        .client
        .get(format!("{}/api/v1/stream", server.http))
        .send()
        .await
        .unwrap();
    let topic = bench.topic(Channel::Live).to_string();
    let live = Live {
        job_id: fleet_domain::JobId(fleet_clock::new_uuid()),
        attempt: 1,
        step: "the last one".to_owned(),
        step_index: 0,
        steps_total: 1,
        bytes_done: 0,
        bytes_total: 1,
        time: fleet_clock::wall_now(),
    };
    // Live messages may be dropped where the machine is slow, so it is said until it is seen.
    let mut end = tokio::time::Instant::now() + SOON;
    let mut again = tokio::time::interval(Duration::from_millis(500));
    let mut seen = String::new();
    while !seen.contains("the last one") {
        tokio::select! {
            _ = again.tick() => bench.publish(&topic, Vec::new(), live.encode()).await,
            chunk = tokio::time::timeout_at(end, sent.chunk()) => {
                let chunk = chunk.expect("in time").unwrap().expect("it goes on");
                // By progress: some 30 MB come first. What lies far behind need not be searched again.
                end = tokio::time::Instant::now() + SOON;
                seen.drain(..seen.floor_char_boundary(seen.len().saturating_sub(100)));
                seen.push_str(&String::from_utf8_lossy(&chunk));
            }
        }
    }

    let taken = read_until(&mut stream, &mut text, "event: reset").await;
    assert!(taken < 3000 * 10_000, "{taken} bytes: everything was kept for it");
    // And it goes on from there.
    text.clear();
    read_until(&mut stream, &mut text, "event: heartbeat").await;
    server.stop().await;
}

/// Reads until a text came; gives the bytes read.
async fn read_until(stream: &mut tokio::net::TcpStream, text: &mut String, wanted: &str) -> usize {
    let (mut chunk, mut count) = (vec![0; 64 << 10], 0);
    let mut end = tokio::time::Instant::now() + SOON;
    while !text.contains(wanted) {
        let read = tokio::time::timeout_at(end, stream.read(&mut chunk))
            .await
            .expect("in time")
            .expect("the connection stands");
        assert!(read > 0, "the stream ended without {wanted}");
        count += read;
        end = tokio::time::Instant::now() + SOON;
        // The texts wanted are short: what lies far behind need not be kept.
        if text.len() > 1 << 20 {
            text.drain(..text.floor_char_boundary(text.len() - 100));
        }
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    count
}
