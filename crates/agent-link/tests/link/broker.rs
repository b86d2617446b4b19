//! A scripted broker on a real socket: each test says what it answers.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Packet, PubAck, PubAckReason, Publish, SubAck,
    SubscribeReasonCode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Broker {
    listener: TcpListener,
}

/// One connection of the bench.
pub(crate) struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Broker {
    pub(crate) async fn start() -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (Self { listener }, port)
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        Peer {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Accepts a connection up to the presence. Gives the packets that came: CONNECT, SUBSCRIBE, presence.
    pub(crate) async fn welcome(&self, session_present: bool) -> (Peer, [Packet; 3]) {
        self.welcome_with(session_present, Offer::default()).await
    }

    /// The same with other limits.
    pub(crate) async fn welcome_with(&self, session_present: bool, offer: Offer) -> (Peer, [Packet; 3]) {
        let mut peer = self.accept().await;
        let connect = peer.read().await.unwrap();
        peer.write(connack_with(ConnectReturnCode::Success, session_present, offer))
            .await;
        let subscribe = peer.read().await.unwrap();
        let Packet::Subscribe(asked) = &subscribe else {
            panic!("{subscribe:?}")
        };
        let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); asked.filters.len()];
        peer.write(Packet::SubAck(SubAck {
            pkid: asked.pkid,
            return_codes: codes,
            properties: None,
        }))
        .await;
        let presence = peer.publish().await;
        peer.puback(presence.pkid, PubAckReason::Success).await;
        (peer, [connect, subscribe, Packet::Publish(presence)])
    }
}

/// The limits that a broker states.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub(crate) receive_max: Option<u16>,
    pub(crate) max_packet_size: Option<u32>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            receive_max: Some(12),
            max_packet_size: Some(100_000),
        }
    }
}

pub(crate) fn connack(code: ConnectReturnCode, session_present: bool) -> Packet {
    connack_with(code, session_present, Offer::default())
}

fn connack_with(code: ConnectReturnCode, session_present: bool, offer: Offer) -> Packet {
    let properties = ConnAckProperties {
        session_expiry_interval: None,
        receive_max: offer.receive_max,
        max_qos: None,
        retain_available: None,
        max_packet_size: offer.max_packet_size,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    Packet::ConnAck(ConnAck {
        session_present,
        code,
        properties: Some(properties),
    })
}

impl Peer {
    /// The next packet; none when the bench has closed.
    pub(crate) async fn read(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.buffer, None) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn publish(&mut self) -> Publish {
        match self.read().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn write(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The same; says whether the bench still reads.
    pub(crate) async fn try_write(&mut self, packet: Packet) -> bool {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.stream.write_all(&bytes).await.is_ok()
    }

    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// DISCONNECT with a reason code. The client library writes it in a form that it can't read itself.
    pub(crate) async fn disconnect(&mut self, reason: u8) {
        self.stream.write_all(&[0xE0, 2, reason, 0]).await.unwrap();
    }

    pub(crate) async fn puback(&mut self, pkid: u16, reason: PubAckReason) {
        self.write(Packet::PubAck(PubAck {
            pkid,
            reason,
            properties: None,
        }))
        .await;
    }

    /// As [`Peer::send`], to a bench that may close before it has read everything.
    pub(crate) async fn send_some(&mut self, pkid: u16, channel: &str, payload: Vec<u8>) {
        let topic = format!("vds/v1/plant-1/{}/bench-07/{channel}", slot());
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, None);
        publish.pkid = pkid;
        self.try_write(Packet::Publish(publish)).await;
    }

    pub(crate) async fn send(&mut self, pkid: u16, channel: &str, payload: Vec<u8>) {
        let topic = format!("vds/v1/plant-1/{}/bench-07/{channel}", slot());
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, None);
        publish.pkid = pkid;
        self.write(Packet::Publish(publish)).await;
    }
}

pub(crate) fn slot() -> String {
    fleet_domain::Slot::of(&"bench-07".parse().unwrap()).to_string()
}
