//! One step: which action, and whether its keys belong together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Findings;
use crate::document::{PollDoc, ResetDoc, StepDoc};
use crate::plan::{
    Action, ByteCheck, Decode, Limits, OnFail, Parameter, Poll, ReadSpec, Restart, Retry, Step,
};
use crate::spans::join;
use crate::template::{Template, Variable};
use crate::value;

/// Keys that name an action, and the keys that belong to it.
const ACTIONS: &[(&str, &[&str])] = &[
    ("session", &["functional"]),
    ("dtc_setting", &["functional", "comm"]),
    ("comm", &["functional", "dtc_setting"]),
    ("security", &[]),
    ("write", &["value", "encode"]),
    ("routine", &["option", "expect", "poll", "writes"]),
    ("download", &[]),
    ("reset", &["reconnect_s"]),
    (
        "read",
        &["decode", "scale", "offset", "unit", "limits", "equals", "hold_s"],
    ),
    ("actuate", &["state"]),
    ("clear_dtcs", &[]),
    ("dtcs", &[]),
    ("wait_s", &[]),
];
/// Keys that belong to every action.
const COMMON: &[&str] = &[
    "id",
    "name",
    "on_fail",
    "retry",
    "timeout_s",
    "point_of_no_return",
    "on_link_loss",
];

/// Longest wait and hold in seconds.
const MAX_WAIT_S: f64 = 60.0;
/// Refusals of security access: repeating them locks the control unit.
const NEVER_RETRIED: [u8; 3] = [0x35, 0x36, 0x37];

/// What the steps may refer to.
pub(super) struct Context<'a> {
    pub(super) artifacts: &'a [String],
    pub(super) parameters: &'a BTreeMap<String, Parameter>,
    pub(super) ids: &'a [String],
}

