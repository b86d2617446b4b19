//! The server itself, and problems.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// State of the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The plant.
    pub plant: String,
    /// Version of the server.
    pub version: String,
    /// The life of its database.
    pub store_generation: Uuid,
    /// Whether it can do its work.
    pub ready: bool,
    /// Its parts.
    pub checks: Vec<Check>,
    /// Benches that are online.
    pub benches_online: u64,
    /// Benches that are offline.
    pub benches_offline: u64,
    /// Jobs that are open, by state.
    pub jobs: BTreeMap<String, u64>,
    /// After a restore no job is offered until these benches have synced or are released.
    pub waiting_for_benches: Vec<String>,
    /// The server's clock.
    pub time: Timestamp,
    /// IANA name of the plant's time zone.
    pub time_zone: String,
}

/// A part of the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Its name: `store`, `broker`, `slots`, `kafka`, `offers`, `files`.
    pub name: String,
    /// Its state in one stable word; `ok`, `off` and `standby` need nobody.
    pub state: String,
    /// It works.
    pub ok: bool,
    /// The server is not ready without it.
    pub required: bool,
    /// What is wrong, or how it stands.
    pub detail: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A server of the plant that is running.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Replica {
    /// Its name and its start: two starts are two owners.
    pub owner: String,
    /// It answered this request.
    pub this: bool,
    /// URL of its API and page.
    pub http: String,
    /// Its broker, without a user.
    pub broker: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub seen_at: Timestamp,
    /// The slots that it owns, as hexadecimal digits.
    pub slots: Vec<String>,
    /// How many of them are connected to the broker.
    pub slots_ready: u32,
    /// It runs the relay into Kafka.
    pub relay: bool,
}

/// The servers of the plant, by owner.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Replicas {
    /// Those that are alive.
    pub items: Vec<Replica>,
    /// Slots that nobody owns at the moment, as hexadecimal digits.
    pub free_slots: Vec<String>,
}

/// The relay into Kafka, as the database knows it. Whether it runs is the part `kafka` of the readiness.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Relay {
    /// The server that relays, or did until its lease ran out.
    pub owner: Option<String>,
    /// How often the relay changed hands.
    pub term: u64,
    /// Events that wait.
    pub waiting: u64,
    /// When the oldest event that waits was received.
    pub oldest_waiting: Option<Timestamp>,
    /// Place in the outbox up to which was relayed; 0 before the first.
    pub relayed_seq: u64,
    /// Newest place in the outbox.
    pub newest_seq: u64,
}

/// Readiness.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Every required part works.
    pub ready: bool,
    /// The parts.
    pub checks: Vec<Check>,
}

/// A problem (RFC 9457). `code` is stable, the rest is for people.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:vds:problem:` and the code.
    pub r#type: String,
    /// The kind of problem.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What was wrong with this request and what to do.
    pub detail: String,
    /// Stable name of the kind of problem.
    pub code: String,
    /// What is wrong with a procedure, by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

/// What is wrong at a place of a procedure.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// Where in the document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}
