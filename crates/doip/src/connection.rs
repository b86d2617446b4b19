//! The task that owns the socket of one connection.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::client::{ConnectError, ConnectionConfig, LinkError};
use crate::codes::ActivationCode;
use crate::message::{DecodeError, Message};
use crate::stream::StreamDecoder;

/// What handles ask of the task.
#[derive(Debug)]
pub(crate) enum Command {
    Register {
        address: u16,
        messages: mpsc::Sender<Vec<u8>>,
    },
    Send {
        address: u16,
        data: Vec<u8>,
        acknowledged: oneshot::Sender<Result<(), LinkError>>,
    },
    Close,
}

/// A socket with active routing.
pub(crate) struct Link {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: StreamDecoder,
}

/// Connects and activates once.
pub(crate) async fn activate(config: &ConnectionConfig) -> Result<(Link, u16), ConnectError> {
    let stream = timeout(config.connect_timeout, TcpStream::connect(config.entity))
        .await
        .map_err(|_| ConnectError::Timeout(config.connect_timeout))??;
    // Without it an exchange takes about 45 ms on loopback, which breaks P2 = 50 ms.
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let mut link = Link {
        reader,
        writer,
        decoder: StreamDecoder::new(config.max_payload),
    };
    let outcome = timeout(config.activation_timeout, activation(&mut link, config)).await;
    let entity = outcome.map_err(|_| ConnectError::Timeout(config.activation_timeout))??;
    Ok((link, entity))
}

async fn activation(link: &mut Link, config: &ConnectionConfig) -> Result<u16, ConnectError> {
    let source = config.tester_address;
    let request = Message::ActivationRequest {
        source,
        activation: config.activation,
        oem: None,
    };
    link.writer.write_all(&request.encode()).await?;
    let mut buffer = [0; 1024];
    loop {
        while let Some(message) = link.decoder.next_message()? {
            match message {
                Message::ActivationResponse {
                    tester, entity, code, ..
                } if tester == source => {
                    return match code {
                        ActivationCode::Success => Ok(entity),
                        ActivationCode::ConfirmationRequired => Err(ConnectError::ConfirmationRequired),
                        refused => Err(ConnectError::Refused(refused)),
                    };
                }
                Message::HeaderNack(code) => return Err(ConnectError::HeaderRefused(code)),
                Message::AliveCheckRequest => {
                    link.writer
                        .write_all(&Message::AliveCheckResponse { source }.encode())
                        .await?;
                }
                _ => {}
            }
        }
        let count = link.reader.read(&mut buffer).await?;
        if count == 0 {
            return Err(ConnectError::Closed);
        }
        link.decoder.push(buffer.get(..count).unwrap_or_default());
    }
}

struct Unacknowledged {
    deadline: Instant,
    acknowledged: oneshot::Sender<Result<(), LinkError>>,
}

/// Everything that one connection knows. Only this task touches it.
struct Actor {
    writer: OwnedWriteHalf,
    source: u16,
    write_timeout: Duration,
    acknowledge_timeout: Duration,
    targets: HashMap<u16, mpsc::Sender<Vec<u8>>>,
    unacknowledged: HashMap<u16, VecDeque<Unacknowledged>>,
}

/// Why the task ends.
enum End {
    Asked,
    Peer,
    NotAcknowledged,
}

