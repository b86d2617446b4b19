//! Ledgers, dead letters, outbox and alarms.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A row of a bench's ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerSpool {
    /// The spool.
    pub spool_id: Uuid,
    /// Highest position heard of.
    pub announced: u64,
    /// Stored.
    pub stored: u64,
    /// Rejected.
    pub rejected: u64,
    /// Stated as holes.
    pub holes: u64,
    /// Heard of and not settled.
    pub outstanding: u64,
    /// Since when the lowest of these stays so; none where nothing is outstanding.
    pub outstanding_since: Option<Timestamp>,
    /// Every position up to this one is settled.
    pub through: u64,
    /// Messages settled before.
    pub duplicates: u64,
    /// Messages above the next position.
    pub gaps: u64,
    /// Messages with other content than stored.
    pub conflicts: u64,
    /// Stored events that wait for the relay. stored = `in_kafka` + `already_in_kafka` + `unrelayable` + `expired`
    /// + `in_outbox`.
    pub in_outbox: u64,
    /// Stored events that the relay committed to Kafka.
    pub in_kafka: u64,
    /// Stored events that the relay found in Kafka after a restore.
    pub already_in_kafka: u64,
    /// Stored events that Kafka will never take.
    pub unrelayable: u64,
    /// Stored events that retention removed before any relay took them.
    pub expired: u64,
}

/// A bench's ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BenchLedger {
    /// Its spools, newest first.
    pub spools: Vec<LedgerSpool>,
}

/// The plant's ledger: announced = stored + rejected + holes + outstanding.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerTotals {
    /// Heard of.
    pub announced: u64,
    /// Stored.
    pub stored: u64,
    /// Rejected.
    pub rejected: u64,
    /// Stated as holes.
    pub holes: u64,
    /// Heard of and not settled.
    pub outstanding: u64,
    /// Messages settled before.
    pub duplicates: u64,
    /// Messages above the next position.
    pub gaps: u64,
    /// Messages with other content than stored.
    pub conflicts: u64,
    /// Stored events that wait for the relay. stored = `in_kafka` + `already_in_kafka` + `unrelayable` + `expired`
    /// + `in_outbox`.
    pub in_outbox: u64,
    /// Stored events that the relay committed to Kafka.
    pub in_kafka: u64,
    /// Stored events that the relay found in Kafka after a restore.
    pub already_in_kafka: u64,
    /// Stored events that Kafka will never take.
    pub unrelayable: u64,
    /// Stored events that retention removed before any relay took them.
    pub expired: u64,
    /// Stored events whose meaning could not be stored.
    pub unprojected: u64,
    /// Messages that could not be taken.
    pub dead_letters: u64,
}

/// A message that could not be taken.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Its number.
    pub id: u64,
    /// The bench level of its topic as it came; not the name of a bench where `code` is `misplaced`.
    pub device: String,
    /// Last level of its topic.
    pub channel: String,
    /// Its spool, where it said one.
    pub spool_id: Option<Uuid>,
    /// Its position, where it said one.
    pub seq: Option<u64>,
    /// Stable reason.
    pub code: String,
    /// For people.
    pub reason: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Its size, bytes.
    pub size: u64,
    /// Its bytes, base64; at most the first 4096.
    pub bytes_base64: String,
}

/// Dead letters, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterPage {
    /// The letters.
    pub items: Vec<DeadLetter>,
    /// Give it as `cursor` for the next page; none on the last.
    pub next_cursor: Option<String>,
}

/// An event that waits for the relay.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OutboxRow {
    /// Its place.
    pub seq: u64,
    /// Topic that it goes to.
    pub topic: String,
    /// Its event.
    pub event_id: Uuid,
    /// Its bench.
    pub device: String,
    /// Its spool.
    pub spool_id: Uuid,
    /// Its position there.
    pub spool_seq: u64,
    /// Its bytes as they came, base64.
    pub event_base64: String,
    /// The same as JSON, for reading.
    #[schema(value_type = Option<Object>)]
    pub event: Option<serde_json::Value>,
}

/// A stretch of the outbox.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OutboxPage {
    /// The rows, oldest first.
    pub items: Vec<OutboxRow>,
    /// Give it as `after` for the next ones.
    pub next_after: u64,
}

/// Something that a person should know.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Alarm {
    /// Its number.
    pub id: u64,
    /// Stable name.
    pub code: String,
    /// The bench that it speaks of.
    pub device: Option<String>,
    /// For people.
    pub detail: String,
    /// How often it was raised.
    pub count: u64,
    /// When it was first raised.
    pub raised_at: Timestamp,
    /// When it was last raised.
    pub last_at: Timestamp,
}

/// Alarms, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AlarmPage {
    /// The alarms.
    pub items: Vec<Alarm>,
    /// Give it as `cursor` for the next page; none on the last.
    pub next_cursor: Option<String>,
}
