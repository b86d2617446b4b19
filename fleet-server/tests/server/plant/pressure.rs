//! A database that stands still under load: what waits is bounded, and everything arrives once.

use std::time::Duration;

use fleet_domain::StoreGeneration;
use fleet_store::Store;
use fleet_store_postgres::{PostgresOptions, PostgresStore};
use fleet_testkit::services;
use tokio::time::Instant;

use super::database::own;
use super::load::{Load, Plan, judge};
use super::stand::{Mqtt, on_postgres, until_ready};
use crate::support::Server;

/// Bytes that may wait for their commit.
const MOST: usize = 64 << 10;
/// A message of each slot may be in hand above it.
const IN_HAND: u64 = 16 * 4096;
/// How much larger the process may become meanwhile, benches and their events in it too.
const GROWTH: u64 = 96 << 20;
/// How long the database stands still.
const FROZEN: Duration = Duration::from_secs(8);

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<u64>()
        .expect("a number")
        * 1024
}

async fn buffered(server: &Server) -> u64 {
    let text = String::from_utf8(server.get("/metrics").await.bytes).expect("text");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("vds_ingest_buffered_bytes "));
    line.expect("the metric").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_while_the_database_stands_still_and_everything_arrives_once() {
    let (mut postgres, url, _folder) = own(services::PostgresOptions::default()).await;
    let mqtt = Mqtt::start().await;
    let server = Server::start_with(|config| {
        on_postgres(config, &url);
        config.mqtt.external = Some(mqtt.external(None));
        config.ingest.max_buffered_bytes = MOST;
    })
    .await;
    until_ready(&server).await;
    let plan = Plan {
        benches: 40,
        events: 50,
        pause: Duration::from_millis(20),
    };
    let load = Load::start(mqtt.broker.address().port(), plan);
    server
        .until("/api/v1/ledger", |ledger| ledger["stored"].as_u64() > Some(100))
        .await;
    postgres.freeze().expect("it runs");
    let (before, end) = (resident(), Instant::now() + FROZEN);
    let (mut waiting, mut largest) = (0, 0);
    while Instant::now() < end {
        waiting = waiting.max(buffered(&server).await);
        largest = largest.max(resident());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    postgres.thaw().expect("it is frozen");
    assert!(waiting > 0, "something waited");
    assert!(
        waiting <= MOST as u64 + IN_HAND,
        "{waiting} bytes waited for their commit"
    );
    assert!(
        largest.saturating_sub(before) < GROWTH,
        "from {before} to {largest} bytes"
    );
    load.receipted(Duration::from_mins(2)).await;
    let options = PostgresOptions {
        url: url.clone(),
        username: None,
        password: None,
        plant: "plant-1".parse().expect("a plant"),
        max_connections: 2,
        auto_migrate: false,
    };
    let store = PostgresStore::open(&options, StoreGeneration(fleet_clock::new_uuid())).expect("a store");
    store.prepare(fleet_clock::wall_now()).await.expect("it is there");
    judge(&store, plan).await;
    store.close().await;
    assert_eq!(buffered(&server).await, 0, "all room was given back");
    server.stop().await;
}
