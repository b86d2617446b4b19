//! Kafka as an administrator can get it wrong, and records that it will never take.

use anyhow::{Context as _, ensure};
use fleet_testkit::services::{Credentials, Kafka, KafkaOptions};
use tempfile::TempDir;

use crate::accounts::{self, agree};
use crate::consumer;
use crate::load::{Load, LoadOptions};
use crate::plant::Plant;
use crate::{WITHIN, phase, services};

/// Larger than the topic's limit in the walk of dead letters, smaller than what a bench may send.
const LARGE: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_and_another_partition_count_have_names_and_ingest_goes_on() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let folder = TempDir::new()?;
    let own = Kafka::start(folder.path(), KafkaOptions::default()).await?;
    let mut plant = Plant::new("topics", &services).await?;
    plant.uses_kafka(&own);
    plant.settings.set("kafka.create_topics", false);
    plant.start_all(&["a"]).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    plant.named("a", "kafka", &["topic_missing"]).await?;
    load.works(phase()?).await?;
    own.create_topic("vds.results.v1", 3, &[]).await?;
    plant
        .becomes("a", "kafka", &["partitions_differ", "topic_missing"], WITHIN)
        .await?;
    own.create_topic("vds.job-events.v1", 12, &[]).await?;
    let compact = [("cleanup.policy", "compact")];
    own.create_topic("vds.device-state.v1", 12, &compact).await?;
    own.create_topic("vds.relay-cursor.v1", 1, &compact).await?;
    plant
        .becomes("a", "kafka", &["partitions_differ"], WITHIN)
        .await?;
    load.works(phase()?).await?;
    let ledger = plant.ledger().await?;
    ensure!(
        ledger["in_kafka"] == 0 && ledger["in_outbox"] != 0,
        "nothing goes to a wrong topic: {ledger}"
    );
    // The administrator makes it anew as the settings say.
    own.delete_topic("vds.results.v1").await?;
    own.create_topic("vds.results.v1", 12, &[]).await?;
    plant.becomes("a", "kafka", &["ok"], WITHIN).await?;
    agree(&plant, load).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_kafka_never_takes_goes_to_the_dead_letters_and_the_relay_goes_on() -> anyhow::Result<()>
{
    let services = services::shared().await?;
    let folder = TempDir::new()?;
    let own = Kafka::start(folder.path(), KafkaOptions::default()).await?;
    own.create_topic("vds.results.v1", 12, &[("max.message.bytes", "20000")])
        .await?;
    let mut plant = Plant::new("too-large", &services).await?;
    plant.uses_kafka(&own);
    plant.start_all(&["a"]).await?;
    let options = LoadOptions {
        one_large: Some(LARGE),
        ..LoadOptions::from_env()?
    };
    let load = Load::start(&plant.id, &plant.broker, &options)?;
    plant.ledger_reaches("unrelayable", 1, WITHIN).await?;
    let before = plant.ledger().await?["in_kafka"].as_u64().context("a figure")?;
    plant.ledger_reaches("in_kafka", before + 50, WITHIN).await?;
    let alarm = plant.alarm("a", "unrelayable", WITHIN).await?;
    println!("the alarm says: {}", alarm["detail"]);
    load.quiet();
    load.settles(WITHIN).await?;
    let made = load.end().await?;
    plant.relayed().await?;
    let ledger = plant.ledger().await?;
    ensure!(ledger["unrelayable"] == 1, "one record was too large: {ledger}");
    accounts::equation(&ledger)?;
    let dead = plant.api("a")?.get("/api/v1/dead-letters?limit=1000").await?;
    let dead = dead["items"].as_array().context("a list")?;
    let large: Vec<_> = made.iter().filter(|made| made.bytes > LARGE).collect();
    ensure!(large.len() == 1, "one event was made large, not {}", large.len());
    let place = &large[0].place;
    let named = dead.iter().any(|letter| {
        letter["spool_id"] == place.spool.to_string()
            && letter["seq"] == place.seq
            && letter["device"] == *place.device
    });
    ensure!(named, "{place:?} is not among the dead letters {dead:?}");
    // Kafka has everything else.
    let rest: Vec<_> = made.into_iter().filter(|made| made.bytes <= LARGE).collect();
    let wanted = rest.iter().filter(|made| !made.refused).count();
    let enough = |records: &[_]| consumer::count(records) >= wanted;
    let records = consumer::records(&plant.kafka, plant.id.as_str(), enough).await?;
    let faults = crate::books::judge(&rest, &consumer::events(&records)?);
    ensure!(faults.is_none(), "{faults}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_refuses_at_the_start_and_refuses_wrong_credentials() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let folder = TempDir::new()?;
    let options = KafkaOptions {
        user: Some(Credentials::new("relay", "right")),
        ..KafkaOptions::default()
    };
    let mut own = Kafka::start(folder.path(), options).await?;
    let mut plant = Plant::new("kafka-refuses", &services).await?;
    plant.uses_kafka(&own);
    let file = plant.path("kafka.toml");
    let write = |password: &str| {
        let text = Credentials::new("relay", password).toml();
        std::fs::write(&file, format!("{text}mechanism = \"PLAIN\"\n"))
    };
    plant
        .settings
        .set("kafka.credentials_file", file.display().to_string());
    own.stop().await?;
    write("wrong")?;
    plant.start_all(&["a"]).await?;
    plant.named("a", "kafka", &["unreachable"]).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    load.works(phase()?).await?;
    own.restart().await?;
    plant.becomes("a", "kafka", &["refused"], WITHIN).await?;
    load.works(phase()?).await?;
    write("right")?;
    plant.stop("a").await?;
    plant.start("a", &[]).await?;
    plant.becomes("a", "kafka", &["ok"], WITHIN).await?;
    load.quiet();
    load.settles(WITHIN).await?;
    plant.relayed().await?;
    let ledger = plant.ledger().await?;
    ensure!(ledger["in_kafka"] == ledger["stored"], "{ledger}");
    Ok(())
}
