//! A job's row as the storage changes it.

use std::collections::BTreeMap;

use fleet_domain::{DeviceId, Job, JobEvent, JobId, JobState, TransitionError};
use fleet_store::{JobRow, NewJob};
use jiff::Timestamp;

/// A job with what only the storage needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredJob {
    /// The job.
    pub row: JobRow,
    /// A bench that must be told that the job was taken from it, and the first list that says so.
    pub fenced: Option<(DeviceId, u64)>,
}

impl StoredJob {
    /// A job that was just recorded.
    pub fn fresh(request: NewJob, now: Timestamp) -> Self {
        Self {
            row: JobRow {
                job: Job::new(request.id),
                request,
                reported: false,
                created_at: now,
                offered_at: None,
                accepted_at: None,
                started_at: None,
                finished_at: None,
                steps_done: 0,
                software: BTreeMap::new(),
                fenced_events: 0,
                decided_by: None,
            },
            fenced: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.row.job.id
    }

    /// Applies an event and keeps the times. The row is as it was when the event is not allowed.
    ///
    /// # Errors
    /// The job's state does not allow it.
    pub fn apply(&mut self, event: JobEvent, now: Timestamp) -> Result<(), TransitionError> {
        let before = self.row.job.state;
        self.row.job = self.row.job.clone().apply(event)?;
        let (row, now) = (&mut self.row, Some(now));
        if row.job.state != before {
            match row.job.state {
                JobState::Offered => {
                    row.offered_at = now;
                    // Each offer is an attempt of its own.
                    row.steps_done = 0;
                }
                JobState::Accepted => row.accepted_at = now,
                JobState::Running => {
                    row.accepted_at = row.accepted_at.or(now);
                    row.started_at = now;
                }
                JobState::Queued | JobState::Withdrawing => {}
                _ => row.finished_at = now,
            }
        }
        Ok(())
    }

    /// The benches whose rows on the page show the job.
    pub fn shown_on(&self) -> impl Iterator<Item = &DeviceId> {
        let fenced = self.fenced.as_ref().map(|(device, _)| device);
        self.row.job.device.as_ref().into_iter().chain(fenced)
    }
}
