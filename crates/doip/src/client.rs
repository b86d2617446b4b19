//! The tester's side of one DoIP connection.

use core::net::SocketAddr;
use core::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::codes::{ActivationCode, ActivationType, DiagnosticNackCode, HeaderNackCode};
use crate::connection::{self, Command};
use crate::message::DecodeError;
use crate::stream::DEFAULT_MAX_PAYLOAD;

/// How to connect to an entity. All durations bound a wait.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// Where the entity listens.
    pub entity: SocketAddr,
    /// Logical address of this tester, 0E00 to 0FFF.
    pub tester_address: u16,
    /// What is activated.
    pub activation: ActivationType,
    /// For the TCP connection.
    pub connect_timeout: Duration,
    /// For the answer to the routing activation.
    pub activation_timeout: Duration,
    /// For the acknowledgement of a diagnostic message; after it the connection counts as lost.
    pub acknowledge_timeout: Duration,
    /// For handing bytes to the socket; after it the connection counts as lost.
    pub write_timeout: Duration,
    /// Wait before the activation is tried again after code 03: the entity asks the other socket for 500 ms
    /// whether it still lives.
    pub alive_check_wait: Duration,
    /// Most repetitions after code 03.
    pub activation_retries: u32,
    /// Longest payload taken, in bytes.
    pub max_payload: u32,
}

impl ConnectionConfig {
    /// The usual limits for one entity.
    pub const fn new(entity: SocketAddr, tester_address: u16) -> Self {
        Self {
            entity,
            tester_address,
            activation: ActivationType::Default,
            connect_timeout: Duration::from_secs(2),
            activation_timeout: Duration::from_secs(2),
            acknowledge_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(2),
            alive_check_wait: Duration::from_millis(600),
            activation_retries: 3,
            max_payload: DEFAULT_MAX_PAYLOAD,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP refused or broke.
    #[error("cannot connect to the entity")]
    Io(#[from] std::io::Error),
    /// The entity did not answer in time.
    #[error("the entity did not answer within {0:?}")]
    Timeout(Duration),
    /// The entity refused the activation.
    #[error("routing activation: {0}")]
    Refused(ActivationCode),
    /// The entity wants a confirmation inside the vehicle first.
    #[error("routing activation waits for a confirmation in the vehicle")]
    ConfirmationRequired,
    /// The entity sent bytes that are no message.
    #[error("the entity sent no DoIP message")]
    Malformed(#[from] DecodeError),
    /// The entity closed the connection.
    #[error("the entity closed the connection")]
    Closed,
    /// The entity did not understand the request.
    #[error("the entity refused the header: {0}")]
    HeaderRefused(HeaderNackCode),
}

impl ConnectError {
    /// Whether trying again later can help.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Io(_) | Self::Timeout(_) | Self::Closed | Self::Malformed(_) => true,
            Self::Refused(code) => {
                matches!(
                    code,
                    ActivationCode::AllSocketsInUse | ActivationCode::SourceInUse
                )
            }
            Self::ConfirmationRequired | Self::HeaderRefused(_) => false,
        }
    }
}

/// Why a message was not delivered or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The connection ended.
    #[error("the connection to the entity ended")]
    Closed,
    /// The entity refused this message; the connection lives on.
    #[error("the entity refused the message: {0}")]
    Refused(DiagnosticNackCode),
    /// The entity did not acknowledge in time; the connection was closed.
    #[error("the entity did not acknowledge within {0:?}")]
    NotAcknowledged(Duration),
    /// The message is too long for DoIP or empty.
    #[error("a diagnostic message of {0} bytes cannot be sent")]
    Size(usize),
}

/// A connection with active routing. Clones share it; it ends when the last clone and target are gone, when the
/// entity closes it, or at [`Connection::close`].
#[derive(Debug, Clone)]
pub struct Connection {
    commands: mpsc::Sender<Command>,
    entity_address: u16,
    config: ConnectionConfig,
}

impl Connection {
    /// Connects and activates routing; code 03 is tried again after the entity's alive check.
    ///
    /// Cancel-safe: dropping the future closes the socket.
    ///
    /// # Errors
    /// [`ConnectError`]; every wait is bounded by the configuration.
    pub async fn connect(config: ConnectionConfig) -> Result<Self, ConnectError> {
        let mut retries = 0;
        loop {
            match connection::activate(&config).await {
                Err(ConnectError::Refused(ActivationCode::SourceInUse))
                    if retries < config.activation_retries =>
                {
                    retries = retries.saturating_add(1);
                    sleep(config.alive_check_wait).await;
                }
                Err(error) => return Err(error),
                Ok((link, entity_address)) => {
                    let (commands, inbox) = mpsc::channel(16);
                    tokio::spawn(connection::run(link, inbox, config.clone()));
                    return Ok(Self {
                        commands,
                        entity_address,
                        config,
                    });
                }
            }
        }
    }

