//! What the adapter does with a Kafka that is well.

use std::time::Duration;

use fleet_relay::core::{KafkaFault, Outcome, TopicsFound};
use fleet_relay::kafka::{KafkaLink, Outgoing};
use fleet_relay::{KafkaCursor, RelayState};
use fleet_testkit::services::KafkaOptions;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::plant::{LONG, Plant, committed, config, kafka, once_and_in_order, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_in_kafka_once_with_key_headers_and_its_bytes() -> anyhow::Result<()> {
    let mut plant = Plant::new("leipzig").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    plant.write(700).await;
    let relay = plant.relay(&config(&kafka))?;
    let totals = plant.drained(&relay).await?;
    assert_eq!(
        (totals.in_kafka, totals.already_in_kafka, totals.unrelayable),
        (701, 0, 0)
    );

    let records = committed(&kafka, &plant.id).await?;
    once_and_in_order(&records, plant.written())?;
    let stored = plant
        .store()
        .events(&plant.bench.device, plant.bench.spool, 1, 1000)
        .await?;
    for record in &records {
        let seq: usize = record.header("seq").unwrap().parse()?;
        let event = &stored[seq - 1];
        assert_eq!(record.value.as_deref(), Some(&event.bytes[..]), "the same bytes");
        let of_bench = format!("leipzig/{}", plant.bench.device);
        let key = match record.topic.as_str() {
            // Two benches at one vehicle are two benches.
            "vds.device-state.v1" => &of_bench,
            _ => event.vin.as_ref().unwrap_or(&of_bench),
        };
        assert_eq!(record.key.as_ref(), Some(key));
        let expected = [
            ("plant", "leipzig".to_owned()),
            ("device", plant.bench.device.to_string()),
            ("spool", plant.bench.spool.to_string()),
            ("event_id", event.id.to_string()),
            ("type", event.r#type.clone()),
            ("store_generation", plant.store().generation().to_string()),
            ("content-type", "application/cloudevents+json".to_owned()),
        ];
        for (name, value) in expected {
            assert_eq!(record.header(name), Some(value.as_str()), "{name}");
        }
        assert_eq!(record.topic, fleet_store::outbox_topic(&event.r#type));
    }

    // A stopped relay gives its lease back; the next one finds the place and nothing to do.
    relay.stop().await;
    assert_eq!(plant.store().relay_row().await?.owner, None);
    let relay = plant.relay_of("relay-2", &config(&kafka))?;
    until(&relay, RelayState::Ok, LONG).await?;
    plant.write(3).await;
    plant.drained(&relay).await?;
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_relays_and_the_other_takes_over() -> anyhow::Result<()> {
    let mut plant = Plant::new("rastatt").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    let config = config(&kafka);
    let first = plant.relay_of("relay-1", &config)?;
    until(&first, RelayState::Ok, LONG).await?;
    let second = plant.relay_of("relay-2", &config)?;
    until(&second, RelayState::Standby, LONG).await?;
    plant.write(50).await;
    plant.drained(&first).await?;
    first.stop().await;
    plant.write(50).await;
    plant.drained(&second).await?;
    assert_eq!(second.health().state, RelayState::Ok);
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())
}

fn cursor(seq: u64) -> KafkaCursor {
    KafkaCursor {
        seq,
        token: Uuid::from_u128(u128::from(seq)),
        store_generation: fleet_domain::StoreGeneration(Uuid::nil()),
        relay_term: 1,
        at: fleet_clock::wall_now(),
        highs: None,
    }
}

fn begun(link: &KafkaLink, seq: u64) {
    assert_eq!(link.begin(), Outcome::Done);
    let record = Outgoing {
        topic: "vds.results.v1",
        partition: None,
        key: "k",
        headers: &[("plant", "zwickau".to_owned()), ("seq", seq.to_string())],
        value: b"{}",
    };
    link.send(&record).unwrap();
    link.send_cursor(&cursor(seq)).unwrap();
    settled(|| link.drain(), &Outcome::Done);
}

/// Asks until it is no longer pending.
fn settled(mut call: impl FnMut() -> Outcome, expected: &Outcome) {
    loop {
        match call() {
            Outcome::Pending(_) => {}
            outcome => {
                assert_eq!(&outcome, expected);
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_transaction_is_not_seen_and_a_zombie_is_fenced() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let kafka = kafka(folder.path(), KafkaOptions::default()).await?;
    let plant: fleet_domain::PlantId = "zwickau".parse()?;
    let (config, runtime) = (config(&kafka), Handle::current());
    let of = plant.clone();
    tokio::task::spawn_blocking(move || {
        let mut first = KafkaLink::new(of.clone(), config.clone(), runtime.clone());
        assert_eq!(first.connect(), Outcome::Done);
        settled(|| first.check_topics(true), &Outcome::Topics(TopicsFound::Good));
        settled(|| first.init(), &Outcome::Done);
        settled(|| first.read_cursor(), &Outcome::Cursor(None));
        begun(&first, 1);
        settled(|| first.commit(), &Outcome::Done);
        // More than the first look back: every abort leaves records and a marker behind the last cursor.
        for seq in 100..130 {
            begun(&first, seq);
            settled(|| first.abort(), &Outcome::Done);
        }
        begun(&first, 2);

        let mut second = KafkaLink::new(of, config, runtime);
        assert_eq!(second.connect(), Outcome::Done);
        settled(|| second.init(), &Outcome::Done);
        let found = loop {
            match second.read_cursor() {
                Outcome::Pending(_) => {}
                Outcome::Cursor(found) => break found,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            found.map(|cursor| cursor.seq),
            Some(1),
            "the zombie's open transaction is over"
        );
        match first.commit() {
            Outcome::Kafka(KafkaFault::Fatal(why)) => println!("the zombie hears: {why}"),
            other => panic!("a zombie was let in: {other:?}"),
        }
        begun(&second, 3);
        settled(|| second.commit(), &Outcome::Done);
    })
    .await?;
    let seen = committed(&kafka, &plant).await?;
    let seqs: Vec<_> = seen.iter().filter_map(|record| record.header("seq")).collect();
    assert_eq!(seqs, ["1", "3"]);
    Ok(())
}

/// Prints what one relay does on this machine: `RELAY_ROWS=500000 cargo test --release … rate -- --nocapture`.
#[tokio::test(flavor = "multi_thread")]
async fn rate() -> anyhow::Result<()> {
    let rows = std::env::var("RELAY_ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok());
    let rows: u32 = rows.unwrap_or(3000);
    let mut plant = Plant::new("bremen").await?;
    let kafka = kafka(plant.folder.path(), KafkaOptions::default()).await?;
    plant.write(rows).await;
    let begun = std::time::Instant::now();
    let relay = plant.relay(&config(&kafka))?;
    until(&relay, RelayState::Ok, LONG).await?;
    let ready = begun.elapsed();
    let end = std::time::Instant::now() + Duration::from_mins(10);
    while plant.store().relay_row().await?.waiting > 0 {
        assert!(std::time::Instant::now() < end, "{:?}", relay.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "{rows} rows in {:?}, the first transaction after {ready:?}",
        begun.elapsed()
    );
    once_and_in_order(&committed(&kafka, &plant.id).await?, plant.written())
}
