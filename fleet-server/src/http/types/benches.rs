//! Benches.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::JobSummary;

/// What a bench's spools hold that the server does not have yet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BenchSpool {
    /// Events that the bench holds, by its last sync.
    pub held_events: u64,
    /// Events heard of and not stored yet.
    pub outstanding: u64,
}

/// A bench.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Bench {
    /// Its id.
    pub device: String,
    /// Its plant.
    pub plant: String,
    /// Its slot, one hexadecimal digit.
    pub slot: String,
    /// Connected to the broker.
    pub online: bool,
    /// Since when it is online or offline, by the server's clock.
    pub presence_since: Option<Timestamp>,
    /// When something was last heard from it, by the server's clock.
    pub last_seen: Option<Timestamp>,
    /// Station of the line.
    pub station: Option<String>,
    /// VIN of the vehicle that stands there.
    pub vin: Option<String>,
    /// ECUs that it serves; empty: any.
    pub ecus: Vec<String>,
    /// Ways to reach an ECU.
    pub transports: Vec<String>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// Its Ed25519 public key, base64url.
    pub public_key: Option<String>,
    /// Its current process.
    pub run_id: Option<Uuid>,
    /// Version of its list of jobs that it has durably.
    pub desired_version: u64,
    /// Why it takes no new job at the moment.
    pub refusing_jobs: Option<String>,
    /// Its spools.
    pub spool: BenchSpool,
    /// Its open jobs.
    pub open_jobs: Vec<JobSummary>,
}

/// A page of benches.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BenchPage {
    /// The benches, by id.
    pub items: Vec<Bench>,
    /// Give it as `cursor` for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// Give it as `since` to the stream: nothing after this snapshot is missed.
    pub stream_cursor: String,
}
