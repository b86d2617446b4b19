//! Topics that are not as they must be, and records that Kafka will never take.

use fleet_relay::RelayState;
use fleet_store::{AlarmKind, Page};
use fleet_testkit::services::KafkaOptions;

use crate::plant::{LONG, Plant, SOON, committed, config, kafka, once_and_in_order, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_topic_stops_the_relay_by_name_until_it_is_right() -> anyhow::Result<()> {
    let mut plant = Plant::new("muenchen").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    let mut config = config(&kafka);
    config.create_topics = false;
    plant.write(20).await;
    let relay = plant.relay(&config)?;
    let health = until(&relay, RelayState::TopicMissing, LONG).await?;
    assert!(health.detail.contains("vds.results.v1"), "{}", health.detail);
    assert!(health.help.is_some());

    // Made by hand, one of them wrongly.
    kafka.create_topic("vds.results.v1", 2, &[]).await?;
    kafka.create_topic("vds.job-events.v1", 3, &[]).await?;
    kafka
        .create_topic("vds.device-state.v1", 3, &[("cleanup.policy", "compact")])
        .await?;
    kafka
        .create_topic("vds.relay-cursor.v1", 1, &[("cleanup.policy", "delete")])
        .await?;
    let health = until(&relay, RelayState::PartitionsDiffer, SOON).await?;
    assert!(
        health.detail.contains("vds.results.v1 has 2 partitions, not 3"),
        "{}",
        health.detail
    );
    kafka.set_partitions("vds.results.v1", 3).await?;
    let health = until(&relay, RelayState::Failing, SOON).await?;
    assert!(
        health.detail.contains("cleanup.policy=delete"),
        "{}",
        health.detail
    );
    kafka
        .alter_topic("vds.relay-cursor.v1", &[("cleanup.policy", "compact")])
        .await?;
    until(&relay, RelayState::Ok, SOON).await?;
    plant.drained(&relay).await?;
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())?;

    // A topic that goes away takes records with it: it is not made anew by itself.
    kafka.delete_topic("vds.job-events.v1").await?;
    let health = until(&relay, RelayState::TopicMissing, SOON).await?;
    assert!(health.detail.contains("vds.job-events.v1"), "{}", health.detail);
    plant.alarmed(AlarmKind::RelayStopped).await?;
    kafka.create_topic("vds.job-events.v1", 3, &[]).await?;
    until(&relay, RelayState::Ok, LONG).await?;
    plant.write(5).await;
    plant.drained(&relay).await?;
    let records = committed(&kafka, &plant.id).await?;
    let events = records
        .iter()
        .filter(|record| record.topic == "vds.job-events.v1");
    assert_eq!(events.count(), 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_with_what_they_need() -> anyhow::Result<()> {
    let plant = Plant::new("neckarsulm").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    let relay = plant.relay(&config(&kafka))?;
    until(&relay, RelayState::Ok, LONG).await?;
    let topics = kafka.topics().await?;
    let expected = [
        ("vds.device-state.v1", 3),
        ("vds.job-events.v1", 3),
        ("vds.relay-cursor.v1", 1),
        ("vds.results.v1", 3),
    ];
    assert_eq!(
        topics,
        expected
            .map(|(name, partitions)| (name.to_owned(), partitions))
            .into()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_kafka_will_never_take_is_a_dead_letter_and_the_relay_goes_on() -> anyhow::Result<()> {
    let mut plant = Plant::new("regensburg").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    let relay = plant.relay(&config(&kafka))?;
    until(&relay, RelayState::Ok, LONG).await?;
    kafka
        .alter_topic("vds.job-events.v1", &[("max.message.bytes", "20000")])
        .await?;
    plant.write(100).await;
    plant.write_large(60_000).await;
    plant.write(100).await;
    plant.write_large(60_000).await;
    let totals = plant.drained(&relay).await?;
    assert_eq!((totals.in_kafka, totals.unrelayable), (201, 2));
    let letters = plant.store().dead_letters(&Page::default()).await?.items;
    assert_eq!(letters.len(), 2);
    assert!(
        letters.iter().all(|letter| letter.code == "too_large"),
        "{letters:?}"
    );
    plant.alarmed(AlarmKind::Unrelayable).await?;
    let records = committed(&kafka, &plant.id).await?;
    let seqs: Vec<u64> = records
        .iter()
        .filter_map(|record| record.header("seq")?.parse().ok())
        .collect();
    assert_eq!(seqs.len(), 201);
    assert!(!seqs.contains(&102) && !seqs.contains(&203), "{seqs:?}");
    assert_eq!(until(&relay, RelayState::Ok, SOON).await?.state, RelayState::Ok);
    Ok(())
}
