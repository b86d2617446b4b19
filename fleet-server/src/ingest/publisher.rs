//! The process's own session at the plant's broker: publishes lists for benches whose slot another replica has,
//! and tells whether the broker is there and fit.
//!
//! A clean session without subscriptions. Once per connection it publishes one message of the largest size to a
//! topic that nobody reads: a limit that the broker does not announce shows by that and by nothing else. A small one
//! every two seconds shows a broker that hangs.

use std::time::Duration;

use fleet_domain::PlantId;
use fleet_wire::limits::{MAX_PACKET_BYTES, MAX_PAYLOAD_BYTES};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, PubAckReason, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, StateError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::writer::{Current, Link, link};
use crate::broker::{BrokerAddress, BrokerState, Reach, ended, too_small};

/// Requests that the client's channel holds.
const REQUESTS: usize = 64;
/// Publishes on their way to the broker.
const OUTGOING_IN_FLIGHT: u16 = 200;
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to connect.
const MAX_BACK_OFF: Duration = Duration::from_secs(2);
/// Longest pause after a refusal: an account must not be locked by trying.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// How often the broker is asked for a sign of life.
const PULSE: Duration = Duration::from_secs(2);
/// How long the broker may take to acknowledge.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct PublisherConfig {
    pub(super) plant: PlantId,
    /// The process, as in its leases.
    pub(super) owner: String,
    pub(super) broker: BrokerAddress,
    pub(super) reach: Reach,
}

/// Starts the session.
pub(super) fn spawn(config: PublisherConfig) -> (Link, tokio::task::JoinHandle<()>) {
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

/// How a connection ended.
struct End {
    state: BrokerState,
    was_up: bool,
    /// The largest message was the cause.
    by_size: bool,
}

async fn run(config: PublisherConfig, current: watch::Sender<Option<Current>>) {
    let (mut connection, mut pause) = (0, Duration::ZERO);
    let mut told = None;
    // The broker ends the connection at a message of the largest size: the next connection is used without asking again.
    let mut known_small = false;
    loop {
        let most = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).max(1);
        tokio::time::sleep(Duration::from_millis(fleet_clock::jitter_seed() % most)).await;
        connection += 1;
        let end = connect(&config, connection, known_small, &current).await;
        current.send_replace(None);
        known_small = end.by_size;
        pause = match (end.state.state, end.was_up) {
            ("refused", _) => REFUSED_PAUSE,
            (_, true) => Duration::from_millis(100),
            _ => (pause * 2).clamp(Duration::from_millis(100), MAX_BACK_OFF),
        };
        if told.as_ref() != Some(&end.state) || end.was_up {
            tracing::warn!(
                state = end.state.state,
                detail = end.state.detail,
                "the broker can't be used at the moment"
            );
            told = Some(end.state.clone());
        }
        if !end.by_size {
            config.reach.is_down(end.state);
        }
    }
}

async fn connect(
    config: &PublisherConfig,
    connection: u64,
    known_small: bool,
    current: &watch::Sender<Option<Current>>,
) -> End {
    let id = format!("fleet-{}-out-{}", config.plant, config.owner);
    let mut options = config.broker.options(id, KEEP_ALIVE);
    options
        .set_clean_start(true)
        .set_max_packet_size(u32::try_from(MAX_PACKET_BYTES).ok())
        .set_outgoing_inflight_upper_limit(OUTGOING_IN_FLIGHT);
    let (client, events) = AsyncClient::new(options, REQUESTS);
    let mut polling = Polling {
        config,
        connection,
        client,
        current,
        known_small,
        size_asked: None,
        open: std::collections::HashSet::new(),
        asked_at: None,
        was_up: false,
    };
    let state = polling.run(events).await;
    let by_size = polling.was_up && state.state == "limits_too_small";
    End {
        state,
        was_up: polling.was_up,
        by_size,
    }
}

/// One connection.
struct Polling<'a> {
    config: &'a PublisherConfig,
    connection: u64,
    client: AsyncClient,
    current: &'a watch::Sender<Option<Current>>,
    known_small: bool,
    /// Packet identifier of the message of the largest size; 0 until it is known.
    size_asked: Option<u16>,
    /// Publishes without acknowledgement.
    open: std::collections::HashSet<u16>,
    /// When the oldest of them may have been sent.
    asked_at: Option<Instant>,
    was_up: bool,
}

