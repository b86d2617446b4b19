//! Several servers of one plant: fair shares, orderly and disorderly hand-over, and a replica that stood still.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleet_domain::{DeviceId, Slot};
use fleet_server::config::Config;
use fleet_store::Store;
use fleet_store_postgres::{PostgresOptions, PostgresStore};
use fleet_testkit::{Process, Program, Settings};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use super::load::{Load, Plan, judge};
use super::stand::{
    Mqtt, TEN_SECONDS, as_replica, check, new_database, replica, shares, until_ready, until_shares,
    until_state,
};
use crate::bench::Bench;
use crate::support::{SOON, Server, new_job};

/// Database, broker and shared files of a plant.
struct Plant {
    mqtt: Mqtt,
    database: String,
    files: TempDir,
}

impl Plant {
    async fn new() -> Self {
        Self {
            mqtt: Mqtt::start().await,
            database: new_database().await,
            files: tempfile::tempdir().expect("a folder"),
        }
    }

    async fn replica(&self, name: &str) -> Server {
        replica(name, &self.database, &self.mqtt, self.files.path()).await
    }

    /// A replica in a process of its own, which can be killed and stopped.
    fn process(&self, name: &str, folder: &Path) -> Process {
        std::fs::create_dir_all(folder).expect("a folder");
        let file = folder.join("server.toml");
        Settings::new()
            .with("data_dir", folder.join("data").display().to_string())
            .with("http.listen", "127.0.0.1:0")
            .with("mqtt.url", self.mqtt.broker.url())
            .with("store.url", self.database.clone())
            .with("artifacts.folder", self.files.path().display().to_string())
            .with("replica.name", name)
            .write(&file)
            .expect("settings");
        Program::new(
            name,
            Path::new(env!("CARGO_BIN_EXE_fleet-server")),
            &folder.join("log"),
        )
        .args(["--config", &file.display().to_string()])
        .start()
        .expect("it starts")
    }

    /// What the database holds.
    async fn store(&self) -> Arc<PostgresStore> {
        let options = PostgresOptions {
            url: self.database.clone(),
            username: None,
            password: None,
            plant: "plant-1".parse().expect("a plant"),
            max_connections: 4,
            auto_migrate: false,
        };
        let generation = fleet_domain::StoreGeneration(fleet_clock::new_uuid());
        let store = PostgresStore::open(&options, generation).expect("a store");
        store.prepare(fleet_clock::wall_now()).await.expect("it is there");
        Arc::new(store)
    }

    fn load(&self, seconds: u64) -> Load {
        let pause = Duration::from_millis(100);
        let plan = Plan {
            benches: 16,
            events: seconds * 1000 / 100,
            pause,
        };
        Load::start(self.mqtt.broker.address().port(), plan)
    }
}

