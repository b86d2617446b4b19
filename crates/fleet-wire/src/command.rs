//! Commands are state: a device's complete list of open jobs.

use std::collections::BTreeMap;

pub use fleet_domain::JobKind;
use fleet_domain::{JobId, OfferId, StoreGeneration, Vin};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::control::{self, ControlError};
use crate::limits::{MAX_JOB_BYTES, MAX_OPEN_JOBS};

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

/// The procedure of a job, fetched by HTTP and compared by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcedureRef {
    /// Its id, such as `flash.esp.app`.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
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
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
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
    /// What to do; always there in state `offered`. [`Commands::decode`] leaves out one that it can't read,
    /// such as a kind of a newer server: an offer without a job is rejected with code `job_unreadable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobDocument>,
}

/// Why a job of a list can't be done by this bench.
#[derive(Debug, thiserror::Error)]
pub enum JobDocumentError {
    /// Not of the shape, or with a word of a newer server.
    #[error("job document can't be read")]
    Malformed(#[source] serde_json::Error),
    /// Larger than the limit.
    #[error("job document has {0} bytes, the limit is {MAX_JOB_BYTES}")]
    TooLarge(usize),
    /// A hash that is no SHA-256.
    #[error("sha256 of {0:?} is not 64 lower-case hexadecimal digits")]
    Sha256(String),
    /// A path that could lead to another host or out of a folder.
    #[error("path {0:?} is not an absolute path of segments of A-Z a-z 0-9 . _ ~ % -")]
    Path(String),
}

/// An entry, or a part of one, that was left out of a list.
#[derive(Debug, thiserror::Error)]
pub enum EntryProblem {
    /// The entry is not of the shape: it neither starts nor stops anything.
    #[error("entry {index} of the list can't be read and is left out")]
    Entry {
        /// Place in the list, from 0.
        index: usize,
        /// What the reader said.
        #[source]
        source: serde_json::Error,
    },
    /// The entry stands, its job was left out.
    #[error("job {job_id}: its document is left out")]
    Job {
        /// Which job.
        job_id: JobId,
        /// What is wrong with it.
        #[source]
        source: JobDocumentError,
    },
}

impl JobDocument {
    /// Checks what a bench relies on before it builds a URL or a file name from the document, and its size.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), JobDocumentError> {
        let bytes = serde_json::to_vec(self)
            .map_err(JobDocumentError::Malformed)?
            .len();
        if bytes > MAX_JOB_BYTES {
            return Err(JobDocumentError::TooLarge(bytes));
        }
        file(&self.procedure.id, &self.procedure.sha256, &self.procedure.path)?;
        self.artifacts
            .iter()
            .try_for_each(|artifact| file(&artifact.name, &artifact.sha256, &artifact.path))
    }
}

fn file(name: &str, sha256: &str, path: &str) -> Result<(), JobDocumentError> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if sha256.len() != 64 || !sha256.bytes().all(digit) {
        return Err(JobDocumentError::Sha256(name.chars().take(80).collect()));
    }
    let segment = |text: &str| {
        !matches!(text, "" | "." | "..")
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._~%-".contains(&b))
    };
    match path.strip_prefix('/') {
        Some(rest) if path.len() <= 512 && rest.split('/').all(segment) => Ok(()),
        _ => Err(JobDocumentError::Path(path.chars().take(80).collect())),
    }
}

/// The complete list of a device's open jobs, ordered by `(store_generation, desired_version)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commands {
    /// The life of the server's database.
    pub store_generation: StoreGeneration,
    /// Rises with each change within a generation.
    pub desired_version: u64,
    /// The open jobs, at most 32.
    #[schemars(length(max = MAX_OPEN_JOBS))]
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

    /// Reads a list of jobs. One entry that can't be read does not hold the others back: see
    /// [`Self::decode_with_problems`], which also says what was left out.
    ///
    /// # Errors
    /// Names what is wrong with the document; the bench ignores it and asks again by sync.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        Ok(Self::decode_with_problems(bytes)?.0)
    }

    /// Reads a list of jobs and says what of it was left out. An entry that can't be read is left out as a
    /// whole; where only its `job` can't be read or fails [`JobDocument::check`], the entry stands without
    /// one. Leaving out is safe: absence never stops an accepted job, and nothing starts without a job.
    ///
    /// # Errors
    /// Names what is wrong with the document; the bench ignores it and asks again by sync.
    pub fn decode_with_problems(bytes: &[u8]) -> Result<(Self, Vec<EntryProblem>), ControlError> {
        let list: RawCommands = control::decode(bytes, COMMANDS_TYPE)?;
        control::at_most(&list.jobs, "jobs", MAX_OPEN_JOBS)?;
        control::in_range(list.desired_version, "desired_version", 0)?;
        let mut problems = Vec::new();
        let mut jobs = Vec::with_capacity(list.jobs.len());
        for (index, raw) in list.jobs.iter().enumerate() {
            match serde_json::from_str::<RawJob>(raw.get()) {
                Ok(entry) => jobs.push(entry.read(&mut problems)),
                Err(source) => problems.push(EntryProblem::Entry { index, source }),
            }
        }
        let commands = Self {
            store_generation: list.store_generation,
            desired_version: list.desired_version,
            jobs,
            time: list.time,
        };
        Ok((commands, problems))
    }
}

/// The list with its entries not yet read.
#[derive(Deserialize)]
struct RawCommands {
    store_generation: StoreGeneration,
    desired_version: u64,
    jobs: Vec<Box<RawValue>>,
    time: Timestamp,
}

/// An entry with its job not yet read.
#[derive(Deserialize)]
struct RawJob {
    job_id: JobId,
    attempt: u32,
    fence: u64,
    #[serde(default)]
    offer_id: Option<OfferId>,
    state: DesiredState,
    #[serde(default)]
    traceparent: Option<String>,
    #[serde(default)]
    job: Option<Box<RawValue>>,
}

impl RawJob {
    fn read(self, problems: &mut Vec<EntryProblem>) -> DesiredJob {
        let job_id = self.job_id;
        let job = self.job.and_then(|raw| {
            let read = serde_json::from_str::<JobDocument>(raw.get()).map_err(JobDocumentError::Malformed);
            read.and_then(|job| job.check().map(|()| job))
                .map_err(|source| problems.push(EntryProblem::Job { job_id, source }))
                .ok()
        });
        DesiredJob {
            job_id,
            attempt: self.attempt,
            fence: self.fence,
            offer_id: self.offer_id,
            state: self.state,
            traceparent: self.traceparent,
            job,
        }
    }
}
