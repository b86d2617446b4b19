//! What a run has shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use history_checker::Judgement;
use serde_json::{Value, json};

use super::faults::Done;
use super::plan::{Act, Mode, Step, Target};
use super::stand::Size;

/// The report of a run.
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) seconds: u64,
    pub(super) size: Size,
    pub(super) planned: Vec<Step>,
    pub(super) done: Done,
    pub(super) judgement: Judgement,
    /// Of the load.
    pub(super) lasted: Duration,
    /// What was still outstanding when it was judged.
    pub(super) open: Option<String>,
    /// Jobs of the real agents that came to their end.
    pub(super) jobs: u64,
    /// The plant's ledger in the end.
    pub(super) ledger: Value,
    /// So many events were wanted.
    pub(super) wanted: u64,
    pub(super) kept: Option<PathBuf>,
}

impl Report {
    /// Nothing lost, double, out of order or invented; nothing outstanding; and it was the whole plan.
    pub(super) fn passed(&self) -> bool {
        self.judgement.is_clean() && self.open.is_none() && self.is_whole() && self.is_enough()
    }

    fn is_enough(&self) -> bool {
        self.judgement.events >= self.wanted
    }

    fn is_whole(&self) -> bool {
        let mut kills: BTreeMap<&str, u64> = BTreeMap::new();
        for step in &self.planned {
            if let Act::Kill(Target(kind, _)) = step.act {
                *kills.entry(kind.name()).or_default() += 1;
            }
        }
        self.done.steps == self.planned.len() && kills == self.done.kills
    }

    fn mode(&self) -> &'static str {
        match self.size.mode {
            Mode::Plant => "plant",
            Mode::Embedded => "embedded",
        }
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        let mut report = self.judgement.report();
        let more = json!({
            "passed": self.passed(),
            "mode": self.mode(),
            "seed": self.seed,
            "kills": self.done.kills.values().sum::<u64>(),
            "kills_by_component": self.done.kills,
            "faults": self.done.acts,
            "whole_plan": self.is_whole(),
            "outstanding": self.open,
            "seconds": self.seconds,
            "duration_s": (self.lasted.as_secs_f64() * 10.0).round() / 10.0,
            "benches": self.size.benches * self.size.crowd.benches,
            "rate": self.size.rate,
            "agents": self.size.crowd.agents,
            "jobs": self.jobs,
            "ledger": self.ledger,
        });
        if let (Some(report), Value::Object(more)) = (report.as_object_mut(), more) {
            report.extend(more);
        }
        report
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum: u64 = self.done.kills.values().sum();
        writeln!(
            f,
            "\nchaos, {} mode, seed {}, {sum} kills, {:.0} s of load",
            self.mode(),
            self.seed,
            self.lasted.as_secs_f64()
        )?;
        let list = |map: &BTreeMap<&'static str, u64>| {
            let words: Vec<_> = map
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            words.join(", ")
        };
        writeln!(f, "  killed: {}", list(&self.done.kills))?;
        writeln!(f, "  faults: {}", list(&self.done.acts))?;
        writeln!(
            f,
            "  jobs of the {} real agents: {}",
            self.size.crowd.agents, self.jobs
        )?;
        let figure = |name: &str| self.ledger[name].as_u64().unwrap_or_default();
        writeln!(
            f,
            "  left out by the server: {} duplicates, {} gaps; found in Kafka after the restore: {}",
            figure("duplicates"),
            figure("gaps"),
            figure("already_in_kafka")
        )?;
        write!(f, "{}", self.judgement)?;
        if let Some(open) = &self.open {
            writeln!(f, "  still outstanding: {open}")?;
        }
        if !self.is_whole() {
            writeln!(
                f,
                "  the plan was not carried out as a whole: {} of {} steps",
                self.done.steps,
                self.planned.len()
            )?;
        }
        if !self.is_enough() {
            writeln!(f, "  {} events were wanted", self.wanted)?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "  kept in {}", kept.display())?;
        }
        write!(f, "{}", if self.passed() { "passed" } else { "FAILED" })
    }
}
