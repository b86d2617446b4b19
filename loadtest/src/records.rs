//! What was read from Kafka, judged against what the benches made.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use fleet_domain::{EventId, Seq, SpoolId};

use crate::history::{Hash, Made};
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

    fn named(&self) -> String {
        format!(
            "{} {} {} ({}) at {}",
            self.device,
            self.spool,
            self.seq,
            self.id,
            self.at()
        )
    }
}

/// Compares; `records` lie in the order of their offsets.
pub fn judge(made: &[Made], records: &[Record]) -> KafkaBooks {
    let known: HashMap<(&str, SpoolId, Seq), &Made> = made
        .iter()
        .map(|made| {
            (
                (made.place.device.as_str(), made.place.spool, made.place.seq),
                made,
            )
        })
        .collect();
    let mut books = KafkaBooks {
        records: records.len() as u64,
        ..KafkaBooks::default()
    };
    let mut seen = HashSet::with_capacity(records.len());
    let mut last: HashMap<(&str, &str), (usize, Seq)> = HashMap::new();
    for record in records {
        let place = (&*record.device, record.spool, record.seq);
        let found = known.get(&place).filter(|made| !made.refused);
        let Some(made) = found.filter(|made| made.id == record.id && made.hash == record.hash) else {
            let what = if found.is_some() {
                "has other bytes"
            } else {
                "was never made"
            };
            books.phantoms += 1;
            name(&mut books, || format!("{what}: {}", record.named()));
            continue;
        };
        if !seen.insert(place) {
            books.duplicates += 1;
            name(&mut books, || format!("there again: {}", record.named()));
            continue;
        }
        let here = (made.ordinal, record.seq);
        let last = last.entry((&record.lane, &record.device)).or_insert(here);
        if *last > here {
            books.reordered += 1;
            name(&mut books, || format!("after a later one: {}", record.named()));
        }
        *last = here.max(*last);
    }
    for made in made.iter().filter(|made| !made.refused) {
        if !seen.contains(&(made.place.device.as_str(), made.place.spool, made.place.seq)) {
            books.lost += 1;
            name(&mut books, || {
                format!("not in Kafka: {:?} ({})", made.place, made.id)
            });
        }
    }
    books
}

fn name(books: &mut KafkaBooks, line: impl FnOnce() -> String) {
    if books.named.len() < MOST_NAMED {
        books.named.push(line());
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::history::{Place, hash};

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
            .enumerate()
            .map(|(at, of)| record(&made[*of], at as i64))
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
        assert_eq!((books.phantoms, books.lost), (2, 1));
        assert!(books.named[0].contains("vds.results.v1-3@1"), "{:?}", books.named);
        assert!(
            books.named[1].contains("load-00001") && books.named[1].contains(" 99 "),
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
