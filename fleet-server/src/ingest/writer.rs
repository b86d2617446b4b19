//! What goes from the server to a broker on one session: acknowledgements, receipts, lists.
//!
//! Acknowledgements belong to the connection that brought the message: with another one they would
//! acknowledge something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleet_wire::CONTROL_CONTENT_TYPE;
use fleet_wire::limits::CONTROL_EXPIRY;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use tokio::sync::{mpsc, watch};

/// Receipts and lists that wait for one connection; more are dropped, sync heals it.
const MAX_WAITING_PUBLISHES: usize = 20_000;
/// Bytes of a packet beside topic and payload: header, properties.
const PACKET_OVERHEAD: usize = 128;

pub(super) enum Output {
    Acks { connection: u64, packets: Vec<u16> },
    Publish { topic: String, payload: Vec<u8> },
    Disconnect { connection: u64 },
}

/// Hands acknowledgements, receipts and lists to a session. Never waits.
#[derive(Debug, Clone)]
pub(super) struct Link {
    output: mpsc::UnboundedSender<Output>,
    waiting: Arc<AtomicUsize>,
    current: watch::Receiver<Option<Current>>,
}

impl Link {
    /// Acknowledges messages in this order; those of an earlier connection are left out.
    pub(super) fn acknowledge(&self, connection: u64, packets: Vec<u16>) {
        let _ = self.output.send(Output::Acks { connection, packets });
    }

    /// Says goodbye on this connection after everything that was handed over before.
    pub(super) fn disconnect(&self, connection: u64) {
        let _ = self.output.send(Output::Disconnect { connection });
    }

    /// The session has a connection.
    pub(super) fn is_up(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Publishes a control document: QoS 1, not retained, expires after a minute.
    /// Dropped while the session is not connected: the bench's next sync brings it again.
    pub(super) fn publish(&self, topic: String, payload: Vec<u8>) {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= MAX_WAITING_PUBLISHES {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(topic, "too many messages wait for the broker; one was dropped");
            return;
        }
        let _ = self.output.send(Output::Publish { topic, payload });
    }
}

/// The connection of a session.
#[derive(Debug, Clone)]
pub(super) struct Current {
    pub(super) connection: u64,
    pub(super) client: AsyncClient,
    /// Largest packet that the broker takes; the client ends the connection at a larger one.
    pub(super) max_packet: Option<u32>,
    /// Acknowledgements that have left through the socket, counted for the kill tests.
    #[cfg_attr(
        not(feature = "failpoints"),
        expect(dead_code, reason = "read by the kill tests only")
    )]
    pub(super) acks_sent: watch::Receiver<u64>,
}

/// Makes the way to a session whose connections `current` tells, and the task that writes.
pub(super) fn link(
    current: watch::Receiver<Option<Current>>,
) -> (Link, impl Future<Output = ()> + Send + 'static) {
    let (output, outputs) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let link = Link {
        output,
        waiting: Arc::clone(&waiting),
        current: current.clone(),
    };
    (link, write(outputs, current, waiting))
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
                if let Some(now) = now.filter(|now| now.connection == connection) {
                    acknowledge(&now, &packets).await;
                }
            }
            Output::Disconnect { connection } => {
                if let Some(now) = now.filter(|now| now.connection == connection) {
                    // An error means that the connection has ended already.
                    let _ = now.client.disconnect().await;
                }
            }
            Output::Publish { topic, payload } => {
                waiting.fetch_sub(1, Ordering::AcqRel);
                if let Some(now) = now {
                    publish(&now, topic, payload).await;
                }
            }
        }
    }
}

async fn publish(now: &Current, topic: String, payload: Vec<u8>) {
    let size = payload.len() + topic.len() + PACKET_OVERHEAD;
    if let Some(most) = now.max_packet.filter(|most| size > *most as usize) {
        tracing::error!(
            topic,
            size,
            most,
            "a message is larger than the broker takes and was dropped"
        );
        return;
    }
    let properties = PublishProperties {
        message_expiry_interval: Some(u32::try_from(CONTROL_EXPIRY.as_secs()).unwrap_or(60)),
        content_type: Some(CONTROL_CONTENT_TYPE.to_owned()),
        ..PublishProperties::default()
    };
    // An error means that the connection has ended; sync heals what was lost with it.
    let sent = now
        .client
        .publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties);
    if sent.await.is_err() {
        tracing::debug!("a message was dropped with its connection");
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
