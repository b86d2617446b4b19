//! Reads topics of Kafka to their end, committed records only, and writes each record as a line of JSON with its
//! value's hash instead of the value. A program of its own, so that `cargo xtask` itself does not have to build Kafka's client.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use fleet_testkit::services::{KafkaReader, KafkaRecord};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Some hundred thousand records, on a loaded machine.
const WITHIN: Duration = Duration::from_mins(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (bootstrap, topics) = arguments
        .split_first()
        .filter(|(_, topics)| !topics.is_empty())
        .context("usage: read-topics HOST:PORT TOPIC…")?;
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    let records = KafkaReader::new(bootstrap, None, &topics).read(WITHIN).await?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for record in &records {
        writeln!(out, "{}", line(record)).context("cannot write")?;
    }
    out.flush().context("cannot write")
}

fn line(record: &KafkaRecord) -> Value {
    let headers: Map<_, _> = record
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    json!({
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": record.key,
        "headers": headers,
        "sha256": record.value.as_ref().map(|value| hex::encode(Sha256::digest(value))),
        "bytes": record.value.as_ref().map(Vec::len),
    })
}
