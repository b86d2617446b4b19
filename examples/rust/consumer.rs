//! A consumer of a plant's events in Kafka.
//!
//! Prints a line for each record: topic, partition, key, device, spool, seq, type.
//!
//! ```text
//! cargo run -p fleet-relay --example consumer -- --bootstrap localhost:9092 --from-beginning --until-idle
//! ```
//!
//! What a consumer must do is in docs/kafka.md; the places in this file are marked with MUST.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

const TOPICS: [&str; 3] = ["vds.results.v1", "vds.job-events.v1", "vds.device-state.v1"];
const RESTORED: &str = "vds.store.restored.v1";

#[derive(Debug, Default)]
struct Arguments {
    bootstrap: String,
    group: String,
    from_beginning: bool,
    until_idle: bool,
}

impl Arguments {
    fn read() -> anyhow::Result<Self> {
        let mut this = Self {
            group: "vds-example-rust".to_owned(),
            ..Self::default()
        };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            match name.as_str() {
                "--bootstrap" => this.bootstrap = given.next().context("--bootstrap needs HOST:PORT")?,
                "--group" => this.group = given.next().context("--group needs a name")?,
                "--from-beginning" => this.from_beginning = true,
                "--until-idle" => this.until_idle = true,
                other => {
                    bail!("{other}? --bootstrap HOST:PORT [--group NAME] [--from-beginning] [--until-idle]")
                }
            }
        }
        anyhow::ensure!(!this.bootstrap.is_empty(), "--bootstrap HOST:PORT is missing");
        anyhow::ensure!(
            this.from_beginning || !this.until_idle,
            "--until-idle needs --from-beginning"
        );
        Ok(this)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::read()?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &arguments.bootstrap)
        .set("group.id", &arguments.group)
        // MUST: without it the records of a relay's aborted transactions are read as well.
        .set("isolation.level", "read_committed")
        // Offsets are committed below, after a record was dealt with. Better: store them with your own data, in one
        // transaction, and seek to them at the start: then nothing is done twice after a crash.
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .create()?;
    if arguments.until_idle {
        // The library says which partition is at its end and not of which topic: one topic after the other.
        for topic in TOPICS {
            let mut open = assign(&consumer, &[topic])?;
            while !open.is_empty() {
                match consumer.poll(Duration::from_secs(1)) {
                    Some(Ok(message)) => handle(&message)?,
                    Some(Err(KafkaError::PartitionEOF(partition))) => {
                        open.remove(&partition);
                    }
                    Some(Err(error)) => return Err(error).context("Kafka can't be read"),
                    None => {}
                }
            }
        }
        return Ok(());
    }
    if arguments.from_beginning {
        assign(&consumer, &TOPICS)?;
    } else {
        consumer.subscribe(&TOPICS)?;
    }
    loop {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => {
                handle(&message)?;
                if !arguments.from_beginning {
                    consumer.commit_message(&message, CommitMode::Async)?;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => return Err(error).context("Kafka can't be read"),
        }
    }
}

/// Every partition of the topics, from its begin.
fn assign(consumer: &BaseConsumer, topics: &[&str]) -> anyhow::Result<BTreeSet<i32>> {
    let mut all = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30))?;
        let found = metadata
            .topics()
            .first()
            .context("Kafka does not tell of the topic")?;
        anyhow::ensure!(found.error().is_none(), "there is no topic {topic}");
        for partition in found.partitions() {
            all.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
    }
    consumer.assign(&all)?;
    Ok(all
        .elements()
        .iter()
        .map(TopicPartitionListElem::partition)
        .collect())
}

/// MUST: a plant's database was put back from a backup.
///
/// Events of benches are not touched: each is still in Kafka once. What was made by the server itself, after the
/// backup was taken (decisions, states), may be contradicted by what follows: what you derived from it for this plant
/// since then is to be asked for again from the plant's API.
fn restored(headers: &BTreeMap<&str, String>) {
    let of = |name: &str| headers.get(name).map_or("?", String::as_str);
    eprintln!(
        "plant {} was restored, database life {}",
        of("plant"),
        of("store_generation")
    );
}

fn handle(message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: BTreeMap<_, _> = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter())
        .map(|header| (header.key, header.value.map(text).unwrap_or_default()))
        .collect();
    let of = |name: &str| headers.get(name).cloned().unwrap_or_else(|| "-".to_owned());
    let mut key = message.key().map(text).context("a record without a key")?;
    if of("type") == RESTORED {
        restored(&headers);
        "-".clone_into(&mut key);
    }
    let (topic, partition) = (message.topic(), message.partition());
    println!(
        "{topic}\t{partition}\t{key}\t{}\t{}\t{}\t{}",
        of("device"),
        of("spool"),
        of("seq"),
        of("type")
    );
    Ok(())
}
