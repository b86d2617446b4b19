//! Every (state, event) pair.

use super::{Job, JobEvent, JobState, WithdrawTarget, Withdrawal};
use crate::Verdict;

/// An event that is not allowed in a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {state} can't take the event {event:?}")]
pub struct TransitionError {
    /// The state.
    pub state: JobState,
    /// Name of the event.
    pub event: &'static str,
}

/// What a person may do to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobAction {
    /// Call it back.
    Cancel,
    /// Declare its bench lost.
    TakeOver,
    /// Ask for the same work again, as a new job.
    Retry,
}

super::words!(JobAction {
    Cancel = "cancel",
    TakeOver = "take_over",
    Retry = "retry",
});

/// Whether an action is possible now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedAction {
    /// The action.
    pub action: JobAction,
    /// Possible.
    pub allowed: bool,
    /// Why not, or what it will mean, for people.
    pub reason: Option<&'static str>,
}

impl JobEvent {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Park { .. } => "park",
            Self::Offer { .. } => "offer",
            Self::Cancel { .. } => "cancel",
            Self::TimeOut { .. } => "time_out",
            Self::Supersede { .. } => "supersede",
            Self::Requeue { .. } => "requeue",
            Self::WithdrawalConfirmed => "withdrawal_confirmed",
            Self::Accepted => "accepted",
            Self::RefusedByBench { .. } => "refused_by_bench",
            Self::Started { .. } => "started",
            Self::StepFinished => "step_finished",
            Self::Finished { .. } => "finished",
            Self::TakeOver { .. } => "take_over",
        }
    }
}

impl Job {
    /// The job after `event`.
    ///
    /// The bench's later words imply its earlier ones: a start or an end of an offered job is an
    /// acceptance too, since the acceptance may have become a hole in the spool.
    ///
    /// # Errors
    /// When the event is not allowed in the job's state; the job is as it was.
    pub fn apply(self, event: JobEvent) -> Result<Self, TransitionError> {
        use JobEvent as E;
        match event {
            E::Park { .. } | E::Offer { .. } => self.apply_dispatch(event),
            E::Cancel { .. } | E::TimeOut { .. } | E::Supersede { .. } | E::Requeue { .. } => {
                self.apply_recall(&event)
            }
            E::WithdrawalConfirmed | E::TakeOver { .. } => self.apply_release(event),
            E::Accepted
            | E::RefusedByBench { .. }
            | E::Started { .. }
            | E::StepFinished
            | E::Finished { .. } => self.apply_bench(event),
        }
    }

    fn refuse<T>(&self, event: &JobEvent) -> Result<T, TransitionError> {
        Err(TransitionError {
            state: self.state,
            event: event.name(),
        })
    }

    fn apply_dispatch(mut self, event: JobEvent) -> Result<Self, TransitionError> {
        if self.state != JobState::Queued {
            return self.refuse(&event);
        }
        match event {
            JobEvent::Park { reason } => self.parked = Some(reason),
            JobEvent::Offer {
                device,
                offer_id,
                fence,
            } => {
                self.state = JobState::Offered;
                self.parked = None;
                self.attempt = self.attempt.saturating_add(1);
                self.fence = fence;
                self.device = Some(device);
                self.offer_id = Some(offer_id);
            }
            other => return self.refuse(&other),
        }
        Ok(self)
    }

    fn apply_recall(mut self, event: &JobEvent) -> Result<Self, TransitionError> {
        let (target, version, reason) = match event {
            JobEvent::Cancel { version, reason } => (WithdrawTarget::Canceled, *version, reason.clone()),
            JobEvent::TimeOut { version } => (
                WithdrawTarget::TimedOut,
                *version,
                "the deadline has passed".to_owned(),
            ),
            JobEvent::Supersede { version, by } => (
                WithdrawTarget::Superseded,
                *version,
                format!("superseded by job {by}"),
            ),
            JobEvent::Requeue { version, reason } => (WithdrawTarget::Queued, *version, reason.clone()),
            other => return self.refuse(other),
        };
        match (self.state, target) {
            (JobState::Queued, WithdrawTarget::Queued) => self.refuse(event),
            (JobState::Queued, _) => {
                self.close(target, reason);
                Ok(self)
            }
            (JobState::Offered, _) => {
                self.state = JobState::Withdrawing;
                self.withdrawal = Some(Withdrawal {
                    target,
                    version,
                    reason,
                });
                Ok(self)
            }
            // The offer is on its way back already: only where it goes afterwards can still change, and
            // only away from the queue. The list without it stays the first one.
            (JobState::Withdrawing, _) => match &mut self.withdrawal {
                Some(withdrawal)
                    if withdrawal.target == WithdrawTarget::Queued && target != WithdrawTarget::Queued =>
                {
                    withdrawal.target = target;
                    withdrawal.reason = reason;
                    Ok(self)
                }
                _ => self.refuse(event),
            },
            _ => self.refuse(event),
        }
    }

