//! From YAML to a plan, or to diagnostics that say where and what to do.

mod keys;
mod rules;
mod steps;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_saphyr::Spanned;
use sha2::{Digest, Sha256};

use crate::diagnostic::Diagnostic;
use crate::document::{CleanupDoc, ProcedureDoc};
use crate::plan::{Budget, Cleanup, Plan, Target};
use crate::spans::{Node, Spans, place};

/// Longest procedure file in bytes.
const MAX_SOURCE: usize = 256 * 1024;

/// Gathers diagnostics.
pub(crate) struct Findings {
    spans: Spans,
    list: Vec<Diagnostic>,
}

impl Findings {
    pub(crate) fn add(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let (line, column) = self.spans.find(path);
        self.list.push(Diagnostic {
            line,
            column,
            path: path.to_owned(),
            message: message.into(),
            help: help.into(),
        });
    }

    pub(crate) const fn spans(&self) -> &Spans {
        &self.spans
    }
}

/// Compiles a procedure.
///
/// # Errors
/// Every fault that could be found, in the order of the document. Faults of one kind can hide others: a file that
/// is no YAML has one diagnostic, and a value of the wrong type hides what it would mean.
pub fn compile(yaml: &str) -> Result<Plan, Vec<Diagnostic>> {
    if yaml.len() > MAX_SOURCE {
        let message = format!("the procedure has {} bytes", yaml.len());
        return Err(vec![whole(message, format!("keep it below {MAX_SOURCE} bytes"))]);
    }
    let tree: Spanned<Node> = serde_saphyr::from_str_with_options(yaml, options())
        .map_err(|error| vec![of_yaml(&error, yaml, &Spans::default())])?;
    let mut findings = Findings {
        spans: Spans::of(&tree),
        list: Vec::new(),
    };
    keys::check(&tree.value, &mut findings);
    if !findings.list.is_empty() {
        return Err(findings.list);
    }
    let document: ProcedureDoc = serde_saphyr::from_str_with_options(yaml, options())
        .map_err(|error| vec![of_yaml(&error, yaml, &findings.spans)])?;
    let plan = build(document, yaml, &mut findings);
    rules::check(&plan, &mut findings);
    if findings.list.is_empty() {
        return Ok(plan);
    }
    findings
        .list
        .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    Err(findings.list)
}

fn whole(message: String, help: String) -> Diagnostic {
    Diagnostic {
        line: 1,
        column: 1,
        path: String::new(),
        message,
        help,
    }
}

/// YAML 1.2: `off` and `yes` are words, only `true` and `false` are booleans.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

fn of_yaml(error: &serde_saphyr::Error, yaml: &str, spans: &Spans) -> Diagnostic {
    let (line, column) = error.location().map_or((0, 0), place);
    let said = error.without_snippet().to_string();
    // The place stands beside the message already.
    let said = said.split(" at line ").next().unwrap_or_default();
    let message = match written_at(yaml, line, column) {
        Some(written) if !said.contains(written) => format!("`{written}`: {said}"),
        _ => said.to_owned(),
    };
    Diagnostic {
        line,
        column,
        path: spans.path_at((line, column)),
        message,
        help: "compare with docs/schemas/procedure.schema.json".to_owned(),
    }
}

/// The scalar that begins at a place.
fn written_at(yaml: &str, line: u64, column: u64) -> Option<&str> {
    let line = yaml.lines().nth(usize::try_from(line.checked_sub(1)?).ok()?)?;
    let (begin, _) = line
        .char_indices()
        .nth(usize::try_from(column.checked_sub(1)?).ok()?)?;
    let written = line.get(begin..)?.split([',', '}', ']', '#']).next()?.trim();
    (!written.is_empty() && written.len() <= 64).then_some(written)
}

fn build(document: ProcedureDoc, yaml: &str, findings: &mut Findings) -> Plan {
    check_names(&document, findings);
    let artifacts: Vec<String> = document.inputs.into_keys().collect();
    let ids: Vec<String> = document.steps.iter().map(|step| step.id.clone()).collect();
    let context = steps::Context {
        artifacts: &artifacts,
        parameters: &document.parameters,
        ids: &ids,
    };
    let mut phase = |name: &str, list: Vec<_>| -> Vec<_> {
        list.into_iter()
            .enumerate()
            .filter_map(|(index, step)| context.step(step, &format!("{name}[{index}]"), findings))
            .collect()
    };
    let preconditions = phase("preconditions", document.preconditions);
    let steps = phase("steps", document.steps);
    let verify = phase("verify", document.verify);
    let has = |wanted| document.cleanup.contains(&wanted);
    Plan {
        id: document.id,
        version: document.version,
        title: document.title,
        kind: document.kind,
        target: Target {
            ecu: document.target.ecu,
            la: document.target.la,
            functional: document.target.functional,
            part: document.target.part,
            hw: document.target.hw,
        },
        budget: Budget {
            total: Duration::from_secs(document.budget.total_s.into()),
            pending_total: Duration::from_secs(document.budget.pending_total_s.into()),
        },
        artifacts,
        parameters: document.parameters,
        preconditions,
        steps,
        verify,
        cleanup: Cleanup {
            restore_comm: has(CleanupDoc::RestoreComm),
            restore_dtc: has(CleanupDoc::RestoreDtc),
            session_default: has(CleanupDoc::SessionDefault),
        },
        source: yaml.to_owned(),
        sha256: hex::encode(Sha256::digest(yaml.as_bytes())),
    }
}

fn check_names(document: &ProcedureDoc, findings: &mut Findings) {
    let name = |text: &str, extra: &[char], max: usize| {
        (1..=max).contains(&text.len())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(&c))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    if !name(&document.id, &['.', '-'], 63) {
        findings.add(
            "id",
            format!("`{}` is no id", document.id),
            "use small letters, digits, dots and hyphens",
        );
    }
    let version_is_good = (1..=32).contains(&document.version.len())
        && document
            .version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !version_is_good {
        findings.add(
            "version",
            format!("`{}` is no version", document.version),
            "use letters, digits, dots, hyphens and underscores",
        );
    }
    if document.target.part.is_empty() {
        findings.add(
            "target.part",
            "no part number is allowed",
            "name the part numbers that the procedure is for",
        );
    }
    let mut seen = BTreeSet::new();
    let phases = [
        ("preconditions", &document.preconditions),
        ("steps", &document.steps),
        ("verify", &document.verify),
    ];
    for (phase, list) in phases {
        for (index, step) in list.iter().enumerate() {
            let path = format!("{phase}[{index}].id");
            if !name(&step.id, &['_', '-'], 32) {
                findings.add(
                    &path,
                    format!("`{}` is no id", step.id),
                    "use small letters, digits, _ and -",
                );
            }
            if !seen.insert(step.id.clone()) {
                findings.add(
                    &path,
                    format!("the id `{}` is there twice", step.id),
                    "give each step its own id",
                );
            }
        }
    }
    if document.steps.is_empty() {
        findings.add("steps", "there are no steps", "write at least one");
    }
}
