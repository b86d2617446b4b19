//! A TCP proxy that misbehaves on demand. It stands between an agent and the broker, or a tester and a vehicle.
//!
//! What it models: delay, single-byte chunks, a silent cut that heals (the bytes are held, as TCP would resend
//! them), a reset now or after a number of bytes, a half-open connection (one side is gone and the other is not told),
//! a peer that takes no connection, half-close. What it does not: loss or change of bytes within a connection, which
//! TCP hides.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How the proxy behaves from now on, on connections old and new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Waits this long before each chunk, in both directions.
    pub delay: Duration,
    /// Forwards byte by byte, each in a segment of its own.
    pub byte_wise: bool,
    /// Forwards nothing in either direction; nobody is told. What was held goes on when it is lifted.
    pub black_hole: bool,
    /// Closes new connections at once.
    pub refuse: bool,
    /// Resets a connection as soon as the client has sent this many bytes on it.
    pub reset_after: Option<u64>,
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who has connected.
    Client,
    /// Who was connected to.
    Server,
}

#[derive(Debug)]
struct Shared {
    faults: watch::Receiver<Faults>,
    upstream: watch::Receiver<SocketAddr>,
    /// Counts the cuts; a connection older than the number is reset.
    cuts: watch::Receiver<u64>,
    /// Who is gone from the connections that were there when it changed.
    gone: watch::Receiver<Side>,
    accepted: Arc<AtomicU64>,
}

/// A running proxy on a free port. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    upstream: watch::Sender<SocketAddr>,
    cuts: watch::Sender<u64>,
    gone: watch::Sender<Side>,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy to `upstream`, without faults.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot bind a port")?;
        let address = listener.local_addr().context("a bound port has an address")?;
        let (faults, of_connections) = watch::channel(Faults::default());
        let (upstream, to) = watch::channel(upstream);
        let (cuts, cut) = watch::channel(0);
        let (gone, is_gone) = watch::channel(Side::Server);
        let accepted = Arc::new(AtomicU64::new(0));
        let shared = Shared {
            faults: of_connections,
            upstream: to,
            cuts: cut,
            gone: is_gone,
            accepted: Arc::clone(&accepted),
        };
        let task = tokio::spawn(accept(listener, Arc::new(shared)));
        Ok(Self {
            address,
            faults,
            upstream,
            cuts,
            gone,
            accepted,
            task,
        })
    }

    /// Where clients connect. It stays the same when the upstream moves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the faults, for connections old and new.
    pub fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// Sends new connections to another upstream, for example a server restarted on another port.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Resets all connections now, on both sides.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Leaves all connections half-open: this side is gone, the other one is not told, and what it sends on them is
    /// heard by nobody. It has to find out by itself. New connections work.
    pub fn half_open(&self, gone: Side) {
        self.gone.send_replace(gone);
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                if !shared.faults.borrow().refuse {
                    connections.spawn(connection(client, Arc::clone(&shared)));
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Why a direction ended.
enum End {
    /// The peer closed its sending side; the other direction may go on.
    HalfClosed,
    /// The connection is to be reset.
    Reset,
    /// This side is gone and the other one is not to be told.
    HalfOpen(Side),
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let (mut cuts, mut gone) = (shared.cuts.clone(), shared.gone.clone());
    cuts.mark_unchanged();
    gone.mark_unchanged();
    let to = *shared.upstream.borrow();
    let Ok(mut server) = TcpStream::connect(to).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let upward = pump(from_client, to_server, shared.faults.clone(), true);
        let downward = pump(from_server, to_client, shared.faults.clone(), false);
        tokio::select! {
            both = async { tokio::try_join!(upward, downward) } => both.err(),
            _ = cuts.changed() => Some(End::Reset),
            Ok(()) = gone.changed() => Some(End::HalfOpen(*gone.borrow())),
        }
    };
    match end {
        None => return,
        Some(End::HalfOpen(Side::Server)) => unheard(&mut client, server, &mut cuts).await,
        Some(End::HalfOpen(Side::Client)) => {
            unheard(&mut server, client, &mut cuts).await;
            return;
        }
        Some(End::HalfClosed | End::Reset) => {
            let _ = server.set_zero_linger();
        }
    }
    let _ = client.set_zero_linger();
}

/// One side is gone. What the other one sends is taken from it and dropped until it gives up, or all is cut.
async fn unheard(left: &mut TcpStream, gone: TcpStream, cuts: &mut watch::Receiver<u64>) {
    let _ = gone.set_zero_linger();
    drop(gone);
    let mut nobody = tokio::io::sink();
    tokio::select! {
        _ = tokio::io::copy(left, &mut nobody) => {}
        _ = cuts.changed() => {}
    }
    let _ = left.set_zero_linger();
}

/// Forwards one direction. `Err` ends the other direction too.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut faults: watch::Receiver<Faults>,
    is_client: bool,
) -> Result<End, End> {
    let mut buffer = vec![0; 16 * 1024];
    let mut forwarded = 0_u64;
    loop {
        let count = from.read(&mut buffer).await.map_err(|_| End::Reset)?;
        let now = faults
            .wait_for(|faults| !faults.black_hole)
            .await
            .map_err(|_| End::Reset)?
            .clone();
        if count == 0 {
            to.shutdown().await.map_err(|_| End::Reset)?;
            return Ok(End::HalfClosed);
        }
        tokio::time::sleep(now.delay).await;
        let rest = now
            .reset_after
            .filter(|_| is_client)
            .map(|limit| limit.saturating_sub(forwarded));
        let allowed = rest.map_or(count, |rest| {
            usize::try_from(rest).unwrap_or(usize::MAX).min(count)
        });
        let chunk = buffer.get(..allowed).unwrap_or_default();
        for part in chunk.chunks(if now.byte_wise { 1 } else { chunk.len().max(1) }) {
            to.write_all(part).await.map_err(|_| End::Reset)?;
            tokio::task::yield_now().await;
        }
        forwarded += allowed as u64;
        if now
            .reset_after
            .is_some_and(|limit| is_client && forwarded >= limit)
        {
            return Err(End::Reset);
        }
    }
}
