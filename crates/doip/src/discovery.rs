//! Vehicle identification over UDP.

use core::net::SocketAddr;
use core::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::message::{Message, VehicleAnnouncement};

/// Which vehicles are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Every vehicle.
    All,
    /// The one with this VIN.
    Vin([u8; 17]),
    /// The entity with this identification.
    Eid([u8; 6]),
}

/// An entity that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredVehicle {
    /// From where it answered; DoIP's TCP port is the same address with its own port, 13400 by the standard.
    pub from: SocketAddr,
    /// What it says about itself.
    pub announcement: VehicleAnnouncement,
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The socket failed.
    #[error("vehicle identification failed")]
    Io(#[from] std::io::Error),
}

/// Asks `to` (a broadcast address or one entity) from a socket bound at `from` and collects answers for `wait`.
/// Datagrams that are no announcement are ignored.
///
/// Cancel-safe: dropping the future closes the socket.
///
/// # Errors
/// [`DiscoveryError`] when the socket cannot be bound or used.
pub async fn discover(
    from: SocketAddr,
    to: SocketAddr,
    filter: Filter,
    wait: Duration,
) -> Result<Vec<DiscoveredVehicle>, DiscoveryError> {
    let socket = UdpSocket::bind(from).await?;
    socket.set_broadcast(true)?;
    ask(&socket, to, filter).await?;
    let now = Instant::now();
    let deadline = now.checked_add(wait).unwrap_or(now);
    let mut found: Vec<DiscoveredVehicle> = Vec::new();
    while let Some(vehicle) = next_announcement(&socket, deadline).await? {
        if !found.contains(&vehicle) {
            found.push(vehicle);
        }
    }
    Ok(found)
}

/// Asks one entity and gives its first answer, `None` when there was none within `wait`.
///
/// Cancel-safe.
///
/// # Errors
/// [`DiscoveryError`] when the socket cannot be bound or used.
pub async fn discover_at(
    from: SocketAddr,
    entity: SocketAddr,
    wait: Duration,
) -> Result<Option<DiscoveredVehicle>, DiscoveryError> {
    let socket = UdpSocket::bind(from).await?;
    ask(&socket, entity, Filter::All).await?;
    let now = Instant::now();
    next_announcement(&socket, now.checked_add(wait).unwrap_or(now)).await
}

async fn ask(socket: &UdpSocket, to: SocketAddr, filter: Filter) -> Result<(), DiscoveryError> {
    let request = match filter {
        Filter::All => Message::IdentificationRequest,
        Filter::Vin(vin) => Message::IdentificationRequestByVin(vin),
        Filter::Eid(eid) => Message::IdentificationRequestByEid(eid),
    };
    socket.send_to(&request.encode(), to).await?;
    Ok(())
}

async fn next_announcement(
    socket: &UdpSocket,
    deadline: Instant,
) -> Result<Option<DiscoveredVehicle>, DiscoveryError> {
    let mut buffer = [0; 1024];
    loop {
        let Ok(received) = timeout_at(deadline, socket.recv_from(&mut buffer)).await else {
            return Ok(None);
        };
        let (count, from) = received?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if let Ok(Message::Announcement(announcement)) = Message::decode(bytes) {
            return Ok(Some(DiscoveredVehicle { from, announcement }));
        }
    }
}
