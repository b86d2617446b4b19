//! Jobs and requests for them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{JobAction, JobKind, JobState, Verdict};

/// A job in a few words.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    /// Its id.
    pub id: Uuid,
    /// What kind of work.
    pub kind: JobKind,
    /// The vehicle.
    pub vin: String,
    /// The ECU.
    pub ecu: String,
    /// Its state.
    pub state: JobState,
    /// Its verdict, once finished.
    pub verdict: Option<Verdict>,
    /// Number of steps.
    pub steps_total: Option<u32>,
    /// Steps that have ended.
    pub steps_done: u32,
}

/// A procedure of a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProcedureRef {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// A file of a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactRef {
    /// Input of the procedure that it fills.
    pub input: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// Whether an action is possible now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AllowedAction {
    /// The action.
    pub action: JobAction,
    /// Possible.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// A job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// The requester's id of the request.
    pub request_id: Option<String>,
    /// What kind of work.
    pub kind: JobKind,
    /// The vehicle.
    pub vin: String,
    /// The ECU.
    pub ecu: String,
    /// The procedure.
    pub procedure: ProcedureRef,
    /// Its files.
    pub artifacts: Vec<ArtifactRef>,
    /// Values of the procedure's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Its state.
    pub state: JobState,
    /// Queued, and no bench can take it at the moment: why.
    pub parked: Option<String>,
    /// Its verdict, once finished.
    pub verdict: Option<Verdict>,
    /// Stable reason of the end.
    pub reason_code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// The bench that has or had it.
    pub device: Option<String>,
    /// Number of the last offer, from 1; 0 before the first.
    pub attempt: u32,
    /// Fencing number of the last offer.
    pub fence: u64,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When it was last offered.
    pub offered_at: Option<Timestamp>,
    /// When its acceptance was stored.
    pub accepted_at: Option<Timestamp>,
    /// When its start was stored.
    pub started_at: Option<Timestamp>,
    /// When its end was stored.
    pub finished_at: Option<Timestamp>,
    /// Not offered after this.
    pub deadline: Option<Timestamp>,
    /// Higher goes first.
    pub priority: i32,
    /// Who asked for it.
    pub requested_by: String,
    /// Number of steps.
    pub steps_total: Option<u32>,
    /// Steps that have ended.
    pub steps_done: u32,
    /// Software versions read back at the end, by ECU.
    pub software: BTreeMap<String, String>,
    /// Events of attempts that were taken away: stored and shown, they move nothing.
    pub fenced_events: u64,
    /// What a person may do now.
    pub allowed_actions: Vec<AllowedAction>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The job whose work it repeats, if a person asked for that.
    pub retry_of: Option<Uuid>,
    /// Why it is repeated.
    pub retry_reason: Option<String>,
}

/// A page of jobs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobPage {
    /// The jobs, newest first.
    pub items: Vec<Job>,
    /// Give it as `cursor` for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// Give it as `since` to the stream: nothing after this snapshot is missed.
    pub stream_cursor: String,
}

/// A request for a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// The requester's id of this request: the same one again is the same job. Also as header `Idempotency-Key`.
    #[serde(default)]
    pub request_id: Option<String>,
    /// What kind of work.
    pub kind: JobKind,
    /// The vehicle: 17 characters.
    pub vin: String,
    /// Name of the ECU.
    pub ecu: String,
    /// The procedure.
    pub procedure: ProcedureChoice,
    /// One file for each input of the procedure.
    #[serde(default)]
    pub artifacts: Vec<ArtifactChoice>,
    /// Values of the procedure's parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Only this bench may do it.
    #[serde(default)]
    pub device: Option<String>,
    /// Seconds from the offer's arrival at the bench to its first step; 1 hour when not given.
    #[serde(default)]
    pub start_within_s: Option<u32>,
    /// Not offered after this.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Higher goes first; 0 when not given.
    #[serde(default)]
    pub priority: Option<i32>,
}

/// A procedure by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcedureChoice {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// A file by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArtifactChoice {
    /// Input of the procedure that it fills.
    pub input: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Why a person does something to a job or a bench.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// For people, 1 to 500 characters.
    pub reason: String,
}
