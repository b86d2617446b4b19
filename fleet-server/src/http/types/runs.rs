//! Attempts with their steps and records.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Job, Outcome};

/// Limits of a measurement, as applied.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Greater than or equal.
    #[serde(default)]
    pub ge: Option<f64>,
    /// Less than or equal.
    #[serde(default)]
    pub le: Option<f64>,
    /// Greater than.
    #[serde(default)]
    pub gt: Option<f64>,
    /// Less than.
    #[serde(default)]
    pub lt: Option<f64>,
    /// Equal to this text.
    #[serde(default)]
    pub equals: Option<String>,
}

/// A measured value: number or text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum MeasuredValue {
    /// In the measurement's unit.
    Number(f64),
    /// A text.
    Text(String),
}

/// A measurement.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Measurement {
    /// Its name.
    pub name: String,
    /// Bytes as the ECU sent them, hexadecimal.
    pub raw: String,
    /// The decoded value.
    pub value: MeasuredValue,
    /// Its unit.
    #[serde(default)]
    pub unit: Option<String>,
    /// The limits.
    #[serde(default)]
    pub limits: Limits,
    /// Within the limits or not.
    pub outcome: Outcome,
    /// Within the limits, but close to one.
    #[serde(default)]
    pub marginal: bool,
}

/// A step that has ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Place in the plan, from 0.
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
    /// Milliseconds by the bench's monotonic clock.
    pub duration_ms: u64,
    /// How often it was tried again.
    pub retries: u32,
    /// Last negative response code.
    pub nrc: Option<u8>,
    /// For people.
    pub detail: Option<String>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
}

/// Where a running job stands. Never stored.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Live {
    /// The bench.
    pub device: String,
    /// The job.
    pub job_id: Uuid,
    /// Which attempt.
    pub attempt: u32,
    /// Id of the step that runs.
    pub step: String,
    /// Its place, from 0.
    pub step_index: u32,
    /// Number of steps.
    pub steps_total: u32,
    /// Bytes transferred in this step.
    pub bytes_done: u64,
    /// Bytes to transfer in this step.
    pub bytes_total: u64,
    /// The bench's clock.
    pub time: Timestamp,
}

/// The signed record of an attempt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunRecord {
    /// JWS, compact serialisation.
    pub jws: String,
    /// Its signature is that of the bench's registered key.
    pub verified: bool,
    /// The key, base64url.
    pub public_key: Option<String>,
}

/// An attempt of a job with its steps.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// The job.
    pub job: Job,
    /// Which attempt.
    pub attempt: u32,
    /// Its steps so far.
    pub steps: Vec<Step>,
    /// Where it stands, while it runs and the bench says so.
    pub live: Option<Live>,
    /// Its signed record, once finished.
    pub record: Option<RunRecord>,
}
