//! The bare protocol over one socket, for what the product's client would not do: go silent, ignore the
//! broker's limits, read nothing.

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, LastWill, Login, Packet,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::ANSWER_WITHIN;
use crate::fault::Fault;
use crate::target::Target;

/// Largest packet that is read.
const MAX_READ: u32 = 4 * 1024 * 1024;

/// Why there is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPacket {
    /// The other side closed or reset the connection, or sent what is no packet.
    Closed,
    /// Nothing came within the time.
    Silence,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

fn unreachable(error: &std::io::Error) -> Fault {
    Fault::Unreachable {
        reason: error.to_string(),
    }
}

impl Raw {
    /// Connects with this keep alive in seconds. The session ends with the connection.
    pub(crate) async fn connect(
        target: &Target,
        client_id: &str,
        keep_alive: u16,
        will: Option<LastWill>,
    ) -> Result<(Self, ConnAck), Fault> {
        let address = format!("{}:{}", target.host, target.port);
        let stream = timeout(ANSWER_WITHIN, TcpStream::connect(address))
            .await
            .map_err(|_| Fault::Timeout {
                what: "TCP connection".to_owned(),
                within: ANSWER_WITHIN,
            })?
            .map_err(|error| unreachable(&error))?;
        let mut raw = Self {
            stream,
            buffer: BytesMut::new(),
        };
        let connect = Connect {
            keep_alive,
            client_id: client_id.to_owned(),
            clean_start: true,
            properties: Some(ConnectProperties {
                session_expiry_interval: Some(0),
                ..ConnectProperties::new()
            }),
        };
        let login = target
            .credentials
            .as_ref()
            .map(|known| Login::new(&known.username, known.password()));
        raw.send(&Packet::Connect(connect, will, login)).await?;
        match raw.receive(ANSWER_WITHIN).await {
            Ok(Packet::ConnAck(connack)) if connack.code == ConnectReturnCode::Success => Ok((raw, connack)),
            Ok(Packet::ConnAck(connack)) => Err(Fault::Refused {
                code: format!("{:?}", connack.code),
            }),
            _ => Err(Fault::Timeout {
                what: "answer to the connect".to_owned(),
                within: ANSWER_WITHIN,
            }),
        }
    }

    /// Sends a packet, whatever the broker's limits are.
    pub(crate) async fn send(&mut self, packet: &Packet) -> Result<(), Fault> {
        let mut bytes = BytesMut::new();
        packet
            .write(&mut bytes, None)
            .map_err(|error| Fault::Unreachable {
                reason: error.to_string(),
            })?;
        match timeout(ANSWER_WITHIN, self.stream.write_all(&bytes)).await {
            Ok(sent) => sent.map_err(|error| unreachable(&error)),
            Err(_) => Err(Fault::Timeout {
                what: "room in the socket".to_owned(),
                within: ANSWER_WITHIN,
            }),
        }
    }

    /// The next packet.
    pub(crate) async fn receive(&mut self, within: Duration) -> Result<Packet, NoPacket> {
        timeout(within, self.read())
            .await
            .unwrap_or(Err(NoPacket::Silence))
    }

    async fn read(&mut self) -> Result<Packet, NoPacket> {
        loop {
            match Packet::read(&mut self.buffer, Some(MAX_READ)) {
                Ok(packet) => return Ok(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(_) => return Err(NoPacket::Closed),
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(NoPacket::Closed),
                Ok(_) => {}
            }
        }
    }
}
