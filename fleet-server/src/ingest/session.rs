//! The MQTT session of one slot: one event loop for each connection, and nothing but polling in the
//! task that polls.
//!
//! What arrives is handed on without waiting; above the byte limit the connection is closed instead,
//! and the broker brings again what was not acknowledged. After such a flood the next connection takes
//! half as many messages at once.
//!
//! Each term has connections of its own. The lease is read before each connection but a claim's first, and
//! again before one is used that took long to come up: a process that stood still must not throw out the
//! slot's next owner.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleet_domain::{PlantId, Slot};
use fleet_store::{SlotTerm, Store};
use fleet_wire::Channel;
use fleet_wire::limits::{MAX_PACKET_BYTES, SESSION_EXPIRY};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter, Publish, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions};
use tokio::sync::{mpsc, watch};

use super::slots::{Hold, Slots};
use super::writer::{Current, Link, link};
use crate::broker::{BrokerAddress, BrokerState, Reach, ended, too_small};
use crate::metrics::Level;

/// Requests that the client's channel holds. Acknowledgements and publishes wait in the writer, not here.
const REQUESTS: usize = 64;
/// Publishes of ours on their way to the broker on one connection.
const OUTGOING_IN_FLIGHT: u16 = 200;
/// MQTT keep-alive of a slot's session: a way that was cut without a word shows within twice that.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a slot goes on with a smaller window after a flood.
const WIDEN_AFTER: Duration = Duration::from_mins(1);
/// Longest pause between two attempts to connect.
const MAX_BACK_OFF: Duration = Duration::from_secs(5);
/// Longest time for what was taken to be committed when a slot is given back. Then the connection is cut: what was not
/// acknowledged comes to the next owner.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for the database when the lease is read.
const LEASE_READ_WITHIN: Duration = Duration::from_secs(3);
/// Pause between two attempts to read the lease.
const LEASE_READ_PAUSE: Duration = Duration::from_millis(500);

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
    /// Above a limit: acknowledged and nothing else.
    pub(crate) refused: bool,
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
    now: Level,
    most: i64,
}

impl Buffered {
    /// `now` shows how much it is.
    pub(crate) fn new(most: usize, now: Level) -> Self {
        Self {
            now,
            most: i64::try_from(most).unwrap_or(i64::MAX),
        }
    }

    /// Takes room; false when the limit is passed by it.
    fn take(&self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.now.inc_by(bytes).saturating_add(bytes) <= self.most
    }

    /// Gives room back.
    pub(crate) fn give(&self, bytes: usize) {
        self.now.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn is_half_empty(&self) -> bool {
        self.now.get() <= self.most / 2
    }
}

/// What a session hands to the committer, in order.
#[derive(Debug)]
pub(super) enum Handed {
    /// A message.
    Message(Arrival),
    /// The broker has lost the session, and with it whatever it knew of the benches: wills, and what they retained.
    /// What it still knows comes behind this.
    SessionLost(SlotTerm),
    /// Nothing more comes on this connection: say goodbye when everything before is acknowledged.
    End {
        /// The slot.
        slot: Slot,
        /// The connection.
        connection: u64,
    },
}

/// What a slot's session needs.
pub(super) struct SessionConfig {
    pub(super) plant: PlantId,
    pub(super) slot: Slot,
    pub(super) broker: BrokerAddress,
    pub(super) reach: Reach,
    pub(super) receive_maximum: u16,
    pub(super) buffered: Buffered,
    /// Every durable message, in order.
    pub(super) arrivals: mpsc::UnboundedSender<Handed>,
    /// Live messages; dropped when nobody keeps up.
    pub(super) live: mpsc::Sender<Arrival>,
    pub(super) slots: Slots,
    pub(super) store: Arc<dyn Store>,
    pub(super) lease: Duration,
}

/// Starts the session and its writer.
pub(super) fn spawn(config: SessionConfig) -> (Link, tokio::task::JoinHandle<()>) {
    let (current_tx, current) = watch::channel(None);
    let (link, writer) = link(current);
    let task = tokio::spawn(async move {
        tokio::select! {
            () = writer => {}
            () = run(config, current_tx) => {}
        }
    });
    (link, task)
}

fn options(config: &SessionConfig, window: u16) -> MqttOptions {
    let id = format!("fleet-{}-{}", config.plant, config.slot);
    let mut options = config.broker.options(id, KEEP_ALIVE);
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(u32::try_from(SESSION_EXPIRY.as_secs()).unwrap_or(u32::MAX)))
        .set_receive_maximum(Some(window))
        // A bench's largest packet may grow on its way through the broker; refusing it here would
        // bring it again for ever.
        .set_max_packet_size(Some(u32::try_from(2 * MAX_PACKET_BYTES).unwrap_or(u32::MAX)))
        .set_outgoing_inflight_upper_limit(OUTGOING_IN_FLIGHT)
        .set_manual_acks(true);
    options
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the broker's connection failed")]
    Connection(#[source] Box<ConnectionError>),
    #[error("the broker did not take the subscription: {0}")]
    Subscription(String),
    #[error("more bytes wait for their commit than ingest.max_buffered_bytes allows")]
    Flood,
    #[error("the slot's term has ended")]
    Term,
    #[error("the slot may have more messages at once again")]
    Widen,
    #[error("the connection took so long to come up that the lease must be read again")]
    Stale,
    #[error("the slot is given back")]
    GivenBack,
}

/// One connection.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    connection: u64,
    term: u64,
    window: u16,
    /// Boot time at which the lease was asked for and found to be ours.
    confirmed: Duration,
}

