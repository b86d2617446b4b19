//! The shape of a procedure file. What this shape allows and the compiler refuses stands in `compile.rs`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::plan::{CommMode, Decode, Kind, Limits, OnFail, Parameter};

/// The JSON Schema of a procedure file, as `docs/schemas/procedure.schema.json` holds it.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(ProcedureDoc);
    schema.insert("title".to_owned(), "VDS Fleet procedure, schema proc/1".into());
    schema.to_value()
}

/// A procedure: what a bench does with one control unit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcedureDoc {
    /// Version of this format.
    #[expect(dead_code, reason = "reading it is the check")]
    pub(crate) schema: SchemaVersion,
    /// Id, such as `flash.esp.app`: small letters, digits, dots and hyphens.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{0,62}$"))]
    pub(crate) id: String,
    /// Version of the procedure. A version never changes its content.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"))]
    pub(crate) version: String,
    /// What it does, for people.
    pub(crate) title: String,
    /// What kind of work it is.
    pub(crate) kind: Kind,
    /// The control unit.
    pub(crate) target: TargetDoc,
    /// Limits of the whole attempt.
    #[serde(default)]
    pub(crate) budget: BudgetDoc,
    /// Artifacts by name.
    #[serde(default)]
    pub(crate) inputs: BTreeMap<String, InputDoc>,
    /// Parameters by name.
    #[serde(default)]
    pub(crate) parameters: BTreeMap<String, Parameter>,
    /// Readings before the first step. A miss ends the attempt as `aborted`.
    #[serde(default)]
    pub(crate) preconditions: Vec<StepDoc>,
    /// The work.
    pub(crate) steps: Vec<StepDoc>,
    /// Readings after the work. Mandatory for a procedure that writes.
    #[serde(default)]
    pub(crate) verify: Vec<StepDoc>,
    /// What is given back at the end, always.
    #[serde(default)]
    pub(crate) cleanup: Vec<CleanupDoc>,
}

/// Version of the format.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) enum SchemaVersion {
    /// The first.
    #[serde(rename = "proc/1")]
    Proc1,
}

/// The control unit that a procedure is for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetDoc {
    /// Its name, such as `ESP`.
    #[schemars(length(min = 1, max = 32))]
    pub(crate) ecu: String,
    /// Its logical address.
    pub(crate) la: u16,
    /// Functional address of the vehicle.
    #[serde(default = "functional_address")]
    pub(crate) functional: u16,
    /// Part numbers (identifier F187) that it may have.
    #[schemars(length(min = 1))]
    pub(crate) part: Vec<String>,
    /// Hardware numbers (identifier F191) that it may have; none: any.
    #[serde(default)]
    pub(crate) hw: Vec<String>,
}

const fn functional_address() -> u16 {
    0xE400
}

/// Limits of the whole attempt.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetDoc {
    /// Longest time of the steps in seconds; heard before the point of no return only.
    #[serde(default = "total_s")]
    #[schemars(range(min = 1, max = 86400))]
    pub(crate) total_s: u32,
    /// Longest time of response pending (78) for one request, in seconds.
    #[serde(default = "pending_total_s")]
    #[schemars(range(min = 1, max = 3600))]
    pub(crate) pending_total_s: u32,
}

impl Default for BudgetDoc {
    fn default() -> Self {
        Self {
            total_s: total_s(),
            pending_total_s: pending_total_s(),
        }
    }
}

const fn total_s() -> u32 {
    900
}

const fn pending_total_s() -> u32 {
    120
}

/// An input.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputDoc {
    /// What it is.
    #[serde(rename = "type")]
    #[expect(
        dead_code,
        reason = "there is one type; it is written down so that a second one can come"
    )]
    pub(crate) kind: InputKind,
    /// For people.
    #[expect(dead_code, reason = "for whoever reads the file")]
    pub(crate) title: Option<String>,
}

/// What an input is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InputKind {
    /// A file, complete and checked by its SHA-256 before the control unit is touched.
    Artifact,
}

