//! The durable events of a bench.

use std::collections::BTreeMap;

use fleet_domain::{JobId, OfferId, RunId, Seq, StoreGeneration};
pub use fleet_domain::{Outcome, Verdict};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::receipt::is_false;

macro_rules! event_types {
    ($($(#[$meta:meta])* $variant:ident($body:ident) = $name:literal),+ $(,)?) => {
        /// CloudEvents `type` of an event.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum EventType {
            $($(#[$meta])* $variant,)+
            /// A type of a newer agent: stored, receipted, relayed, projected later.
            Unknown(String),
        }

        impl EventType {
            /// Every type this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),+];

            /// The `type` as it stands in the event.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Unknown(name) => name,
                }
            }

            /// The type of a name.
            pub fn of(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)+
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }

        /// `data` of an event.
        #[derive(Debug, Clone, PartialEq)]
        pub enum EventBody {
            $($(#[$meta])* $variant($body),)+
        }

        impl EventBody {
            /// The event's type.
            pub fn event_type(&self) -> EventType {
                match self {
                    $(Self::$variant(_) => EventType::$variant,)+
                }
            }

            /// `data` as JSON.
            ///
            /// # Errors
            /// When a number is not finite.
            pub(crate) fn to_data(&self) -> Result<Box<serde_json::value::RawValue>, serde_json::Error> {
                self.all_finite()?;
                match self {
                    $(Self::$variant(body) => serde_json::value::to_raw_value(body),)+
                }
            }

            /// Reads `data` of a known type; `None` for an unknown one.
            ///
            /// # Errors
            /// When `data` is not of the type's shape.
            pub(crate) fn from_data(
                r#type: &EventType,
                data: &serde_json::value::RawValue,
            ) -> Result<Option<Self>, serde_json::Error> {
                match r#type {
                    $(EventType::$variant => serde_json::from_str(data.get()).map(|body| Some(Self::$variant(body))),)+
                    EventType::Unknown(_) => Ok(None),
                }
            }
        }
    };
}

event_types! {
    /// The agent has started: the first event of every spool. Comes again where the bench's equipment or
    /// vehicle has changed.
    AgentStarted(AgentStarted) = "vds.agent.started.v1",
    /// The bench has taken a job durably.
    JobAccepted(JobAccepted) = "vds.job.accepted.v1",
    /// The bench refuses a job that it was offered.
    JobRejected(JobRejected) = "vds.job.rejected.v1",
    /// The first step begins.
    JobStarted(JobStarted) = "vds.job.started.v1",
    /// A step has ended.
    StepFinished(StepFinished) = "vds.step.finished.v1",
    /// The attempt has ended: its final event.
    JobFinished(JobFinished) = "vds.job.finished.v1",
    /// Positions of a spool that can't be read any more.
    SpoolHole(SpoolHole) = "vds.spool.hole.v1",
}

impl EventBody {
    /// JSON has no NaN and no infinity: written as `null` they would make the event unreadable.
    fn all_finite(&self) -> Result<(), serde_json::Error> {
        let Self::StepFinished(step) = self else {
            return Ok(());
        };
        for measurement in &step.measurements {
            let Limits {
                ge,
                le,
                gt,
                lt,
                equals: _,
            } = measurement.limits;
            let value = match measurement.value {
                Value::Number(number) => Some(number),
                Value::Text(_) => None,
            };
            if [value, ge, le, gt, lt]
                .into_iter()
                .flatten()
                .any(|number| !number.is_finite())
            {
                let message = format!(
                    "measurement {:?} has a number that is not finite",
                    measurement.name
                );
                return Err(serde::ser::Error::custom(message));
            }
        }
        Ok(())
    }
}

/// What a bench can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Equipment {
    /// Ways to reach an ECU, such as `doip`.
    #[serde(default)]
    pub transports: Vec<String>,
    /// Names of the ECUs that it serves; empty: any.
    #[serde(default)]
    pub ecus: Vec<String>,
    /// Station of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<String>,
    /// VIN of a vehicle that stands there, where the bench knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vin: Option<String>,
}

/// `vds.agent.started.v1`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentStarted {
    /// The process.
    pub run_id: RunId,
    /// Version of the agent.
    pub agent_version: String,
    /// The bench's Ed25519 public key (RFC 8032), 32 bytes as base64url without padding.
    pub public_key: String,
    /// What the bench can do.
    #[serde(default)]
    pub equipment: Equipment,
    /// Why it is said: `start` and `sealed` (after a cloned or resumed disk) as a spool's first event,
    /// `equipment` later in a spool, when what the bench can do or the vehicle there has changed.
    pub reason: String,
}

/// Which attempt an event speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AttemptRef {
    /// The job.
    pub job_id: JobId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Fencing number of the entry that was accepted.
    pub fence: u64,
}

/// `vds.job.accepted.v1`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobAccepted {
    /// The attempt.
    #[serde(flatten)]
    pub of: AttemptRef,
    /// The offer that was accepted.
    pub offer_id: OfferId,
    /// Generation of the list that held the offer.
    pub store_generation: StoreGeneration,
    /// Version of the list that held the offer.
    pub desired_version: u64,
}

/// `vds.job.rejected.v1`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRejected {
    /// The attempt.
    #[serde(flatten)]
    pub of: AttemptRef,
    /// The offer that is refused.
    pub offer_id: OfferId,
    /// Stable reason, such as `procedure_hash`, `artifact_corrupt`, `spool_full`.
    pub code: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `vds.job.started.v1`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobStarted {
    /// The attempt.
    #[serde(flatten)]
    pub of: AttemptRef,
    /// Number of steps in the plan.
    pub steps_total: u32,
}

/// Limits of a measurement, as applied. Each end says whether it belongs to the range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Equal to this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
}

/// A measured value: number or text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Value {
    /// A number in the measurement's unit.
    Number(f64),
    /// A text.
    Text(String),
}

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// Its name.
    pub name: String,
    /// Bytes as the ECU sent them, lower-case hexadecimal.
    pub raw: String,
    /// The decoded value.
    pub value: Value,
    /// Unit after UCUM or as the field writes it; none for a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Limits as applied.
    #[serde(default)]
    pub limits: Limits,
    /// Within the limits or not.
    pub outcome: Outcome,
    /// Within the limits, but close to one of them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub marginal: bool,
}

/// `vds.step.finished.v1`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepFinished {
    /// The attempt.
    #[serde(flatten)]
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
    #[schemars(with = "crate::schema::DateTime")]
    pub started_at: Timestamp,
    /// End by the bench's clock.
    #[schemars(with = "crate::schema::DateTime")]
    pub finished_at: Timestamp,
    /// Duration by the monotonic clock, milliseconds.
    pub duration_ms: u64,
    /// How often it was tried again.
    #[serde(default)]
    pub retries: u32,
    /// Last negative response code (ISO 14229-1, annex A), if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nrc: Option<u8>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
}

/// `vds.job.finished.v1`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobFinished {
    /// The attempt.
    #[serde(flatten)]
    pub of: AttemptRef,
    /// The verdict.
    pub verdict: Verdict,
    /// Stable reason, such as `ok`, `limit_missed`, `link_lost`, `power_cut`.
    pub reason_code: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Software versions read back at the end, by ECU.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub software: BTreeMap<String, String>,
    /// The signed result record: JWS compact serialisation (RFC 7515), `EdDSA` with the bench's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// `vds.spool.hole.v1`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpoolHole {
    /// Last position that it stands for; the event's own sequence is the first.
    pub to: Seq,
    /// Why: `unreadable`, `expired`, `too_large`, `unattributed`.
    pub reason: String,
}
