//! What a run found.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::catalog::{self, Check, Setting};

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The broker does what we rely on.
    Ok,
    /// It does otherwise, and the product bears it; the check says how.
    Borne,
    /// It does not do what we rely on.
    NotMet,
    /// It was not tried; the check says why.
    NotChecked,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Borne => "borne",
            Self::NotMet => "not met",
            Self::NotChecked => "not checked",
        })
    }
}

fn milliseconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

/// One check and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// Its name, as `--only` takes it.
    pub id: &'static str,
    /// What became of it.
    pub verdict: Verdict,
    /// What was measured, or why it was not.
    pub measured: String,
    /// What we rely on.
    pub relies_on: &'static str,
    /// Why.
    pub why: &'static str,
    /// Whether a run fails without it.
    pub required: bool,
    /// The settings of known brokers that help.
    pub settings: &'static [Setting],
    /// How long its group of checks took.
    #[serde(rename = "took_ms", serialize_with = "milliseconds")]
    pub took: Duration,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The broker's address, without user.
    pub broker: String,
    /// Version of this tool.
    pub version: &'static str,
    /// Every check asked for, in the order of the catalog.
    pub checks: Vec<CheckReport>,
    /// What could not be taken away at the end.
    pub left_behind: Vec<String>,
}

impl Report {
    /// True when nothing that is required was found missing.
    pub fn is_met(&self) -> bool {
        !self.checks.iter().any(|check| check.verdict == Verdict::NotMet)
    }

    /// How many checks have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    }

    /// The verdict of a check that was asked for.
    pub fn verdict(&self, id: &str) -> Option<Verdict> {
        self.checks
            .iter()
            .find(|check| check.id == id)
            .map(|check| check.verdict)
    }
}

/// Collects what a group of checks finds.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<(&'static str, Verdict, String)>);

impl Findings {
    /// Notes a verdict. The first one of a check stays.
    pub(crate) fn note(&mut self, id: &'static str, verdict: Verdict, measured: impl Into<String>) {
        debug_assert!(catalog::find(id).is_some(), "{id} is not in the catalog");
        if !self.has(id) {
            self.0.push((id, verdict, measured.into()));
        }
    }

    /// Ok, or else what the catalog says of a check that is not met: not met, or borne.
    pub(crate) fn judge(&mut self, id: &'static str, is_met: bool, measured: impl Into<String>) {
        let otherwise = match catalog::find(id) {
            Some(check) if !check.required => Verdict::Borne,
            _ => Verdict::NotMet,
        };
        self.note(id, if is_met { Verdict::Ok } else { otherwise }, measured);
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|(known, ..)| *known == id)
    }

    pub(crate) fn into_reports(self, took: Duration) -> Vec<CheckReport> {
        let report = |(id, verdict, measured)| {
            let check: &Check = catalog::find(id)?;
            Some(CheckReport {
                id,
                verdict,
                measured,
                relies_on: check.relies_on,
                why: check.why,
                required: check.required,
                settings: check.settings,
                took,
            })
        };
        self.0.into_iter().filter_map(report).collect()
    }
}