    /// Connects, and tries again with growing pauses as long as that can help, until `give_up_after`.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The last [`ConnectError`].
    pub async fn connect_with_backoff(
        config: ConnectionConfig,
        mut backoff: Backoff,
        give_up_after: Duration,
    ) -> Result<Self, ConnectError> {
        let deadline = Instant::now().checked_add(give_up_after);
        let mut last = ConnectError::Timeout(give_up_after);
        loop {
            let attempt = Self::connect(config.clone());
            let result = match deadline {
                Some(deadline) => match timeout_at(deadline, attempt).await {
                    Ok(result) => result,
                    Err(_elapsed) => return Err(last),
                },
                None => attempt.await,
            };
            match result {
                Ok(connection) => return Ok(connection),
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => last = error,
            }
            let pause = backoff.next_pause();
            let left = deadline.map_or(pause, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left <= pause && deadline.is_some() {
                return Err(last);
            }
            sleep(pause).await;
        }
    }

    /// Logical address of the entity, from its activation response.
    pub const fn entity_address(&self) -> u16 {
        self.entity_address
    }

    /// Where the entity listens.
    pub const fn peer(&self) -> SocketAddr {
        self.config.entity
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Waits until the connection has ended. Cancel-safe.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }

    /// Closes the connection for every clone and target.
    pub async fn close(&self) {
        // A connection that has ended already is what was wanted.
        let _ = self.commands.send(Command::Close).await;
        self.commands.closed().await;
    }

    /// The way to one ECU: messages of this source address arrive there. A second target of the same address
    /// replaces the first, whose [`Target::recv`] then says [`LinkError::Closed`].
    ///
    /// # Errors
    /// [`LinkError::Closed`].
    pub async fn target(&self, logical_address: u16) -> Result<Target, LinkError> {
        let (messages, inbox) = mpsc::channel(64);
        let command = Command::Register {
            address: logical_address,
            messages,
        };
        self.commands.send(command).await.map_err(|_| LinkError::Closed)?;
        Ok(Target {
            sender: self.clone(),
            address: logical_address,
            inbox,
        })
    }

    /// Sends a message to an address and waits for the entity's acknowledgement, not for an answer. For the
    /// functional address; for one ECU see [`Target::send`].
    ///
    /// Not cancel-safe in effect: a dropped future may have sent the message.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn send_to(&self, address: u16, data: Vec<u8>) -> Result<(), LinkError> {
        let length = data.len();
        // Addresses take four bytes of the payload.
        if length == 0 || u32::try_from(length).map_or(true, |length| length > u32::MAX.saturating_sub(4)) {
            return Err(LinkError::Size(length));
        }
        let (acknowledged, answer) = oneshot::channel();
        let command = Command::Send {
            address,
            data,
            acknowledged,
        };
        self.commands.send(command).await.map_err(|_| LinkError::Closed)?;
        answer.await.unwrap_or(Err(LinkError::Closed))
    }
}

/// The way to one ECU over a shared connection.
#[derive(Debug)]
pub struct Target {
    sender: Connection,
    address: u16,
    inbox: mpsc::Receiver<Vec<u8>>,
}

impl Target {
    /// Logical address of the ECU.
    pub const fn address(&self) -> u16 {
        self.address
    }

    /// The connection beneath.
    pub const fn connection(&self) -> &Connection {
        &self.sender
    }

    /// Sends a UDS message and waits for the entity's acknowledgement, not for the answer.
    ///
    /// Not cancel-safe in effect: a dropped future may have sent the message.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn send(&self, data: Vec<u8>) -> Result<(), LinkError> {
        self.sender.send_to(self.address, data).await
    }

    /// The next UDS message of this ECU. Cancel-safe. Unbounded in time: the caller's UDS client knows how long
    /// to wait.
    ///
    /// # Errors
    /// [`LinkError::Closed`] when the connection ended; messages received before are given first.
    pub async fn recv(&mut self) -> Result<Vec<u8>, LinkError> {
        self.inbox.recv().await.ok_or(LinkError::Closed)
    }

    /// A UDS message of this ECU that has arrived already, if there is one.
    pub fn try_recv(&mut self) -> Option<Vec<u8>> {
        self.inbox.try_recv().ok()
    }
}

/// Pauses between attempts: doubled each time up to a limit.
#[derive(Debug, Clone)]
pub struct Backoff {
    pause: Duration,
    limit: Duration,
}

impl Backoff {
    /// From `first` up to `limit`.
    pub const fn new(first: Duration, limit: Duration) -> Self {
        Self { pause: first, limit }
    }

    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.pause.min(self.limit);
        self.pause = pause.saturating_mul(2).min(self.limit);
        pause
    }
}

impl Default for Backoff {
    /// 50 ms, doubled up to 1 s: an ECU is back within seconds after a reset.
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(1))
    }
}