impl Context<'_> {
    pub(super) fn step(&self, doc: StepDoc, path: &str, findings: &mut Findings) -> Option<Step> {
        if !keys_belong_together(path, findings) {
            return None;
        }
        let action = self.action(&doc, path, findings)?;
        let retry = doc.retry.map(|retry| {
            for code in retry.nrc.iter().filter(|code| NEVER_RETRIED.contains(code)) {
                findings.add(
                    &join(path, "retry.nrc"),
                    format!("{code:02X} is never tried again: it would lock the control unit"),
                    "take it out",
                );
            }
            Retry {
                max: retry.max.min(10),
                nrc: retry.nrc,
                wait: Duration::from_millis(retry.wait_ms.into()),
            }
        });
        let on_link_loss = doc.on_link_loss.and_then(|restart| {
            let from = self.ids.iter().position(|id| *id == restart.restart_from);
            if from.is_none() {
                findings.add(
                    &join(path, "on_link_loss.restart_from"),
                    format!("there is no step `{}`", restart.restart_from),
                    format!("name one of: {}", self.ids.join(", ")),
                );
            }
            Some(Restart {
                from: from?,
                max: restart.max_restarts.min(5),
            })
        });
        Some(Step {
            name: doc.name.unwrap_or_else(|| describe(&action)),
            id: doc.id,
            action,
            on_fail: doc.on_fail.unwrap_or(OnFail::Stop),
            retry,
            timeout: Duration::from_secs(doc.timeout_s.unwrap_or(0).into()),
            point_of_no_return: doc.point_of_no_return.unwrap_or(false),
            on_link_loss,
        })
    }

    fn action(&self, doc: &StepDoc, path: &str, findings: &mut Findings) -> Option<Action> {
        let functional = doc.functional.unwrap_or(false);
        if let Some(session) = doc.session {
            return Some(Action::Session { session, functional });
        }
        if doc.dtc_setting.is_some() || doc.comm.is_some() {
            return Some(Action::Quiet {
                dtc_off: doc.dtc_setting.is_some(),
                comm: doc.comm,
                functional,
            });
        }
        if let Some(security) = &doc.security {
            if security.level % 2 == 0 || security.level > 0x7D {
                findings.add(
                    &join(path, "security.level"),
                    format!("{:02X} is no level of a seed", security.level),
                    "use an odd level from 01 to 7D",
                );
            }
            return Some(Action::Security {
                level: security.level,
            });
        }
        if let Some(did) = doc.write {
            return self.write(did, doc, path, findings);
        }
        if let Some(id) = doc.routine {
            return self.routine(id, doc, path, findings);
        }
        if let Some(download) = &doc.download {
            self.check_artifact(&download.artifact, &join(path, "download.artifact"), findings);
            let artifact = download.artifact.clone();
            return Some(Action::Download {
                artifact,
                address: download.address,
                format: download.format,
                allow_older: download.allow_older,
            });
        }
        if let Some(reset) = doc.reset {
            let kind = match reset {
                ResetDoc::Hard => 0x01,
                ResetDoc::KeyOffOn => 0x02,
                ResetDoc::Soft => 0x03,
            };
            let reconnect = Duration::from_secs(doc.reconnect_s.unwrap_or(15).into());
            return Some(Action::Reset { kind, reconnect });
        }
        if let Some(did) = doc.read {
            return self.read(did, doc, path, findings);
        }
        if let Some(did) = doc.actuate {
            let Some(state) = &doc.state else {
                findings.add(
                    path,
                    "`actuate` without `state`",
                    "write the control state in hexadecimal",
                );
                return None;
            };
            let state = self.hex_template(state, &join(path, "state"), findings)?;
            return Some(Action::Actuate { did, state });
        }
        if let Some(group) = doc.clear_dtcs {
            if group > 0xFF_FFFF {
                findings.add(
                    &join(path, "clear_dtcs"),
                    "a group has 24 bits",
                    "use 0xFFFFFF for all faults",
                );
            }
            return Some(Action::ClearDtcs { group });
        }
        if let Some(dtcs) = &doc.dtcs {
            if dtcs.mask == 0 {
                findings.add(
                    &join(path, "dtcs.mask"),
                    "the mask selects no fault",
                    "use 0x09 for failed now or confirmed",
                );
            }
            let (allow, expect) = (dtcs.allow.clone(), dtcs.expect.clone());
            return Some(Action::Dtcs {
                mask: dtcs.mask,
                allow,
                expect,
            });
        }
        let duration = seconds(doc.wait_s?, &join(path, "wait_s"), findings);
        Some(Action::Wait { duration })
    }

    fn write(&self, did: u16, doc: &StepDoc, path: &str, findings: &mut Findings) -> Option<Action> {
        let Some(text) = &doc.value else {
            findings.add(
                path,
                "`write` without `value`",
                "write the value that the identifier gets",
            );
            return None;
        };
        let at = join(path, "value");
        let encode = doc.encode.unwrap_or_default();
        let template = self.template(text, &at, findings)?;
        if template
            .literal()
            .is_some_and(|text| value::encode(encode, &text).is_none())
        {
            findings.add(
                &at,
                format!("`{text}` cannot be written as {encode:?}"),
                "change `value` or `encode`",
            );
        }
        Some(Action::Write {
            did,
            value: template,
            encode,
        })
    }

    fn routine(&self, id: u16, doc: &StepDoc, path: &str, findings: &mut Findings) -> Option<Action> {
        let Some(writes) = doc.writes else {
            findings.add(
                path,
                "`routine` without `writes`",
                "say `writes: true` when it changes something that outlives a reset, else `writes: false`",
            );
            return None;
        };
        let option = match &doc.option {
            Some(text) => self.hex_template(text, &join(path, "option"), findings)?,
            None => Template::default(),
        };
        let expect = doc
            .expect
            .as_ref()
            .map(|map| byte_checks(map, &join(path, "expect"), findings));
        let poll = match &doc.poll {
            Some(poll) => Some(poll_of(poll, &join(path, "poll"), findings)?),
            None => None,
        };
        Some(Action::Routine {
            id,
            option,
            expect: expect.unwrap_or_default(),
            poll,
            writes,
        })
    }

    fn read(&self, did: u16, doc: &StepDoc, path: &str, findings: &mut Findings) -> Option<Action> {
        let decode = doc.decode.unwrap_or_default();
        let is_number = !matches!(decode, Decode::Ascii | Decode::Hex);
        let limits = doc.limits.clone().unwrap_or_default();
        if is_number && doc.unit.is_none() {
            findings.add(path, "a number without `unit`", "write the unit, `1` for a count");
        }
        if !is_number {
            for key in ["scale", "offset", "unit", "limits"] {
                let at = join(path, key);
                if has_key(findings, path, key) {
                    findings.add(
                        &at,
                        format!("`{key}` belongs to a number"),
                        "set `decode` to a number, such as u16",
                    );
                }
            }
        }
        if doc.limits.is_some() && (limits.is_open() || !limits.is_possible()) {
            findings.add(
                &join(path, "limits"),
                "no value, or every value, lies within these limits",
                "give `ge` or `gt` below `le` or `lt`",
            );
        }
        both_ends(&limits, &join(path, "limits"), findings);
        if doc.limits.is_none() && doc.equals.is_none() {
            findings.add(path, "nothing is judged", "give `limits` or `equals`");
        }
        let equals = match &doc.equals {
            Some(text) => Some(self.template(text, &join(path, "equals"), findings)?),
            None => None,
        };
        let from_bytes = |one: &Variable| matches!(one, Variable::ArtifactCrc32(_));
        if equals
            .as_ref()
            .is_some_and(|template| template.variables().any(from_bytes))
        {
            findings.add(
                &join(path, "equals"),
                "`crc32` cannot be verified after a restart, when the bytes of the artifact are gone",
                "compare `version` or `sha256`",
            );
        }
        let hold = doc.hold_s.map_or(Duration::ZERO, |hold| {
            seconds(hold, &join(path, "hold_s"), findings)
        });
        Some(Action::Read(ReadSpec {
            did,
            decode,
            scale: doc.scale.unwrap_or(1.0),
            offset: doc.offset.unwrap_or(0.0),
            unit: doc.unit.clone(),
            limits,
            equals,
            hold,
        }))
    }

    fn template(&self, text: &str, path: &str, findings: &mut Findings) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(message) => {
                findings.add(
                    path,
                    message,
                    "variables: ${job.vin}, ${job.id}, ${param.NAME}, ${INPUT.version}",
                );
                return None;
            }
        };
        for variable in template.variables() {
            match variable {
                Variable::JobVin | Variable::JobId => {}
                Variable::Parameter(name) if self.parameters.contains_key(name) => {}
                Variable::Parameter(name) => {
                    findings.add(
                        path,
                        format!("there is no parameter `{name}`"),
                        "declare it under `parameters`",
                    );
                }
                Variable::ArtifactVersion(name)
                | Variable::ArtifactCrc32(name)
                | Variable::ArtifactSha256(name) => self.check_artifact(name, path, findings),
            }
        }
        Some(template)
    }

    fn hex_template(&self, text: &str, path: &str, findings: &mut Findings) -> Option<Template> {
        let template = self.template(text, path, findings)?;
        if template
            .literal()
            .is_some_and(|text| value::unhex(&text).is_none())
        {
            findings.add(
                path,
                format!("`{text}` is not hexadecimal"),
                "write two digits for each byte, such as `0100`",
            );
        }
        Some(template)
    }

    fn check_artifact(&self, name: &str, path: &str, findings: &mut Findings) {
        if !self.artifacts.iter().any(|artifact| artifact == name) {
            findings.add(
                path,
                format!("there is no input `{name}`"),
                "declare it under `inputs`",
            );
        }
    }
}

