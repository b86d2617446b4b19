use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::template::Template;

/// What kind of work a procedure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
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

/// A checked procedure. It holds no reference that could fail to resolve while it runs, apart from the values of
/// its inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Its id, such as `flash.esp.app`.
    pub id: String,
    /// Its version.
    pub version: String,
    /// What it does, for people.
    pub title: String,
    /// What kind of work it is.
    pub kind: Kind,
    /// The control unit.
    pub target: Target,
    /// Limits of the whole attempt.
    pub budget: Budget,
    /// Names of the artifacts that it needs.
    pub artifacts: Vec<String>,
    /// Parameters by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// Checked before the first step; a miss ends the attempt as `aborted`.
    pub preconditions: Vec<Step>,
    /// The work.
    pub steps: Vec<Step>,
    /// Read-back after the work.
    pub verify: Vec<Step>,
    /// What is given back at the end.
    pub cleanup: Cleanup,
    /// The YAML it was compiled from.
    pub source: String,
    /// SHA-256 of the source, lower-case hexadecimal.
    pub sha256: String,
}

impl Plan {
    /// Number of steps that are reported: identification, preconditions, steps, verification, clean-up.
    pub fn steps_total(&self) -> u32 {
        let count = self.preconditions.len() + self.steps.len() + self.verify.len() + 2;
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Whether it changes anything in the control unit that outlives a reset.
    pub fn writes(&self) -> bool {
        self.steps.iter().any(|step| step.action.writes())
    }
}

/// The control unit that a procedure is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the control unit, such as `ESP`.
    pub ecu: String,
    /// Its logical address.
    pub la: u16,
    /// Functional address of the vehicle.
    pub functional: u16,
    /// Part numbers (DID F187) that it may have; empty: any.
    pub part: Vec<String>,
    /// Hardware numbers (DID F191) that it may have; empty: any.
    pub hw: Vec<String>,
}

/// Limits of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Longest time of the steps; the clean-up comes on top.
    pub total: Duration,
    /// Longest time of response pending (78) for one request.
    pub pending_total: Duration,
}

/// Type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parameter {
    /// Any text of at most 64 characters.
    Text,
    /// Bytes in hexadecimal.
    Hex,
}

/// What is given back at the end, whatever happened before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleanup {
    /// Enable communication again (28 00).
    pub restore_comm: bool,
    /// Record faults again (85 01).
    pub restore_dtc: bool,
    /// Return to the default session (10 01).
    pub session_default: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its id, unique in the procedure.
    pub id: String,
    /// What it does, for people.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// What follows when the product misses a limit or a check.
    pub on_fail: OnFail,
    /// Which refusals are tried again.
    pub retry: Option<Retry>,
    /// Longest time of response pending for one request of the step; zero: the budget's.
    pub timeout: Duration,
    /// After it the control unit cannot be left as it is.
    pub point_of_no_return: bool,
    /// What follows when the connection is lost in it.
    pub on_link_loss: Option<Restart>,
}

/// What follows when the product misses a limit or a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// The attempt ends with the clean-up.
    #[default]
    Stop,
    /// The next step runs, so that every value is measured; the verdict is `failed` all the same.
    Continue,
    /// The attempt ends before anything is written. For preconditions.
    Abort,
}

/// Which refusals are tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Most repetitions.
    pub max: u32,
    /// Negative response codes that are tried again; never 35, 36, 37.
    pub nrc: Vec<u8>,
    /// Wait before each.
    pub wait: Duration,
}

