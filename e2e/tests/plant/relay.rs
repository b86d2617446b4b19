//! The relay dies and Kafka hangs while two replicas want to relay.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::accounts::agree;
use crate::load::{Load, LoadOptions};
use crate::plant::Plant;
use crate::{WITHIN, kills, phase, services};

/// Kafka is silent longer than the relay's patience (its call times out after 5 s, its socket after 10 s).
const HANGS: Duration = Duration::from_secs(14);

/// A relay dies at each of its points, each time with another replica waiting for its place.
#[tokio::test(flavor = "multi_thread")]
async fn the_relay_is_killed_inside_behind_and_between_transactions() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let mut plant = Plant::new("relay-kills", &services).await?;
    let mut options = LoadOptions::from_env()?;
    options.every /= 2;
    plant.start_all(&["a"]).await?;
    plant.becomes("a", "kafka", &["ok"], WITHIN).await?;
    let load = Load::start(&plant.id, &plant.broker, &options)?;
    let points = ["relay.in_transaction", "relay.after_commit", "relay.between"];
    // "b" is started with the point at which it dies, and gets the relay by the end of "a", which comes back at once.
    for _ in 0..kills()? {
        for point in points {
            let point_in_a_while = format!("{point}=20*off->return");
            plant.start("b", &[("FAILPOINTS", &point_in_a_while)]).await?;
            plant.stop("a").await?;
            plant.relays_or_died("b").await?;
            plant.start("a", &[]).await?;
            plant.dies("b").await?;
            let (died, before) = (Instant::now(), in_kafka(&plant).await?);
            plant.ledger_reaches("in_kafka", before + 20, WITHIN).await?;
            println!(
                "{point}: relaying again {:.1?} after the relay's death",
                died.elapsed()
            );
        }
    }
    let account = agree(&plant, load).await?;
    ensure!(
        account.ledger["already_in_kafka"] == 0,
        "nothing was restored: {}",
        account.ledger
    );
    Ok(())
}

/// Plants share topics. The open transaction of a dead relay holds every reader of committed records back; another
/// plant's relay that starts then must not take an old place for its newest.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_relay_of_another_plant_hides_no_cursor() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let mut other = Plant::new("other-plant", &services).await?;
    let mut plant = Plant::new("this-plant", &services).await?;
    let options = LoadOptions::from_env()?;
    plant.start_all(&["a"]).await?;
    let load = Load::start(&plant.id, &plant.broker, &options)?;
    plant.ledger_reaches("in_kafka", 50, WITHIN).await?;
    other
        .start("x", &[("FAILPOINTS", "relay.in_transaction=return")])
        .await?;
    other.all_slots(WITHIN).await?;
    let other_load = Load::start(&other.id, &other.broker, &options)?;
    other.dies("x").await?;
    // From here on its transaction is open, and everything of this plant comes behind it.
    plant
        .start("b", &[("FAILPOINTS", "relay.after_commit=return")])
        .await?;
    plant.stop("a").await?;
    plant.dies("b").await?;
    plant.start("a", &[]).await?;
    plant.all_slots(WITHIN).await?;
    agree(&plant, load).await?;
    other.start("x", &[]).await?;
    agree(&other, other_load).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_hangs_while_the_relay_is_killed_and_is_then_killed_itself() -> anyhow::Result<()> {
    let mut services = services::alone().await?;
    let mut plant = Plant::new("kafka-faults", &services).await?;
    plant.start_all(&["a", "b"]).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    plant.ledger_reaches("in_kafka", 50, WITHIN).await?;
    for _ in 0..kills()? {
        let relay = plant.relay().await?;
        let other = if relay == "a" { "b" } else { "a" };
        services.kafka.freeze()?;
        let frozen = Instant::now();
        plant.named(&relay, "kafka", &["hanging"]).await?;
        load.works(phase()?).await?;
        plant.kill(&relay)?;
        plant
            .becomes(other, "kafka", &["hanging", "starting", "unreachable"], WITHIN)
            .await?;
        plant.start(&relay, &[]).await?;
        plant.all_slots(WITHIN).await?;
        load.works(phase()?).await?;
        // How long it hangs is the scenario.
        tokio::time::sleep(HANGS.saturating_sub(frozen.elapsed())).await;
        services.kafka.thaw()?;
        relays_again(&plant, "went on").await?;

        let relay = plant.relay().await?;
        services.kafka.kill()?;
        plant.named(&relay, "kafka", &["unreachable"]).await?;
        load.works(phase()?).await?;
        services.kafka.restart().await?;
        relays_again(&plant, "was ready").await?;
    }
    agree(&plant, load).await?;
    Ok(())
}

/// More events reach Kafka from now on.
async fn relays_again(plant: &Plant, since: &str) -> anyhow::Result<()> {
    let (begun, before) = (Instant::now(), in_kafka(plant).await?);
    plant.ledger_reaches("in_kafka", before + 1, WITHIN).await?;
    println!("relaying again {:.1?} after Kafka {since}", begun.elapsed());
    Ok(())
}

async fn in_kafka(plant: &Plant) -> anyhow::Result<u64> {
    Ok(plant.ledger().await?["in_kafka"].as_u64().unwrap_or_default())
}
