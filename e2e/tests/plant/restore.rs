//! An older backup of the database is put back under the running plant.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use fleet_domain::StoreGeneration;
use fleet_testkit::services::KafkaRecord;
use fleet_testkit::{Workload, eventually, job_request};
use serde_json::json;

use crate::accounts::{self, Account};
use crate::consumer::{self, RESTORED};
use crate::load::{Load, LoadOptions};
use crate::plant::Plant;
use crate::{NAMED_WITHIN, WITHIN, phase, services};

/// A bench that was there before the backup and does not come back.
const AWAY: &str = "restored-away-00000";
/// Partitions of each topic, the product's default.
const PARTITIONS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_is_noticed_reconciled_and_filled_again() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let mut plant = Plant::new("restored", &services).await?;
    plant.start_all(&["a", "b"]).await?;
    let options = LoadOptions::from_env()?;
    let mut made = a_bench_that_leaves(&plant, &options).await?;
    let load = Load::start(&plant.id, &plant.broker, &options)?;
    plant.ledger_reaches("in_kafka", 100, WITHIN).await?;
    let (name, backup) = (plant.database_name(), plant.path("backup"));
    services.postgres.dump(&name, &backup).await?;
    let then = plant.ledger().await?["in_kafka"].as_u64().context("a figure")?;
    load.works(phase()?).await?;
    plant.ledger_reaches("in_kafka", then + 100, WITHIN).await?;
    let before = generation(&plant).await?;

    services.postgres.restore(&name, &backup).await?;
    let relay = noticed(&plant).await?;
    plant.alarm(&relay, "relay_cursor_lost", NAMED_WITHIN).await?;
    let new = eventually("a new generation", WITHIN, async || {
        generation(&plant).await.ok().filter(|now| *now != before)
    })
    .await?;
    eventually("every bench hears of it", WITHIN, async || {
        (load.not_in(new) == 0).then_some(())
    })
    .await?;
    load.works(phase()?).await?;
    let job = offers_are_held(&plant).await?;
    let check = plant.check(&relay, "kafka").await;
    ensure!(
        check
            .as_ref()
            .is_some_and(|check| check["state"] == "cursor_lost"),
        "nothing is relayed before somebody has decided: {check:?}"
    );

    println!(
        "relay reconcile says: {}",
        plant.command("a", &["relay", "reconcile"]).await?
    );
    release(&plant, &job).await?;
    load.works(phase()?).await?;
    load.quiet();
    load.settles(WITHIN).await?;
    made.extend(load.end().await?);
    plant.relayed().await?;
    let account: Account = accounts::agree_with(&plant, &made).await?;
    let already = account.ledger["already_in_kafka"].as_u64().unwrap_or_default();
    ensure!(already > 0, "the backup was older than Kafka: {}", account.ledger);
    println!(
        "{}: {} events agree; ledger {}",
        plant.id, account.events, account.ledger
    );
    told_to_every_partition(&plant).await
}

/// Some events of a bench that ends then for good.
async fn a_bench_that_leaves(
    plant: &Plant,
    options: &LoadOptions,
) -> anyhow::Result<Vec<crate::history::Made>> {
    let options = LoadOptions {
        benches: 1,
        name: "away".to_owned(),
        ..options.clone()
    };
    let load = Load::start(&plant.id, &plant.broker, &options)?;
    load.advances(5, WITHIN).await?;
    load.quiet();
    load.settles(WITHIN).await?;
    load.end().await
}

async fn generation(plant: &Plant) -> anyhow::Result<StoreGeneration> {
    let status = plant.api("a")?.get("/api/v1/status").await?;
    Ok(status["store_generation"]
        .as_str()
        .context("a generation")?
        .parse()?)
}

/// One of the replicas, the one that relays, says by itself that the cursor is lost.
async fn noticed(plant: &Plant) -> anyhow::Result<String> {
    eventually("cursor_lost in /readyz", NAMED_WITHIN, async || {
        for name in plant.replicas.keys() {
            let check = plant.check(name, "kafka").await;
            if check.is_some_and(|check| check["state"] == "cursor_lost") {
                return Some(name.clone());
            }
        }
        None
    })
    .await
}

/// A job for a bench that has synced is not offered while another one is waited for. Gives the job.
async fn offers_are_held(plant: &Plant) -> anyhow::Result<String> {
    let (api, other) = (plant.api("a")?, plant.api("b")?);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo");
    let workload = Workload::load(&root)?;
    workload.upload_procedures(&api).await?;
    let procedure = workload.procedure("calibrate.camera")?;
    let vin = *workload.candidates(procedure).first().context("a vehicle")?;
    let mut request = job_request(procedure, vin, None)?;
    request["device"] = json!("restored-load-00000");
    let job = api.post("/api/v1/jobs", &request).await?;
    let job = job["id"].as_str().context("a job has an id")?.to_owned();
    eventually("only the bench that is away is waited for", WITHIN, async || {
        let status = other.get("/api/v1/status").await.ok()?;
        (status["waiting_for_benches"] == json!([AWAY])).then_some(())
    })
    .await?;
    let held = other.get(&format!("/api/v1/jobs/{job}")).await?;
    ensure!(held["state"] == "queued", "offers are held: {held}");
    Ok(job)
}

/// A person says that the bench won't come: the offer is made.
async fn release(plant: &Plant, job: &str) -> anyhow::Result<()> {
    let api = plant.api("b")?;
    let reason = json!({ "reason": "it was scrapped" });
    api.post(&format!("/api/v1/benches/{AWAY}/release"), &reason)
        .await?;
    let mut last = serde_json::Value::Null;
    eventually("an offer once nobody is waited for", WITHIN, async || {
        last = api.get(&format!("/api/v1/jobs/{job}")).await.ok()?;
        (last["state"] == "offered").then_some(())
    })
    .await
    .with_context(|| format!("the job is {last}"))
}

/// Consumers hear of the restore wherever they read.
async fn told_to_every_partition(plant: &Plant) -> anyhow::Result<()> {
    let told = |records: &[KafkaRecord]| -> BTreeSet<(String, i32)> {
        let of_restore = records
            .iter()
            .filter(|record| record.header("type") == Some(RESTORED));
        of_restore
            .map(|record| (record.topic.clone(), record.partition))
            .collect()
    };
    let all = consumer::TOPICS.len() * PARTITIONS;
    let records = consumer::records(&plant.kafka, plant.id.as_str(), |records| {
        told(records).len() == all
    })
    .await?;
    let told = told(&records);
    ensure!(told.len() == all, "{RESTORED} is only in {told:?}");
    Ok(())
}
