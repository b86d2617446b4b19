//! The MQTT session of one slot: one event loop for each connection, and nothing but polling in the
//! task that polls.
//!
//! What arrives is handed on without waiting; above the byte limit the connection is closed instead,
//! and the broker brings again what was not acknowledged. Acknowledgements belong to the connection
//! that brought the message: with another one they would acknowledge something else. After such a flood
//! the next connection takes half as many messages at once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fleet_domain::{PlantId, Slot};
use fleet_wire::limits::{CONTROL_EXPIRY, KEEP_ALIVE, MAX_PACKET_BYTES, SESSION_EXPIRY};
use fleet_wire::{CONTROL_CONTENT_TYPE, Channel};
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions};
use tokio::sync::{mpsc, watch};

/// Requests that the client's channel holds. Acknowledgements and publishes wait in the writer, not here.
const REQUESTS: usize = 64;
/// Publishes of ours on their way to the broker on one connection.
const OUTGOING_IN_FLIGHT: u16 = 200;
/// Receipts and lists that wait for one slot's connection; more are dropped, sync heals it.
const MAX_WAITING_PUBLISHES: usize = 20_000;
/// How long a slot goes on with a smaller window after a flood.
const WIDEN_AFTER: Duration = Duration::from_mins(1);
/// Longest pause between two attempts to connect.
const MAX_BACK_OFF: Duration = Duration::from_secs(10);

/// A message as it came from the broker.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The slot whose session brought it.
    pub(crate) slot: Slot,
    /// The connection that brought it; its acknowledgement goes there.
    pub(crate) connection: u64,
    /// The term under which it was received.
    pub(crate) term: u64,
    /// Its MQTT packet identifier; 0 at QoS 0.
    pub(crate) packet: u16,
    /// The topic as text; not necessarily one of ours.
    pub(crate) topic: String,
    /// The user properties.
    pub(crate) properties: Vec<(String, String)>,
    /// The payload.
    pub(crate) payload: Bytes,
}

impl Arrival {
    /// What it holds in memory, about.
    pub(crate) fn weight(&self) -> usize {
        let properties: usize = self.properties.iter().map(|(k, v)| k.len() + v.len()).sum();
        self.payload.len() + self.topic.len() + properties + 256
    }
}

/// Bytes of messages that wait for their commit, over all slots.
#[derive(Debug, Clone)]
pub(crate) struct Buffered {
    now: Arc<AtomicUsize>,
    most: usize,
}

impl Buffered {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            now: Arc::new(AtomicUsize::new(0)),
            most,
        }
    }

    /// Takes room; false when the limit is passed by it.
    fn take(&self, bytes: usize) -> bool {
        self.now.fetch_add(bytes, Ordering::AcqRel) + bytes <= self.most
    }

    /// Gives room back.
    pub(crate) fn give(&self, bytes: usize) {
        self.now.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn is_half_empty(&self) -> bool {
        self.now.load(Ordering::Acquire) <= self.most / 2
    }
}

enum Output {
    Acks { connection: u64, packets: Vec<u16> },
    Publish { topic: String, payload: Vec<u8> },
}

/// Hands acknowledgements, receipts and lists to a slot's session. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct SlotLink {
    output: mpsc::UnboundedSender<Output>,
    waiting: Arc<AtomicUsize>,
}

impl SlotLink {
    /// Acknowledges messages in this order; those of an earlier connection are left out.
    pub(crate) fn acknowledge(&self, connection: u64, packets: Vec<u16>) {
        let _ = self.output.send(Output::Acks { connection, packets });
    }

    /// Publishes a control document: QoS 1, not retained, expires after a minute.
    /// Dropped while the session is not connected: the bench's next sync brings it again.
    pub(crate) fn publish(&self, topic: String, payload: Vec<u8>) {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= MAX_WAITING_PUBLISHES {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(topic, "too many messages wait for the broker; one was dropped");
            return;
        }
        let _ = self.output.send(Output::Publish { topic, payload });
    }
}

#[derive(Clone)]
struct Current {
    connection: u64,
    client: AsyncClient,
    /// Acknowledgements that have left through the socket, counted for the kill tests.
    #[cfg_attr(
        not(feature = "failpoints"),
        expect(dead_code, reason = "read by the kill tests only")
    )]
    acks_sent: watch::Receiver<u64>,
}

/// What a slot's session needs.
pub(crate) struct SessionConfig {
    pub(crate) plant: PlantId,
    pub(crate) slot: Slot,
    pub(crate) broker: SocketAddr,
    pub(crate) receive_maximum: u16,
    pub(crate) buffered: Buffered,
    /// Every durable message, in order.
    pub(crate) arrivals: mpsc::UnboundedSender<Arrival>,
    /// Live messages; dropped when nobody keeps up.
    pub(crate) live: mpsc::Sender<Arrival>,
    /// The slot's term while this server owns the slot. Each term has a connection of its own.
    pub(crate) term: watch::Receiver<Option<u64>>,
    /// Whether the session is connected and subscribed.
    pub(crate) connected: watch::Sender<bool>,
}

