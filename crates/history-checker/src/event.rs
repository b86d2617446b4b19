//! What is remembered of an event.

use std::fmt;

use fleet_domain::{EventId, Seq, SpoolId};
use sha2::{Digest as _, Sha256};

/// SHA-256 of an event's bytes.
pub type Hash = [u8; 32];

/// The hash of an event's bytes.
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// An event's place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its bench.
    pub device: String,
    /// Its spool.
    pub spool: SpoolId,
    /// Its position.
    pub seq: Seq,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.device, self.spool, self.seq)
    }
}

/// An event that counts: it lies on its bench's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Where.
    pub place: Place,
    /// Place of its spool among the spools of its bench, from 0.
    pub ordinal: usize,
    /// Its id.
    pub id: EventId,
    /// Topic in Kafka that it belongs to.
    pub topic: &'static str,
    /// Its vehicle.
    pub vin: Option<String>,
    /// Of its bytes.
    pub hash: Hash,
    /// Its size.
    pub bytes: usize,
    /// The server has to reject it.
    pub refused: bool,
}

/// An event that was noted by the bench when it became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Where.
    pub place: Place,
    /// Its id.
    pub id: EventId,
    /// Of its bytes.
    pub hash: Hash,
}

/// An event as it arrived somewhere, in the order in which it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Where it comes from.
    pub place: Place,
    /// Its id.
    pub id: EventId,
    /// Of its bytes.
    pub hash: Hash,
    /// Within a lane the order of a bench's events is promised: a bench's outbox rows, a key of a topic. Empty: no
    /// order is promised, or none is known.
    pub lane: String,
    /// Where it lies, for people: a row's number, a partition and its offset.
    pub at: String,
}

/// The topic in Kafka of a type of event (`docs/protocol.md`).
pub fn topic(event_type: &str) -> &'static str {
    match event_type {
        "vds.job.finished.v1" => "vds.results.v1",
        "vds.agent.started.v1" => "vds.device-state.v1",
        _ => "vds.job-events.v1",
    }
}
