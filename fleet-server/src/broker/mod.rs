//! The MQTT 5 broker inside the process (crate `mqtt5`), behind a surface of our own, and the way to a broker.
//!
//! Nothing else in the server knows which broker it is: ingest and dispatch reach the one in the process over
//! loopback MQTT, as they reach the plant's.

mod external;
mod reach;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fleet_wire::limits::{MAX_PACKET_BYTES, SESSION_EXPIRY};
use mqtt5::broker::config::{AuthConfig, RateLimitConfig};
use mqtt5::broker::{
    BrokerConfig, BrokerShutdownHandle, MqttBroker, ResourceLimits, StorageBackendType, StorageConfig,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::MqttConfig;

pub(crate) use external::{BrokerAddress, BrokerState, ended, help, too_small};
pub(crate) use reach::Reach;

/// Messages to one client that wait for its acknowledgement. The default of 64 holds a slot session
/// to 64 events per commit.
const MAX_OUTBOUND_IN_FLIGHT: u16 = 2000;

/// Why the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The port is taken or not ours to take.
    #[error(
        "the MQTT broker can't listen on {address}: set mqtt.listen (FLEET_SERVER__MQTT__LISTEN) to a free port"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The broker's folder can't be used.
    #[error("the MQTT broker's folder {folder} can't be used")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The broker refused its configuration or could not read its sessions.
    #[error("the MQTT broker does not start")]
    Start(#[source] mqtt5::MqttError),
    /// The broker gave up while it was starting.
    #[error("the MQTT broker stopped while it was starting")]
    Stopped,
}

/// A running broker.
pub struct Broker {
    address: SocketAddr,
    shutdown: BrokerShutdownHandle,
    up: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// Tells whether the broker is up.
#[derive(Debug, Clone)]
pub struct BrokerHealth(Arc<AtomicBool>);

impl BrokerHealth {
    /// True while the broker takes connections.
    pub fn is_up(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

fn broker_config(config: &MqttConfig, folder: &Path) -> BrokerConfig {
    let storage = StorageConfig::new()
        .with_backend(StorageBackendType::File)
        .with_base_dir(folder.to_owned())
        .with_persistence(true)
        .with_max_queued_messages_per_client(config.max_queued_messages)
        .with_max_queued_bytes_per_client(config.max_queued_bytes);
    // Nobody logs in on loopback, so there is nobody to lock out.
    let auth = AuthConfig {
        rate_limit: RateLimitConfig {
            enabled: false,
            ..RateLimitConfig::default()
        },
        ..AuthConfig::default()
    };
    let mut broker = BrokerConfig::new()
        .with_bind_address(config.listen)
        .with_max_clients(config.max_connections)
        .with_session_expiry(SESSION_EXPIRY)
        .with_max_packet_size(MAX_PACKET_BYTES)
        .with_maximum_qos(1)
        .with_max_outbound_inflight(MAX_OUTBOUND_IN_FLIGHT)
        .with_client_channel_capacity(config.max_queued_messages.min(10_000))
        .with_sys_topics_enabled(false)
        .with_auth(auth)
        .with_storage(storage);
    // Neither side of ours uses aliases, and the client loses the topic of a message that has one.
    broker.topic_alias_maximum = 0;
    broker.shared_subscription_available = false;
    broker
}

/// Only presence is retained, and nobody is connected to a broker that starts: what an earlier one
/// retained would show benches as connected that went away with it.
fn forget_presences(folder: &Path) -> Result<(), BrokerError> {
    let retained = folder.join("retained");
    match std::fs::remove_dir_all(&retained) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(BrokerError::Folder {
            folder: retained,
            source,
        }),
        _ => Ok(()),
    }
}

impl Broker {
    /// Starts the broker and returns once it takes connections.
    ///
    /// Not safe to cancel: a broker that was started may go on without an owner.
    ///
    /// # Errors
    /// When the port is taken, naming the setting, or when its folder can't be used.
    pub async fn start(config: &MqttConfig, folder: &Path) -> Result<Self, BrokerError> {
        // The broker's own message about a taken port is prose; ask the system first.
        let probe = TcpListener::bind(config.listen)
            .await
            .map_err(|source| BrokerError::Listen {
                address: config.listen,
                source,
            })?;
        drop(probe);
        forget_presences(folder)?;
        let mut broker = MqttBroker::with_config(broker_config(config, folder))
            .await
            .map_err(BrokerError::Start)?;
        broker.resource_monitor().update_limits(ResourceLimits {
            max_connections: config.max_connections,
            max_connections_per_ip: config.max_connections,
            max_message_rate_per_client: 0,
            max_bandwidth_per_client: 0,
            max_connection_rate: 10_000,
            rate_limit_window: std::time::Duration::from_secs(1),
        });
        let address = broker.local_addr().ok_or(BrokerError::Stopped)?;
        let shutdown = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let up = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&up);
        let task = tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the MQTT broker stopped"
                );
            }
            flag.store(false, Ordering::Release);
        });
        if ready.wait_for(|ready| *ready).await.is_err() {
            return Err(BrokerError::Stopped);
        }
        up.store(true, Ordering::Release);
        Ok(Self {
            address,
            shutdown,
            up,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A view of its state.
    pub fn health(&self) -> BrokerHealth {
        BrokerHealth(Arc::clone(&self.up))
    }

    /// Returns when the broker has stopped by itself. Safe to cancel.
    pub async fn stopped(&mut self) {
        // A panic inside the broker ends it as well.
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the MQTT broker's task failed");
        }
        self.up.store(false, Ordering::Release);
    }

    /// Stops it: open connections are closed and sessions are written. Takes at most about five seconds.
    pub async fn stop(self) {
        self.up.store(false, Ordering::Release);
        self.shutdown.shutdown();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the MQTT broker's task failed");
        }
    }
}
