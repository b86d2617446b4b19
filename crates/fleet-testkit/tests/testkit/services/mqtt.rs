//! What the tests ask a broker.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

const WITHIN: Duration = Duration::from_secs(10);

fn options(url: &str, id: &str, user: Option<(&str, &str)>) -> MqttOptions {
    let address: SocketAddr = url.trim_start_matches("mqtt://").parse().expect("an address");
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(3600));
    if let Some((name, password)) = user {
        options.set_credentials(name, password);
    }
    options
}

async fn until<T>(events: &mut EventLoop, mut wanted: impl FnMut(Packet) -> Option<T>) -> anyhow::Result<T> {
    let wait = async {
        loop {
            if let Event::Incoming(packet) = events.poll().await?
                && let Some(answer) = wanted(packet)
            {
                return Ok(answer);
            }
        }
    };
    match tokio::time::timeout(WITHIN, wait).await {
        Ok(answer) => answer,
        Err(_) => bail!("no such packet"),
    }
}

/// Connects; says whether the broker knew the session.
pub(super) async fn session_present(url: &str, id: &str, user: Option<(&str, &str)>) -> anyhow::Result<bool> {
    let (_client, mut events) = AsyncClient::new(options(url, id, user), 1);
    until(&mut events, |packet| match packet {
        Packet::ConnAck(ack) => Some(ack.session_present),
        _ => None,
    })
    .await
}

/// Makes a session that subscribes, and leaves it behind.
pub(super) async fn subscribe(url: &str, id: &str, topic: &str) -> anyhow::Result<()> {
    let (client, mut events) = AsyncClient::new(options(url, id, None), 1);
    client.subscribe(topic, QoS::AtLeastOnce).await?;
    until(&mut events, |packet| {
        matches!(packet, Packet::SubAck(_)).then_some(())
    })
    .await
}

/// Publishes one message (QoS 1) and waits for its acknowledgement.
pub(super) async fn publish(url: &str, topic: &str, payload: &str) -> anyhow::Result<()> {
    let (client, mut events) = AsyncClient::new(options(url, "publisher", None), 1);
    client
        .publish(topic, QoS::AtLeastOnce, false, payload.to_owned())
        .await?;
    until(&mut events, |packet| {
        matches!(packet, Packet::PubAck(_)).then_some(())
    })
    .await
}

/// Takes up a session and gives the first message that waited for it.
pub(super) async fn receive(url: &str, id: &str) -> anyhow::Result<String> {
    let (_client, mut events) = AsyncClient::new(options(url, id, None), 1);
    until(&mut events, |packet| match packet {
        Packet::Publish(publish) => Some(publish.payload.to_vec()),
        _ => None,
    })
    .await
    .map(|payload| String::from_utf8_lossy(&payload).into_owned())
    .context("no message")
}
