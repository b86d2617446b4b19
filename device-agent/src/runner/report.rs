//! What a run tells while it runs and at its end.

use std::collections::BTreeMap;

use fleet_wire::event::{Limits, Measurement, Outcome, Value, Verdict};
use jiff::{SignedDuration, Timestamp};
use procedure::{DtcEntry, EcuIdentity, EndState, FinalOutcome, Inputs, Plan, StepResult};
use serde::{Deserialize, Serialize};

use crate::journal::ArtifactNote;

/// What a run tells while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The first step begins.
    Started {
        /// Number of steps that will be reported at most.
        steps_total: u32,
    },
    /// A step ended.
    Step(FinishedStep),
    /// A step goes on. Left out when the reader is slow.
    Progress {
        /// The step's id.
        step: String,
        /// Its place, from 0.
        step_index: u32,
        /// Number of steps.
        steps_total: u32,
        /// Bytes transferred; 0 where nothing is.
        bytes_done: u64,
        /// Bytes to transfer; 0 where nothing is.
        bytes_total: u64,
    },
    /// From here on a cancellation is refused.
    PastPointOfNoReturn,
}

/// A step that ended: `vds.step.finished.v1` without its attempt. A step that was run again after a lost
/// connection is reported again under the same index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishedStep {
    /// Place of the step, from 0.
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
    /// Answers 78 seen.
    pub pending: u32,
    /// Last negative response code.
    pub nrc: Option<u8>,
    /// For people.
    pub detail: Option<String>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
}

impl FinishedStep {
    /// `ended_ago` is how long ago it ended, by the monotonic clock.
    pub(super) fn of(step: StepResult, wall: Timestamp, ended_ago: std::time::Duration) -> Self {
        let back = |duration| wall.saturating_sub(SignedDuration::try_from(duration).unwrap_or_default());
        let lasted = step.finished.saturating_sub(step.started);
        Self {
            index: step.index,
            step: step.step,
            name: step.name,
            outcome: outcome(step.outcome),
            started_at: back(ended_ago.saturating_add(lasted)).unwrap_or(wall),
            finished_at: back(ended_ago).unwrap_or(wall),
            duration_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
            retries: step.retries,
            pending: step.pending,
            nrc: step.nrc,
            detail: step.detail,
            measurements: step.measurements.into_iter().map(measurement).collect(),
        }
    }
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinalReport {
    /// The verdict.
    pub verdict: Verdict,
    /// Stable reason, such as `ok`, `limit_missed`, `link_lost`.
    pub reason_code: String,
    /// For people.
    pub detail: Option<String>,
    /// Software versions read at the end, by control unit.
    pub software: BTreeMap<String, String>,
    /// What the signed record holds besides the bench's own identity.
    pub record: RecordMaterial,
}

/// The part of the result record that the run knows. Seeds, keys and PINs are never in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordMaterial {
    /// Version of this shape.
    pub schema: u32,
    /// The procedure.
    pub procedure: ProcedureNote,
    /// VIN of the job.
    pub vin_expected: String,
    /// VIN read from the control unit.
    pub vin_read: Option<String>,
    /// Name of the control unit.
    pub ecu: String,
    /// Its logical address.
    pub logical_address: u16,
    /// Artifacts.
    pub artifacts: Vec<ArtifactNote>,
    /// Values of the parameters.
    pub parameters: BTreeMap<String, String>,
    /// The control unit before the work.
    pub before: Option<EcuState>,
    /// The control unit after the work.
    pub after: Option<EcuState>,
    /// What runs in the control unit at the end.
    pub end_state: EndState,
    /// What could not be given back.
    pub not_restored: Vec<String>,
    /// How often the work began again after a lost connection.
    pub restarts: u32,
    /// The steps.
    pub steps: Vec<FinishedStep>,
}

/// A procedure by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcedureNote {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
}