    fn apply_release(mut self, event: JobEvent) -> Result<Self, TransitionError> {
        match event {
            JobEvent::WithdrawalConfirmed if self.state == JobState::Withdrawing => {
                self.end_withdrawal();
                Ok(self)
            }
            JobEvent::TakeOver { reason } if self.holds_vin() && self.state != JobState::Offered => {
                self.state = JobState::TakenOver;
                self.withdrawal = None;
                self.reason_code = Some("taken_over".to_owned());
                self.detail = Some(reason);
                Ok(self)
            }
            other => self.refuse(&other),
        }
    }

    fn apply_bench(mut self, event: JobEvent) -> Result<Self, TransitionError> {
        use JobState as S;
        match (self.state, event) {
            (S::Offered | S::Withdrawing, JobEvent::Accepted) => {
                self.state = S::Accepted;
                self.withdrawal = None;
            }
            (S::Offered, JobEvent::RefusedByBench { code, detail }) => {
                self.state = S::Rejected;
                self.reason_code = Some(code);
                self.detail = detail;
            }
            // It will not run: that is all a withdrawal waits for.
            (S::Withdrawing, JobEvent::RefusedByBench { .. }) => self.end_withdrawal(),
            (S::Offered | S::Withdrawing | S::Accepted, JobEvent::Started { steps_total }) => {
                self.state = S::Running;
                self.withdrawal = None;
                self.steps_total = Some(steps_total);
            }
            (S::Offered | S::Withdrawing | S::Accepted | S::Running, JobEvent::StepFinished) => {
                self.state = S::Running;
                self.withdrawal = None;
            }
            (
                S::Offered | S::Withdrawing | S::Accepted | S::Running,
                JobEvent::Finished {
                    verdict,
                    reason_code,
                    detail,
                },
            ) => self.finish(verdict, reason_code, detail),
            // The bench has read back what was in doubt.
            (
                S::Finished,
                JobEvent::Finished {
                    verdict,
                    reason_code,
                    detail,
                },
            ) if self.verdict == Some(Verdict::InDoubt) && verdict != Verdict::InDoubt => {
                self.finish(verdict, reason_code, detail);
            }
            (_, other) => return self.refuse(&other),
        }
        Ok(self)
    }

    fn finish(&mut self, verdict: Verdict, reason_code: String, detail: Option<String>) {
        self.state = JobState::Finished;
        self.withdrawal = None;
        self.verdict = Some(verdict);
        self.reason_code = Some(reason_code);
        self.detail = detail;
    }

    fn end_withdrawal(&mut self) {
        if let Some(withdrawal) = self.withdrawal.take() {
            self.close(withdrawal.target, withdrawal.reason);
        }
    }

    fn close(&mut self, target: WithdrawTarget, reason: String) {
        self.state = target.state();
        self.parked = None;
        if target == WithdrawTarget::Queued {
            self.device = None;
            self.offer_id = None;
        } else {
            self.reason_code = Some(target.as_str().to_owned());
            self.detail = Some(reason);
        }
    }
}

/// What a person may do to the job now, with the reason where something is not possible.
pub fn allowed_actions(job: &Job) -> Vec<AllowedAction> {
    let action = |action, refusal: Option<&'static str>| AllowedAction {
        action,
        allowed: refusal.is_none(),
        reason: refusal,
    };
    vec![
        action(JobAction::Cancel, cancel_refusal(job)),
        action(JobAction::TakeOver, take_over_refusal(job)),
        action(JobAction::Retry, retry_refusal(job)),
    ]
}

fn cancel_refusal(job: &Job) -> Option<&'static str> {
    match job.state {
        JobState::Queued | JobState::Offered => None,
        JobState::Withdrawing => match &job.withdrawal {
            Some(w) if w.target == WithdrawTarget::Queued => None,
            _ => Some("the offer is being withdrawn already; the bench has to confirm"),
        },
        JobState::Accepted | JobState::Running => {
            Some("the bench has accepted the job; only its final event or a take-over ends it")
        }
        _ => Some("the job has ended"),
    }
}

fn take_over_refusal(job: &Job) -> Option<&'static str> {
    match job.state {
        JobState::Queued => Some("no bench has the job"),
        JobState::Offered => Some("the bench has not accepted the job: cancel it first"),
        _ if job.holds_vin() => None,
        _ => Some("the job has ended"),
    }
}

fn retry_refusal(job: &Job) -> Option<&'static str> {
    if !job.state.is_final() {
        return Some("the job is still open");
    }
    if job.holds_vin() {
        return Some("the state of the ECU is unknown: read it back or take the job over first");
    }
    None
}
