use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::Limits;

/// Verdict of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything was read back and is as it should be.
    Passed,
    /// The product missed a limit or a check.
    Failed,
    /// Bench, link or procedure: says nothing about the product.
    Error,
    /// Stopped before any write.
    Aborted,
    /// State of the control unit unknown.
    InDoubt,
}

/// How a step or a measurement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// The product missed a limit or a check.
    Failed,
    /// Bench, link or procedure.
    Error,
    /// Not done.
    Skipped,
}

/// A measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number in the measurement's unit.
    Number(f64),
    /// A text.
    Text(String),
}

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Its name: the step's id.
    pub name: String,
    /// Bytes as the control unit sent them, lower-case hexadecimal.
    pub raw: String,
    /// The decoded value.
    pub value: Value,
    /// Unit of a number.
    pub unit: Option<String>,
    /// Limits as applied.
    pub limits: Limits,
    /// Text that it had to equal.
    pub equals: Option<String>,
    /// Within the limits or not.
    pub outcome: Outcome,
    /// Within the limits, but within a twentieth of the range of one of them.
    pub marginal: bool,
}

/// A step that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct StepResult {
    /// Place among all reported steps, from 0.
    pub index: u32,
    /// Its id.
    pub step: String,
    /// What it does, for people.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// On the clock of `now`.
    pub started: Duration,
    /// On the clock of `now`.
    pub finished: Duration,
    /// Repetitions.
    pub retries: u32,
    /// Answers 78 seen.
    pub pending: u32,
    /// Last negative response code.
    pub nrc: Option<u8>,
    /// For people.
    pub detail: Option<String>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The step's id.
    pub step: String,
    /// Its place, from 0.
    pub step_index: u32,
    /// Bytes transferred; 0 where nothing is.
    pub bytes_done: u64,
    /// Bytes to transfer; 0 where nothing is.
    pub bytes_total: u64,
}

/// An intent that is durable before something irreversible is done, and confirmed after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Place of the step in the plan's work, from 0.
    pub step_index: u32,
    /// Its id.
    pub step: String,
    /// Whether the control unit cannot be left as it is any more.
    pub point_of_no_return: bool,
}

/// What a control unit says about itself. A field is `None` when the control unit does not know the identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcuIdentity {
    /// F190
    pub vin: Option<String>,
    /// F187
    pub part: Option<String>,
    /// F191
    pub hardware: Option<String>,
    /// F18C
    pub serial: Option<String>,
    /// F180
    pub boot: Option<String>,
    /// F181
    pub application: Option<String>,
    /// F189
    pub software: Option<String>,
    /// F15A, the fingerprint last written.
    pub fingerprint: Option<String>,
    /// F186: 01 default, 02 programming, 03 extended.
    pub session: Option<u8>,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtcEntry {
    /// Code, 24 bits.
    pub code: u32,
    /// Status bits, ISO 14229-1 annex D.
    pub status: u8,
}

/// In what state the attempt left the control unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// Its application runs.
    App,
    /// Only its boot loader runs.
    Boot,
    /// It was not read.
    Unknown,
}

/// How an attempt ended, with what the record needs.
#[derive(Debug, Clone, PartialEq)]
pub struct FinalOutcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Stable reason.
    pub reason_code: String,
    /// For people.
    pub detail: Option<String>,
    /// Identity at the first connection.
    pub before: Option<EcuIdentity>,
    /// Identity read at the end.
    pub after: Option<EcuIdentity>,
    /// Faults at the first connection.
    pub dtcs_before: Option<Vec<DtcEntry>>,
    /// Faults at the end.
    pub dtcs_after: Option<Vec<DtcEntry>>,
    /// State of the control unit at the end.
    pub end_state: EndState,
    /// What the clean-up could not give back.
    pub not_restored: Vec<String>,
    /// How often the work began again after a lost connection.
    pub restarts: u32,
}