/// One connection after the other, as long as the slot is ours.
async fn run(config: SessionConfig, current: watch::Sender<Option<Current>>) {
    let mut hold = config.slots.watch(config.slot);
    let mut connection = 0;
    let mut term_before = None;
    let mut pause = Duration::ZERO;
    // What was buffered at a flood is committed, but it can't be acknowledged on a connection that is gone: the
    // broker brings it again, and with the same window it would flood again, for ever.
    let mut window = config.receive_maximum.max(1);
    loop {
        let now = *hold.borrow_and_update();
        let Hold::Owned(term) = now else {
            if let Hold::GivingBack(term) = now {
                config.slots.session_is_at_rest(config.slot, term);
            }
            if hold.changed().await.is_err() {
                return;
            }
            continue;
        };
        let claimed = (term_before != Some(term))
            .then(|| config.slots.claimed_at(config.slot))
            .flatten();
        let confirmed = tokio::select! {
            confirmed = before_connect(&config, term, claimed, pause) => confirmed,
            changed = hold.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Some(confirmed) = confirmed else { continue };
        term_before = Some(term);
        connection += 1;
        let attempt = Attempt {
            connection,
            term,
            window,
            confirmed,
        };
        let ended = connect(&config, attempt, &current).await;
        current.send_replace(None);
        let was_up = config.slots.session_is_down(config.slot);
        window = match ended {
            Ended::Flood => (window / 2).max(1),
            Ended::Widen => window.saturating_mul(2).min(config.receive_maximum),
            _ => window,
        };
        tell(&config, &ended, was_up);
        pause = match ended {
            Ended::Term | Ended::GivenBack | Ended::Stale => Duration::ZERO,
            _ if was_up => Duration::from_millis(100),
            _ => (pause * 2).clamp(Duration::from_millis(100), MAX_BACK_OFF),
        };
    }
}

/// Says what has ended a connection, and keeps what the broker refused.
fn tell(config: &SessionConfig, ended: &Ended, was_up: bool) {
    let problem = match ended {
        Ended::Subscription(why) => Some(BrokerState::new(
            "refused",
            format!("the subscriptions of slot {} are refused: {why}", config.slot),
        )),
        Ended::Connection(error) => Some(self::ended(error)).filter(|state| state.state != "unreachable"),
        _ => None,
    };
    let told = problem.is_some() || was_up;
    config.slots.session_has_problem(config.slot, problem);
    let error = ended as &dyn std::error::Error;
    match ended {
        Ended::Term | Ended::GivenBack => {
            tracing::info!(slot = %config.slot, error, "a slot's session has ended");
        }
        Ended::Widen => tracing::info!(slot = %config.slot, "a slot takes more messages at once again"),
        _ if told => tracing::warn!(slot = %config.slot, error, "a slot's session has ended and begins anew"),
        // The way to the broker as a whole is told once, by the publisher.
        _ => tracing::debug!(slot = %config.slot, error, "a slot's session did not come up"),
    }
}

/// Waits until a connection makes sense, and reads the lease unless it was claimed just now. Gives the boot time at
/// which the lease was asked for; `None` when it is not ours any more.
async fn before_connect(
    config: &SessionConfig,
    term: u64,
    claimed: Option<Duration>,
    pause: Duration,
) -> Option<Duration> {
    let most = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).max(1);
    tokio::time::sleep(Duration::from_millis(fleet_clock::jitter_seed() % most)).await;
    while !config.buffered.is_half_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    config.reach.connected().await;
    if let Some(claimed) = claimed.filter(|at| !is_stale(*at, config.lease)) {
        return Some(claimed);
    }
    let slot = config.slot;
    let terms = [SlotTerm { slot, term }];
    loop {
        let asked = fleet_clock::boot_now();
        let read = config
            .store
            .renew_slots(&terms, fleet_clock::wall_now(), config.lease);
        match tokio::time::timeout(LEASE_READ_WITHIN, read).await {
            Ok(Ok(lost)) if lost.is_empty() => return Some(asked),
            Ok(Ok(_)) => {
                config.slots.lose(&terms);
                return None;
            }
            // The keeper tells what is wrong with the database.
            Ok(Err(_)) | Err(_) => tokio::time::sleep(LEASE_READ_PAUSE).await,
        }
    }
}