/// Starts the session and its writer; both end when `term`'s sender is dropped.
pub(crate) fn spawn(config: SessionConfig) -> (SlotLink, tokio::task::JoinHandle<()>) {
    let (output, outputs) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let link = SlotLink {
        output,
        waiting: Arc::clone(&waiting),
    };
    let (current_tx, current) = watch::channel(None);
    let task = tokio::spawn(async move {
        let writer = tokio::spawn(write(outputs, current, waiting));
        run(config, current_tx).await;
        writer.abort();
    });
    (link, task)
}

async fn write(
    mut outputs: mpsc::UnboundedReceiver<Output>,
    current: watch::Receiver<Option<Current>>,
    waiting: Arc<AtomicUsize>,
) {
    while let Some(output) = outputs.recv().await {
        let now = current.borrow().clone();
        match output {
            Output::Acks { connection, packets } => {
                let Some(now) = now.filter(|now| now.connection == connection) else {
                    continue;
                };
                acknowledge(&now, &packets).await;
            }
            Output::Publish { topic, payload } => {
                waiting.fetch_sub(1, Ordering::AcqRel);
                let Some(now) = now else { continue };
                let properties = PublishProperties {
                    message_expiry_interval: Some(u32::try_from(CONTROL_EXPIRY.as_secs()).unwrap_or(60)),
                    content_type: Some(CONTROL_CONTENT_TYPE.to_owned()),
                    ..PublishProperties::default()
                };
                // An error means that the connection has ended; sync heals what was lost with it.
                let sent =
                    now.client
                        .publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties);
                if sent.await.is_err() {
                    tracing::debug!("a message was dropped with its connection");
                }
            }
        }
    }
}

async fn acknowledge(now: &Current, packets: &[u16]) {
    #[cfg(feature = "failpoints")]
    let target = *now.acks_sent.borrow();
    for packet in packets.iter().filter(|packet| **packet != 0) {
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            pkid: *packet,
            ..Publish::default()
        };
        if now.client.ack(&publish).await.is_err() {
            return;
        }
    }
    #[cfg(feature = "failpoints")]
    {
        let count = packets.iter().filter(|packet| **packet != 0).count();
        let mut sent = now.acks_sent.clone();
        let _ = sent.wait_for(|sent| *sent >= target + count as u64).await;
        if count > 0 {
            crate::failpoints::after_ack();
        }
    }
}