/// Where the work begins again after a lost connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Index of the step in [`Plan::steps`].
    pub from: usize,
    /// Most restarts.
    pub max: u32,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// 10
    Session {
        /// Sub-function.
        session: u8,
        /// To every control unit of the vehicle.
        functional: bool,
    },
    /// 85 and 28
    Quiet {
        /// Stop recording faults.
        dtc_off: bool,
        /// Stop communication.
        comm: Option<CommMode>,
        /// To every control unit of the vehicle.
        functional: bool,
    },
    /// 27; the key comes from the signer at the back end.
    Security {
        /// Odd level.
        level: u8,
    },
    /// 2E, then 22 and a comparison. A value that is there already is not written again.
    Write {
        /// Data identifier.
        did: u16,
        /// Value.
        value: Template,
        /// How the value becomes bytes.
        encode: Decode,
    },
    /// 31
    Routine {
        /// Routine identifier.
        id: u16,
        /// Option record, a template of hexadecimal digits.
        option: Template,
        /// Checks of the status record.
        expect: Vec<ByteCheck>,
        /// Ask for results (31 03) until a byte has a value.
        poll: Option<Poll>,
        /// Whether it changes something that outlives a reset.
        writes: bool,
    },
    /// 34, 36, 37
    Download {
        /// Name of the input.
        artifact: String,
        /// Memory address.
        address: u32,
        /// Data format, 00: neither compressed nor encrypted.
        format: u8,
        /// Whether a version older than the installed one may be downloaded.
        allow_older: bool,
    },
    /// 11, then a new connection.
    Reset {
        /// Sub-function.
        kind: u8,
        /// Longest time until the control unit answers again.
        reconnect: Duration,
    },
    /// 22 and a check.
    Read(ReadSpec),
    /// 2F 03; returned with 2F 00 in the clean-up.
    Actuate {
        /// Data identifier.
        did: u16,
        /// Control state and mask, a template of hexadecimal digits.
        state: Template,
    },
    /// 14
    ClearDtcs {
        /// Group, 24 bits.
        group: u32,
    },
    /// 19 02 and a comparison.
    Dtcs {
        /// Status mask.
        mask: u8,
        /// Faults that may be there.
        allow: Vec<u32>,
        /// Faults that must be there.
        expect: Vec<u32>,
    },
    /// Nothing for a while.
    Wait {
        /// How long.
        duration: Duration,
    },
}

impl Action {
    /// Whether it changes something that outlives a reset.
    pub fn writes(&self) -> bool {
        match self {
            Self::Write { .. } | Self::Download { .. } | Self::ClearDtcs { .. } => true,
            Self::Routine { writes, .. } => *writes,
            _ => false,
        }
    }
}

/// Which communication is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommMode {
    /// 28 01: receive, do not send.
    DisableTx,
    /// 28 03: neither.
    DisableAll,
}

impl CommMode {
    /// The sub-function of 28.
    pub const fn code(self) -> u8 {
        match self {
            Self::DisableTx => 0x01,
            Self::DisableAll => 0x03,
        }
    }
}

/// What is read and how it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadSpec {
    /// Data identifier.
    pub did: u16,
    /// How bytes become a value.
    pub decode: Decode,
    /// Factor of a number.
    pub scale: f64,
    /// Added after the factor.
    pub offset: f64,
    /// Unit of a number.
    pub unit: Option<String>,
    /// Limits of a number.
    pub limits: Limits,
    /// Text that the value must equal.
    pub equals: Option<Template>,
    /// How long the value must stay as it should be.
    pub hold: Duration,
}

/// How bytes and values become each other. Numbers are big-endian.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    /// Text; trailing zeros and spaces are not part of it.
    #[default]
    Ascii,
    /// Bytes as lower-case hexadecimal.
    Hex,
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// One byte, two's complement.
    I8,
    /// Two bytes, two's complement.
    I16,
    /// Four bytes, two's complement.
    I32,
}

/// Limits of a number. Each end says whether it belongs to the range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Greater than or equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ge: Option<f64>,
    /// Less than or equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub le: Option<f64>,
    /// Greater than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gt: Option<f64>,
    /// Less than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lt: Option<f64>,
}

/// One byte of a status record that must have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteCheck {
    /// Place in the status record, from 0.
    pub index: usize,
    /// The value.
    pub value: u8,
}

/// A bounded poll of a routine's results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// Pause between two requests.
    pub every: Duration,
    /// Longest time of the poll.
    pub timeout: Duration,
    /// The routine runs on as long as this byte has this value.
    pub running: ByteCheck,
}

/// What a plan gets from its job. Artifacts are complete and their hash is checked before.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The vehicle.
    pub vin: String,
    /// The job.
    pub job_id: String,
    /// Artifacts by the name of the input.
    pub artifacts: BTreeMap<String, Artifact>,
    /// Values of the parameters.
    pub parameters: BTreeMap<String, String>,
}

/// A file of a job.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}