/// A control unit at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcuState {
    /// Who it is.
    pub identity: EcuIdentity,
    /// Its faults; absent when it did not tell them.
    pub dtcs: Option<Vec<DtcEntry>>,
}

impl FinalReport {
    /// A report without any contact with the control unit.
    pub(super) fn untouched(
        plan: &Plan,
        inputs: &Inputs,
        artifacts: Vec<ArtifactNote>,
        verdict: procedure::Verdict,
        reason: &str,
        detail: &str,
    ) -> Self {
        let outcome = FinalOutcome {
            verdict,
            reason_code: reason.to_owned(),
            detail: Some(detail.to_owned()),
            before: None,
            after: None,
            dtcs_before: None,
            dtcs_after: None,
            end_state: EndState::Unknown,
            not_restored: Vec::new(),
            restarts: 0,
        };
        Self::of(outcome, plan, inputs, artifacts, Vec::new())
    }

    pub(super) fn of(
        outcome: FinalOutcome,
        plan: &Plan,
        inputs: &Inputs,
        artifacts: Vec<ArtifactNote>,
        steps: Vec<FinishedStep>,
    ) -> Self {
        let last = outcome.after.as_ref().or(outcome.before.as_ref());
        let vin_read = last.and_then(|identity| identity.vin.clone());
        // Another vehicle's software is not what this job left behind.
        let own = outcome
            .after
            .as_ref()
            .filter(|identity| identity.vin.as_deref() == Some(inputs.vin.as_str()));
        let software = own.and_then(|identity| identity.software.clone());
        Self {
            verdict: verdict(outcome.verdict),
            reason_code: outcome.reason_code,
            detail: outcome.detail,
            software: software
                .into_iter()
                .map(|version| (plan.target.ecu.clone(), version))
                .collect(),
            record: RecordMaterial {
                schema: 1,
                procedure: ProcedureNote {
                    id: plan.id.clone(),
                    version: plan.version.clone(),
                    sha256: plan.sha256.clone(),
                },
                vin_expected: inputs.vin.clone(),
                vin_read,
                ecu: plan.target.ecu.clone(),
                logical_address: plan.target.la,
                artifacts,
                parameters: inputs.parameters.clone(),
                before: outcome.before.map(|identity| EcuState {
                    identity,
                    dtcs: outcome.dtcs_before,
                }),
                after: outcome.after.map(|identity| EcuState {
                    identity,
                    dtcs: outcome.dtcs_after,
                }),
                end_state: outcome.end_state,
                not_restored: outcome.not_restored,
                restarts: outcome.restarts,
                steps,
            },
        }
    }
}

const fn verdict(verdict: procedure::Verdict) -> Verdict {
    match verdict {
        procedure::Verdict::Passed => Verdict::Passed,
        procedure::Verdict::Failed => Verdict::Failed,
        procedure::Verdict::Error => Verdict::Error,
        procedure::Verdict::Aborted => Verdict::Aborted,
        procedure::Verdict::InDoubt => Verdict::InDoubt,
    }
}

const fn outcome(outcome: procedure::Outcome) -> Outcome {
    match outcome {
        procedure::Outcome::Passed => Outcome::Passed,
        procedure::Outcome::Failed => Outcome::Failed,
        procedure::Outcome::Error => Outcome::Error,
        procedure::Outcome::Skipped => Outcome::Skipped,
    }
}

fn measurement(measured: procedure::Measurement) -> Measurement {
    Measurement {
        name: measured.name,
        raw: measured.raw,
        value: match measured.value {
            procedure::Value::Number(number) => Value::Number(number),
            procedure::Value::Text(text) => Value::Text(text),
        },
        unit: measured.unit,
        limits: Limits {
            ge: measured.limits.ge,
            le: measured.limits.le,
            gt: measured.limits.gt,
            lt: measured.limits.lt,
            equals: measured.equals,
        },
        outcome: outcome(measured.outcome),
        marginal: measured.marginal,
    }
}