fn has_key(findings: &Findings, path: &str, key: &str) -> bool {
    findings
        .spans()
        .keys
        .get(path)
        .is_some_and(|keys| keys.iter().any(|one| one == key))
}

fn keys_belong_together(path: &str, findings: &mut Findings) -> bool {
    let keys = findings.spans().keys.get(path).cloned().unwrap_or_default();
    let actions: Vec<&(&str, &[&str])> = ACTIONS
        .iter()
        .filter(|(name, _)| keys.iter().any(|key| key == name))
        .collect();
    let Some((action, own)) = actions.first() else {
        let names: Vec<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
        findings.add(
            path,
            "the step does nothing",
            format!("give it one of: {}", names.join(", ")),
        );
        return false;
    };
    let before = findings.list.len();
    for key in &keys {
        let known = key == action || own.contains(&key.as_str()) || COMMON.contains(&key.as_str());
        if known {
            continue;
        }
        let is_action = ACTIONS.iter().any(|(name, _)| name == key);
        if is_action {
            findings.add(
                &join(path, key),
                format!("`{action}` and `{key}` in one step"),
                "make two steps of it: a step does one thing",
            );
        } else {
            findings.add(
                &join(path, key),
                format!("`{key}` does not belong to `{action}`"),
                format!("with `{action}` go: {}", own.join(", ")),
            );
        }
    }
    findings.list.len() == before
}