fn options(config: &SessionConfig, window: u16) -> MqttOptions {
    let id = format!("fleet-{}-{}", config.plant, config.slot);
    // The client joins host and port with a colon, so an IPv6 address needs its brackets.
    let host = match config.broker.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let mut options = MqttOptions::new(id, host, config.broker.port());
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_start(false)
        .set_session_expiry_interval(Some(u32::try_from(SESSION_EXPIRY.as_secs()).unwrap_or(u32::MAX)))
        .set_receive_maximum(Some(window))
        // A bench's largest packet may grow on its way through the broker; refusing it here would
        // bring it again for ever.
        .set_max_packet_size(Some(u32::try_from(2 * MAX_PACKET_BYTES).unwrap_or(u32::MAX)))
        .set_outgoing_inflight_upper_limit(OUTGOING_IN_FLIGHT)
        .set_manual_acks(true);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the broker's connection failed")]
    Connection(#[source] Box<ConnectionError>),
    #[error("the broker did not take the subscription")]
    Subscription,
    #[error("more bytes wait for their commit than ingest.max_buffered_bytes allows")]
    Flood,
    #[error("the slot's term has ended")]
    Term,
    #[error("the slot may have more messages at once again")]
    Widen,
}

/// One connection after the other, as long as the slot is ours.
async fn run(mut config: SessionConfig, current: watch::Sender<Option<Current>>) {
    let mut connection = 0;
    let mut pause = Duration::from_millis(100);
    // What was buffered at a flood is committed, but it can't be acknowledged on a connection that is gone: the
    // broker brings it again, and with the same window it would flood again, for ever.
    let mut window = config.receive_maximum.max(1);
    loop {
        // After any lost connection the lease is read first: only an owner connects.
        let Ok(Some(term)) = config.term.wait_for(Option::is_some).await.map(|term| *term) else {
            return;
        };
        while !config.buffered.is_half_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        connection += 1;
        let ended = connect(&config, (connection, term, window), &current).await;
        current.send_replace(None);
        let was_up = config.connected.send_replace(false);
        if config.term.has_changed().is_err() {
            return;
        }
        window = match ended {
            Ended::Flood => (window / 2).max(1),
            Ended::Widen => window.saturating_mul(2).min(config.receive_maximum),
            _ => window,
        };
        match ended {
            Ended::Term => continue,
            Ended::Widen => {
                tracing::info!(slot = %config.slot, window, "a slot takes more messages at once again");
            }
            ended => tracing::warn!(
                slot = %config.slot,
                error = &ended as &dyn std::error::Error,
                "a slot's session has ended and begins anew"
            ),
        }
        pause = if was_up {
            Duration::from_millis(100)
        } else {
            (pause * 2).min(MAX_BACK_OFF)
        };
        let jitter = fleet_clock::jitter_seed() % u64::try_from(pause.as_millis()).unwrap_or(1).max(1);
        tokio::time::sleep(Duration::from_millis(jitter)).await;
    }
}

async fn connect(
    config: &SessionConfig,
    (connection, term, window): (u64, u64, u16),
    current: &watch::Sender<Option<Current>>,
) -> Ended {
    let (client, mut events) = AsyncClient::new(options(config, window), REQUESTS);
    let (acks_tx, acks_sent) = watch::channel(0);
    let mut term_now = config.term.clone();
    let lost = async move {
        // A new term needs a new connection as well.
        let _ = term_now.wait_for(|now| *now != Some(term)).await;
        Ended::Term
    };
    let widen = async {
        if window >= config.receive_maximum {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(WIDEN_AFTER).await;
        Ended::Widen
    };
    tokio::select! {
        biased;
        ended = lost => ended,
        ended = widen => ended,
        ended = poll(config, (connection, term), client, &mut events, current, (acks_tx, acks_sent)) => ended,
    }
}

/// Polls, and only polls.
async fn poll(
    config: &SessionConfig,
    (connection, term): (u64, u64),
    client: AsyncClient,
    events: &mut EventLoop,
    current: &watch::Sender<Option<Current>>,
    (acks_tx, acks_sent): (watch::Sender<u64>, watch::Receiver<u64>),
) -> Ended {
    loop {
        let event = match events.poll().await {
            Ok(event) => event,
            Err(error) => return Ended::Connection(Box::new(error)),
        };
        match event {
            Event::Incoming(Incoming::ConnAck(_)) => {
                let filter = |channel, qos| Filter::new(Topic::filter(config, channel), qos);
                let filters = [
                    filter(Channel::Events, QoS::AtLeastOnce),
                    filter(Channel::Sync, QoS::AtLeastOnce),
                    filter(Channel::Presence, QoS::AtLeastOnce),
                    filter(Channel::Live, QoS::AtMostOnce),
                ];
                if client.try_subscribe_many(filters).is_err() {
                    return Ended::Subscription;
                }
                // Acknowledgements may flow before the subscription's: the session is older than the connection.
                current.send_replace(Some(Current {
                    connection,
                    client: client.clone(),
                    acks_sent: acks_sent.clone(),
                }));
            }
            Event::Incoming(Incoming::SubAck(ack)) => {
                use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode::Success;
                if !ack.return_codes.iter().all(|code| matches!(code, Success(_))) {
                    return Ended::Subscription;
                }
                config.connected.send_replace(true);
                tracing::debug!(slot = %config.slot, connection, "a slot's session is up");
            }
            Event::Incoming(Incoming::Publish(publish)) => {
                let taken = hand_over(config, connection, term, publish);
                if !taken {
                    return Ended::Flood;
                }
            }
            Event::Outgoing(rumqttc::Outgoing::PubAck(_)) => acks_tx.send_modify(|sent| *sent += 1),
            _ => {}
        }
    }
}

struct Topic;

impl Topic {
    fn filter(config: &SessionConfig, channel: Channel) -> String {
        fleet_wire::Topic::slot_filter(&config.plant, config.slot, channel)
    }
}

/// False when the flood limit is passed.
fn hand_over(config: &SessionConfig, connection: u64, term: u64, publish: Publish) -> bool {
    let arrival = Arrival {
        slot: config.slot,
        connection,
        term,
        packet: publish.pkid,
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        properties: publish
            .properties
            .map(|properties| properties.user_properties)
            .unwrap_or_default(),
        payload: publish.payload,
    };
    if arrival.topic.ends_with("/live") {
        // Progress is for the moment: a slow reader loses it, never the durable events.
        let _ = config.live.try_send(arrival);
        return true;
    }
    let weight = arrival.weight();
    if !config.buffered.take(weight) {
        config.buffered.give(weight);
        return false;
    }
    if config.arrivals.send(arrival).is_err() {
        config.buffered.give(weight);
    }
    true
}
