//! A database that was put back from a backup, and the reconciliation.

use std::collections::BTreeSet;

use fleet_domain::SpoolId;
use fleet_relay::{KafkaConfig, ReconcileError, ReconcileParts, ReconcileReport, RelayState, reconcile};
use fleet_store::{KafkaHigh, OutboxCursor};
use fleet_testkit::services::KafkaOptions;
use tokio::runtime::Handle;

use crate::plant::{DATA, LONG, Plant, committed, config, kafka, once_and_in_order, until};

async fn reconciled(
    plant: &Plant,
    config: &KafkaConfig,
    force: bool,
) -> Result<ReconcileReport, ReconcileError> {
    let parts = ReconcileParts {
        plant: plant.id.clone(),
        owner: "reconcile".to_owned(),
        config: config.clone(),
        store: plant.store(),
        runtime: Handle::current(),
        force,
    };
    tokio::task::spawn_blocking(move || reconcile(parts))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_every_event_is_in_kafka_once_and_in_order() -> anyhow::Result<()> {
    let mut plant = Plant::new("graz").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    let config = config(&kafka);
    let relay = plant.relay(&config)?;
    plant.write(300).await;
    plant.drained(&relay).await?;
    let (backup, old_bench) = (plant.back_up()?, plant.bench.clone());
    plant.write(200).await;
    plant.drained(&relay).await?;
    let before = plant.store().generation();
    relay.stop().await;

    // The backup goes on; the bench sends again what it holds, and new events.
    plant.restore(&backup).await?;
    plant.bench = old_bench;
    plant.write(250).await;
    let relay = plant.relay(&config)?;
    let health = until(&relay, RelayState::CursorLost, LONG).await?;
    println!("{}", health.detail);
    assert!(
        plant.store().generation() > before,
        "a new life of the database has begun"
    );
    assert_eq!(
        plant.totals().await?.in_outbox,
        250,
        "nothing is relayed meanwhile"
    );

    // Killed half-way: the findings are in the database, Kafka is as before.
    let term = loop {
        let now = fleet_clock::wall_now();
        if let Some(term) = plant.store().claim_relay("killed", now, config.lease).await? {
            break term;
        }
    };
    let found = [KafkaHigh {
        device: plant.bench.device.clone(),
        spool: plant.bench.spool,
        seq: 501,
    }];
    plant
        .store()
        .begin_reconciled(term, &found, fleet_clock::wall_now())
        .await?;
    plant.store().release_relay(term).await?;

    // The relay stands still and gives way.
    let report = reconciled(&plant, &config, false).await?;
    println!("{report}");
    assert_eq!(report.spools, 1);
    assert_eq!(report.partitions, 9);
    assert_eq!(report.waiting, 250);
    assert_eq!(report.database.seq, 301);

    until(&relay, RelayState::Ok, LONG).await?;
    let totals = plant.drained(&relay).await?;
    assert_eq!((totals.in_kafka, totals.already_in_kafka), (351, 200));
    let records = committed(&kafka, &plant.id).await?;
    once_and_in_order(&records, plant.written())?;
    let told: BTreeSet<_> = records
        .iter()
        .filter(|record| record.header("type") == Some("vds.store.restored.v1"))
        .map(|record| (record.topic.clone(), record.partition))
        .collect();
    assert_eq!(
        told.len(),
        DATA.len() * 3,
        "every partition is told once: {told:?}"
    );
    let generation = plant.store().generation().to_string();
    let restored = records
        .iter()
        .find(|record| record.header("seq").is_none())
        .unwrap();
    assert_eq!(restored.json()?["data"]["store_generation"], generation.as_str());
    assert_eq!(restored.header("store_generation"), Some(generation.as_str()));

    relay.stop().await;
    match reconciled(&plant, &config, false).await {
        Err(ReconcileError::NotNeeded { seq }) => {
            assert_eq!(seq, plant.store().relay_row().await?.relayed.seq);
        }
        other => panic!("a second time: {other:?}"),
    }

    // The same backup twice more. The second time its newest relayed row is the very one that Kafka's cursor stands at,
    // but it does not know what Kafka has.
    for _ in 0..2 {
        plant.restore(&backup).await?;
        let relay = plant.relay(&config)?;
        let health = until(&relay, RelayState::CursorLost, LONG).await?;
        println!("{}", health.detail);
        relay.stop().await;
        reconciled(&plant, &config, false).await?;
    }
    let relay = plant.relay(&config)?;
    until(&relay, RelayState::Ok, LONG).await?;
    relay.stop().await;
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_works_is_not_taken_the_lease_from() -> anyhow::Result<()> {
    let mut plant = Plant::new("sindelfingen").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    let config = config(&kafka);
    // Nothing was ever relayed: nothing to reconcile.
    match reconciled(&plant, &config, false).await {
        Err(ReconcileError::NotNeeded { seq: 0 }) => {}
        other => panic!("{other:?}"),
    }
    let report = reconciled(&plant, &config, true).await?;
    assert_eq!((report.spools, report.database), (0, OutboxCursor::START));
    let relay = plant.relay(&config)?;
    plant.write(10).await;
    plant.drained(&relay).await?;
    match reconciled(&plant, &config, true).await {
        Err(ReconcileError::Held { owner }) => assert_eq!(owner, "relay-1"),
        other => panic!("{other:?}"),
    }
    assert_eq!(relay.health().state, RelayState::Ok);
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())
}

#[test]
fn a_finding_is_told_in_short_and_in_any_order() {
    let high = |name: &str, seq| KafkaHigh {
        device: name.parse().unwrap(),
        spool: SpoolId(uuid::Uuid::nil()),
        seq,
    };
    let digest = |highs: &[KafkaHigh]| fleet_relay::highs_digest(highs);
    assert_eq!(digest(&[]), None);
    assert_eq!(
        digest(&[high("a", 1), high("b", 2)]),
        digest(&[high("b", 2), high("a", 1)])
    );
    assert_ne!(digest(&[high("a", 1)]), digest(&[high("a", 2)]));
}
