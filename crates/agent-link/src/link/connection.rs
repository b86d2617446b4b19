//! One network connection: its own rumqttc event loop, dropped with it (mqtt.md). All harmful state of the
//! client lives in that loop, so nothing of it survives.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use fleet_wire::command::Commands;
use fleet_wire::limits::MAX_PACKET_BYTES;
use fleet_wire::receipt::ReceiptMessage;
use fleet_wire::{CONTROL_CONTENT_TYPE, Channel, EVENT_CONTENT_TYPE, Topic};
use rumqttc::NetworkOptions;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, DisconnectReasonCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason, Publish,
    PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use spool::Position;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::{LinkConfig, LinkEvent, PresenceDocuments, Request};

/// Most publishes with an open PUBACK, the client's limit: it sizes its memory by it.
const MOST_OPEN: u16 = 16;
/// Progress is dropped when so many publishes wait.
const MOST_LIVE_WAITING: usize = 8;
/// Publishes that may wait for the client. The sender's window is far below.
const MOST_WAITING: usize = 256;
/// The client does not take less.
const LEAST_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Messages of the broker that may be on their way to this bench.
const RECEIVE_MAXIMUM: u16 = 64;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How a connection ended.
pub(super) enum End {
    Lost {
        reason: String,
        /// The broker said that another client took the session.
        taken_over: bool,
        /// The peer cut it without a word.
        cut_by_peer: bool,
        /// How long it was up; none: never.
        up_for: Option<Duration>,
    },
    Shutdown,
    /// Nobody reads the events any more.
    ReaderGone,
}

/// A publish that waits for the client.
struct Waiting {
    topic: String,
    qos: QoS,
    retain: bool,
    payload: Bytes,
    properties: PublishProperties,
    position: Option<Position>,
}

pub(super) struct Connection<'a> {
    config: &'a LinkConfig,
    number: u64,
    presence: PresenceDocuments,
    events: &'a mpsc::Sender<LinkEvent>,
    client: AsyncClient,
    waiting: VecDeque<Waiting>,
    /// QoS 1 publishes given to the client, in order, whose packet identifier is not known yet.
    given: VecDeque<Option<Position>>,
    /// Open publishes by packet identifier.
    open: HashMap<u16, Option<Position>>,
    connack: Option<ConnAck>,
    up_since: Option<Instant>,
    leaving: Option<Instant>,
    goodbye_given: bool,
}

/// What ends a connection from within.
enum Stop {
    Because(String),
    ReaderGone,
}

pub(super) async fn run(
    config: &LinkConfig,
    number: u64,
    presence: PresenceDocuments,
    requests: &mut mpsc::Receiver<Request>,
    shutdown: &mut mpsc::Receiver<()>,
    events: &mpsc::Sender<LinkEvent>,
) -> End {
    let (client, mut eventloop) = AsyncClient::new(options(config, &presence), 1);
    let mut connection = Connection {
        config,
        number,
        presence,
        events,
        client,
        waiting: VecDeque::new(),
        given: VecDeque::new(),
        open: HashMap::new(),
        connack: None,
        up_since: None,
        leaving: None,
        goodbye_given: false,
    };
    loop {
        match connection.step(&mut eventloop, requests, shutdown).await {
            Ok(None) => {}
            Ok(Some(end)) => return end,
            Err(Stop::ReaderGone) => return End::ReaderGone,
            Err(Stop::Because(reason)) => return connection.lost(reason, false, false),
        }
    }
}

fn options(config: &LinkConfig, presence: &PresenceDocuments) -> MqttOptions {
    let mut options = MqttOptions::new(config.device.as_str(), config.host.clone(), config.port);
    let whole_seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let mut will = LastWill::new(
        topic(config, Channel::Presence),
        presence.offline.clone(),
        QoS::AtLeastOnce,
        true,
        None,
    );
    will.properties = Some(LastWillProperties {
        delay_interval: Some(whole_seconds(config.will_delay)),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: Some(CONTROL_CONTENT_TYPE.to_owned()),
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    });
    options
        .set_keep_alive(config.keep_alive.max(LEAST_KEEP_ALIVE))
        .set_clean_start(false)
        .set_session_expiry_interval(Some(whole_seconds(config.session_expiry)))
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_max_packet_size(u32::try_from(MAX_PACKET_BYTES).ok())
        .set_outgoing_inflight_upper_limit(MOST_OPEN)
        .set_last_will(will);
    if let Some(of) = &config.credentials {
        options.set_credentials(of.username.clone(), of.password.clone());
    }
    // Off by default in the client, which costs 14 ms per round at 5,000 events/s.
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options
}

