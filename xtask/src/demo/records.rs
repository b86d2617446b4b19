//! What a consumer reads from Kafka, and whether it is what the ledger says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fleet_testkit::services::Kafka;
use fleet_testkit::{Api, eventually};
use serde::Deserialize;
use serde_json::Value;

use crate::workspace::binary;

const EVENTS: [&str; 3] = ["vds.results.v1", "vds.job-events.v1", "vds.device-state.v1"];
const CURSOR: &str = "vds.relay-cursor.v1";
/// A transaction of a relay that was killed holds consumers back for 15 s.
const RELAYED_WITHIN: Duration = Duration::from_mins(1);

/// A record as `read-topics` writes it.
#[derive(Debug, Clone, Deserialize)]
struct Record {
    topic: String,
    key: Option<String>,
    headers: BTreeMap<String, String>,
}

/// Waits until everything that the ledger knows is relayed, reads the topics as a `read_committed` consumer, shows
/// what is there, and compares.
///
/// # Errors
/// When an event that was stored is not in Kafka, or twice, or out of the order of its key.
pub(super) async fn read_and_compare(api: &Api, kafka: &Kafka) -> anyhow::Result<()> {
    let mut before = relayed(api).await?;
    // Benches go on talking: what is compared must not have grown while it was read.
    let records = loop {
        let records = read(kafka).await?;
        let after = relayed(api).await?;
        if before == after {
            break records;
        }
        before = after;
    };
    println!("\na read_committed consumer at {} reads:", kafka.bootstrap());
    println!("{}", table(&records));
    compare(&records, before)?;
    println!("the ledger's {before} stored events are in Kafka, each once, per key in order");
    Ok(())
}

/// How many events are stored, once all of them are relayed.
async fn relayed(api: &Api) -> anyhow::Result<u64> {
    let mut last = Value::Null;
    let stored = eventually("all events in Kafka", RELAYED_WITHIN, async || {
        last = api.get("/api/v1/ledger").await.unwrap_or_default();
        let count = |key: &str| last[key].as_u64();
        let open = count("outstanding")? + count("in_outbox")?;
        (open == 0).then_some(count("stored"))?
    })
    .await;
    let stored = stored.with_context(|| format!("the ledger says {last}"))?;
    for key in ["unrelayable", "expired", "already_in_kafka"] {
        ensure!(last[key] == 0, "the ledger counts {key}: {last}");
    }
    Ok(stored)
}

async fn read(kafka: &Kafka) -> anyhow::Result<Vec<Record>> {
    let output = tokio::process::Command::new(binary("read-topics"))
        .arg(kafka.bootstrap())
        .args(EVENTS)
        .arg(CURSOR)
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot start read-topics")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let lines = std::str::from_utf8(&output.stdout)
        .context("JSON is UTF-8")?
        .lines();
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("no record: {line}")))
        .collect()
}

/// One line for each key of each topic.
fn table(records: &[Record]) -> String {
    struct Row<'a> {
        records: usize,
        first: &'a str,
        last: &'a str,
    }
    let mut rows: BTreeMap<(&str, &str), Row> = BTreeMap::new();
    for record in records {
        let key = record.key.as_deref().unwrap_or("-");
        let what = record.headers.get("type").map_or("-", String::as_str);
        let row = rows.entry((&record.topic, key)).or_insert(Row {
            records: 0,
            first: what,
            last: what,
        });
        row.records += 1;
        row.last = what;
    }
    let line = |topic: &str, key: &str, records: &str, first: &str, last: &str| {
        format!("  {topic:<20} {key:<18} {records:>7}  {first:<24} {last}")
            .trim_end()
            .to_owned()
    };
    let mut lines = vec![line("topic", "key", "records", "first", "last")];
    for ((topic, key), row) in rows {
        lines.push(line(topic, key, &row.records.to_string(), row.first, row.last));
    }
    lines.join("\n")
}

/// Each event that was stored is there once, and the events of a key of a topic in the order of the outbox.
fn compare(records: &[Record], stored: u64) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for record in records.iter().filter(|record| record.topic != CURSOR) {
        let header = |name: &str| {
            let value = record.headers.get(name).map(String::as_str);
            value.with_context(|| format!("a record of {} has no header {name}", record.topic))
        };
        let event = (header("device")?, header("spool")?, header("seq")?);
        ensure!(seen.insert(event), "event {event:?} is in Kafka twice");
        let place: u64 = header("outbox_seq")?
            .parse()
            .with_context(|| format!("outbox_seq of {event:?} is no number"))?;
        let key = (record.topic.as_str(), record.key.as_deref().unwrap_or_default());
        let before = newest.insert(key, place).unwrap_or_default();
        ensure!(place > before, "{event:?} comes after a later one of {key:?}");
    }
    let read = seen.len() as u64;
    ensure!(
        read == stored,
        "{stored} events are stored and {read} are in Kafka (an old folder whose topics Kafka has cleaned since \
         cannot be compared: begin with an empty one)"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(topic: &str, key: &str, seq: u64, place: u64) -> Record {
        let headers = [
            ("device", "bench-1".to_owned()),
            ("spool", "s".to_owned()),
            ("seq", seq.to_string()),
            ("outbox_seq", place.to_string()),
            ("type", format!("vds.type-{seq}.v1")),
        ];
        Record {
            topic: topic.to_owned(),
            key: Some(key.to_owned()),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    fn fault(records: &[Record], stored: u64) -> String {
        compare(records, stored)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn every_stored_event_is_there_once_and_in_the_order_of_its_key() {
        let (one, two) = (record(EVENTS[0], "a", 1, 10), record(EVENTS[0], "a", 2, 11));
        let other = record(EVENTS[1], "b", 3, 5);
        assert_eq!(fault(&[one.clone(), two.clone(), other.clone()], 3), "");
        assert!(fault(&[one.clone(), one.clone()], 2).contains("twice"));
        assert!(fault(&[two.clone(), one.clone()], 2).contains("later one"));
        assert!(fault(&[one.clone(), two.clone()], 3).contains("3 events are stored and 2"));
        assert!(fault(&[one, two, other], 2).contains("2 events are stored and 3"));
    }

    #[test]
    fn the_cursor_is_shown_and_not_compared() {
        let mut cursor = record(CURSOR, "demo/0", 1, 1);
        cursor.headers.clear();
        let records = [
            record(EVENTS[0], "a", 1, 10),
            record(EVENTS[0], "a", 2, 11),
            cursor,
        ];
        assert_eq!(fault(&records, 2), "");
        let table = table(&records);
        let rows: Vec<Vec<_>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows[1], ["vds.relay-cursor.v1", "demo/0", "1", "-", "-"]);
        assert_eq!(
            rows[2],
            ["vds.results.v1", "a", "2", "vds.type-1.v1", "vds.type-2.v1"]
        );
    }
}
