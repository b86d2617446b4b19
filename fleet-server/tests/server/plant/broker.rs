//! A server on the plant's broker: every fault has its name within ten seconds, and goes away by itself.

use std::time::Duration;

use fleet_store_sqlite::SqliteStore;
use fleet_testkit::services::{Credentials, MosquittoOptions};

use super::load::{Load, Plan, judge};
use super::stand::{Mqtt, until_ready, until_state};
use crate::bench::Bench;
use crate::support::Server;

async fn server(mqtt: &Mqtt, credentials: Option<(&str, &str)>) -> Server {
    let external = mqtt.external(credentials);
    Server::start_with(|config| config.mqtt.external = Some(external)).await
}

#[tokio::test]
async fn a_plant_s_broker_carries_events_lists_and_presence() {
    let mqtt = Mqtt::start().await;
    let server = server(&mqtt, None).await;
    until_ready(&server).await;
    let server = server.with_procedure().await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    server
        .until("/api/v1/benches/bench-1", |bench| bench["online"] == true)
        .await;
    server
        .post("/api/v1/jobs", &crate::support::new_job())
        .await
        .expect(201);
    bench.list(|list| !list.jobs.is_empty()).await;
    server.stop().await;
}

#[tokio::test]
async fn wrong_credentials_are_refused_by_name_until_the_broker_knows_them() {
    let mut mqtt = Mqtt::start_with(MosquittoOptions {
        users: vec![Credentials::new("fleet", "right")],
        ..MosquittoOptions::default()
    })
    .await;
    let server = server(&mqtt, Some(("fleet", "wrong"))).await;
    let check = until_state(&server, "broker", "refused").await;
    assert!(
        check["detail"].as_str().unwrap().contains("NotAuthorized"),
        "{check}"
    );
    assert!(
        check["help"].as_str().unwrap().contains("mqtt.credentials_file"),
        "{check}"
    );
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(
        !String::from_utf8_lossy(&ready.bytes).contains("wrong"),
        "no secret is shown"
    );
    server.get("/api/v1/benches").await.expect(200);

    mqtt.broker.options.users = vec![Credentials::new("fleet", "wrong")];
    mqtt.broker.stop().await.unwrap();
    mqtt.broker.restart().await.unwrap();
    until_ready(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn limits_that_are_too_small_are_named_and_what_fits_is_recorded() {
    for (name, value, words) in [
        // Announced by the broker.
        ("max_packet_size", "20000", "20000 bytes"),
        // Not announced: it shows only when a large message comes.
        ("message_size_limit", "10000", "message_size_limit"),
    ] {
        let mqtt = Mqtt::start_with(MosquittoOptions {
            settings: vec![(name.to_owned(), value.to_owned())],
            ..MosquittoOptions::default()
        })
        .await;
        let server = server(&mqtt, None).await;
        let check = until_state(&server, "broker", "limits_too_small").await;
        let detail = check["detail"].as_str().unwrap();
        assert!(
            detail.contains(words) && detail.contains("max_packet_size"),
            "{check}"
        );
        assert_eq!(server.get("/readyz").await.status, 503);
        until_state(&server, "slots", "ok").await;
        let mut bench = Bench::connect(&server, "bench-1").await;
        bench.begin().await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_broker_that_is_away_at_the_start_is_named_and_found_when_it_comes() {
    let mut mqtt = Mqtt::start().await;
    mqtt.broker.kill().unwrap();
    let server = server(&mqtt, None).await;
    let check = until_state(&server, "broker", "unreachable").await;
    assert_eq!(check["required"], true);
    server.get("/healthz").await;
    server.get("/api/v1/status").await.expect(200);
    mqtt.broker.restart().await.unwrap();
    until_ready(&server).await;

    mqtt.broker.kill().unwrap();
    until_state(&server, "broker", "unreachable").await;
    mqtt.broker.restart().await.unwrap();
    until_ready(&server).await;

    // A broker that hangs says nothing at all.
    mqtt.broker.freeze().unwrap();
    until_state(&server, "broker", "unreachable").await;
    mqtt.broker.thaw().unwrap();
    until_ready(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_broker_under_load_loses_and_doubles_nothing() {
    let mut mqtt = Mqtt::start().await;
    let server = server(&mqtt, None).await;
    until_ready(&server).await;
    let load = Load::start(
        server.mqtt_port,
        Plan {
            benches: 16,
            events: 120,
            pause: Duration::from_millis(40),
        },
    );
    let plan = load.plan();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        mqtt.broker.stop().await.unwrap();
        mqtt.broker.restart().await.unwrap();
    }
    load.receipted(Duration::from_mins(2)).await;
    let file = server.database();
    let folder = server.stop().await;
    let store = SqliteStore::open(
        &file,
        "plant-1".parse().unwrap(),
        fleet_clock::wall_now(),
        fleet_domain::StoreGeneration(fleet_clock::new_uuid()),
    )
    .await
    .unwrap();
    judge(&store, plan).await;
    store.close().await;
    drop(folder);
}

#[tokio::test]
async fn a_broker_that_lost_its_sessions_leaves_nobody_connected() {
    let mut mqtt = Mqtt::start().await;
    let server = server(&mqtt, None).await;
    until_ready(&server).await;
    let mut bench = Bench::connect(&server, "bench-1").await;
    bench.begin().await;
    let online = |wanted: bool| move |bench: &serde_json::Value| bench["online"] == wanted;
    server.until("/api/v1/benches/bench-1", online(true)).await;
    // Killed before it has written anything: sessions, wills and what was retained are gone, and so is the bench.
    drop(bench);
    mqtt.broker.kill().unwrap();
    mqtt.broker.restart().await.unwrap();
    server.until("/api/v1/benches/bench-1", online(false)).await;
    let bench = Bench::connect(&server, "bench-1").await;
    bench.presence(true).await;
    server.until("/api/v1/benches/bench-1", online(true)).await;
    server.stop().await;
}
