//! One network connection with an event loop of its own, as the product makes them (mqtt.md): polled by a task
//! that does nothing else, manual acknowledgements, dropped with the connection.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use fleet_wire::limits::{KEEP_ALIVE, MAX_PACKET_BYTES};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, DisconnectReasonCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason, Publish,
    PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{NetworkOptions, Outgoing};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::fault::Fault;
use crate::target::Target;

/// How long a connect, a subscription or an acknowledgement may take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the first message of a resumed session may take: a broker may have to write or read files before.
pub(crate) const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// Requests that the client's channel holds; they die with the connection.
const REQUESTS: usize = 64;
/// How long the sessions of a run live when it can't take them away.
const SESSION_EXPIRY: u32 = 600;

/// A will.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) delay: Duration,
}

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    /// Seconds the session outlives its connection.
    pub(crate) session_expiry: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) max_packet: usize,
    pub(crate) will: Option<Will>,
    /// Most publishes of ours with an open PUBACK.
    pub(crate) in_flight: u16,
}

impl Wanted {
    /// As a slot's session connects: persistent, 250 messages at once.
    pub(crate) fn session(client_id: String) -> Self {
        Self {
            client_id,
            clean_start: false,
            session_expiry: SESSION_EXPIRY,
            receive_maximum: 250,
            max_packet: 2 * MAX_PACKET_BYTES,
            will: None,
            in_flight: 200,
        }
    }

    /// A client whose session ends with its connection.
    pub(crate) fn passing(client_id: String) -> Self {
        Self {
            clean_start: true,
            session_expiry: 0,
            ..Self::session(client_id)
        }
    }
}

/// A message as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet: u16,
    pub(crate) properties: PublishProperties,
    pub(crate) at: Instant,
}

impl From<Publish> for Message {
    fn from(publish: Publish) -> Self {
        Self {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload,
            retain: publish.retain,
            dup: publish.dup,
            packet: publish.pkid,
            properties: publish.properties.unwrap_or_default(),
            at: Instant::now(),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The broker said so, with this reason.
    Told(DisconnectReasonCode),
    /// Without a word.
    Silent(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(code) => write!(f, "the broker said {code:?} (0x{:02X})", *code as u8),
            Self::Silent(how) => f.write_str(how),
        }
    }
}

impl From<ConnectionError> for Ended {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
                Self::Told(reason_code)
            }
            ConnectionError::MqttState(StateError::ConnectionAborted | StateError::Io(_)) => {
                Self::Silent("closed without a word".to_owned())
            }
            error => Self::Silent(error.to_string()),
        }
    }
}

/// What the broker has answered so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// Publishes with a PUBACK that says success.
    pub(crate) accepted: usize,
    /// Publishes with a PUBACK that says an error.
    pub(crate) refused: usize,
    /// The last such error.
    pub(crate) refusal: Option<PubAckReason>,
    /// Acknowledgements of ours that have left.
    acks_sent: usize,
    disconnect_sent: bool,
}

/// A connection. Dropping it cuts it off without a DISCONNECT.
#[derive(Debug)]
pub(crate) struct Connection {
    client: AsyncClient,
    pub(crate) connack: ConnAck,
    messages: mpsc::UnboundedReceiver<Message>,
    subscribed: mpsc::UnboundedReceiver<Vec<SubscribeReasonCode>>,
    answers: watch::Receiver<Answers>,
    ended: watch::Receiver<Option<Ended>>,
    published: usize,
    acknowledged: usize,
    task: JoinHandle<()>,
}

fn options(target: &Target, wanted: &Wanted) -> MqttOptions {
    let mut options = MqttOptions::new(&wanted.client_id, &target.host, target.port);
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_connection_timeout(ANSWER_WITHIN.as_secs())
        .set_clean_start(wanted.clean_start)
        .set_session_expiry_interval(Some(wanted.session_expiry))
        .set_receive_maximum(Some(wanted.receive_maximum))
        .set_max_packet_size(u32::try_from(wanted.max_packet).ok())
        .set_outgoing_inflight_upper_limit(wanted.in_flight)
        .set_manual_acks(true);
    if let Some(will) = &wanted.will {
        options.set_last_will(last_will(will));
    }
    if let Some(credentials) = &target.credentials {
        options.set_credentials(&credentials.username, credentials.password());
    }
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options
}

/// The will as the codec wants it.
pub(crate) fn last_will(will: &Will) -> LastWill {
    let mut last = LastWill::new(&will.topic, will.payload.clone(), QoS::AtLeastOnce, false, None);
    last.properties = Some(LastWillProperties {
        delay_interval: u32::try_from(will.delay.as_secs()).ok(),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    });
    last
}

