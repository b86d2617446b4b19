//! Which vehicle stands on the bench: vehicle identification over UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use fleet_domain::Vin;

/// How long an entity has for its announcement.
const ANSWER_WITHIN: Duration = Duration::from_millis(700);
/// Pause between two questions while nobody answers.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Asks once. `None` when nobody answers or the answer holds no VIN: a bench without a vehicle is no fault.
///
/// Cancel-safe.
pub(crate) async fn identify(entity: SocketAddr) -> Option<Vin> {
    let any = match entity.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    match doip::discover_at(SocketAddr::new(any, 0), entity, ANSWER_WITHIN).await {
        Ok(found) => {
            let vin = found?.announcement.vin;
            std::str::from_utf8(&vin).ok()?.parse().ok()
        }
        Err(error) => {
            tracing::debug!(%entity, %error, "vehicle.identify failed");
            None
        }
    }
}

/// Asks until there is an answer. Cancel-safe.
pub(crate) async fn wait_for_vehicle(entity: SocketAddr) -> Vin {
    loop {
        if let Some(vin) = identify(entity).await {
            return vin;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Asks for at most `within`, at short pauses. Cancel-safe.
pub(crate) async fn wait_briefly(entity: SocketAddr, within: Duration) -> Option<Vin> {
    let asking = async {
        loop {
            if let Some(vin) = identify(entity).await {
                return vin;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(within, asking).await.ok()
}