impl Polling<'_> {
    async fn run(&mut self, mut events: EventLoop) -> BrokerState {
        let mut pulse = tokio::time::interval_at(Instant::now() + PULSE, PULSE);
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // The poll is never dropped half-way: it holds packets that are counted as sent.
            let poll = events.poll();
            tokio::pin!(poll);
            let event = loop {
                tokio::select! {
                    biased;
                    event = &mut poll => break event,
                    _ = pulse.tick() => {
                        if let Some(hangs) = self.pulse() {
                            return hangs;
                        }
                    }
                }
            };
            match event {
                Ok(event) => self.take(event),
                Err(error) => return self.ended(&error),
            }
        }
    }

    /// Asks for a sign of life, or says that there is none.
    fn pulse(&mut self) -> Option<BrokerState> {
        if !self.was_up {
            return None;
        }
        match self.asked_at {
            Some(at) if at.elapsed() >= ANSWER_WITHIN => {
                return Some(BrokerState::new(
                    "unreachable",
                    format!("it acknowledges nothing for {} s", at.elapsed().as_secs()),
                ));
            }
            Some(_) => {}
            None => {
                if self.publish(Vec::new()) {
                    self.asked_at = Some(Instant::now());
                }
            }
        }
        None
    }

    fn publish(&self, payload: Vec<u8>) -> bool {
        let topic = format!("vds/v1/{}/probe", self.config.plant);
        let properties = PublishProperties {
            message_expiry_interval: Some(1),
            ..PublishProperties::default()
        };
        self.client
            .try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)
            .is_ok()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Incoming(Incoming::ConnAck(connack)) => self.is_up(&connack),
            Event::Outgoing(Outgoing::Publish(id)) => {
                if self.size_asked == Some(0) {
                    self.size_asked = Some(id);
                }
                self.open.insert(id);
                self.asked_at.get_or_insert_with(Instant::now);
            }
            Event::Incoming(Incoming::PubAck(ack)) => {
                self.open.remove(&ack.pkid);
                self.asked_at = (!self.open.is_empty()).then(Instant::now);
                if self.size_asked == Some(ack.pkid) {
                    self.size_asked = None;
                    self.judge_size(ack.reason);
                }
            }
            _ => {}
        }
    }

    fn is_up(&mut self, connack: &ConnAck) {
        self.was_up = true;
        let mut limits = too_small(connack, None);
        let most = connack.properties.as_ref().and_then(|of| of.max_packet_size);
        if self.known_small {
            limits.push(size_limit());
        } else if most.is_none_or(|most| most as usize >= MAX_PACKET_BYTES)
            && self.publish(vec![0; MAX_PAYLOAD_BYTES])
        {
            self.size_asked = Some(0);
        }
        tracing::info!(?limits, "the broker is reached");
        self.config.reach.is_up(limits);
        let (_, acks_sent) = watch::channel(0);
        self.current.send_replace(Some(Current {
            connection: self.connection,
            client: self.client.clone(),
            max_packet: most,
            acks_sent,
        }));
    }

    fn judge_size(&mut self, reason: PubAckReason) {
        // Whether the probe's topic is allowed says nothing of the benches' topics.
        let taken = matches!(
            reason,
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers | PubAckReason::NotAuthorized
        );
        if !taken {
            self.config.reach.set_limits(vec![size_limit()]);
        }
    }

    fn ended(&self, error: &ConnectionError) -> BrokerState {
        // Mosquitto answers a message above its message_size_limit with a reason (0x95) that has no place in a
        // PUBACK and that the client can't read.
        let unreadable = matches!(error, ConnectionError::MqttState(StateError::Deserialization(_)));
        if self.size_asked.is_some() && unreadable {
            BrokerState::new("limits_too_small", size_limit())
        } else {
            ended(error)
        }
    }
}

fn size_limit() -> String {
    format!(
        "a message of {MAX_PAYLOAD_BYTES} bytes is refused though no such limit is announced (Mosquitto: remove \
         message_size_limit, use max_packet_size {MAX_PACKET_BYTES})"
    )
}