fn not_connected(error: ConnectionError) -> Fault {
    match error {
        ConnectionError::ConnectionRefused(code) => Fault::Refused {
            code: format!("{code:?}"),
        },
        ConnectionError::Timeout(_) => Fault::Timeout {
            what: "answer to the connect".to_owned(),
            within: ANSWER_WITHIN,
        },
        error => Fault::Unreachable {
            reason: error.to_string(),
        },
    }
}

impl Connection {
    /// Connects once.
    pub(crate) async fn open(target: &Target, wanted: &Wanted) -> Result<Self, Fault> {
        let (client, mut events) = AsyncClient::new(options(target, wanted), REQUESTS);
        let connack = loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(connack))) => break connack,
                Ok(_) => {}
                Err(error) => return Err(not_connected(error)),
            }
        };
        let (messages_tx, messages) = mpsc::unbounded_channel();
        let (subscribed_tx, subscribed) = mpsc::unbounded_channel();
        let (answers_tx, answers) = watch::channel(Answers::default());
        let (ended_tx, ended) = watch::channel(None);
        let sinks = Sinks {
            messages: messages_tx,
            subscribed: subscribed_tx,
            answers: answers_tx,
        };
        let task = tokio::spawn(async move {
            let how = poll(&mut events, &sinks).await;
            ended_tx.send_replace(Some(how));
        });
        Ok(Self {
            client,
            connack,
            messages,
            subscribed,
            answers,
            ended,
            published: 0,
            acknowledged: 0,
            task,
        })
    }

    fn fault(&self, what: &str) -> Fault {
        let ended = self.ended.borrow().clone();
        Fault::Ended {
            what: what.to_owned(),
            ended: ended.map_or_else(|| "closed".to_owned(), |ended| ended.to_string()),
        }
    }

    /// Subscribes at QoS 1 and waits for the answer.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> Result<(), Fault> {
        let what = "answer to a subscription";
        let filters = [Filter::new(filter, QoS::AtLeastOnce)];
        if self.client.subscribe_many(filters).await.is_err() {
            return Err(self.fault(what));
        }
        match timeout(ANSWER_WITHIN, self.subscribed.recv()).await {
            Ok(Some(codes)) => match codes
                .into_iter()
                .find(|code| !matches!(code, SubscribeReasonCode::Success(_)))
            {
                None => Ok(()),
                Some(code) => Err(Fault::Subscription {
                    filter: filter.to_owned(),
                    code: format!("{code:?}"),
                }),
            },
            Ok(None) => Err(self.fault(what)),
            Err(_) => Err(Fault::Timeout {
                what: what.to_owned(),
                within: ANSWER_WITHIN,
            }),
        }
    }

    /// Hands a QoS 1 message to the client; waits while its window is full.
    pub(crate) async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>) -> Result<(), Fault> {
        self.publish_as(topic, payload, false, PublishProperties::default())
            .await
    }

    /// The same with a retain flag and properties.
    pub(crate) async fn publish_as(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        retain: bool,
        properties: PublishProperties,
    ) -> Result<(), Fault> {
        let what = "room for a publish";
        let publish =
            self.client
                .publish_with_properties(topic, QoS::AtLeastOnce, retain, payload.into(), properties);
        match timeout(ANSWER_WITHIN, publish).await {
            Ok(Ok(())) => {
                self.published += 1;
                Ok(())
            }
            Ok(Err(_)) => Err(self.fault(what)),
            Err(_) => Err(Fault::Timeout {
                what: what.to_owned(),
                within: ANSWER_WITHIN,
            }),
        }
    }

    /// Waits until every publish has its PUBACK; gives up when none comes for [`ANSWER_WITHIN`].
    pub(crate) async fn settled(&mut self) -> Result<Answers, Fault> {
        let what = "PUBACK";
        loop {
            let answers = self.answers.borrow_and_update().clone();
            if answers.accepted + answers.refused >= self.published {
                return Ok(answers);
            }
            match timeout(ANSWER_WITHIN, self.answers.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(self.fault(what)),
                Err(_) => {
                    return Err(Fault::Timeout {
                        what: format!(
                            "{what} of {} publishes",
                            self.published - answers.accepted - answers.refused
                        ),
                        within: ANSWER_WITHIN,
                    });
                }
            }
        }
    }

    /// The next message.
    pub(crate) async fn next(&mut self, within: Duration) -> Result<Message, Fault> {
        match timeout(within, self.messages.recv()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(self.fault("a message")),
            Err(_) => Err(Fault::Timeout {
                what: "message".to_owned(),
                within,
            }),
        }
    }

    /// What arrives, at most `most`: the first message within [`FIRST_WITHIN`], then until nothing comes for
    /// `silence`. A connection that ends is an error.
    pub(crate) async fn collect(&mut self, most: usize, silence: Duration) -> Result<Vec<Message>, Fault> {
        self.take(most, (FIRST_WITHIN, silence), false).await
    }

    /// What a session brings that should be resumed, acknowledged. One that was lost has nothing to wait for.
    pub(crate) async fn resume(&mut self, most: usize, silence: Duration) -> Result<Vec<Message>, Fault> {
        if self.connack.session_present {
            self.drain(most, silence).await
        } else {
            self.look(most, silence).await
        }
    }

    /// The same as [`Connection::collect`], each message acknowledged as it comes.
    pub(crate) async fn drain(&mut self, most: usize, silence: Duration) -> Result<Vec<Message>, Fault> {
        self.take(most, (FIRST_WITHIN, silence), true).await
    }

    /// What arrives where nothing may be expected; nothing is acknowledged.
    pub(crate) async fn look(&mut self, most: usize, within: Duration) -> Result<Vec<Message>, Fault> {
        self.take(most, (within, within), false).await
    }

    async fn take(
        &mut self,
        most: usize,
        (first, then): (Duration, Duration),
        acknowledge: bool,
    ) -> Result<Vec<Message>, Fault> {
        let mut messages = Vec::new();
        while messages.len() < most {
            let patience = if messages.is_empty() { first } else { then };
            match self.next(patience).await {
                Ok(message) => {
                    if acknowledge {
                        self.acknowledge(&message).await?;
                    }
                    messages.push(message);
                }
                Err(Fault::Timeout { .. }) => break,
                Err(fault) => return Err(fault),
            }
        }
        Ok(messages)
    }

    /// Acknowledges a message of this connection.
    pub(crate) async fn acknowledge(&mut self, message: &Message) -> Result<(), Fault> {
        if message.packet == 0 {
            return Ok(());
        }
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            pkid: message.packet,
            ..Publish::default()
        };
        self.acknowledged += 1;
        match timeout(ANSWER_WITHIN, self.client.ack(&publish)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(self.fault("room for an acknowledgement")),
        }
    }

    /// Waits until all acknowledgements have left through the socket.
    pub(crate) async fn acks_sent(&mut self) -> Result<(), Fault> {
        let count = self.acknowledged;
        let sent = self.answers.wait_for(|answers| answers.acks_sent >= count);
        let all = matches!(timeout(ANSWER_WITHIN, sent).await, Ok(Ok(_)));
        if all {
            Ok(())
        } else {
            Err(self.fault("acknowledgements to leave"))
        }
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(&mut self, within: Duration) -> Option<Ended> {
        let ended = timeout(within, self.ended.wait_for(Option::is_some)).await;
        ended.ok()?.ok()?.clone()
    }

    /// Says goodbye: the will is not to be sent.
    pub(crate) async fn disconnect(mut self) -> Result<(), Fault> {
        let what = "a goodbye to leave";
        if self.client.disconnect().await.is_err() {
            return Err(self.fault(what));
        }
        let sent = self.answers.wait_for(|answers| answers.disconnect_sent);
        let has_left = matches!(timeout(ANSWER_WITHIN, sent).await, Ok(Ok(_)));
        if !has_left {
            return Err(self.fault(what));
        }
        self.cut().await;
        Ok(())
    }

    /// Ends the connection without a word, and returns when it is gone.
    pub(crate) async fn cut(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Sinks {
    messages: mpsc::UnboundedSender<Message>,
    subscribed: mpsc::UnboundedSender<Vec<SubscribeReasonCode>>,
    answers: watch::Sender<Answers>,
}

/// Polls, and only polls.
async fn poll(events: &mut EventLoop, sinks: &Sinks) -> Ended {
    loop {
        let event = match events.poll().await {
            Ok(event) => event,
            Err(error) => return error.into(),
        };
        match event {
            Event::Incoming(Packet::Publish(publish)) => {
                let _ = sinks.messages.send(publish.into());
            }
            Event::Incoming(Packet::SubAck(suback)) => {
                let _ = sinks.subscribed.send(suback.return_codes);
            }
            Event::Incoming(Packet::PubAck(puback)) => {
                sinks.answers.send_modify(|answers| match puback.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => answers.accepted += 1,
                    reason => {
                        answers.refused += 1;
                        answers.refusal = Some(reason);
                    }
                });
            }
            Event::Outgoing(Outgoing::PubAck(_)) => {
                sinks.answers.send_modify(|answers| answers.acks_sent += 1);
            }
            Event::Outgoing(Outgoing::Disconnect) => {
                sinks
                    .answers
                    .send_modify(|answers| answers.disconnect_sent = true);
            }
            _ => {}
        }
    }
}
