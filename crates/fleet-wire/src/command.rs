//! Commands are state: a device's complete list of open jobs.

use std::collections::BTreeMap;

use fleet_domain::{JobId, OfferId, StoreGeneration, Vin};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{self, ControlError};
use crate::limits::MAX_OPEN_JOBS;

/// `type` of a list of jobs.
pub const COMMANDS_TYPE: &str = "vds.commands.v1";

/// State of an entry as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DesiredState {
    /// May be accepted and started. The only state that starts anything.
    Offered,
    /// The server has stored this bench's acceptance.
    Accepted,
    /// The server has stored the start of the first step.
    Running,
    /// The outcome on the ECU is unknown; the VIN stays held.
    InDoubt,
    /// Taken away from this bench: stop before the point of no return, finish after it.
    Fenced,
    /// A state of a newer server: nothing is started or stopped by it.
    #[serde(other)]
    Unknown,
}

/// What kind of work a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Program an ECU.
    Flash,
    /// Calibrate a sensor.
    Calibrate,
    /// Teach a key to the vehicle.
    PersonaliseKey,
    /// Write a variant coding.
    Code,
    /// Test without change.
    Test,
    /// Collect data for a document.
    Document,
    /// Any other approved procedure.
    Procedure,
}

/// The procedure of a job, fetched by HTTP and compared by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcedureRef {
    /// Its id, such as `flash.esp.app`.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Path on the server, such as `/api/v1/procedures/flash.esp.app/1.0`.
    pub path: String,
}

/// A file of a job, fetched by HTTP with ranges and checked as a whole before the ECU is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactRef {
    /// Name of the procedure's input that it fills.
    pub input: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// Path on the server.
    pub path: String,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobDocument {
    /// What kind of work.
    pub kind: JobKind,
    /// The vehicle.
    pub vin: Vin,
    /// Name of the ECU, such as `ESP`.
    pub ecu: String,
    /// The procedure.
    pub procedure: ProcedureRef,
    /// Files, one for each input of the procedure.
    #[serde(default)]
    pub artifacts: Vec<ArtifactRef>,
    /// Values of the procedure's parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Seconds from the first receipt of the offer to the first step.
    pub start_within_s: u32,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// Who asked for it.
    pub requested_by: String,
}

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DesiredJob {
    /// The job.
    pub job_id: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Fencing number of the lease on the VIN; events of the attempt repeat it.
    pub fence: u64,
    /// The offer, in state `offered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer_id: Option<OfferId>,
    /// State as the server sees it.
    pub state: DesiredState,
    /// W3C trace context of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What to do; always there in state `offered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobDocument>,
}

/// The complete list of a device's open jobs, ordered by `(store_generation, desired_version)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commands {
    /// The life of the server's database.
    pub store_generation: StoreGeneration,
    /// Rises with each change within a generation.
    pub desired_version: u64,
    /// The open jobs, at most 32.
    pub jobs: Vec<DesiredJob>,
    /// When the list was made. For people; it decides nothing.
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
}

impl Commands {
    /// The document's bytes.
    pub fn encode(&self) -> Vec<u8> {
        control::encode(self, COMMANDS_TYPE)
    }

    /// Reads a list of jobs.
    ///
    /// # Errors
    /// Names what is wrong with the document; the bench ignores it and asks again by sync.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let commands: Self = control::decode(bytes, COMMANDS_TYPE)?;
        control::at_most(&commands.jobs, "jobs", MAX_OPEN_JOBS)?;
        Ok(commands)
    }
}