fn byte_checks(map: &BTreeMap<String, u8>, path: &str, findings: &mut Findings) -> Vec<ByteCheck> {
    let mut checks = Vec::new();
    for (name, value) in map {
        match name.strip_prefix("byte").and_then(|digits| digits.parse().ok()) {
            Some(index) if index < 256 => checks.push(ByteCheck { index, value: *value }),
            _ => findings.add(
                &join(path, name),
                format!("`{name}` names no byte of the status record"),
                "write byte0, byte1 and so on",
            ),
        }
    }
    checks
}

fn poll_of(poll: &PollDoc, path: &str, findings: &mut Findings) -> Option<Poll> {
    let running = byte_checks(&poll.running, &join(path, "running"), findings);
    let [running] = running.as_slice() else {
        findings.add(
            &join(path, "running"),
            "one byte says that the routine runs",
            "write such as `{byte0: 1}`",
        );
        return None;
    };
    Some(Poll {
        every: Duration::from_millis(poll.every_ms.max(10).into()),
        timeout: Duration::from_secs(poll.timeout_s.into()),
        running: *running,
    })
}

fn both_ends(limits: &Limits, path: &str, findings: &mut Findings) {
    for (first, second, one, two) in [
        ("ge", "gt", limits.ge, limits.gt),
        ("le", "lt", limits.le, limits.lt),
    ] {
        if one.is_some() && two.is_some() {
            findings.add(
                path,
                format!("both `{first}` and `{second}`"),
                "keep the one that is meant",
            );
        }
    }
}

fn seconds(value: f64, path: &str, findings: &mut Findings) -> Duration {
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if value <= MAX_WAIT_S => duration,
        _ => {
            findings.add(
                path,
                format!("{value} s is no time to wait"),
                "use 0 to 60 seconds",
            );
            Duration::ZERO
        }
    }
}

fn describe(action: &Action) -> String {
    match action {
        Action::Session { session: 1, .. } => "Default session".to_owned(),
        Action::Session { session: 2, .. } => "Programming session".to_owned(),
        Action::Session { session: 3, .. } => "Extended session".to_owned(),
        Action::Session { session, .. } => format!("Session {session:02X}"),
        Action::Quiet { .. } => "Stop fault recording and communication".to_owned(),
        Action::Security { level } => format!("Security access, level {level:02X}"),
        Action::Write { did, .. } => format!("Write {did:04X} and read it back"),
        Action::Routine { id, .. } => format!("Routine {id:04X}"),
        Action::Download { artifact, .. } => format!("Transfer {artifact}"),
        Action::Reset { .. } => "Reset and connect again".to_owned(),
        Action::Read(spec) => format!("Read {:04X}", spec.did),
        Action::Actuate { did, .. } => format!("Set output {did:04X}"),
        Action::ClearDtcs { .. } => "Clear faults".to_owned(),
        Action::Dtcs { .. } => "Compare faults".to_owned(),
        Action::Wait { .. } => "Wait".to_owned(),
    }
}
