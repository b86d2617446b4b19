//! Sync: what a bench holds and believes, at connect and each minute.

use fleet_domain::{JobId, RunId, Seq, SpoolId, StoreGeneration};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{self, ControlError};
use crate::limits::{MAX_OPEN_JOBS, MAX_SPOOLS};
use crate::properties::Predecessor;

/// `type` of a sync.
pub const SYNC_TYPE: &str = "vds.sync.v1";

/// A spool that the bench still holds, oldest first. The last one is being written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldSpool {
    /// Its id.
    pub spool_id: SpoolId,
    /// The spool before it, as its first event says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Predecessor>,
    /// Lowest position that can still be resent.
    pub first_kept: Seq,
    /// Position that the next event will have.
    pub next_seq: Seq,
    /// Highest `through` heard.
    pub receipted: Seq,
    /// Highest rejected position heard; 0: none.
    pub rejections_known: Seq,
}

/// A spool that is gone from the bench after its last event was receipted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FormerSpool {
    /// Its id.
    pub spool_id: SpoolId,
    /// Its last position.
    pub last_seq: Seq,
}

/// State of a job on the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BenchJobState {
    /// Durably taken, first step not begun.
    Accepted,
    /// First step begun.
    Running,
    /// Outcome on the ECU unknown.
    InDoubt,
    /// Finished; the final event lies in a spool.
    Finished,
}

/// An open job as the bench sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BenchJob {
    /// The job.
    pub job_id: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Its state on the bench.
    pub state: BenchJobState,
}

/// A sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sync {
    /// Counts up within one run; the answer echoes it.
    pub number: u64,
    /// The agent's process.
    pub run_id: RunId,
    /// Connects of this process, from 1; together with `run_id` the current presence.
    pub connect_counter: u64,
    /// The generation the bench knows; none before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_generation: Option<StoreGeneration>,
    /// Version of the list of jobs that the bench has durably, in that generation; 0: none.
    pub desired_version: u64,
    /// Spools held, oldest first; the last one is being written.
    pub spools: Vec<HeldSpool>,
    /// Former spools, newest last, as many as the bench remembers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<FormerSpool>,
    /// Open jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<BenchJob>,
    /// The bench's clock. It decides nothing.
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
    /// Why no new job is taken at the moment, for people: spool full, disk error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusing_jobs: Option<String>,
}

impl Sync {
    /// The document's bytes.
    pub fn encode(&self) -> Vec<u8> {
        control::encode(self, SYNC_TYPE)
    }

    /// Reads a sync.
    ///
    /// # Errors
    /// Names what is wrong with the document; the server counts it and waits for the next.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let sync: Self = control::decode(bytes, SYNC_TYPE)?;
        control::at_most(&sync.spools, "spools", MAX_SPOOLS)?;
        control::at_most(&sync.former, "former", MAX_SPOOLS)?;
        control::at_most(&sync.jobs, "jobs", MAX_OPEN_JOBS)?;
        Ok(sync)
    }
}