fn topic(config: &LinkConfig, channel: Channel) -> String {
    Topic::new(config.plant.clone(), config.device.clone(), channel).to_string()
}

fn properties(content_type: &str, user_properties: Vec<(String, String)>) -> PublishProperties {
    PublishProperties {
        content_type: Some(content_type.to_owned()),
        user_properties,
        ..PublishProperties::default()
    }
}

impl Connection<'_> {
    /// Waits for one thing from the network while requests are taken. The poll is never dropped half-way: it
    /// holds packets that are counted as sent.
    async fn step(
        &mut self,
        eventloop: &mut EventLoop,
        requests: &mut mpsc::Receiver<Request>,
        shutdown: &mut mpsc::Receiver<()>,
    ) -> Result<Option<End>, Stop> {
        let poll = eventloop.poll();
        tokio::pin!(poll);
        let result = loop {
            let deadline = self.leaving.map(|since| since + GOODBYE);
            tokio::select! {
                biased;
                result = &mut poll => break result,
                asked = shutdown.recv(), if self.leaving.is_none() => {
                    if asked.is_none() || self.up_since.is_none() {
                        return Ok(Some(End::Shutdown));
                    }
                    self.leaving = Some(Instant::now());
                    self.publish_presence(self.presence.offline.clone().into());
                }
                request = requests.recv(), if self.leaving.is_none() => match request {
                    Some(request) => self.request(request)?,
                    None => return Ok(Some(End::Shutdown)),
                },
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return Ok(Some(End::Shutdown));
                }
            }
            self.feed();
        };
        match result {
            Ok(event) => {
                let end = self.event(event)?;
                self.feed();
                Ok(end)
            }
            Err(_) if self.leaving.is_some() => Ok(Some(End::Shutdown)),
            Err(error) => Ok(Some(self.failed(&error))),
        }
    }

    fn failed(&self, error: &ConnectionError) -> End {
        let taken_over = matches!(
            error,
            ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code: DisconnectReasonCode::SessionTakenOver,
                ..
            })
        );
        let cut_by_peer = matches!(
            error,
            ConnectionError::MqttState(StateError::ConnectionAborted | StateError::Io(_))
        );
        self.lost(error.to_string(), taken_over, cut_by_peer)
    }

    fn lost(&self, reason: String, taken_over: bool, cut_by_peer: bool) -> End {
        End::Lost {
            reason,
            taken_over,
            cut_by_peer,
            up_for: self.up_since.map(|since| since.elapsed()),
        }
    }

    fn request(&mut self, request: Request) -> Result<(), Stop> {
        if let Request::Reconnect(connection) = request {
            if connection == self.number {
                return Err(Stop::Because("a new connection was asked for".to_owned()));
            }
            return Ok(());
        }
        if self.up_since.is_none() {
            // Nothing is kept for a later connection: the spool has it, and sync is sent at connect.
            return Ok(());
        }
        match request {
            Request::Event {
                connection,
                position,
                properties: event,
                payload,
            } => {
                if connection == self.number {
                    let properties = properties(EVENT_CONTENT_TYPE, event.encode());
                    self.wait(
                        Channel::Events,
                        QoS::AtLeastOnce,
                        payload,
                        properties,
                        Some(position),
                    );
                }
            }
            Request::Sync(payload) => {
                let properties = properties(CONTROL_CONTENT_TYPE, Vec::new());
                self.wait(Channel::Sync, QoS::AtLeastOnce, payload, properties, None);
            }
            Request::Live(payload) => {
                if self.waiting.len() < MOST_LIVE_WAITING {
                    let properties = properties(CONTROL_CONTENT_TYPE, Vec::new());
                    self.wait(Channel::Live, QoS::AtMostOnce, payload, properties, None);
                }
            }
            Request::Presence(payload) => self.publish_presence(payload),
            Request::Reconnect(_) => {}
        }
        if self.waiting.len() > MOST_WAITING {
            return Err(Stop::Because("the broker takes nothing more".to_owned()));
        }
        Ok(())
    }

    fn publish_presence(&mut self, payload: Bytes) {
        let properties = properties(CONTROL_CONTENT_TYPE, Vec::new());
        self.wait(Channel::Presence, QoS::AtLeastOnce, payload, properties, None);
    }

    fn wait(
        &mut self,
        channel: Channel,
        qos: QoS,
        payload: Bytes,
        properties: PublishProperties,
        position: Option<Position>,
    ) {
        self.waiting.push_back(Waiting {
            topic: topic(self.config, channel),
            qos,
            retain: channel == Channel::Presence,
            payload,
            properties,
            position,
        });
    }

    /// Gives the client what it takes at once. Its channel holds one: whatever waits here dies with the
    /// connection instead of bypassing the client's flow control on the next one.
    fn feed(&mut self) {
        while let Some(next) = self.waiting.front() {
            let given = self.client.try_publish_with_properties(
                next.topic.clone(),
                next.qos,
                next.retain,
                next.payload.clone(),
                next.properties.clone(),
            );
            if given.is_err() {
                return;
            }
            if next.qos != QoS::AtMostOnce {
                self.given.push_back(next.position);
            }
            self.waiting.pop_front();
        }
        if self.leaving.is_some() && !self.goodbye_given && self.given.is_empty() {
            self.goodbye_given = self.client.try_disconnect().is_ok();
        }
    }

    fn event(&mut self, event: Event) -> Result<Option<End>, Stop> {
        match event {
            Event::Outgoing(Outgoing::Publish(packet)) if packet != 0 => {
                let position = self.given.pop_front().flatten();
                self.open.insert(packet, position);
            }
            Event::Outgoing(Outgoing::Disconnect) if self.leaving.is_some() => {
                return Ok(Some(End::Shutdown));
            }
            // The client says so by itself when the broker breaks the protocol, with a topic alias for example.
            Event::Outgoing(Outgoing::Disconnect) => {
                return Err(Stop::Because("the broker has broken the protocol".to_owned()));
            }
            Event::Incoming(Packet::ConnAck(connack)) => {
                self.connack = Some(connack);
                let filters = [Channel::Receipts, Channel::Commands]
                    .map(|channel| Filter::new(topic(self.config, channel), QoS::AtLeastOnce));
                self.client
                    .try_subscribe_many(filters)
                    .map_err(|error| Stop::Because(format!("can't subscribe: {error}")))?;
            }
            Event::Incoming(Packet::SubAck(suback)) => {
                let refused = |code: &&SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                if let Some(code) = suback.return_codes.iter().find(refused) {
                    return Err(Stop::Because(format!(
                        "the broker refuses the subscription: {code:?}"
                    )));
                }
                self.up()?;
            }
            Event::Incoming(Packet::PubAck(puback)) => {
                if let Some(Some(position)) = self.open.remove(&puback.pkid) {
                    self.emit(LinkEvent::PubAck {
                        connection: self.number,
                        position,
                        reason: reason_code(puback.reason),
                    })?;
                }
            }
            Event::Incoming(Packet::Publish(publish)) => self.incoming(&publish)?,
            _ => {}
        }
        Ok(None)
    }

    fn up(&mut self) -> Result<(), Stop> {
        let Some(connack) = self.connack.take() else {
            return Ok(());
        };
        self.up_since = Some(Instant::now());
        self.publish_presence(self.presence.online.clone().into());
        let told = connack.properties.as_ref();
        self.emit(LinkEvent::Up {
            connection: self.number,
            connect_counter: self.number,
            receive_maximum: told.and_then(|told| told.receive_max).unwrap_or(u16::MAX),
            maximum_packet_size: told.and_then(|told| told.max_packet_size),
            session_present: connack.session_present,
        })
    }

    fn incoming(&self, publish: &Publish) -> Result<(), Stop> {
        let channel = [Channel::Receipts, Channel::Commands]
            .into_iter()
            .find(|channel| publish.topic == topic(self.config, *channel).as_bytes());
        let event = match channel {
            Some(channel @ Channel::Receipts) => match ReceiptMessage::decode(&publish.payload) {
                Ok(ReceiptMessage::Receipt(receipt)) => LinkEvent::Receipt(receipt),
                Ok(ReceiptMessage::SyncAnswer(answer)) => LinkEvent::SyncAnswer(answer),
                Err(error) => LinkEvent::Undecodable { channel, error },
            },
            Some(channel) => match Commands::decode(&publish.payload) {
                Ok(commands) => LinkEvent::Commands(commands),
                Err(error) => LinkEvent::Undecodable { channel, error },
            },
            None => {
                tracing::warn!(
                    topic = %String::from_utf8_lossy(&publish.topic),
                    "message on a topic that was not asked for"
                );
                return Ok(());
            }
        };
        self.emit(event)
    }

    /// Hands over without waiting: the polling task must never stand still.
    fn emit(&self, event: LinkEvent) -> Result<(), Stop> {
        self.events.try_send(event).map_err(|error| match error {
            TrySendError::Full(_) => Stop::Because("the agent is too far behind its messages".to_owned()),
            TrySendError::Closed(_) => Stop::ReaderGone,
        })
    }
}

/// The reason codes of PUBACK (MQTT 5.0, 3.4.2.1).
fn reason_code(reason: PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    }
}
