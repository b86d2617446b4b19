//! Dispatch: offers and deadlines in rounds, and each bench's list of jobs published when it changed or
//! when the bench asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fleet_domain::{DeviceId, EntryState};
use fleet_store::{DesiredEntry, DesiredList, JobRow, Store, StoreError};
use fleet_wire::Channel;
use fleet_wire::command::{ArtifactRef, Commands, DesiredJob, DesiredState, JobDocument, ProcedureRef};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};

use crate::ingest::Outbound;
use crate::metrics::Metrics;
use crate::storage::StoreHealth;
use crate::stream::Feed;

/// Least time between two rounds that were caused by benches' messages.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks for a round of dispatch.
#[derive(Debug, Clone, Default)]
pub(crate) struct DispatchHandle {
    wake: Arc<Notify>,
}

impl DispatchHandle {
    /// A job was recorded or called back: look now. Lists that changed with it are found by their state.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The running dispatch.
pub(crate) struct Dispatcher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: StoreHealth,
    pub(crate) outbound: Outbound,
    /// Benches that want their list.
    pub(crate) lists: mpsc::UnboundedReceiver<DeviceId>,
    pub(crate) handle: DispatchHandle,
    pub(crate) interval: Duration,
    pub(crate) metrics: Metrics,
    pub(crate) feed: Feed,
}

impl Dispatcher {
    /// Runs for ever. Safe to cancel: a list that was not published is healed by the bench's next sync.
    pub(crate) async fn run(mut self) {
        let mut waiting_for = Vec::new();
        loop {
            self.health.usable().await;
            let mut lists = BTreeSet::new();
            tokio::select! {
                Some(device) = self.lists.recv() => {
                    lists.insert(device);
                }
                () = self.handle.wake.notified() => {}
                () = tokio::time::sleep(self.interval) => {}
            }
            while let Ok(device) = self.lists.try_recv() {
                lists.insert(device);
            }
            // A bench that asked gets its answer before anything else.
            self.publish(std::mem::take(&mut lists)).await;
            match self
                .store
                .dispatch(fleet_clock::wall_now(), &mut fleet_clock::new_uuid)
                .await
            {
                Ok(outcome) => {
                    for (job, device) in &outcome.offered {
                        tracing::info!(job.id = %job, device.id = %device, "a job was offered");
                    }
                    for job in &outcome.timed_out {
                        tracing::info!(job.id = %job, "a job's deadline has passed");
                    }
                    if outcome.waiting_for != waiting_for {
                        waiting_for.clone_from(&outcome.waiting_for);
                        if !waiting_for.is_empty() {
                            tracing::warn!(
                                benches = ?waiting_for,
                                "no job is offered until these benches have synced with the restored database"
                            );
                        }
                    }
                    if !outcome.offered.is_empty()
                        || !outcome.timed_out.is_empty()
                        || !outcome.parked.is_empty()
                    {
                        self.feed.changed();
                    }
                    self.publish(outcome.lists.into_iter().collect()).await;
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a round of dispatch failed"
                    );
                    tokio::time::sleep(self.interval).await;
                }
            }
            tokio::time::sleep(PAUSE.min(self.interval)).await;
        }
    }

    async fn publish(&self, devices: BTreeSet<DeviceId>) {
        for device in devices {
            match self.store.desired_list(&device).await {
                Ok(list) => {
                    let commands = commands(list, fleet_clock::wall_now());
                    self.outbound
                        .publish(&device, Channel::Commands, commands.encode());
                    self.metrics.ingest.lists.inc();
                }
                Err(error @ StoreError::NotFound(_)) => {
                    tracing::debug!(device.id = %device, %error, "no list for an unknown bench");
                }
                Err(error) => {
                    // The bench's next sync asks again.
                    tracing::error!(
                        device.id = %device,
                        error = &error as &dyn std::error::Error,
                        "a list of jobs could not be read"
                    );
                }
            }
        }
    }
}

fn commands(list: DesiredList, now: Timestamp) -> Commands {
    Commands {
        store_generation: list.generation,
        desired_version: list.version,
        jobs: list.entries.into_iter().map(entry).collect(),
        time: now,
    }
}

fn entry(entry: DesiredEntry) -> DesiredJob {
    let state = match entry.state {
        EntryState::Offered => DesiredState::Offered,
        EntryState::Accepted => DesiredState::Accepted,
        EntryState::Running => DesiredState::Running,
        EntryState::InDoubt => DesiredState::InDoubt,
        EntryState::Fenced => DesiredState::Fenced,
    };
    // Only an offer starts something; the others keep the list small.
    let job = (entry.state == EntryState::Offered).then(|| document(&entry.job));
    DesiredJob {
        job_id: entry.job.job.id,
        attempt: entry.attempt,
        fence: entry.fence,
        offer_id: entry.offer_id,
        state,
        traceparent: entry.job.request.traceparent,
        job,
    }
}

/// The job as the bench reads it.
pub(crate) fn document(row: &JobRow) -> JobDocument {
    document_of(&row.request)
}

/// The job as the bench will read it.
pub(crate) fn document_of(request: &fleet_store::NewJob) -> JobDocument {
    let procedure = &request.procedure;
    JobDocument {
        kind: request.kind,
        vin: request.vin.clone(),
        ecu: request.ecu.clone(),
        procedure: ProcedureRef {
            id: procedure.id.clone(),
            version: procedure.version.clone(),
            sha256: procedure.sha256.clone(),
            path: format!("/api/v1/procedures/{}/{}", procedure.id, procedure.version),
        },
        artifacts: request
            .artifacts
            .iter()
            .map(|artifact| ArtifactRef {
                input: artifact.input.clone(),
                name: artifact.name.clone(),
                version: artifact.version.clone(),
                sha256: artifact.sha256.clone(),
                size: artifact.size,
                path: format!("/api/v1/artifacts/{}/{}", artifact.name, artifact.version),
            })
            .collect(),
        parameters: request.parameters.clone(),
        start_within_s: request.start_within_s,
        priority: request.priority,
        requested_by: request.requested_by.clone(),
    }
}
