//! What a bench's statement settles, once the events before it are stored (delivery rules 25 and 28).

use fleet_domain::{JobEvent, JobId, JobState};
use fleet_store::StoreError;
use sqlx::SqliteConnection;

use super::load::{DeviceState, Loaded};
use crate::jobs::StoredJob;
use crate::work::Work;

pub(super) async fn confirm(
    conn: &mut SqliteConnection,
    loaded: &mut Loaded,
    work: &mut Work,
) -> Result<(), StoreError> {
    let generation = loaded.generation;
    for state in loaded.devices.values_mut() {
        let stated = state.mark.generation == Some(generation) && state.mark.settled(&state.ledger);
        if stated && state.settled_generation != Some(generation) {
            state.settled_generation = Some(generation);
            state.dirty = true;
        }
    }
    let waiting: Vec<JobId> = loaded
        .jobs
        .values()
        .filter(|stored| stored.row.job.state == JobState::Withdrawing || stored.fenced.is_some())
        .map(crate::jobs::id)
        .collect();
    for id in waiting {
        let (Some(stored), devices) = (loaded.jobs.get_mut(&id), &loaded.devices) else {
            continue;
        };
        let says = |device: &fleet_domain::DeviceId, version: u64| {
            devices.get(device).is_some_and(|state: &DeviceState| {
                state
                    .mark
                    .confirms_withdrawal(id, version, generation, &state.ledger)
            })
        };
        if confirm_one(stored, says, work) {
            loaded.changed_jobs.insert(id);
        }
        if let Some((device, version)) = stored.fenced.clone()
            && says(&device, version)
        {
            // It knows that the job was taken from it and does not name it any more.
            stored.fenced = None;
            work.next_version(conn, &device).await?;
            loaded.changed_jobs.insert(id);
        }
    }
    Ok(())
}

fn confirm_one(
    stored: &mut StoredJob,
    says: impl Fn(&fleet_domain::DeviceId, u64) -> bool,
    work: &Work,
) -> bool {
    let job = &stored.row.job;
    let confirmed = job.state == JobState::Withdrawing
        && match (&job.device, &job.withdrawal) {
            (Some(device), Some(withdrawal)) => says(device, withdrawal.version),
            _ => false,
        };
    confirmed && stored.apply(JobEvent::WithdrawalConfirmed, work).is_ok()
}
