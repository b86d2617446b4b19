//! The broker refuses, allows too little, is away, or dies under load.

use anyhow::ensure;
use fleet_testkit::services::{Credentials, Mosquitto, MosquittoOptions};
use tempfile::TempDir;

use crate::accounts::agree;
use crate::load::{Load, LoadOptions};
use crate::plant::Plant;
use crate::{WITHIN, kills, phase, services};

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_killed_and_started_again_under_load() -> anyhow::Result<()> {
    let mut services = services::alone().await?;
    let mut plant = Plant::new("broker-killed", &services).await?;
    plant.start_all(&["a", "b"]).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    for _ in 0..kills()? {
        load.works(phase()?).await?;
        services.mosquitto.kill()?;
        for name in ["a", "b"] {
            plant.named(name, "broker", &["unreachable"]).await?;
        }
        services.mosquitto.restart().await?;
        for name in ["a", "b"] {
            plant.becomes(name, "broker", &["ok"], WITHIN).await?;
        }
        plant.all_slots(WITHIN).await?;
        load.works(phase()?).await?;
    }
    agree(&plant, load).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_refuses_the_credentials() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let folder = TempDir::new()?;
    let options = MosquittoOptions {
        users: vec![Credentials::new("server", "right")],
        ..MosquittoOptions::default()
    };
    let own = Mosquitto::start(folder.path(), options).await?;
    let mut plant = Plant::new("broker-refuses", &services).await?;
    let file = plant.path("mqtt.toml");
    plant.settings.set("mqtt.url", own.url());
    plant
        .settings
        .set("mqtt.credentials_file", file.display().to_string());
    std::fs::write(&file, Credentials::new("server", "wrong").toml())?;
    plant.start("a", &[]).await?;
    plant.named("a", "broker", &["refused"]).await?;
    let check = plant.check("a", "broker").await.unwrap_or_default();
    ensure!(
        !check.to_string().contains("wrong"),
        "the password stands in {check}"
    );
    std::fs::write(&file, Credentials::new("server", "right").toml())?;
    plant.stop("a").await?;
    plant.start_all(&["a"]).await?;
    plant.becomes("a", "broker", &["ok"], WITHIN).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_limits_are_too_small() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let folder = TempDir::new()?;
    let options = MosquittoOptions {
        settings: vec![("max_packet_size".to_owned(), "2000".to_owned())],
        ..MosquittoOptions::default()
    };
    let own = Mosquitto::start(folder.path(), options).await?;
    let mut plant = Plant::new("broker-limits", &services).await?;
    plant.settings.set("mqtt.url", own.url());
    plant.start("a", &[]).await?;
    plant.named("a", "broker", &["limits_too_small"]).await?;
    let check = plant.check("a", "broker").await.unwrap_or_default();
    println!("it says: {check}");
    Ok(())
}
