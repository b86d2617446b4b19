//! The relay's side of the outbox (delivery rules 19 to 21 and 23).
//!
//! The truth of how far the outbox was relayed lies in Kafka, in one transaction with the records. The copy
//! here serves clean-up, the ledger and the display, and proves, by its tokens, that the database and Kafka
//! still speak of the same rows.

use fleet_domain::{DeviceId, Seq, SpoolId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{EventRow, OutboxRow};

/// Number of a claim of the relay's lease; grows with each claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayTerm(pub u64);

/// A place in the outbox: behind the row of that sequence and token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OutboxCursor {
    /// The row's sequence; 0 before the first row.
    pub seq: u64,
    /// The row's token; nil before the first row. Another row at the same place, after a restore, has another.
    pub token: Uuid,
}

impl OutboxCursor {
    /// Before the first row.
    pub const START: Self = Self {
        seq: 0,
        token: Uuid::nil(),
    };

    /// Behind a row.
    pub fn behind(row: &OutboxRow) -> Self {
        Self {
            seq: row.seq,
            token: row.token,
        }
    }
}

/// What the relay may do with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxFate {
    /// It goes, or went, to Kafka.
    Waiting,
    /// Kafka will never take it: it lies in the dead letters, and the relay passes it over.
    Unrelayable {
        /// Stable word: why.
        code: String,
    },
}

/// Rows behind a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxRead {
    /// The rows in order, as many as were asked for at most. Empty: nothing is there yet.
    Rows(Vec<OutboxRow>),
    /// There is no such row: the database, or Kafka's cursor, is of another life. Nothing may be relayed.
    CursorLost,
}

/// How far the outbox was relayed by a Kafka transaction that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxAdvance {
    /// The lease under which it was done.
    pub term: RelayTerm,
    /// Behind the last row of the transaction.
    pub through: OutboxCursor,
    /// Sequences that were passed over because Kafka had their events already (after a restore).
    pub already: Vec<u64>,
}

/// What became of a statement of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// It is recorded; it may have been before.
    Done,
    /// Another relay has the lease, or the lease was given back. Nothing was changed.
    TermLost,
    /// There is no such row. Nothing was changed.
    CursorLost,
}

/// The relay as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayRow {
    /// The database's copy of the cursor: behind the last row known to be in Kafka.
    pub relayed: OutboxCursor,
    /// Who holds the lease, or held it until it expired; `None` when it is free.
    pub owner: Option<String>,
    /// Last term; 0 when no relay ever ran.
    pub term: u64,
    /// Free from then on; `None` when it is free.
    pub expires_at: Option<Timestamp>,
    /// Sequence of the newest row ever written; 0 without any.
    pub newest_seq: u64,
    /// Rows behind `relayed` that go to Kafka.
    pub waiting: u64,
    /// When the event of the first of them was received.
    pub oldest_waiting: Option<Timestamp>,
    /// Spools of which it is known what Kafka holds already (see [`KafkaHigh`]).
    pub highs: u64,
}

/// Highest position of a spool that was found in Kafka after a restore: everything up to it is passed over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KafkaHigh {
    /// The bench.
    pub device: DeviceId,
    /// Its spool.
    pub spool: SpoolId,
    /// The position.
    pub seq: Seq,
}

impl KafkaHigh {
    /// Whether the event is in Kafka by this finding.
    pub fn covers(&self, event: &EventRow) -> bool {
        self.device == event.device && self.spool == event.spool && event.seq <= self.seq
    }
}
