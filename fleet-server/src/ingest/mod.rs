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
//! The keeper shares the slots with the other replicas; lists for benches of theirs go by the publisher.

mod answers;
mod committer;
pub(crate) mod decode;
pub(crate) mod gate;
mod keeper;
mod presence;
mod publisher;
mod receipts;
mod session;
mod share;
mod slots;
mod writer;

use std::sync::Arc;

use fleet_domain::{DeviceId, PlantId, Slot};
use fleet_store::Store;
use fleet_wire::{Channel, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerAddress, Reach};
use crate::config::IngestConfig;
use crate::metrics::Metrics;
use crate::storage::StoreHealth;
use crate::stream::Feed;

pub(crate) use keeper::Identity;
pub(crate) use session::Arrival;
pub(crate) use slots::Slots;

/// Live messages that wait for the stream.
const LIVE_BUFFER: usize = 1024;

/// Publishes to benches through the slots' sessions, or by the publisher where a slot is another replica's.
#[derive(Debug, Clone)]
pub(crate) struct Outbound {
    plant: PlantId,
    links: Arc<Vec<writer::Link>>,
    publisher: Option<writer::Link>,
}

impl Outbound {
    fn link(&self, slot: Slot) -> Option<&writer::Link> {
        self.links.get(usize::from(slot.number()))
    }

    /// Publishes a control document to a bench. Never waits; see [`writer::Link::publish`].
    ///
    /// Lists are ordered by their version, so any replica may send one. Receipts and answers come with a commit, so
    /// this replica has the slot, or has just lost it: then the next owner answers the bench's next message.
    pub(crate) fn publish(&self, device: &DeviceId, channel: Channel, payload: Vec<u8>) {
        let Some(link) = self.link(Slot::of(device)) else {
            return;
        };
        let link = match &self.publisher {
            Some(publisher) if channel == Channel::Commands && !link.is_up() => publisher,
            _ => link,
        };
        let topic = Topic::new(self.plant.clone(), device.clone(), channel);
        link.publish(topic.to_string(), payload);
    }

    fn acknowledge(&self, slot: Slot, connection: u64, packets: Vec<u16>) {
        if let Some(link) = self.link(slot) {
            link.acknowledge(connection, packets);
        }
    }

    /// Ends a slot's connection behind everything that was handed over to it.
    fn say_goodbye(&self, slot: Slot, connection: u64) {
        if let Some(link) = self.link(slot) {
            link.disconnect(connection);
        }
    }
}

/// What ingest needs from the rest of the server.
pub(crate) struct IngestParts {
    pub(crate) plant: PlantId,
    pub(crate) identity: Identity,
    pub(crate) broker: BrokerAddress,
    pub(crate) reach: Reach,
    /// The broker is in the process.
    pub(crate) embedded: bool,
    pub(crate) config: IngestConfig,
    /// Traces go somewhere.
    pub(crate) traced: bool,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: StoreHealth,
    pub(crate) metrics: Metrics,
    pub(crate) feed: Feed,
}

/// Live messages for the stream, and benches that want their list: it changed, or they asked by sync.
pub(crate) type Channels = (mpsc::Receiver<Arrival>, mpsc::UnboundedReceiver<DeviceId>);

/// The running ingest.
pub(crate) struct Ingest {
    pub(crate) outbound: Outbound,
    pub(crate) slots: Slots,
    /// Asks for a bench's list to be published.
    pub(crate) wish: mpsc::UnboundedSender<DeviceId>,
    channels: Option<Channels>,
    keeper: JoinHandle<()>,
    leave: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts everything.
pub(crate) fn start(parts: IngestParts) -> Ingest {
    let slots = Slots::new(parts.metrics.slots.clone());
    let (arrivals_tx, arrivals) = mpsc::unbounded_channel();
    let (live_tx, live) = mpsc::channel(LIVE_BUFFER);
    let (lists_tx, lists) = mpsc::unbounded_channel();
    let buffered = session::Buffered::new(
        parts.config.max_buffered_bytes,
        parts.metrics.ingest.buffered_bytes.clone(),
    );
    let mut tasks = Vec::new();
    let mut links = Vec::new();
    for slot in Slot::all() {
        let (link, task) = session::spawn(session::SessionConfig {
            plant: parts.plant.clone(),
            slot,
            broker: parts.broker.clone(),
            reach: parts.reach.clone(),
            receive_maximum: parts.config.receive_maximum,
            buffered: buffered.clone(),
            arrivals: arrivals_tx.clone(),
            live: live_tx.clone(),
            slots: slots.clone(),
            store: Arc::clone(&parts.store),
            lease: parts.config.lease,
        });
        links.push(link);
        tasks.push(task);
    }
    let publisher = (!parts.embedded).then(|| {
        let (link, task) = publisher::spawn(publisher::PublisherConfig {
            plant: parts.plant.clone(),
            owner: parts.identity.owner.clone(),
            broker: parts.broker.clone(),
            reach: parts.reach.clone(),
        });
        tasks.push(task);
        link
    });
    let outbound = Outbound {
        plant: parts.plant,
        links: Arc::new(links),
        publisher,
    };
    let committer = committer::Committer {
        store: Arc::clone(&parts.store),
        config: parts.config.clone(),
        arrivals,
        traced: parts.traced,
        put_back: None,
        gate: gate::Gate::new(parts.config.limits, fleet_clock::boot_now()),
        named_at: None,
        buffered,
        slots: slots.clone(),
        outbound: outbound.clone(),
        lists: lists_tx.clone(),
        metrics: parts.metrics.clone(),
        feed: parts.feed,
        health: parts.health.clone(),
    };
    tasks.push(tokio::spawn(committer.run()));
    let leave = CancellationToken::new();
    let keeper = keeper::Keeper {
        slots: slots.clone(),
        store: parts.store,
        health: parts.health,
        identity: parts.identity,
        lease: parts.config.lease,
        reach: parts.reach,
        embedded: parts.embedded,
        metrics: parts.metrics.slots,
        leave: leave.clone(),
    };
    Ingest {
        outbound,
        slots,
        wish: lists_tx,
        channels: Some((live, lists)),
        keeper: tokio::spawn(keeper.run()),
        leave,
        tasks,
    }
}

impl Ingest {
    /// Hands out the live messages and the wishes for lists, once; afterwards channels that stay empty.
    pub(crate) fn take_channels(&mut self) -> Channels {
        self.channels
            .take()
            .unwrap_or_else(|| (mpsc::channel(1).1, mpsc::unbounded_channel().1))
    }

    /// Commits and acknowledges what was taken, ends the sessions and gives the slots back, so that another replica
    /// has them at once. Takes at most about ten seconds.
    pub(crate) async fn stop(self) {
        self.leave.cancel();
        if let Err(error) = self.keeper.await {
            tracing::error!(%error, "the keeper of the slots failed");
        }
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            // Aborted on purpose.
            let _ = task.await;
        }
    }
}