#[tokio::test]
async fn replicas_share_the_slots_and_any_of_them_serves_everything() {
    let plant = Plant::new().await;
    let a = plant.replica("a").await;
    until_ready(&a).await;
    let a = a.with_procedure().await;
    until_shares(&a, &[("a", 16)], TEN_SECONDS).await;
    let b = plant.replica("b").await;
    until_shares(&a, &[("a", 8), ("b", 8)], TEN_SECONDS).await;
    until_ready(&a).await;
    until_ready(&b).await;
    let c = plant.replica("c").await;
    let mut found = Vec::new();
    let end = Instant::now() + TEN_SECONDS;
    while found.len() != 3 || found.iter().map(|(_, slots)| slots).sum::<usize>() != 16 {
        assert!(Instant::now() < end, "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        found = shares(&b).await;
    }
    c.stop().await;
    until_shares(&b, &[("a", 8), ("b", 8)], TEN_SECONDS).await;

    // A bench of each replica's slots: its job may come in by either, and its page too.
    let replicas = a.get("/api/v1/replicas").await.expect(200);
    for (index, item) in replicas["items"].as_array().unwrap().iter().enumerate() {
        let slots = item["slots"].as_array().unwrap();
        let of_it = |device: &DeviceId| slots.contains(&json!(Slot::of(device).to_string()));
        let device: DeviceId = (0..1000)
            .map(|n| format!("bench-{n}").parse().unwrap())
            .find(of_it)
            .unwrap();
        let mut bench = Bench::connect(&a, device.as_str()).await;
        bench.begin().await;
        let mut job = new_job();
        job["device"] = json!(device.as_str());
        job["vin"] = json!(format!("WDB1110101A00001{index}"));
        b.post("/api/v1/jobs", &job).await.expect(201);
        bench.list(|list| list.jobs.len() == 1).await;
        b.until(&format!("/api/v1/benches/{device}"), |bench| {
            bench["online"] == true
        })
        .await;
    }
    b.stop().await;
    a.stop().await;
}

#[tokio::test]
async fn an_orderly_stop_hands_over_at_once_and_loses_and_doubles_nothing() {
    let plant = Plant::new().await;
    let a = plant.replica("a").await;
    until_shares(&a, &[("a", 16)], TEN_SECONDS).await;
    let load = plant.load(12);
    let plan = load.plan();
    // Shared under load: eight slots are given back in order.
    let mut b = plant.replica("b").await;
    until_shares(&a, &[("a", 8), ("b", 8)], TEN_SECONDS).await;
    until_ready(&b).await;
    let text = String::from_utf8(a.get("/metrics").await.bytes).unwrap();
    assert!(
        text.contains("vds_slot_hand_overs_total{kind=\"given_back\"} 8"),
        "{text}"
    );
    let stopped = Instant::now();
    a.stop().await;
    until_shares(&b, &[("b", 16)], Duration::from_secs(4)).await;
    until_ready(&b).await;
    let took = stopped.elapsed();
    assert!(took < TEN_SECONDS, "the hand-over took {took:?}");
    // The other one, restarted under load, while a new one comes.
    let a = plant.replica("a").await;
    b.restart().await;
    load.receipted(Duration::from_mins(2)).await;
    until_shares(&a, &[("a", 8), ("b", 8)], SOON).await;
    judge(&*plant.store().await, plan).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_killed_replica_s_slots_have_an_owner_within_ten_seconds() {
    let plant = Plant::new().await;
    let a = plant.replica("a").await;
    until_ready(&a).await;
    let folder = tempfile::tempdir().unwrap();
    let mut b = plant.process("b", folder.path());
    until_shares(&a, &[("a", 8), ("b", 8)], SOON).await;
    let load = plant.load(12);
    let plan = load.plan();
    tokio::time::sleep(Duration::from_secs(2)).await;
    b.kill().unwrap();
    let took = until_shares(&a, &[("a", 16)], TEN_SECONDS).await;
    until_state(&a, "slots", "ok").await;
    assert!(took < TEN_SECONDS, "{took:?}");
    load.receipted(Duration::from_mins(2)).await;
    judge(&*plant.store().await, plan).await;
    let text = String::from_utf8(a.get("/metrics").await.bytes).unwrap();
    assert!(
        text.contains("vds_slot_hand_overs_total{kind=\"taken_over\"} 8"),
        "{text}"
    );
    a.stop().await;
}

#[tokio::test]
async fn a_replica_that_stood_still_is_fenced_and_does_not_steal_its_slots_back() {
    let plant = Plant::new().await;
    let a = plant.replica("a").await;
    until_ready(&a).await;
    let folder = tempfile::tempdir().unwrap();
    let mut b = plant.process("b", folder.path());
    until_shares(&a, &[("a", 8), ("b", 8)], SOON).await;
    let load = plant.load(25);
    let plan = load.plan();
    tokio::time::sleep(Duration::from_secs(1)).await;
    b.stop().unwrap();
    until_shares(&a, &[("a", 16)], TEN_SECONDS).await;
    until_state(&a, "slots", "ok").await;
    // Long enough that messages have come to `a` under the new terms.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let store = plant.store().await;
    let terms = |leases: &[fleet_store::SlotLease]| leases.iter().map(|lease| lease.term).collect::<Vec<_>>();
    let before = store.slot_leases().await.unwrap();
    b.resume().unwrap();
    // It may have its share again, by claims of its own, each with a higher term; nothing else.
    until_shares(&a, &[("a", 8), ("b", 8)], SOON).await;
    let after = store.slot_leases().await.unwrap();
    for (before, after) in before.iter().zip(&after) {
        let stayed = before.owner == after.owner && before.term == after.term;
        assert!(stayed || after.term == before.term + 1, "{before:?} {after:?}");
    }
    assert_ne!(terms(&before), terms(&after));
    load.receipted(Duration::from_mins(2)).await;
    judge(&*store, plan).await;
    let log = std::fs::read_to_string(b.log()).unwrap();
    assert!(log.contains("a slot was lost"), "it noticed: {log}");
    b.terminate(SOON).await.unwrap();
    a.stop().await;
}

#[tokio::test]
async fn a_replica_on_another_broker_owns_no_slot_and_says_why() {
    let plant = Plant::new().await;
    let a = plant.replica("a").await;
    until_ready(&a).await;
    let other = Mqtt::start().await;
    let b = replica("b", &plant.database, &other, plant.files.path()).await;
    let refused = until_state(&b, "broker", "refused").await;
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains(&plant.mqtt.broker.url()) && detail.contains(&other.broker.url()),
        "{refused}"
    );
    until_shares(&a, &[("a", 16), ("b", 0)], SOON).await;
    until_ready(&a).await;
    // Also when the one on the right broker is away for a moment.
    a.stop().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(check(&b, "broker").await["state"], "refused");
    until_shares(&b, &[("b", 0)], SOON).await;
    let a = plant.replica("a").await;
    until_shares(&a, &[("a", 16), ("b", 0)], SOON).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn all_replicas_restarting_at_once_settle() {
    let plant = Plant::new().await;
    let (mut a, mut b) = tokio::join!(plant.replica("a"), plant.replica("b"));
    until_shares(&a, &[("a", 8), ("b", 8)], SOON).await;
    let load = plant.load(8);
    let plan = load.plan();
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::join!(a.restart(), b.restart());
    until_shares(&a, &[("a", 8), ("b", 8)], SOON).await;
    load.receipted(Duration::from_mins(2)).await;
    until_ready(&a).await;
    until_ready(&b).await;
    judge(&*plant.store().await, plan).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn files_lie_in_the_shared_folder_and_one_that_is_not_there_is_named() {
    let plant = Plant::new().await;
    let a = plant.replica("a").await;
    let apart = tempfile::tempdir().unwrap();
    let b = Server::start_with(|config: &mut Config| {
        as_replica(config, "b", &plant.database, &plant.mqtt, apart.path());
    })
    .await;
    until_ready(&b).await;
    until_ready(&a).await;
    a.put("/api/v1/artifacts/image/1.0", "bytes").await.expect(201);
    let path = "/api/v1/artifacts/image/1.0";
    b.get(path)
        .await
        .problem(503, "artifact_not_here", "another folder");
    let c = plant.replica("c").await;
    until_ready(&c).await;
    assert_eq!(c.get(path).await.bytes, b"bytes");
    for server in [a, b, c] {
        server.stop().await;
    }
}
