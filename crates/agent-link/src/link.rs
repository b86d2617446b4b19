//! The MQTT connection of a bench.

use std::time::Duration;

use bytes::Bytes;
use fleet_domain::{DeviceId, PlantId};
use fleet_wire::command::Commands;
use fleet_wire::receipt::{Receipt, SyncAnswer};
use fleet_wire::{Channel, ControlError, EventProperties};
use spool::Position;
use tokio::sync::mpsc;

use backoff::Backoff;
use connection::End;

mod backoff;
mod connection;

/// Requests that may wait for the polling task.
const REQUESTS: usize = 256;
/// Events that may wait for their reader.
const EVENTS: usize = 1024;

/// User name and password at the broker. `Debug` shows the name only.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    /// A user with its password.
    pub fn new(username: String, password: String) -> Self {
        Self { username, password }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Where to connect and as whom.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The plant.
    pub plant: PlantId,
    /// The bench; also the MQTT client identifier.
    pub device: DeviceId,
    /// Host name or address of the broker.
    pub host: String,
    /// TCP port of the broker.
    pub port: u16,
    /// Whose name the bench uses at the broker; none: anonymous.
    pub credentials: Option<Credentials>,
    /// MQTT keep-alive.
    pub keep_alive: Duration,
    /// How long the broker keeps the session.
    pub session_expiry: Duration,
    /// Delay of the will.
    pub will_delay: Duration,
    /// Longest wait between two attempts to connect; each wait is drawn from zero up to a doubling limit.
    pub reconnect_at_most: Duration,
    /// Seed of that draw.
    pub seed: u64,
}

impl LinkConfig {
    /// The contract's figures for a bench.
    pub fn new(plant: PlantId, device: DeviceId, host: String, port: u16, seed: u64) -> Self {
        Self {
            plant,
            device,
            host,
            port,
            credentials: None,
            keep_alive: fleet_wire::limits::KEEP_ALIVE,
            session_expiry: fleet_wire::limits::SESSION_EXPIRY,
            will_delay: fleet_wire::limits::WILL_DELAY,
            reconnect_at_most: Duration::from_secs(10),
            seed,
        }
    }
}

/// What the connection tells. All of it is tagged with or belongs to one connection.
#[derive(Debug)]
pub enum LinkEvent {
    /// CONNACK came, the subscriptions were acknowledged, presence was published.
    Up {
        /// Number of the connection, from 1, never used twice in a process.
        connection: u64,
        /// Connects of this process; the same number that presence carries.
        connect_counter: u64,
        /// The broker's receive maximum.
        receive_maximum: u16,
        /// The broker's largest packet, bytes; none: no limit.
        maximum_packet_size: Option<u32>,
        /// Whether the broker still had the session.
        session_present: bool,
    },
    /// The connection is gone, or an attempt to connect failed (then with a number that was never up).
    Down {
        /// Its number.
        connection: u64,
        /// Why, for the log.
        reason: String,
        /// Another client with this bench's id took the session: two agents with one identity.
        taken_over: bool,
    },
    /// The broker acknowledged an event.
    PubAck {
        /// The connection.
        connection: u64,
        /// The event.
        position: Position,
        /// MQTT reason code; from 0x80 on an error.
        reason: u8,
    },
    /// A receipt.
    Receipt(Receipt),
    /// An answer to sync.
    SyncAnswer(SyncAnswer),
    /// The list of open jobs.
    Commands(Commands),
    /// A document that can't be read; it was dropped.
    Undecodable {
        /// Where it came.
        channel: Channel,
        /// What is wrong with it.
        error: ControlError,
    },
}

/// The way to a running connection. Cheap to clone. Nothing here waits for the network.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    requests: mpsc::Sender<Request>,
    shutdown: mpsc::Sender<()>,
}

#[derive(Debug)]
enum Request {
    Event {
        connection: u64,
        position: Position,
        properties: EventProperties,
        payload: Bytes,
    },
    Sync(Bytes),
    Live(Bytes),
    Presence(Bytes),
    Reconnect(u64),
}

