//! A broker that does one thing wrong: a real one behind a proxy that changes MQTT packets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::v5::{Disconnect, DisconnectReasonCode, Packet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the broker.
    Up,
    /// From the broker to the client.
    Down,
}

/// What becomes of one packet.
#[derive(Debug, Default)]
pub(crate) struct Become {
    /// Goes on instead of it.
    pub(crate) on: Vec<Packet>,
    /// Goes back to where it came from.
    pub(crate) back: Vec<Packet>,
}

impl From<Packet> for Become {
    fn from(packet: Packet) -> Self {
        Self {
            on: vec![packet],
            back: Vec::new(),
        }
    }
}

/// Changes packets. It may hold one back on a connection, in the slot that it is given.
pub(crate) type Lie = fn(usize, Way, Packet, &mut Option<Packet>) -> Become;

/// Dropping it ends it and its connections.
pub(crate) struct Liar {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Liar {
    pub(crate) async fn start(upstream: SocketAddr, lie: Lie) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::Relaxed);
                tasks.spawn(relay(client, upstream, number, lie));
            }
        });
        Self { address, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, upstream: SocketAddr, number: usize, lie: Lie) {
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (up, up_rx) = mpsc::unbounded_channel();
    let (down, down_rx) = mpsc::unbounded_channel();
    let reading = async {
        tokio::join!(
            read(from_client, Way::Up, number, lie, up.clone(), down.clone()),
            read(from_server, Way::Down, number, lie, down.clone(), up.clone()),
        );
        std::future::pending::<()>().await;
    };
    // Whoever closes has what it sent before delivered.
    tokio::select! {
        () = reading => {}
        () = write(to_client, down_rx) => {}
        () = write(to_server, up_rx) => {}
    }
}

/// Ends with `None` to the other side.
async fn read(
    mut from: OwnedReadHalf,
    way: Way,
    number: usize,
    lie: Lie,
    on: mpsc::UnboundedSender<Option<Packet>>,
    back: mpsc::UnboundedSender<Option<Packet>>,
) {
    let (mut buffer, mut held) = (BytesMut::new(), None);
    loop {
        let packet = match Packet::read(&mut buffer, Some(4 * 1024 * 1024)) {
            // The codec does not know the short form of this one.
            Err(Error::PayloadRequired) => Ok(Packet::Disconnect(Disconnect::new(
                DisconnectReasonCode::NormalDisconnection,
            ))),
            packet => packet,
        };
        match packet {
            Ok(packet) => {
                let instead = lie(number, way, packet, &mut held);
                for packet in instead.on {
                    let _ = on.send(Some(packet));
                }
                for packet in instead.back {
                    let _ = back.send(Some(packet));
                }
                continue;
            }
            Err(Error::InsufficientBytes(_)) => {}
            Err(_) => break,
        }
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let _ = on.send(None);
}

async fn write(mut to: OwnedWriteHalf, mut packets: mpsc::UnboundedReceiver<Option<Packet>>) {
    while let Some(Some(packet)) = packets.recv().await {
        let mut bytes = BytesMut::new();
        if packet.write(&mut bytes, None).is_err() || to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
