//! Sync: what a bench holds and believes, at connect and each minute.

use fleet_domain::{JobId, RunId, Seq, SpoolId, StoreGeneration};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{self, ControlError};
use crate::limits::{MAX_NOTE_CHARS, MAX_SPOOLS, MAX_SYNC_JOBS};
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
    #[schemars(range(min = 1))]
    pub first_kept: Seq,
    /// Position that the next event will have.
    #[schemars(range(min = 1))]
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
    /// A state of a newer agent: shown, and decides nothing.
    #[serde(other)]
    Unknown,
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
    /// Counts up by one within one run, from a random number below 2^32, so that a late answer to an
    /// earlier run matches nothing; the answer echoes it.
    pub number: u64,
    /// Number of the last sync of this run whose answer was obeyed; 0: none. It tells the server that the
    /// bench has heard what that answer said, `bench_restored` above all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub answered: u64,
    /// The agent's process.
    pub run_id: RunId,
    /// Connects of this process, from 1; together with `run_id` the current presence.
    pub connect_counter: u64,
    /// The generation the bench knows; none before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_generation: Option<StoreGeneration>,
    /// Version of the list of jobs that the bench has durably, in that generation; 0: none.
    pub desired_version: u64,
    /// Spools held, oldest first; the last one is being written. A bench that holds more than 64 names the
    /// oldest 63 and the one being written; a sync that names fewer than 64 has named all.
    #[schemars(length(max = MAX_SPOOLS))]
    pub spools: Vec<HeldSpool>,
    /// Former spools, newest last, the newest 64 of them. What a restored server lacks of these can't be
    /// sent again: it counts as a hole.
    #[schemars(length(max = MAX_SPOOLS))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<FormerSpool>,
    /// Jobs of this bench, at most 128: open ones first, then finished ones whose final event has no
    /// receipt yet.
    #[schemars(length(max = MAX_SYNC_JOBS))]
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
        let mut sync: Self = control::decode(bytes, SYNC_TYPE)?;
        control::at_most(&sync.spools, "spools", MAX_SPOOLS)?;
        control::at_most(&sync.former, "former", MAX_SPOOLS)?;
        control::at_most(&sync.jobs, "jobs", MAX_SYNC_JOBS)?;
        control::in_range(sync.number, "number", 0)?;
        control::in_range(sync.answered, "answered", 0)?;
        control::in_range(sync.connect_counter, "connect_counter", 0)?;
        control::in_range(sync.desired_version, "desired_version", 0)?;
        for spool in &sync.spools {
            control::in_range(spool.first_kept, "first_kept", 1)?;
            control::in_range(spool.next_seq, "next_seq", 1)?;
            control::in_range(spool.receipted, "receipted", 0)?;
            control::in_range(spool.rejections_known, "rejections_known", 0)?;
            if let Some(predecessor) = spool.predecessor {
                control::in_range(predecessor.last_seq, "last_seq", 0)?;
            }
        }
        for spool in &sync.former {
            control::in_range(spool.last_seq, "last_seq", 0)?;
        }
        if let Some(note) = &mut sync.refusing_jobs
            && let Some((end, _)) = note.char_indices().nth(MAX_NOTE_CHARS)
        {
            note.truncate(end);
        }
        Ok(sync)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