impl LinkHandle {
    /// Publishes an event, QoS 1, if `connection` is still the current one; otherwise it is dropped, the
    /// spool has it.
    pub fn publish_event(
        &self,
        connection: u64,
        position: Position,
        properties: EventProperties,
        payload: Vec<u8>,
    ) {
        self.request(Request::Event {
            connection,
            position,
            properties,
            payload: payload.into(),
        });
    }
    /// Publishes a sync, QoS 1, on the current connection; dropped without one.
    pub fn publish_sync(&self, bytes: Vec<u8>) {
        self.request(Request::Sync(bytes.into()));
    }
    /// Publishes progress, QoS 0; dropped without a connection or when the queue is long.
    pub fn publish_live(&self, bytes: Vec<u8>) {
        self.request(Request::Live(bytes.into()));
    }
    /// Publishes presence, QoS 1, retained. The link does that by itself at each connect.
    pub fn publish_presence(&self, bytes: Vec<u8>) {
        self.request(Request::Presence(bytes.into()));
    }
    /// Drops `connection` if it is still the current one, and connects again.
    pub fn reconnect(&self, connection: u64) {
        self.request(Request::Reconnect(connection));
    }
    /// Publishes an orderly goodbye (offline presence) and ends; [`LinkEvent`]s end with it.
    pub fn shutdown(&self) {
        // A full channel holds that request already.
        let _ = self.shutdown.try_send(());
    }

    fn request(&self, request: Request) {
        // A link that has ended or is far behind takes nothing more: the spool keeps what matters.
        let _ = self.requests.try_send(request);
    }
}

/// The presence documents of a connect.
#[derive(Debug, Clone)]
pub struct PresenceDocuments {
    /// Published after CONNACK, retained.
    pub online: Vec<u8>,
    /// The will, retained; also published at an orderly end.
    pub offline: Vec<u8>,
}

/// Starts the connection on the current tokio runtime. `make_presence` is asked with the connect counter
/// before each attempt.
///
/// The polling task never waits for the reader of the events (mqtt.md): a reader that falls behind by the
/// channel's whole length costs the connection.
pub fn spawn(
    config: LinkConfig,
    make_presence: impl FnMut(u64) -> PresenceDocuments + Send + 'static,
) -> (LinkHandle, mpsc::Receiver<LinkEvent>) {
    let (requests, requested) = mpsc::channel(REQUESTS);
    let (shutdown, ended) = mpsc::channel(1);
    let (events, receiver) = mpsc::channel(EVENTS);
    tokio::spawn(run(config, make_presence, requested, ended, events));
    (LinkHandle { requests, shutdown }, receiver)
}

/// Connects again and again, each time with everything new.
async fn run(
    config: LinkConfig,
    mut make_presence: impl FnMut(u64) -> PresenceDocuments,
    mut requests: mpsc::Receiver<Request>,
    mut shutdown: mpsc::Receiver<()>,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut backoff = Backoff::new(config.reconnect_at_most, config.seed);
    for connection in 1_u64.. {
        // They were meant for an earlier connection.
        while requests.try_recv().is_ok() {}
        let presence = make_presence(connection);
        let end = connection::run(
            &config,
            connection,
            presence,
            &mut requests,
            &mut shutdown,
            &events,
        )
        .await;
        let End::Lost {
            reason,
            taken_over,
            cut_by_peer,
            up_for,
        } = end
        else {
            return;
        };
        let taken_over = backoff.ended(up_for, cut_by_peer) || taken_over;
        let down = LinkEvent::Down {
            connection,
            reason,
            taken_over,
        };
        // No connection is polled now, so this may wait.
        let told = tokio::select! {
            told = events.send(down) => told.is_ok(),
            _ = shutdown.recv() => false,
        };
        if !told {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait(taken_over)) => {}
            _ = shutdown.recv() => return,
            () = events.closed() => return,
        }
    }
}