/// A step. Exactly one action; the other keys belong to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepDoc {
    /// Unique in the procedure.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,31}$"))]
    pub(crate) id: String,
    /// What it does, for people; made from the action when absent.
    pub(crate) name: Option<String>,

    /// Action: change the session (10). 1 default, 2 programming, 3 extended.
    #[schemars(range(min = 1, max = 127))]
    pub(crate) session: Option<u8>,
    /// Action, alone or with `comm`: stop recording faults (85 02).
    pub(crate) dtc_setting: Option<DtcSettingDoc>,
    /// Action, alone or with `dtc_setting`: stop communication (28).
    pub(crate) comm: Option<CommMode>,
    /// With `session`, `dtc_setting`, `comm`: ask every control unit of the vehicle.
    pub(crate) functional: Option<bool>,

    /// Action: security access (27).
    pub(crate) security: Option<SecurityDoc>,

    /// Action: write an identifier (2E) and read it back.
    pub(crate) write: Option<u16>,
    /// With `write`: the value; variables allowed.
    pub(crate) value: Option<String>,
    /// With `write`: how the value becomes bytes.
    pub(crate) encode: Option<Decode>,

    /// Action: start a routine (31 01).
    pub(crate) routine: Option<u16>,
    /// With `routine`: option record in hexadecimal; variables allowed.
    pub(crate) option: Option<String>,
    /// With `routine`: bytes that the status record must have, such as `{byte0: 0}`.
    pub(crate) expect: Option<BTreeMap<String, u8>>,
    /// With `routine`: ask for results (31 03) until it has ended.
    pub(crate) poll: Option<PollDoc>,
    /// With `routine`, mandatory: whether it changes something that outlives a reset.
    pub(crate) writes: Option<bool>,

    /// Action: download an artifact (34, 36, 37).
    pub(crate) download: Option<DownloadDoc>,

    /// Action: reset (11) and connect again.
    pub(crate) reset: Option<ResetDoc>,
    /// With `reset`: longest time in seconds until the control unit answers again.
    #[schemars(range(min = 1, max = 600))]
    pub(crate) reconnect_s: Option<u32>,

    /// Action: read an identifier (22) and judge it.
    pub(crate) read: Option<u16>,
    /// With `read`: how bytes become a value.
    pub(crate) decode: Option<Decode>,
    /// With `read` of a number: factor.
    pub(crate) scale: Option<f64>,
    /// With `read` of a number: added after the factor.
    pub(crate) offset: Option<f64>,
    /// With `read` of a number, mandatory: the unit, `1` for a count.
    pub(crate) unit: Option<String>,
    /// With `read` of a number: limits; `ge` and `le` include their value, `gt` and `lt` do not.
    pub(crate) limits: Option<Limits>,
    /// With `read`: the value that it must equal; variables allowed.
    pub(crate) equals: Option<String>,
    /// With `read`: how long the value must stay as it should be, in seconds.
    #[schemars(range(min = 0, max = 60))]
    pub(crate) hold_s: Option<f64>,

    /// Action: set an output (2F 03). It is returned (2F 00) in the clean-up, always.
    pub(crate) actuate: Option<u16>,
    /// With `actuate`: control state and mask in hexadecimal; variables allowed.
    pub(crate) state: Option<String>,

    /// Action: clear faults (14) of a group; `0xFFFFFF` is all.
    #[schemars(range(min = 0, max = 0xFF_FFFF))]
    pub(crate) clear_dtcs: Option<u32>,

    /// Action: read faults (19 02) and compare them.
    pub(crate) dtcs: Option<DtcsDoc>,

    /// Action: wait, in seconds.
    #[schemars(range(min = 0, max = 60))]
    pub(crate) wait_s: Option<f64>,

    /// What follows when the product misses a limit or a check.
    pub(crate) on_fail: Option<OnFail>,
    /// Which refusals are tried again.
    pub(crate) retry: Option<RetryDoc>,
    /// Longest time of response pending (78) of the step in seconds, when it is not the budget's.
    #[schemars(range(min = 1, max = 3600))]
    pub(crate) timeout_s: Option<u32>,
    /// From here on the control unit cannot be left as it is: a cancellation is refused.
    pub(crate) point_of_no_return: Option<bool>,
    /// What follows when the connection is lost in this step.
    pub(crate) on_link_loss: Option<RestartDoc>,
}

/// Whether faults are recorded.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DtcSettingDoc {
    /// 85 02
    Off,
}

/// Security access.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecurityDoc {
    /// Odd level: 0x11 mostly unlocks programming.
    #[schemars(range(min = 1, max = 125))]
    pub(crate) level: u8,
    /// Who makes the key. The bench never holds a secret.
    #[expect(
        dead_code,
        reason = "there is one signer; it is written down so that a second one can come"
    )]
    pub(crate) signer: SignerDoc,
}

/// Who makes a key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SignerDoc {
    /// The server.
    Backend,
}

/// A bounded poll.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PollDoc {
    /// Pause between two requests, milliseconds.
    #[schemars(range(min = 10, max = 10000))]
    pub(crate) every_ms: u32,
    /// Longest time, seconds.
    #[schemars(range(min = 1, max = 3600))]
    pub(crate) timeout_s: u32,
    /// The byte that says that the routine still runs, such as `{byte0: 1}`.
    pub(crate) running: BTreeMap<String, u8>,
}

/// A download.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DownloadDoc {
    /// Name of the input.
    pub(crate) artifact: String,
    /// Memory address.
    #[serde(default)]
    pub(crate) address: u32,
    /// Data format, 0: neither compressed nor encrypted.
    #[serde(default)]
    pub(crate) format: u8,
    /// Whether a version older than the installed one (identifier F189) may be downloaded.
    #[serde(default)]
    pub(crate) allow_older: bool,
}

/// Kind of reset.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResetDoc {
    /// 11 01
    Hard,
    /// 11 02
    KeyOffOn,
    /// 11 03
    Soft,
}

/// Faults and how they are compared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DtcsDoc {
    /// Status mask: 0x01 failed now, 0x08 confirmed.
    pub(crate) mask: u8,
    /// Faults that may be there.
    #[serde(default)]
    pub(crate) allow: Vec<u32>,
    /// Faults that must be there.
    #[serde(default)]
    pub(crate) expect: Vec<u32>,
}

/// Repetition of a step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryDoc {
    /// Most repetitions.
    #[schemars(range(min = 1, max = 10))]
    pub(crate) max: u32,
    /// Negative response codes that are tried again.
    #[schemars(length(min = 1))]
    pub(crate) nrc: Vec<u8>,
    /// Wait before each, milliseconds.
    #[serde(default = "retry_wait_ms")]
    #[schemars(range(min = 0, max = 60000))]
    pub(crate) wait_ms: u32,
}

const fn retry_wait_ms() -> u32 {
    500
}

/// Where the work begins again after a lost connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartDoc {
    /// Id of the step. It has to set up session and security again: a new connection has neither.
    pub(crate) restart_from: String,
    /// Most restarts.
    #[schemars(range(min = 1, max = 5))]
    pub(crate) max_restarts: u32,
}

/// What is given back at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CleanupDoc {
    /// Communication (28 00).
    RestoreComm,
    /// Recording of faults (85 01).
    RestoreDtc,
    /// The default session (10 01).
    SessionDefault,
}
