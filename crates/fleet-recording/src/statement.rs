//! What a bench's statement settles, once the events before it are stored (delivery rules 25 and 28).

use fleet_domain::{DeviceId, JobEvent, JobId, JobState};
use jiff::Timestamp;

use crate::recorded::Working;
use crate::{DeviceState, StoredJob};

impl Working<'_> {
    /// Withdrawals and take-overs that the benches' last statements confirm.
    pub(crate) fn confirm(&mut self) {
        let generation = self.loaded.generation;
        for state in self.loaded.devices.values_mut() {
            let stated =
                state.row.mark.generation == Some(generation) && state.row.mark.settled(&state.ledger);
            if stated && state.row.settled_generation != Some(generation) {
                state.row.settled_generation = Some(generation);
                state.dirty = true;
            }
        }
        let waiting: Vec<JobId> = self
            .loaded
            .jobs
            .values()
            .filter(|stored| stored.row.job.state == JobState::Withdrawing || stored.fenced.is_some())
            .map(StoredJob::id)
            .collect();
        for id in waiting {
            let (Some(stored), devices) = (self.loaded.jobs.get_mut(&id), &self.loaded.devices) else {
                continue;
            };
            let says = |device: &DeviceId, version: u64| {
                devices.get(device).is_some_and(|state: &DeviceState| {
                    state
                        .row
                        .mark
                        .confirms_withdrawal(id, version, generation, &state.ledger)
                })
            };
            if confirm_one(stored, says, self.now) {
                self.changed_jobs.insert(id);
            }
            if let Some((device, version)) = stored.fenced.clone()
                && says(&device, version)
            {
                // It knows that the job was taken from it and does not name it any more.
                stored.fenced = None;
                self.changed_jobs.insert(id);
                self.raise_list(&device);
            }
        }
    }
}

fn confirm_one(stored: &mut StoredJob, says: impl Fn(&DeviceId, u64) -> bool, now: Timestamp) -> bool {
    let job = &stored.row.job;
    let confirmed = job.state == JobState::Withdrawing
        && match (&job.device, &job.withdrawal) {
            (Some(device), Some(withdrawal)) => says(device, withdrawal.version),
            _ => false,
        };
    confirmed && stored.apply(JobEvent::WithdrawalConfirmed, now).is_ok()
}
