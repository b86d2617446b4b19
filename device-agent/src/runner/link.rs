//! One connection to the entity with the UDS client of one control unit on it.

use std::future::Future;
use std::time::Duration;

use doip::{Backoff, Connection, ConnectionConfig, LinkError, Target};
use fleet_domain::error_chain;
use procedure::Failure;
use tokio::time::{Instant, sleep_until};
use uds::{Addressing, Client, ClientConfig, Completion, Event, LinkFault, Output, Request, SendError};

use super::VehicleConfig;

/// How long an entity has for its vehicle announcement. One that says nothing is compared by F190 alone.
const ANNOUNCEMENT: Duration = Duration::from_millis(300);

/// The way to one control unit.
pub(super) struct Link {
    connection: Connection,
    target: Target,
    functional: u16,
    client: Client,
    origin: Instant,
}

/// Where the control unit is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    pub(super) vehicle: VehicleConfig,
    pub(super) physical: u16,
    pub(super) functional: u16,
}

impl Link {
    /// Connects within the time given, and says which VIN the entity announced.
    pub(super) async fn connect(
        address: Address,
        origin: Instant,
        within: Duration,
        seed_not_before: Option<Duration>,
    ) -> Result<(Self, Option<String>), String> {
        let VehicleConfig {
            entity,
            tester_address,
        } = address.vehicle;
        let config = ConnectionConfig::new(entity, tester_address);
        let connection = Connection::connect_with_backoff(config, Backoff::default(), within)
            .await
            .map_err(|error| error_chain(&error))?;
        let target = connection
            .target(address.physical)
            .await
            .map_err(|error| error.to_string())?;
        let mut client = Client::new(ClientConfig::default(), origin.elapsed());
        // A new connection does not shorten the delay after wrong keys.
        if let Some(until) = seed_not_before {
            client.set_seed_not_before(until);
        }
        let link = Self {
            connection,
            target,
            functional: address.functional,
            client,
            origin,
        };
        Ok((link, announced_vin(address.vehicle).await))
    }

    /// Closes the connection and waits until it is closed: the entity refuses a second one of this address.
    pub(super) async fn close(self) {
        self.connection.close().await;
    }

    /// Until when no seed may be asked for, on the clock that began at `origin`.
    pub(super) const fn seed_not_before(&self) -> Option<Duration> {
        self.client.seed_not_before()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Sends a request and waits for its end.
    pub(super) async fn send(
        &mut self,
        request: Request,
        functional: bool,
        pending_total: Duration,
    ) -> Result<Completion, Failure> {
        self.client.set_pending_total(pending_total);
        let now = self.now();
        let begun = if functional {
            self.client.send_functional(request, now)
        } else {
            self.client.send(request, now)
        };
        let mut output = begun.map_err(|error| match error {
            SendError::SecurityDelay { .. } => Failure::SecurityDelay,
            // Requests come one after the other; a second one would be a fault of the engine.
            SendError::Busy { .. } => Failure::NotConnected,
        })?;
        loop {
            if let Some(result) = self.carry_out(output).await {
                return result.map_err(Failure::from);
            }
            output = self.next_output().await;
        }
    }

    /// Keeps the session while something else is waited for.
    pub(super) async fn keep_while<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                biased;
                result = &mut other => return result,
                output = self.next_output(), if !self.connection.is_closed() => {
                    // Nothing is outstanding, so that nothing can end.
                    let _ = self.carry_out(output).await;
                }
            }
        }
    }

    async fn next_output(&mut self) -> Output {
        let deadline = self.client.next_deadline();
        let timer = async {
            match deadline.and_then(|deadline| self.origin.checked_add(deadline)) {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = self.target.recv() => match message {
                Ok(bytes) => self.client.on_message(&bytes, self.origin.elapsed()),
                Err(_) => self.client.on_link_fault(LinkFault::Closed, self.origin.elapsed()),
            },
            () = timer => self.client.on_timer(self.origin.elapsed()),
        }
    }

    async fn carry_out(&mut self, output: Output) -> Option<Result<Completion, uds::UdsError>> {
        let Output { transmit, event } = output;
        if let Some(Event::Completed(result)) = event {
            return Some(result);
        }
        for message in transmit {
            let sent = match message.addressing {
                Addressing::Physical => self.target.send(message.bytes).await,
                Addressing::Functional => self.connection.send_to(self.functional, message.bytes).await,
            };
            let fault = match sent {
                Ok(()) => continue,
                Err(LinkError::Refused(code)) => LinkFault::Refused { code: code.code() },
                Err(_) => LinkFault::Closed,
            };
            // An answer that came before the end of the connection counts.
            while let Some(bytes) = self.target.try_recv() {
                if let Some(Event::Completed(result)) = self.client.on_message(&bytes, self.now()).event {
                    return Some(result);
                }
            }
            if let Some(Event::Completed(result)) = self.client.on_link_fault(fault, self.now()).event {
                return Some(result);
            }
        }
        None
    }
}

async fn announced_vin(vehicle: VehicleConfig) -> Option<String> {
    let from = match vehicle.entity {
        std::net::SocketAddr::V4(_) => "0.0.0.0:0",
        std::net::SocketAddr::V6(_) => "[::]:0",
    };
    let found = doip::discover_at(from.parse().ok()?, vehicle.entity, ANNOUNCEMENT).await;
    let vehicle = found
        .inspect_err(|error| tracing::debug!(%error, "runner.identify_vehicle failed"))
        .ok()??;
    vehicle.announcement.vin_text().map(str::to_owned)
}
