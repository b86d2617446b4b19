//! What the judge found.

use std::fmt;

use fleet_domain::{EventId, Seq, SpoolId};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Place;

/// So many of one kind are named; the others are counted.
const NAMED: usize = 1000;
/// Faults shown of one kind in text.
const SHOWN: usize = 8;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Counted, and missing where it has to be.
    Lost,
    /// There again.
    Duplicate,
    /// After a later event of its bench in the same lane.
    Reordered,
    /// There, and never made.
    Phantom,
    /// There with other bytes, or under another id.
    Changed,
    /// There although it has to be rejected.
    Refused,
}

/// One event with which something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its bench.
    pub device: String,
    /// Its spool.
    pub spool: SpoolId,
    /// Its position.
    pub seq: Seq,
    /// Its id: as made, else as it arrived.
    pub id: EventId,
    /// Where it lies or is missing.
    pub at: String,
}

impl Fault {
    /// Its place.
    pub fn place(&self) -> Place {
        Place {
            device: self.device.clone(),
            spool: self.spool,
            seq: self.seq,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            spool,
            seq,
            id,
            at,
        } = self;
        write!(f, "{id} ({device} {spool} {seq}) {at}")
    }
}

/// The events of one kind of fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many.
    pub count: u64,
    /// The first thousand of them.
    pub named: Vec<Fault>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: impl FnOnce() -> Fault) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(fault());
        }
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What became of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Events that count: on a bench's disk, fsynced, not to be rejected.
    pub events: u64,
    /// Events that the server has to reject.
    pub to_reject: u64,
    /// Begun and not counted, whether they arrived or not.
    pub unknown: u64,
    /// Missing, and rightly so: never receipted, on a disk that was then put back to an older image.
    pub excused: u64,
    /// Events in the database; none: it was not part of the history.
    pub in_database: Option<u64>,
    /// Events in Kafka; none: it was not part of the history.
    pub in_kafka: Option<u64>,
    /// Counted, and missing in the database or in Kafka.
    pub lost: Faults,
    /// There again.
    pub duplicates: Faults,
    /// After a later event of their bench in the same lane.
    pub reordered: Faults,
    /// There, and never made.
    pub phantoms: Faults,
    /// There with other bytes or another id.
    pub changed: Faults,
    /// There although they have to be rejected.
    pub refused: Faults,
}

impl Judgement {
    /// The history keeps the contract.
    pub fn is_clean(&self) -> bool {
        self.kinds().iter().all(|(_, faults)| faults.is_empty())
    }

    /// The faults of a kind.
    pub fn of(&mut self, kind: Kind) -> &mut Faults {
        match kind {
            Kind::Lost => &mut self.lost,
            Kind::Duplicate => &mut self.duplicates,
            Kind::Reordered => &mut self.reordered,
            Kind::Phantom => &mut self.phantoms,
            Kind::Changed => &mut self.changed,
            Kind::Refused => &mut self.refused,
        }
    }

    fn kinds(&self) -> [(&'static str, &Faults); 6] {
        [
            ("lost", &self.lost),
            ("duplicates", &self.duplicates),
            ("reordered", &self.reordered),
            ("phantoms", &self.phantoms),
            ("changed", &self.changed),
            ("refused", &self.refused),
        ]
    }

    /// The report: the four counts, where `phantoms` holds what was changed or had to be rejected too, and the
    /// events of each kind with their ids.
    pub fn report(&self) -> Value {
        let named: serde_json::Map<_, _> = self
            .kinds()
            .iter()
            .map(|(name, faults)| ((*name).to_owned(), json!(faults.named)))
            .collect();
        json!({
            "lost": self.lost.count,
            "duplicates": self.duplicates.count,
            "reordered": self.reordered.count,
            "phantoms": self.phantoms.count + self.changed.count + self.refused.count,
            "changed": self.changed.count,
            "refused": self.refused.count,
            "events": self.events,
            "to_reject": self.to_reject,
            "unknown": self.unknown,
            "excused": self.excused,
            "in_database": self.in_database,
            "in_kafka": self.in_kafka,
            "named": named,
        })
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        writeln!(f, "  {:<22} {:>10}", "events that count", self.events)?;
        writeln!(f, "  {:<22} {:>10}", "in the database", there(self.in_database))?;
        writeln!(f, "  {:<22} {:>10}", "in Kafka", there(self.in_kafka))?;
        for (name, count) in [
            ("to be rejected", self.to_reject),
            ("unknown", self.unknown),
            ("excused", self.excused),
        ] {
            if count > 0 {
                writeln!(f, "  {name:<22} {count:>10}")?;
            }
        }
        for (name, faults) in self.kinds() {
            writeln!(f, "  {name:<22} {:>10}", faults.count)?;
            for fault in faults.named.iter().take(SHOWN) {
                writeln!(f, "    {fault}")?;
            }
            if faults.named.len() > SHOWN {
                writeln!(f, "    ...")?;
            }
        }
        Ok(())
    }
}
