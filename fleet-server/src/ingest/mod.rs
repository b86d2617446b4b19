//! Ingest: 16 slot sessions, one committer, receipts.
//!
//! ```text
//! broker -> session (16) -> arrivals -> committer -> store
//!              ^                            |
//!              +---- acks, receipts, answers, lists
//! ```
//!
//! A message is acknowledged to the broker after the transaction that recorded it, in arrival order.
//! Nothing here decides what is recorded: that is the ledger's planner, inside the store's transaction.

mod committer;
mod decode;
mod receipts;
mod session;
mod slots;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleet_domain::{DeviceId, PlantId, PresenceFacts, RunId, Slot, StoreGeneration};
use fleet_store::{BenchFilter, BenchState, Inbound, InboundMessage, IngestBatch, Page, Store, StoreError};
use fleet_wire::{Channel, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::IngestConfig;
use crate::metrics::Metrics;
use crate::stream::Feed;

pub(crate) use committer::CommitHealth;
pub(crate) use session::Arrival;
pub(crate) use slots::Slots;

/// Owner of the slots in the store. The data folder's lock keeps a second server out, so the name may be
/// fixed, and a server that was killed has its slots again at once.
const OWNER: &str = "embedded";
/// Live messages that wait for the stream.
const LIVE_BUFFER: usize = 1024;

/// Publishes to benches through the slots' sessions.
#[derive(Debug, Clone)]
pub(crate) struct Outbound {
    plant: PlantId,
    links: Arc<Vec<session::SlotLink>>,
}

impl Outbound {
    fn link(&self, slot: Slot) -> Option<&session::SlotLink> {
        self.links.get(usize::from(slot.number()))
    }

    /// Publishes a control document to a bench. Never waits; see [`session::SlotLink::publish`].
    pub(crate) fn publish(&self, device: &DeviceId, channel: Channel, payload: Vec<u8>) {
        if let Some(link) = self.link(Slot::of(device)) {
            let topic = Topic::new(self.plant.clone(), device.clone(), channel);
            link.publish(topic.to_string(), payload);
        }
    }

    fn acknowledge(&self, slot: Slot, connection: u64, packets: Vec<u16>) {
        if let Some(link) = self.link(slot) {
            link.acknowledge(connection, packets);
        }
    }
}

/// What ingest needs from the rest of the server.
pub(crate) struct IngestParts {
    pub(crate) plant: PlantId,
    pub(crate) broker: SocketAddr,
    pub(crate) config: IngestConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Metrics,
    pub(crate) feed: Feed,
}

/// Live messages for the stream, and benches that want their list: it changed, or they asked by sync.
pub(crate) type Channels = (mpsc::Receiver<Arrival>, mpsc::UnboundedReceiver<DeviceId>);

/// The running ingest.
pub(crate) struct Ingest {
    pub(crate) outbound: Outbound,
    pub(crate) slots: Slots,
    pub(crate) health: CommitHealth,
    /// Asks for a bench's list to be published.
    pub(crate) wish: mpsc::UnboundedSender<DeviceId>,
    channels: Option<Channels>,
    tasks: Vec<JoinHandle<()>>,
    store: Arc<dyn Store>,
}

/// Records that nobody is connected, as is the case when the broker inside the process has just started:
/// the wills of benches that were connected to the one before were lost with it. A bench that comes back
/// says so by its presence and its sync. Call it before [`start`].
///
/// # Errors
/// When the store can't be read or written.
pub(crate) async fn nobody_is_connected(store: &dyn Store, lease: Duration) -> Result<(), StoreError> {
    let mut terms = Vec::new();
    for slot in Slot::all() {
        terms.extend(
            store
                .claim_slot(slot, OWNER, fleet_clock::wall_now(), lease)
                .await?,
        );
    }
    let filter = BenchFilter {
        state: Some(BenchState::Online),
        text: None,
    };
    let mut page = Page {
        limit: 1000,
        after: None,
    };
    loop {
        let found = store.benches(&filter, &page).await?;
        let items = found.items.into_iter().map(|bench| Inbound {
            slot: bench.slot,
            device: bench.device,
            // Another run than the bench's: whatever it says next counts.
            message: InboundMessage::Assumed(PresenceFacts {
                run_id: RunId(fleet_clock::new_uuid()),
                connect_counter: 0,
                online: false,
                will: false,
            }),
        });
        let batch = IngestBatch {
            terms: terms.clone(),
            items: items.collect(),
            misplaced: Vec::new(),
            received_at: fleet_clock::wall_now(),
            spare_generation: StoreGeneration(fleet_clock::new_uuid()),
        };
        store.ingest(batch).await?;
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Starts everything.
pub(crate) fn start(parts: IngestParts) -> Ingest {
    let slots = Slots::new();
    let (arrivals_tx, arrivals) = mpsc::unbounded_channel();
    let (live_tx, live) = mpsc::channel(LIVE_BUFFER);
    let (lists_tx, lists) = mpsc::unbounded_channel();
    let buffered = session::Buffered::new(parts.config.max_buffered_bytes);
    let mut tasks = Vec::new();
    let mut links = Vec::new();
    for slot in Slot::all() {
        let (link, task) = session::spawn(session::SessionConfig {
            plant: parts.plant.clone(),
            slot,
            broker: parts.broker,
            receive_maximum: parts.config.receive_maximum,
            buffered: buffered.clone(),
            arrivals: arrivals_tx.clone(),
            live: live_tx.clone(),
            term: slots.watch(slot),
            connected: slots.connected(slot),
        });
        links.push(link);
        tasks.push(task);
    }
    let outbound = Outbound {
        plant: parts.plant,
        links: Arc::new(links),
    };
    let health = CommitHealth::default();
    let committer = committer::Committer {
        store: Arc::clone(&parts.store),
        config: parts.config.clone(),
        arrivals,
        buffered,
        slots: slots.clone(),
        outbound: outbound.clone(),
        lists: lists_tx.clone(),
        metrics: parts.metrics,
        feed: parts.feed,
        health: health.clone(),
    };
    tasks.push(tokio::spawn(committer.run()));
    let keeper = slots.clone();
    let store = Arc::clone(&parts.store);
    tasks.push(tokio::spawn(async move {
        keeper.keep(store, OWNER.to_owned(), parts.config.lease).await;
    }));
    Ingest {
        outbound,
        slots,
        health,
        wish: lists_tx,
        channels: Some((live, lists)),
        tasks,
        store: parts.store,
    }
}

impl Ingest {
    /// Hands out the live messages and the wishes for lists, once; afterwards channels that stay empty.
    pub(crate) fn take_channels(&mut self) -> Channels {
        self.channels
            .take()
            .unwrap_or_else(|| (mpsc::channel(1).1, mpsc::unbounded_channel().1))
    }

    /// Ends the sessions and gives the slots back. What was not committed was not acknowledged either.
    pub(crate) async fn stop(self) {
        let terms = self.slots.terms();
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            // Aborted on purpose.
            let _ = task.await;
        }
        if let Err(error) = self.store.release_slots(&terms).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "slots could not be given back"
            );
        }
    }
}
