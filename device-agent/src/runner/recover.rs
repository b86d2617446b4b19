//! What became of an attempt that an earlier process began. Nothing is written to the control unit.

use std::collections::BTreeMap;
use std::sync::Arc;

use procedure::{Artifact, Inputs, Mode, Plan, Verdict};

use super::VehicleConfig;
use super::perform::read_only;
use super::report::FinalReport;
use crate::journal::{Header, Pending};

/// What a journal says about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// Nothing was written, nor about to be.
    NothingWritten,
    /// Every write is confirmed: the verification can still be done.
    AllConfirmed,
    /// A write is not confirmed, or others were to follow it.
    Interrupted,
}

/// Decides an attempt from its journal and, where that is not enough, from what the control unit says:
///
/// | journal | verdict |
/// |---|---|
/// | final report | that report |
/// | no intent | `aborted`, the control unit is left alone |
/// | every write of the plan confirmed | the plan's verification decides: `passed` or `failed` |
/// | anything else | `in_doubt`; the control unit is read for the record |
///
/// Cancel-safe: it can be done again.
pub async fn recover(pending: Pending, vehicle: VehicleConfig) -> FinalReport {
    if let Some(report) = pending.finished {
        return *report;
    }
    let inputs = inputs_of(&pending.header);
    let artifacts = pending.header.artifacts.clone();
    let Ok(plan) = procedure::compile(&pending.header.procedure).map(Arc::new) else {
        // It was compiled by another version of the agent; without it nothing can be read.
        let detail = "the procedure of an interrupted attempt does not compile any more";
        let plan = unreadable_plan(&pending.header);
        let untouched = pending.intents.is_empty() && !pending.damaged;
        let verdict = if untouched {
            Verdict::Aborted
        } else {
            Verdict::InDoubt
        };
        return FinalReport::untouched(&plan, &inputs, artifacts, verdict, "agent_restarted", detail);
    };
    let mode = match finding(&pending, &plan) {
        Finding::NothingWritten => {
            let detail = "the agent ended before anything was written";
            return FinalReport::untouched(
                &plan,
                &inputs,
                artifacts,
                Verdict::Aborted,
                "agent_restarted",
                detail,
            );
        }
        Finding::AllConfirmed => Mode::VerifyOnly,
        Finding::Interrupted => Mode::Inspect,
    };
    let (outcome, steps) = read_only(&plan, &inputs, vehicle, mode).await;
    FinalReport::of(outcome, &plan, &inputs, artifacts, steps)
}

fn finding(pending: &Pending, plan: &Plan) -> Finding {
    if pending.damaged {
        return Finding::Interrupted;
    }
    let Some((last, confirmed)) = pending.intents.last() else {
        return Finding::NothingWritten;
    };
    let last_write = plan
        .steps
        .iter()
        .rposition(|step| step.action.writes() || step.point_of_no_return);
    let reached = usize::try_from(last.step_index).ok();
    if *confirmed && last_write.is_some() && reached == last_write {
        Finding::AllConfirmed
    } else {
        Finding::Interrupted
    }
}

fn inputs_of(header: &Header) -> Inputs {
    Inputs {
        vin: header.vin.clone(),
        job_id: header.job_id.to_string(),
        artifacts: header
            .artifacts
            .iter()
            .map(|note| {
                let artifact = Artifact {
                    name: note.name.clone(),
                    version: note.version.clone(),
                    sha256: note.sha256.clone(),
                    // Nothing is transferred; the compiler refuses a verification that needs the bytes.
                    bytes: Arc::from([]),
                };
                (note.input.clone(), artifact)
            })
            .collect(),
        parameters: header.parameters.clone(),
    }
}

/// Stands in a report for a procedure that is not known any more.
fn unreadable_plan(header: &Header) -> Plan {
    use std::time::Duration;
    Plan {
        id: "unreadable".to_owned(),
        version: "0".to_owned(),
        title: String::new(),
        kind: procedure::Kind::Procedure,
        target: procedure::Target {
            ecu: String::new(),
            la: 0,
            functional: 0,
            part: Vec::new(),
            hw: Vec::new(),
        },
        budget: procedure::Budget {
            total: Duration::ZERO,
            pending_total: Duration::ZERO,
        },
        artifacts: Vec::new(),
        parameters: BTreeMap::new(),
        preconditions: Vec::new(),
        steps: Vec::new(),
        verify: Vec::new(),
        cleanup: procedure::Cleanup::default(),
        source: header.procedure.clone(),
        sha256: hex::encode(<sha2::Sha256 as sha2::Digest>::digest(
            header.procedure.as_bytes(),
        )),
    }
}
