//! What a bench's event means to the server, without the form it has on the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{JobId, OfferId, Outcome, RunId, Seq, StoreGeneration, Verdict};

/// Which attempt an event speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptRef {
    /// The job.
    pub job: JobId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Fencing number of the entry that was accepted.
    pub fence: u64,
}

/// What a bench can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Equipment {
    /// Ways to reach an ECU, such as `doip`.
    pub transports: Vec<String>,
    /// Names of the ECUs that it serves; empty: any.
    pub ecus: Vec<String>,
    /// Station of the line.
    pub station: Option<String>,
    /// VIN of the vehicle that stands there, where the bench knows it. As given; not checked.
    pub vin: Option<String>,
}

/// An event as the projections see it.
#[derive(Debug, Clone, PartialEq)]
pub enum BenchReport {
    /// The agent has started.
    AgentStarted {
        /// Its process.
        run_id: RunId,
        /// Its version.
        agent_version: String,
        /// The bench's Ed25519 public key, base64url.
        public_key: String,
        /// What the bench can do.
        equipment: Equipment,
    },
    /// The bench has taken a job durably.
    JobAccepted {
        /// The attempt.
        of: AttemptRef,
        /// The offer that was accepted.
        offer_id: OfferId,
        /// Generation of the list that held the offer.
        generation: StoreGeneration,
        /// Version of the list that held the offer.
        desired_version: u64,
    },
    /// The bench refuses a job that it was offered.
    JobRejected {
        /// The attempt.
        of: AttemptRef,
        /// The offer that is refused.
        offer_id: OfferId,
        /// Stable reason.
        code: String,
        /// For people.
        detail: Option<String>,
    },
    /// The first step begins.
    JobStarted {
        /// The attempt.
        of: AttemptRef,
        /// Number of steps in the plan.
        steps_total: u32,
        /// The bench's clock.
        time: Timestamp,
    },
    /// A step has ended.
    StepFinished(StepReport),
    /// The attempt has ended.
    JobFinished {
        /// The attempt.
        of: AttemptRef,
        /// The verdict.
        verdict: Verdict,
        /// Stable reason.
        reason_code: String,
        /// For people.
        detail: Option<String>,
        /// Software versions read back at the end, by ECU.
        software: BTreeMap<String, String>,
        /// The signed result record, JWS compact serialisation (RFC 7515).
        record: Option<String>,
    },
    /// Positions of the spool that can't be read any more.
    Hole {
        /// Last position that it stands for.
        to: Seq,
        /// Why.
        reason: String,
    },
    /// A type that this version doesn't know: stored, receipted, marked unprojected.
    Unknown {
        /// The type as given.
        r#type: String,
    },
    /// A known type whose data is not of its shape: stored, receipted, marked unprojected.
    Unreadable {
        /// The type as given.
        r#type: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A finished step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The attempt.
    pub of: AttemptRef,
    /// Place of the step in the plan, from 0.
    pub index: u32,
    /// Its id.
    pub step: String,
    /// What it does, for people.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Start by the bench's clock.
    pub started_at: Timestamp,
    /// End by the bench's clock.
    pub finished_at: Timestamp,
    /// Duration by the monotonic clock, milliseconds.
    pub duration_ms: u64,
    /// How often it was tried again.
    pub retries: u32,
    /// Last negative response code (ISO 14229-1, annex A), if any.
    pub nrc: Option<u8>,
    /// For people.
    pub detail: Option<String>,
    /// The measurements as the event holds them: a JSON list.
    pub measurements_json: String,
}

impl BenchReport {
    /// The attempt that the event speaks of, if it speaks of one.
    pub fn attempt(&self) -> Option<AttemptRef> {
        match self {
            Self::JobAccepted { of, .. }
            | Self::JobRejected { of, .. }
            | Self::JobStarted { of, .. }
            | Self::StepFinished(StepReport { of, .. })
            | Self::JobFinished { of, .. } => Some(*of),
            Self::AgentStarted { .. }
            | Self::Hole { .. }
            | Self::Unknown { .. }
            | Self::Unreadable { .. } => None,
        }
    }
}