/// Serves a connection until it ends. Whoever waits then learns [`LinkError::Closed`] by its channel's end.
pub(crate) async fn run(link: Link, mut commands: mpsc::Receiver<Command>, config: ConnectionConfig) {
    let Link {
        mut reader,
        writer,
        mut decoder,
    } = link;
    let mut actor = Actor {
        writer,
        source: config.tester_address,
        write_timeout: config.write_timeout,
        acknowledge_timeout: config.acknowledge_timeout,
        targets: HashMap::new(),
        unacknowledged: HashMap::new(),
    };
    let mut buffer = vec![0; 16 * 1024];
    let end = loop {
        if let Err(end) = actor.drain(&mut decoder).await {
            break end;
        }
        let deadline = actor.next_deadline();
        tokio::select! {
            command = commands.recv() => match command {
                None | Some(Command::Close) => break End::Asked,
                Some(Command::Register { address, messages }) => {
                    actor.targets.insert(address, messages);
                }
                Some(Command::Send { address, data, acknowledged }) => {
                    if actor.send(address, data, acknowledged).await.is_err() {
                        break End::Peer;
                    }
                }
            },
            read = reader.read(&mut buffer) => match read {
                Ok(count) if count > 0 => decoder.push(buffer.get(..count).unwrap_or_default()),
                Ok(_) => break End::Peer,
                Err(error) => {
                    tracing::debug!(error = %error, "doip.read ended");
                    break End::Peer;
                }
            },
            () = wait_until(deadline) => break End::NotAcknowledged,
        }
    };
    // The command channel ends first, so that nobody who learns of the end can queue another message.
    drop(commands);
    if matches!(end, End::NotAcknowledged) {
        actor.expire();
    }
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => core::future::pending().await,
    }
}

impl Actor {
    fn next_deadline(&self) -> Option<Instant> {
        self.unacknowledged
            .values()
            .filter_map(|queue| queue.front().map(|first| first.deadline))
            .min()
    }

    async fn drain(&mut self, decoder: &mut StreamDecoder) -> Result<(), End> {
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => self.on_message(message).await?,
                Ok(None) => return Ok(()),
                Err(error) => on_malformed(error)?,
            }
        }
    }

    async fn on_message(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::AliveCheckRequest => {
                self.write(&Message::AliveCheckResponse { source: self.source })
                    .await
            }
            Message::Diagnostic { source, target, data } if target == self.source => {
                self.deliver(source, data);
                Ok(())
            }
            Message::DiagnosticAck { source, .. } => {
                self.acknowledge(source, Ok(()));
                Ok(())
            }
            Message::DiagnosticNack { source, code, .. } => {
                self.acknowledge(source, Err(LinkError::Refused(code)));
                Ok(())
            }
            other => {
                tracing::debug!(message = ?other, "doip.message ignored");
                Ok(())
            }
        }
    }

    fn deliver(&mut self, source: u16, data: Vec<u8>) {
        let Some(messages) = self.targets.get(&source) else {
            tracing::debug!(ecu = source, "doip.message of an ECU that nobody listens to");
            return;
        };
        // A reader that does not read must not hold up the other ECUs of this connection.
        match messages.try_send(data) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!(
                    ecu = source,
                    "doip.message thrown away: its reader does not keep up"
                );
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.targets.remove(&source);
            }
        }
    }

    fn acknowledge(&mut self, source: u16, result: Result<(), LinkError>) {
        if let Some(first) = self.unacknowledged.get_mut(&source).and_then(VecDeque::pop_front) {
            // The sender may have gone: then nobody wants to know.
            let _ = first.acknowledged.send(result);
        }
    }

    async fn send(
        &mut self,
        address: u16,
        data: Vec<u8>,
        acknowledged: oneshot::Sender<Result<(), LinkError>>,
    ) -> Result<(), End> {
        self.write(&Message::Diagnostic {
            source: self.source,
            target: address,
            data,
        })
        .await?;
        let now = Instant::now();
        let deadline = now.checked_add(self.acknowledge_timeout).unwrap_or(now);
        self.unacknowledged
            .entry(address)
            .or_default()
            .push_back(Unacknowledged {
                deadline,
                acknowledged,
            });
        Ok(())
    }

    async fn write(&mut self, message: &Message) -> Result<(), End> {
        match timeout(self.write_timeout, self.writer.write_all(&message.encode())).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Peer),
        }
    }

    fn expire(&mut self) {
        let error = LinkError::NotAcknowledged(self.acknowledge_timeout);
        for waiting in self.unacknowledged.drain().flat_map(|(_, queue)| queue) {
            // The sender may have gone: then nobody wants to know.
            let _ = waiting.acknowledged.send(Err(error));
        }
    }
}

fn on_malformed(error: DecodeError) -> Result<(), End> {
    tracing::warn!(error = %error, "doip.decode failed");
    // Only entities owe negative acknowledgements; a tester skips what it can and closes otherwise.
    if error.closes() { Err(End::Peer) } else { Ok(()) }
}
