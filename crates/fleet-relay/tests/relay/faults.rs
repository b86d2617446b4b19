//! A Kafka that refuses, hangs, dies, or has lost what it had.

use std::time::{Duration, Instant};

use fleet_relay::{KafkaConfig, KafkaCredentials, RelayState, SaslMechanism};
use fleet_store::AlarmKind;
use fleet_testkit::services::{Credentials, KafkaOptions, ServerCertificate};

use crate::plant::{LONG, Plant, SOON, committed, config, kafka, once_and_in_order, until};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused_and_right_ones_relay() -> anyhow::Result<()> {
    let mut plant = Plant::new("berlin").await?;
    let user = Credentials::new("relay", "right");
    let kafka = kafka(
        plant.folder.path(),
        KafkaOptions {
            user: Some(user),
            ..KafkaOptions::default()
        },
    )
    .await?;
    plant.write(5).await;
    let mut config = config(&kafka);
    let as_user = |password: &str| {
        Some(KafkaCredentials::new(
            "relay".into(),
            password.into(),
            SaslMechanism::Plain,
        ))
    };
    config.credentials = as_user("wrong");
    let begun = Instant::now();
    let relay = plant.relay(&config)?;
    let health = until(&relay, RelayState::Refused, SOON).await?;
    println!("refused after {:?}: {}", begun.elapsed(), health.detail);
    assert!(!health.detail.contains("wrong"), "{}", health.detail);
    relay.stop().await;
    config.credentials = as_user("right");
    let relay = plant.relay(&config)?;
    plant.drained(&relay).await?;
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_broker_is_checked_and_scram_proves_the_password() -> anyhow::Result<()> {
    let mut plant = Plant::new("gaggenau").await?;
    let names = || vec!["127.0.0.1".to_owned()];
    let (ours, other) = (
        rcgen::generate_simple_self_signed(names())?,
        rcgen::generate_simple_self_signed(names())?,
    );
    let secure = ServerCertificate {
        chain: ours.cert.pem(),
        key: ours.signing_key.serialize_pem(),
    };
    let kafka = kafka(
        plant.folder.path(),
        KafkaOptions {
            secure: Some(secure),
            ..KafkaOptions::default()
        },
    )
    .await?;
    kafka.add_scram_user(&Credentials::new("relay", "right")).await?;
    plant.write(5).await;
    let ca_file = |name: &str, pem: String| -> anyhow::Result<_> {
        let file = plant.folder.path().join(name);
        std::fs::write(&file, pem)?;
        Ok(Some(file))
    };
    let (known, stranger) = (
        ca_file("ours.pem", ours.cert.pem())?,
        ca_file("other.pem", other.cert.pem())?,
    );
    let with = |password: &str, authority: &Option<std::path::PathBuf>| KafkaConfig {
        tls: true,
        ca_file: authority.clone(),
        credentials: Some(KafkaCredentials::new(
            "relay".into(),
            password.into(),
            SaslMechanism::ScramSha512,
        )),
        partitions: 3,
        ..KafkaConfig::new(kafka.secure_bootstrap())
    };
    for refused in [with("wrong", &known), with("right", &stranger)] {
        let relay = plant.relay(&refused)?;
        let health = until(&relay, RelayState::Refused, SOON).await?;
        println!("{}", health.detail);
        relay.stop().await;
    }
    let relay = plant.relay(&with("right", &known))?;
    plant.drained(&relay).await?;
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_is_not_there_is_unreachable() -> anyhow::Result<()> {
    let mut plant = Plant::new("emden").await?;
    plant.write(1).await;
    // A port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let relay = plant.relay(&KafkaConfig::new(port.to_string()))?;
    let health = until(&relay, RelayState::Unreachable, SOON).await?;
    assert!(health.detail.contains(&port.to_string()), "{}", health.detail);
    plant.alarmed(AlarmKind::KafkaDown).await?;
    let stopped = Instant::now();
    relay.stop().await;
    assert!(stopped.elapsed() < SOON);
    assert_eq!(plant.totals().await?.in_outbox, 2, "nothing is lost");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_kafka_hangs_by_name_and_nothing_is_lost_or_doubled() -> anyhow::Result<()> {
    let mut plant = Plant::new("ingolstadt").await?;
    let mut kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    let relay = plant.relay(&config(&kafka))?;
    until(&relay, RelayState::Ok, LONG).await?;
    // Once with rows on their way, once without anything to do.
    for rows in [500, 0] {
        plant.write(rows).await;
        kafka.freeze()?;
        let frozen = Instant::now();
        plant.write(rows).await;
        let health = until(&relay, RelayState::Hanging, SOON).await?;
        println!("hanging after {:?}: {}", frozen.elapsed(), health.detail);
        // Beyond the transaction's time-out.
        tokio::time::sleep(Duration::from_secs(16).saturating_sub(frozen.elapsed())).await;
        kafka.thaw()?;
        let thawed = Instant::now();
        until(&relay, RelayState::Ok, LONG).await?;
        println!("ok {:?} after the thaw", thawed.elapsed());
        plant.drained(&relay).await?;
    }
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_kafka_is_unreachable_and_nothing_is_lost_or_doubled() -> anyhow::Result<()> {
    let mut plant = Plant::new("wolfsburg").await?;
    let mut kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    let mut config = config(&kafka);
    config.batch_rows = 50;
    let relay = plant.relay(&config)?;
    until(&relay, RelayState::Ok, LONG).await?;
    for _ in 0..2 {
        plant.write(1000).await;
        // In the middle of it.
        let before = relay.health().cursor_seq;
        let mut health = relay.watch();
        health.wait_for(|health| health.cursor_seq > before).await?;
        kafka.kill()?;
        let killed = Instant::now();
        until(&relay, RelayState::Unreachable, SOON).await?;
        println!("unreachable after {:?}", killed.elapsed());
        plant.write(100).await;
        kafka.restart().await?;
        until(&relay, RelayState::Ok, LONG).await?;
        plant.drained(&relay).await?;
    }
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_without_its_cursor_has_lost_data() -> anyhow::Result<()> {
    let mut plant = Plant::new("dingolfing").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    let relay = plant.relay(&config(&kafka))?;
    plant.write(10).await;
    plant.drained(&relay).await?;
    kafka.delete_topic("vds.relay-cursor.v1").await?;
    until(&relay, RelayState::TopicMissing, SOON).await?;
    kafka
        .create_topic("vds.relay-cursor.v1", 1, &[("cleanup.policy", "compact")])
        .await?;
    let health = until(&relay, RelayState::LostData, SOON).await?;
    assert!(health.detail.contains("no cursor"), "{}", health.detail);
    plant.alarmed(AlarmKind::KafkaLostData).await
}
