//! When the bench states what it has, and what the answer changes.

use std::time::Duration;

use fleet_wire::limits::{MAX_SYNC_JOBS, SYNC_INTERVAL};
use fleet_wire::sync::{BenchJob, BenchJobState};

use super::{AgentCore, Out};
use crate::event::{Effect, SyncParts, Times};
use crate::state::OpenJob;

impl AgentCore {
    pub(super) fn on_sync_answered(&mut self, out: &mut Out<'_>) {
        for key in self.carried() {
            if let Some(volatile) = self.volatile.get_mut(&key) {
                volatile.carried = false;
            }
            let Some(job) = self.state.open(key) else { continue };
            if job.state == BenchJobState::Running {
                out.first.push(Effect::RecoverAttempt {
                    of: job.of,
                    document: job.document.clone(),
                    traceparent: job.traceparent.clone(),
                });
            }
        }
    }

    pub(super) fn sync_if_due(&mut self, now: Times, out: &mut Out<'_>) {
        // What is to be said at once is in the state that is being saved: it is said when that is on disk.
        let at_once = self.sync_now && self.saving.is_none();
        let due = at_once || self.sync_at.is_some_and(|at| at <= now.boot);
        let Some(connect_counter) = self.connected.filter(|_| due) else {
            return;
        };
        self.sync_now &= self.saving.is_some();
        self.sync_at = Some(now.boot.saturating_add(self.jittered(SYNC_INTERVAL)));
        let (over, open): (Vec<&OpenJob>, Vec<&OpenJob>) = self
            .durable
            .open
            .iter()
            .partition(|job| job.state == BenchJobState::Finished);
        let jobs = open.into_iter().chain(over).map(|job| BenchJob {
            job_id: job.of.job_id,
            attempt: job.of.attempt,
            state: job.state,
        });
        let parts = SyncParts {
            number: self.sync_number,
            answered: self.sync_answered,
            run_id: self.run_id,
            connect_counter,
            durable_list: self.durable.list().filter(|_| !self.acceptance_at_risk()),
            jobs: jobs.take(MAX_SYNC_JOBS).collect(),
            refusing_jobs: self.refusing_jobs(),
        };
        self.sync_number = self.sync_number.saturating_add(1);
        out.then.push(Effect::SendSync(parts));
    }

    /// Whether an acceptance is in the saved state and not yet in a spool. A version stated now, beside a
    /// `next_seq` below that acceptance, would let the server believe that an offer was withdrawn in time.
    fn acceptance_at_risk(&self) -> bool {
        self.spool_failed.is_some()
            || self
                .state
                .open
                .iter()
                .any(|job| self.state.acceptance_pending(job.key()))
    }

    /// 80 to 120 % of a duration (xorshift64).
    fn jittered(&mut self, interval: Duration) -> Duration {
        let mut x = self.jitter;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.jitter = x;
        let permille = u32::try_from(x % 401).unwrap_or_default().saturating_add(800);
        interval.saturating_mul(permille) / 1000
    }
}
