//! What was read from Kafka, judged against what the benches made.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fleet_domain::{EventId, Seq, SpoolId};
use history_checker::saved::{ArrivedLine, MadeLine};
use history_checker::{Arrived, Judge, Source};
use serde::Serialize;

use crate::history::{Hash, Made, Place};
use crate::report::{KafkaBooks, MOST_NAMED};

/// Topics of bench events (`docs/protocol.md`).
pub const TOPICS: [&str; 3] = ["vds.results.v1", "vds.job-events.v1", "vds.device-state.v1"];

/// A record of the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The bench.
    pub device: Arc<str>,
    /// Its spool.
    pub spool: SpoolId,
    /// Its position.
    pub seq: Seq,
    /// The event's id.
    pub id: EventId,
    /// Of the value.
    pub hash: Hash,
    /// Topic and key: the order within is promised.
    pub lane: Arc<str>,
    /// Place among [`TOPICS`].
    pub topic: usize,
    /// The partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it came here.
    pub came: Instant,
    /// The producer's time, milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// Where it lies, for people.
    pub fn at(&self) -> String {
        let topic = TOPICS.get(self.topic).unwrap_or(&"?");
        format!("{topic}-{}@{}", self.partition, self.offset)
    }

    fn arrived(&self) -> Arrived {
        Arrived {
            place: Place {
                device: self.device.to_string(),
                spool: self.spool,
                seq: self.seq,
            },
            id: self.id,
            hash: self.hash,
            lane: self.lane.to_string(),
            at: self.at(),
        }
    }
}

/// Compares; `records` lie in the order of their offsets.
pub fn judge(made: &[Made], records: &[Record]) -> KafkaBooks {
    let mut judge = Judge::new();
    for made in made {
        judge.made(made);
    }
    judge.looks_at(Source::Kafka);
    for record in records {
        judge.arrived(Source::Kafka, &record.arrived());
    }
    let found = judge.judgement();
    let kinds = [
        ("lost", &found.lost),
        ("there again", &found.duplicates),
        ("after a later one", &found.reordered),
        ("never made", &found.phantoms),
        ("other bytes", &found.changed),
        ("had to be rejected", &found.refused),
    ];
    let named = kinds
        .iter()
        .flat_map(|(kind, faults)| faults.named.iter().map(move |fault| format!("{kind}: {fault}")));
    KafkaBooks {
        records: records.len() as u64,
        lost: found.lost.count,
        duplicates: found.duplicates.count,
        reordered: found.reordered.count,
        phantoms: found.phantoms.count + found.changed.count + found.refused.count,
        named: named.take(MOST_NAMED).collect(),
    }
}

/// Saves what was made and what is in Kafka in a folder for `history-checker`.
///
/// # Errors
/// What the file system says; a file of that name must not exist.
pub fn save(folder: &Path, name: &str, made: &[Made], records: Option<&[Record]>) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let made = made.iter().map(MadeLine::on_disk);
    write_lines(&folder.join(format!("made-{name}.jsonl")), made)?;
    let Some(records) = records else { return Ok(()) };
    let arrived = records.iter().map(|record| ArrivedLine {
        device: record.device.to_string(),
        spool: record.spool,
        seq: record.seq,
        id: record.id,
        hash: hex::encode(record.hash),
        lane: record.lane.to_string(),
        at: record.at(),
        order: None,
        generation: None,
    });
    write_lines(&folder.join(format!("kafka-{name}.jsonl")), arrived)
}

fn write_lines<T: Serialize>(path: &Path, lines: impl Iterator<Item = T>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create_new(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::history::hash;

    fn made() -> Vec<Made> {
        let event = |seq: Seq| Made {
            place: Place {
                device: "load-00001".to_owned(),
                spool: SpoolId(Uuid::from_u128(1)),
                seq,
            },
            ordinal: 0,
            id: EventId(Uuid::from_u128(u128::from(seq))),
            topic: "vds.results.v1",
            vin: None,
            hash: hash(&seq.to_be_bytes()),
            bytes: 8,
            refused: false,
        };
        (1..=4).map(event).collect()
    }

    fn record(of: &Made, offset: i64) -> Record {
        Record {
            device: of.place.device.as_str().into(),
            spool: of.place.spool,
            seq: of.place.seq,
            id: of.id,
            hash: of.hash,
            lane: "vds.results.v1 key".into(),
            topic: 0,
            partition: 3,
            offset,
            came: Instant::now(),
            timestamp_ms: None,
        }
    }

    /// Lost, duplicates, reordered, phantoms when the events of these places come in this order.
    fn judged(order: &[usize]) -> (u64, u64, u64, u64) {
        let made = made();
        let records: Vec<_> = order
            .iter()
            .zip(0..)
            .map(|(of, at)| record(&made[*of], at))
            .collect();
        let books = judge(&made, &records);
        (books.lost, books.duplicates, books.reordered, books.phantoms)
    }

    #[test]
    fn each_event_once_and_in_order_agrees() {
        assert_eq!(judged(&[0, 1, 2, 3]), (0, 0, 0, 0));
    }

    #[test]
    fn lost_double_and_late_events_are_told_apart() {
        assert_eq!(judged(&[0, 1, 3]), (1, 0, 0, 0));
        assert_eq!(judged(&[0, 1, 1, 2, 3]), (0, 1, 0, 0));
        assert_eq!(judged(&[0, 2, 1, 3]), (0, 0, 1, 0));
    }

    #[test]
    fn other_bytes_and_what_nobody_made_are_phantoms_with_their_place() {
        let made = made();
        let mut changed = record(&made[1], 1);
        changed.hash = hash(b"other");
        let mut unknown = record(&made[2], 2);
        unknown.seq = 99;
        let books = judge(&made[..2], &[record(&made[0], 0), changed, unknown]);
        assert_eq!(
            (books.phantoms, books.lost),
            (2, 0),
            "it is there, with other bytes"
        );
        let named = |part: &str| books.named.iter().any(|line| line.contains(part));
        assert!(
            named("vds.results.v1-3@1") && named("load-00001") && named(" 99)"),
            "{:?}",
            books.named
        );
    }

    #[test]
    fn what_has_to_be_refused_must_not_be_there_and_is_not_missed() {
        let mut made = made();
        made[0].refused = true;
        let rest: Vec<_> = made.iter().skip(1).map(|of| record(of, 0)).collect();
        assert_eq!(judge(&made, &rest).lost, 0);
        let all: Vec<_> = made.iter().map(|of| record(of, 0)).collect();
        assert_eq!(judge(&made, &all).phantoms, 1);
    }
}
