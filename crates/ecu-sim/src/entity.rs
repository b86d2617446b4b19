//! The `DoIP` entity of a vehicle on real sockets.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doip::{ActivationCode, ActivationType, DiagnosticNackCode, Message, StreamDecoder, VehicleAnnouncement};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::vehicle::Vehicle;

/// How long another tester has to show that it lives.
const ALIVE_CHECK: Duration = Duration::from_millis(500);
/// How long a socket has for its routing activation, `T_TCP_Initial_Inactivity` of ISO 13400-2.
const INITIAL_INACTIVITY: Duration = Duration::from_secs(2);
/// Ports tried for one number that is free for TCP and UDP.
const PORT_TRIES: u32 = 50;

/// A running entity. Dropping it closes its sockets.
#[derive(Debug)]
pub struct Entity {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Entity {
    /// Where it listens, TCP and UDP.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes its sockets and waits for its tasks.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// What goes to a connection's task.
enum Outgoing {
    Message(Message),
    AliveCheck(oneshot::Sender<()>),
    Close,
}

/// A tester with active routing.
struct Active {
    connection: u64,
    outgoing: mpsc::Sender<Outgoing>,
}

struct Shared {
    vehicle: Arc<Vehicle>,
    origin: Instant,
    active: Mutex<HashMap<u16, Active>>,
}

impl Shared {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn active<T>(&self, act: impl FnOnce(&mut HashMap<u16, Active>) -> T) -> T {
        act(&mut self.active.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves a vehicle on the loopback interface.
///
/// # Errors
/// When no port can be bound for both TCP and UDP.
pub async fn serve(vehicle: Arc<Vehicle>) -> io::Result<Entity> {
    let (listener, socket) = bind(vehicle.entity().port).await?;
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared {
        vehicle,
        origin: Instant::now(),
        active: Mutex::new(HashMap::new()),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(Arc::clone(&shared), listener));
    tasks.spawn(identify(shared, socket));
    Ok(Entity { address, tasks })
}

async fn bind(port: u16) -> io::Result<(TcpListener, UdpSocket)> {
    let mut tries = 0;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) if port != 0 || tries >= PORT_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

async fn identify(shared: Arc<Shared>, socket: UdpSocket) {
    let mut buffer = [0; 1024];
    loop {
        let Ok((count, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let answer = match Message::decode(buffer.get(..count).unwrap_or_default()) {
            Ok(Message::IdentificationRequest) => Some(announcement(&shared.vehicle)),
            Ok(Message::IdentificationRequestByVin(vin)) if vin == vin_bytes(&shared.vehicle) => {
                Some(announcement(&shared.vehicle))
            }
            Ok(Message::IdentificationRequestByEid(eid)) if eid == eid_of(&shared.vehicle) => {
                Some(announcement(&shared.vehicle))
            }
            Ok(Message::EntityStatusRequest) => Some(status(&shared)),
            Ok(Message::PowerModeRequest) => Some(Message::PowerModeResponse { mode: 0x01 }),
            Ok(_) => None,
            Err(error) => Some(Message::HeaderNack(error.nack())),
        };
        if let Some(answer) = answer
            && let Err(error) = socket.send_to(&answer.encode(), from).await
        {
            tracing::debug!(%error, "ecu_sim.send_datagram failed");
        }
    }
}

fn vin_bytes(vehicle: &Vehicle) -> [u8; 17] {
    let mut vin = [b'0'; 17];
    for (to, from) in vin.iter_mut().zip(vehicle.vin().bytes()) {
        *to = from;
    }
    vin
}

/// A locally administered address that follows from the VIN.
fn eid_of(vehicle: &Vehicle) -> [u8; 6] {
    let [a, b, c, d] = crc32c::crc32c(vehicle.vin().as_bytes()).to_be_bytes();
    [0x02, 0x00, a, b, c, d]
}

fn announcement(vehicle: &Vehicle) -> Message {
    Message::Announcement(VehicleAnnouncement {
        vin: vin_bytes(vehicle),
        logical_address: vehicle.entity().la,
        eid: eid_of(vehicle),
        gid: [0; 6],
        further_action: 0x00,
        sync_status: Some(0x00),
    })
}

fn status(shared: &Shared) -> Message {
    let open = shared.active(|active| active.len());
    Message::EntityStatusResponse {
        node_type: 0x00,
        max_sockets: u8::try_from(shared.vehicle.entity().sockets).unwrap_or(u8::MAX),
        open_sockets: u8::try_from(open).unwrap_or(u8::MAX),
        max_data_size: Some(doip::DEFAULT_MAX_PAYLOAD),
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors, mostly: others will be closed.
                    sleep(Duration::from_millis(50)).await;
                    continue;
                };
                number += 1;
                connections.spawn(Conversation::new(Arc::clone(&shared), number).serve(stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One TCP connection.
struct Conversation {
    shared: Arc<Shared>,
    number: u64,
    tester: Option<u16>,
    outgoing: mpsc::Sender<Outgoing>,
    inbox: Option<mpsc::Receiver<Outgoing>>,
    replies: JoinSet<()>,
    alive: Option<oneshot::Sender<()>>,
}

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    On,
    Close,
}

impl Conversation {
    fn new(shared: Arc<Shared>, number: u64) -> Self {
        let (outgoing, inbox) = mpsc::channel(64);
        Self {
            shared,
            number,
            tester: None,
            outgoing,
            inbox: Some(inbox),
            replies: JoinSet::new(),
            alive: None,
        }
    }

    async fn serve(mut self, mut stream: TcpStream) {
        // Without it an exchange takes about 45 ms on loopback, which breaks P2 = 50 ms.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        if let Err(error) = self.talk(&mut stream).await {
            tracing::debug!(%error, "ecu_sim.serve_connection ended");
        }
        if let Some(tester) = self.tester {
            self.shared.active(|active| {
                if active
                    .get(&tester)
                    .is_some_and(|one| one.connection == self.number)
                {
                    active.remove(&tester);
                }
            });
        }
    }

    async fn talk(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let Some(mut inbox) = self.inbox.take() else {
            return Ok(());
        };
        let mut decoder = StreamDecoder::default();
        let mut buffer = vec![0; 16 * 1024];
        let begun = Instant::now();
        loop {
            while let Some(decoded) = decoder.next_message().transpose() {
                let next = match decoded {
                    Ok(message) => self.on_message(message, stream).await?,
                    Err(error) => {
                        stream
                            .write_all(&Message::HeaderNack(error.nack()).encode())
                            .await?;
                        if error.closes() { Next::Close } else { Next::On }
                    }
                };
                if next == Next::Close {
                    return Ok(());
                }
            }
            let idle = async {
                match self.tester {
                    None => tokio::time::sleep_until(begun + INITIAL_INACTIVITY).await,
                    Some(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                read = stream.read(&mut buffer) => match read? {
                    0 => return Ok(()),
                    count => decoder.push(buffer.get(..count).unwrap_or_default()),
                },
                Some(outgoing) = inbox.recv() => match outgoing {
                    Outgoing::Message(message) => stream.write_all(&message.encode()).await?,
                    Outgoing::AliveCheck(alive) => {
                        self.alive = Some(alive);
                        stream.write_all(&Message::AliveCheckRequest.encode()).await?;
                    }
                    Outgoing::Close => return Ok(()),
                },
                Some(_) = self.replies.join_next() => {}
                () = idle => return Ok(()),
            }
        }
    }

    async fn on_message(&mut self, message: Message, stream: &mut TcpStream) -> io::Result<Next> {
        match message {
            Message::ActivationRequest {
                source, activation, ..
            } => {
                let code = self.activate(source, activation).await;
                let response = Message::ActivationResponse {
                    tester: source,
                    entity: self.shared.vehicle.entity().la,
                    code,
                    oem: None,
                };
                stream.write_all(&response.encode()).await?;
                Ok(if code == ActivationCode::Success {
                    Next::On
                } else {
                    Next::Close
                })
            }
            Message::AliveCheckResponse { .. } => {
                if let Some(alive) = self.alive.take() {
                    // Whoever asked may have given up.
                    let _ = alive.send(());
                }
                Ok(Next::On)
            }
            Message::Diagnostic { source, target, data } => {
                self.on_diagnostic(source, target, &data, stream).await
            }
            Message::EntityStatusRequest => {
                stream.write_all(&status(&self.shared).encode()).await?;
                Ok(Next::On)
            }
            _ => Ok(Next::On),
        }
    }

    async fn activate(&mut self, source: u16, activation: ActivationType) -> ActivationCode {
        if !(0x0E00..=0x0FFF).contains(&source) {
            return ActivationCode::UnknownSource;
        }
        if activation != ActivationType::Default && activation != ActivationType::WwhObd {
            return ActivationCode::UnsupportedType;
        }
        if self.tester.is_some_and(|tester| tester != source) {
            return ActivationCode::DifferentSource;
        }
        let other = self.shared.active(|active| {
            active
                .get(&source)
                .filter(|one| one.connection != self.number)
                .map(|one| one.outgoing.clone())
        });
        if let Some(other) = other {
            let (alive, answer) = oneshot::channel();
            let asked = other.send(Outgoing::AliveCheck(alive)).await.is_ok();
            if asked
                && timeout(ALIVE_CHECK, answer)
                    .await
                    .is_ok_and(|answer| answer.is_ok())
            {
                return ActivationCode::SourceInUse;
            }
            // It may have ended by itself.
            let _ = other.send(Outgoing::Close).await;
        }
        let sockets = self.shared.vehicle.entity().sockets;
        let entry = Active {
            connection: self.number,
            outgoing: self.outgoing.clone(),
        };
        let taken = self.shared.active(|active| {
            if active.len() >= sockets && !active.contains_key(&source) {
                return false;
            }
            active.insert(source, entry);
            true
        });
        if !taken {
            return ActivationCode::AllSocketsInUse;
        }
        self.tester = Some(source);
        ActivationCode::Success
    }

    async fn on_diagnostic(
        &mut self,
        source: u16,
        target: u16,
        data: &[u8],
        stream: &mut TcpStream,
    ) -> io::Result<Next> {
        let now = self.shared.now();
        let vehicle = &self.shared.vehicle;
        let refused = if self.tester != Some(source) {
            Some(DiagnosticNackCode::InvalidSource)
        } else if target == vehicle.entity().functional {
            None
        } else {
            match vehicle.presence(target, now) {
                Some(true) => None,
                Some(false) => Some(DiagnosticNackCode::TargetUnreachable),
                None => Some(DiagnosticNackCode::UnknownTarget),
            }
        };
        if let Some(code) = refused {
            let nack = Message::DiagnosticNack {
                source: target,
                target: source,
                code,
                previous: Vec::new(),
            };
            stream.write_all(&nack.encode()).await?;
            let closes = code == DiagnosticNackCode::InvalidSource;
            return Ok(if closes { Next::Close } else { Next::On });
        }
        let ack = Message::DiagnosticAck {
            source: target,
            target: source,
            code: 0x00,
            previous: Vec::new(),
        };
        stream.write_all(&ack.encode()).await?;
        let reactions = vehicle.handle(target, data, now).map_err(io::Error::other)?;
        let mut next = Next::On;
        for (address, reaction) in reactions {
            for reply in reaction.replies {
                let message = Message::Diagnostic {
                    source: address,
                    target: source,
                    data: reply.bytes,
                };
                if reply.after.is_zero() {
                    stream.write_all(&message.encode()).await?;
                } else {
                    self.later(reply.after, message);
                }
            }
            if reaction.closes {
                next = Next::Close;
            }
        }
        Ok(next)
    }

    fn later(&mut self, after: Duration, message: Message) {
        let outgoing = self.outgoing.clone();
        self.replies.spawn(async move {
            sleep(after).await;
            // The connection may have ended: then nobody hears the answer, as in a vehicle.
            let _ = outgoing.send(Outgoing::Message(message)).await;
        });
    }
}
