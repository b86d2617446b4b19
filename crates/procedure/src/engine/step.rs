//! One step: its repetitions, its intent in the journal, its report.

use core::time::Duration;

use super::connect::protocol_of_the_caller;
use super::script::Script;
use super::stop::Trouble;
use super::{Command, Effect, Event};
use crate::plan::{Action, OnFail, Step};
use crate::report::{Intent, Measurement, Outcome, StepResult};

/// What a step gathers.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) retries: u32,
    pub(super) measurements: Vec<Measurement>,
    pub(super) detail: Option<String>,
    pub(super) nrc: Option<u8>,
}

impl Script {
    /// One step with its repetitions and its report.
    pub(super) async fn step(&mut self, step: &Step, work: Option<usize>) -> Result<(), Trouble> {
        let started = self.desk.now();
        self.pending = 0;
        self.pending_total = if step.timeout.is_zero() {
            self.plan.budget.pending_total
        } else {
            step.timeout
        };
        let mut log = Log::default();
        self.progress(&step.id, 0, 0);
        let result = match self.may_go_on() {
            Ok(()) => self.tried(step, work, &mut log).await,
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = &result {
            log.detail = Some(trouble.detail());
            log.nrc = trouble.nrc().or(log.nrc);
        }
        self.report(&step.id, &step.name, started, result.as_ref().err(), log);
        match result {
            Err(trouble) if trouble.is_product() && step.on_fail == OnFail::Continue => {
                self.missed
                    .get_or_insert_with(|| format!("{}: {}", step.id, trouble.detail()));
                Ok(())
            }
            other => other.map_err(|trouble| named(trouble, &step.id)),
        }
    }

    async fn tried(&mut self, step: &Step, work: Option<usize>, log: &mut Log) -> Result<(), Trouble> {
        loop {
            let trouble = match self.act(step, work, log).await {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            let Some(retry) = &step.retry else {
                return Err(trouble);
            };
            let wanted = trouble.nrc().is_some_and(|nrc| retry.nrc.contains(&nrc));
            if !wanted || log.retries >= retry.max {
                return Err(trouble);
            }
            log.retries += 1;
            log.nrc = trouble.nrc();
            self.sleep(retry.wait).await;
        }
    }

    /// Cancellation and budget are heard before the point of no return only: after it the control unit is
    /// brought to a state that can be used.
    fn may_go_on(&self) -> Result<(), Trouble> {
        if self.past {
            return Ok(());
        }
        if self.desk.is_canceled() {
            return Err(Trouble::Canceled);
        }
        let total = self.plan.budget.total;
        if self.desk.now().saturating_sub(self.begun) > total {
            return Err(Trouble::Bench {
                reason: "budget_exceeded",
                detail: format!("the attempt took longer than {total:?}"),
            });
        }
        Ok(())
    }

    /// Makes the intent durable before a step that writes; nothing may be sent without it.
    pub(super) async fn intend(&mut self, step: &Step, work: Option<usize>) -> Result<Intent, Trouble> {
        let intent = Intent {
            step_index: u32::try_from(work.unwrap_or_default()).unwrap_or(u32::MAX),
            step: step.id.clone(),
            point_of_no_return: step.point_of_no_return,
        };
        self.journal(Command::JournalIntent(intent.clone())).await?;
        self.wrote = true;
        self.unverified = true;
        if step.point_of_no_return && !self.past {
            self.past = true;
            self.desk.tell(Effect::PastPointOfNoReturn);
        }
        Ok(intent)
    }

    pub(super) async fn confirm(&mut self, intent: Intent) -> Result<(), Trouble> {
        self.journal(Command::JournalConfirmed(intent)).await
    }

    async fn journal(&mut self, command: Command) -> Result<(), Trouble> {
        match self.desk.ask(command).await {
            Event::Journaled(Ok(())) => Ok(()),
            Event::Journaled(Err(detail)) => Err(Trouble::Bench {
                reason: "journal_failed",
                detail,
            }),
            _ => Err(protocol_of_the_caller()),
        }
    }

    pub(super) fn report(
        &mut self,
        id: &str,
        name: &str,
        started: Duration,
        trouble: Option<&Trouble>,
        log: Log,
    ) {
        let outcome = match trouble {
            None => Outcome::Passed,
            Some(trouble) if trouble.is_product() => Outcome::Failed,
            Some(Trouble::Wrong { .. }) => Outcome::Failed,
            Some(Trouble::Canceled) => Outcome::Skipped,
            Some(_) => Outcome::Error,
        };
        self.desk.tell(Effect::Step(Box::new(StepResult {
            index: self.place,
            step: id.to_owned(),
            name: name.to_owned(),
            outcome,
            started,
            finished: self.desk.now(),
            retries: log.retries,
            pending: core::mem::take(&mut self.pending),
            nrc: log.nrc,
            detail: log.detail,
            measurements: log.measurements,
        })));
    }
}

/// Puts the step's id before what people read.
fn named(trouble: Trouble, step: &str) -> Trouble {
    let before = |detail: String| format!("{step}: {detail}");
    match trouble {
        Trouble::Missed(detail) => Trouble::Missed(before(detail)),
        Trouble::Refused { nrc, detail } => Trouble::Refused {
            nrc,
            detail: before(detail),
        },
        Trouble::Silent(detail) => Trouble::Silent(before(detail)),
        Trouble::LinkLost(detail) => Trouble::LinkLost(before(detail)),
        Trouble::Bench { reason, detail } => Trouble::Bench {
            reason,
            detail: before(detail),
        },
        Trouble::Wrong { .. } | Trouble::Canceled => trouble,
    }
}

/// Whether a step's action has to be journaled before it.
pub(super) fn needs_intent(step: &Step) -> bool {
    step.point_of_no_return || step.action.writes() || matches!(step.action, Action::Download { .. })
}