/// So long ago that another one may have the slot by now: this process stood still, or everything is very slow.
fn is_stale(confirmed: Duration, lease: Duration) -> bool {
    fleet_clock::boot_now().saturating_sub(confirmed) > lease / 2
}

async fn connect(
    config: &SessionConfig,
    attempt: Attempt,
    current: &watch::Sender<Option<Current>>,
) -> Ended {
    let (client, mut events) = AsyncClient::new(options(config, attempt.window), REQUESTS);
    let mut hold = config.slots.watch(config.slot);
    let lost = async {
        // A new term needs a new connection as well.
        let _ = hold.wait_for(|hold| hold.term() != Some(attempt.term)).await;
        Ended::Term
    };
    let widen = async {
        if attempt.window >= config.receive_maximum {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(WIDEN_AFTER).await;
        Ended::Widen
    };
    tokio::select! {
        biased;
        ended = lost => ended,
        ended = give_back(config, attempt, current) => ended,
        ended = widen => ended,
        ended = poll(config, attempt, client, &mut events, current) => ended,
    }
}

/// When the slot is to be given back: marks the end of what this connection hands over. The committer answers by a
/// goodbye on it, which ends the polling.
async fn give_back(
    config: &SessionConfig,
    attempt: Attempt,
    current: &watch::Sender<Option<Current>>,
) -> Ended {
    let mut hold = config.slots.watch(config.slot);
    if hold
        .wait_for(|hold| matches!(hold, Hold::GivingBack(_)))
        .await
        .is_err()
    {
        return Ended::Term;
    }
    let up = current.borrow().is_some();
    let marked = config.arrivals.send(Handed::End {
        slot: config.slot,
        connection: attempt.connection,
    });
    if up && marked.is_ok() {
        tokio::time::sleep(GIVE_BACK_WITHIN).await;
        tracing::warn!(slot = %config.slot, "what was taken could not be committed in time; the slot is given back without");
    }
    Ended::GivenBack
}

/// Polls, and only polls.
async fn poll(
    config: &SessionConfig,
    attempt: Attempt,
    client: AsyncClient,
    events: &mut EventLoop,
    current: &watch::Sender<Option<Current>>,
) -> Ended {
    let (acks_tx, acks_sent) = watch::channel(0);
    let hold = config.slots.watch(config.slot);
    loop {
        let event = match events.poll().await {
            Ok(event) => event,
            Err(error) => return Ended::Connection(Box::new(error)),
        };
        match event {
            Event::Incoming(Incoming::ConnAck(connack)) => {
                // The keeper's renewals count as well.
                let confirmed = attempt.confirmed.max(config.slots.renewed_at());
                if is_stale(confirmed, config.lease) {
                    return Ended::Stale;
                }
                if !connack.session_present {
                    let (slot, term) = (config.slot, attempt.term);
                    let _ = config.arrivals.send(Handed::SessionLost(SlotTerm { slot, term }));
                }
                if client.try_subscribe_many(filters(config)).is_err() {
                    return Ended::Subscription("the client takes no request".to_owned());
                }
                tell_limits(config, &connack);
                // Acknowledgements may flow before the subscription's: the session is older than the connection.
                current.send_replace(Some(Current {
                    connection: attempt.connection,
                    client: client.clone(),
                    max_packet: connack.properties.and_then(|of| of.max_packet_size),
                    acks_sent: acks_sent.clone(),
                }));
            }
            Event::Incoming(Incoming::SubAck(ack)) => {
                if let Err(why) = granted(&ack) {
                    return Ended::Subscription(why);
                }
                config.slots.session_is_up(config.slot);
                tracing::debug!(slot = %config.slot, connection = attempt.connection, "a slot's session is up");
            }
            Event::Incoming(Incoming::Publish(publish)) => {
                let taken = hand_over(config, &hold, attempt, publish);
                if !taken {
                    return Ended::Flood;
                }
            }
            Event::Outgoing(rumqttc::Outgoing::PubAck(_)) => acks_tx.send_modify(|sent| *sent += 1),
            // It has left through the socket, behind the acknowledgements.
            Event::Outgoing(rumqttc::Outgoing::Disconnect) => return Ended::GivenBack,
            _ => {}
        }
    }
}

/// Limits show on every connection; the session goes on with them as well as it can.
fn tell_limits(config: &SessionConfig, connack: &ConnAck) {
    let found = too_small(connack, Some(SESSION_EXPIRY));
    if !found.is_empty() {
        config.reach.set_limits(found);
    }
}

fn filters(config: &SessionConfig) -> [Filter; 4] {
    let filter = |channel, qos| {
        let topic = fleet_wire::Topic::slot_filter(&config.plant, config.slot, channel);
        Filter::new(topic, qos)
    };
    [
        filter(Channel::Events, QoS::AtLeastOnce),
        filter(Channel::Sync, QoS::AtLeastOnce),
        filter(Channel::Presence, QoS::AtLeastOnce),
        filter(Channel::Live, QoS::AtMostOnce),
    ]
}

/// Every subscription is granted, the durable ones at QoS 1.
fn granted(ack: &SubAck) -> Result<(), String> {
    let wanted = [
        QoS::AtLeastOnce,
        QoS::AtLeastOnce,
        QoS::AtLeastOnce,
        QoS::AtMostOnce,
    ];
    for (code, wanted) in ack.return_codes.iter().zip(wanted) {
        match code {
            SubscribeReasonCode::Success(QoS::AtMostOnce) if wanted == QoS::AtLeastOnce => {
                return Err("the broker grants QoS 0 only".to_owned());
            }
            SubscribeReasonCode::Success(_) => {}
            code => return Err(format!("{code:?}")),
        }
    }
    Ok(())
}

/// False when the flood limit is passed.
fn hand_over(
    config: &SessionConfig,
    hold: &watch::Receiver<Hold>,
    attempt: Attempt,
    publish: Publish,
) -> bool {
    if *hold.borrow() != Hold::Owned(attempt.term) {
        // Not acknowledged: the next owner gets it, and everything behind it, in order.
        return true;
    }
    let arrival = Arrival {
        slot: config.slot,
        connection: attempt.connection,
        term: attempt.term,
        packet: publish.pkid,
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        properties: publish
            .properties
            .map(|properties| properties.user_properties)
            .unwrap_or_default(),
        payload: publish.payload,
        refused: false,
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
    if config.arrivals.send(Handed::Message(arrival)).is_err() {
        config.buffered.give(weight);
    }
    true
}
