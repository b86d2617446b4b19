//! What makes a plan safe. Each rule is a way in which a control unit was or could be left broken.

use super::Findings;
use crate::plan::{Action, OnFail, Plan, Step};

pub(super) fn check(plan: &Plan, findings: &mut Findings) {
    // A step that was not understood makes every rule about the others guess.
    if !findings.list.is_empty() {
        return;
    }
    readings_only("preconditions", &plan.preconditions, findings);
    readings_only("verify", &plan.verify, findings);
    verification(plan, findings);
    point_of_no_return(plan, findings);
    clean_up(plan, findings);
    restarts(plan, findings);
    conditions(plan, findings);
    inputs(plan, findings);
}

fn readings_only(phase: &str, steps: &[Step], findings: &mut Findings) {
    for (index, step) in steps.iter().enumerate() {
        if !matches!(
            step.action,
            Action::Read(_) | Action::Dtcs { .. } | Action::Wait { .. }
        ) {
            findings.add(
                &format!("{phase}[{index}]"),
                format!("`{}` is no reading", step.id),
                format!("{phase} may `read`, compare `dtcs` and `wait_s`; move the rest to `steps`"),
            );
        }
    }
}

fn verification(plan: &Plan, findings: &mut Findings) {
    let reads = plan
        .verify
        .iter()
        .any(|step| matches!(step.action, Action::Read(_) | Action::Dtcs { .. }));
    if plan.writes() && !reads {
        findings.add(
            "verify",
            "the procedure writes, and nothing is read back after it",
            "add `verify` with a `read` or `dtcs` that proves the outcome",
        );
    }
    if has_download(plan)
        && !plan
            .verify
            .iter()
            .any(|step| matches!(step.action, Action::Read(_)))
    {
        findings.add(
            "verify",
            "a download is not verified by a `read`",
            "read the software version and compare it",
        );
    }
}

fn has_download(plan: &Plan) -> bool {
    plan.steps
        .iter()
        .any(|step| matches!(step.action, Action::Download { .. }))
}

fn point_of_no_return(plan: &Plan, findings: &mut Findings) {
    let marked: Vec<usize> = positions(plan, |step| step.point_of_no_return);
    let Some(download) = positions(plan, |step| matches!(step.action, Action::Download { .. }))
        .first()
        .copied()
    else {
        for index in marked {
            if !plan.steps.get(index).is_some_and(|step| step.action.writes()) {
                findings.add(
                    &format!("steps[{index}].point_of_no_return"),
                    "the step writes nothing",
                    "mark the first step after which the control unit cannot be left as it is",
                );
            }
        }
        return;
    };
    if !marked.iter().any(|index| *index <= download) {
        findings.add(
            &format!("steps[{download}]"),
            "no step up to the download is marked as the point of no return",
            "add `point_of_no_return: true` to the step that erases",
        );
    }
}

fn clean_up(plan: &Plan, findings: &mut Findings) {
    for (index, step) in plan.steps.iter().enumerate() {
        let path = format!("steps[{index}]");
        match step.action {
            Action::Quiet { dtc_off: true, .. } if !plan.cleanup.restore_dtc => {
                findings.add(
                    &path,
                    "fault recording is never switched on again",
                    "add `restore_dtc` to `cleanup`",
                );
            }
            Action::Quiet { comm: Some(_), .. } if !plan.cleanup.restore_comm => {
                findings.add(
                    &path,
                    "communication is never enabled again",
                    "add `restore_comm` to `cleanup`",
                );
            }
            Action::Session { session, .. } if session != 1 && !plan.cleanup.session_default => {
                findings.add(
                    &path,
                    "the session is never left",
                    "add `session_default` to `cleanup`",
                );
            }
            _ => {}
        }
    }
}

fn restarts(plan: &Plan, findings: &mut Findings) {
    for (index, step) in plan.steps.iter().enumerate() {
        let Some(restart) = step.on_link_loss else {
            continue;
        };
        let path = format!("steps[{index}].on_link_loss.restart_from");
        if restart.from > index {
            findings.add(&path, "the restart lies after the step", "name a step before it");
            continue;
        }
        // A new connection starts in the default session and locked, so both have to be run through again.
        let needed = positions(plan, |one| {
            matches!(
                one.action,
                Action::Session { .. } | Action::Security { .. } | Action::Quiet { .. }
            )
        });
        let set_up = needed.into_iter().filter(|position| *position < index);
        let missing = set_up.filter(|position| *position < restart.from).min();
        if let Some(first) = missing.and_then(|position| plan.steps.get(position)) {
            findings.add(
                &path,
                format!(
                    "`{}` would be skipped, but a new connection has neither session nor security",
                    first.id
                ),
                format!("restart from `{}`", first.id),
            );
        }
        if matches!(step.action, Action::Download { .. }) {
            let erases = positions(plan, |one| one.point_of_no_return)
                .into_iter()
                .any(|at| at >= restart.from);
            if !erases {
                findings.add(
                    &path,
                    "the memory would not be erased again",
                    "restart before the step that erases",
                );
            }
        }
    }
}

fn conditions(plan: &Plan, findings: &mut Findings) {
    for (index, step) in plan.steps.iter().enumerate() {
        if step.on_fail == OnFail::Abort {
            findings.add(
                &format!("steps[{index}].on_fail"),
                "a step cannot abort: `aborted` says that nothing was written",
                "use `stop` or `continue`, or make it a precondition",
            );
        }
        if step.on_fail == OnFail::Continue && step.action.writes() {
            findings.add(
                &format!("steps[{index}].on_fail"),
                "a write that failed cannot be passed over",
                "use `stop`",
            );
        }
    }
    for (index, step) in plan.preconditions.iter().enumerate() {
        if step.on_fail == OnFail::Continue {
            findings.add(
                &format!("preconditions[{index}].on_fail"),
                "a precondition that is passed over is none",
                "use `abort`",
            );
        }
    }
}

fn inputs(plan: &Plan, findings: &mut Findings) {
    for name in &plan.artifacts {
        let used = plan
            .steps
            .iter()
            .any(|step| matches!(&step.action, Action::Download { artifact, .. } if artifact == name));
        if !used {
            findings.add(
                &format!("inputs.{name}"),
                "no step downloads this input",
                "take it out, or add the `download`",
            );
        }
    }
}

fn positions(plan: &Plan, wanted: impl Fn(&Step) -> bool) -> Vec<usize> {
    plan.steps
        .iter()
        .enumerate()
        .filter(|(_, step)| wanted(step))
        .map(|(index, _)| index)
        .collect()
}
