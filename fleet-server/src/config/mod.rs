//! The server's settings: one table of keys, three sources, every fault reported at once.
//!
//! Sources, later ones win: the defaults in [`keys::KEYS`], a TOML file, environment variables
//! `FLEET_SERVER__SECTION__KEY`. Secrets never stand here, only the paths of files that hold them.

mod keys;
mod load;
mod peers;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fleet_domain::PlantId;
use fleet_settings::{Credentials, HostPort, Secret};
use fleet_store::Patience;
use fleet_telemetry::TelemetryConfig;

pub use crate::ingest::gate::Limits;
pub use keys::KEYS;

/// Prefix of the environment variables.
pub const ENV_PREFIX: &str = "FLEET_SERVER__";

/// Everything that can be set. See [`KEYS`] for what each key means.
#[derive(Debug, Clone)]
pub struct Config {
    /// `plant`
    pub plant: PlantId,
    /// `data_dir`
    pub data_dir: PathBuf,
    /// `allow_remote`
    pub allow_remote: bool,
    /// `time_zone`
    pub time_zone: String,
    /// `http.*`
    pub http: HttpConfig,
    /// `mqtt.*`
    pub mqtt: MqttConfig,
    /// `ingest.*`
    pub ingest: IngestConfig,
    /// `dispatch.interval`
    pub dispatch_interval: Duration,
    /// `store.*`
    pub store: StoreConfig,
    /// `ledger.*`
    pub patience: Patience,
    /// `artifacts.folder`
    pub artifacts: Option<PathBuf>,
    /// `replica.name`
    pub replica: Option<String>,
    /// `kafka.*`, when `kafka.url` is set.
    pub kafka: Option<KafkaConfig>,
    /// `signer.secrets_file`
    pub signer_secrets: Option<PathBuf>,
    /// `telemetry.*`
    pub telemetry: TelemetryConfig,
}

/// `http.*`
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Where the API and the page listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Longest time for one request; the stream and file transfers are exempt.
    pub request_timeout: Duration,
    /// Largest body of a request, bytes; files are exempt.
    pub max_body_bytes: usize,
    /// Largest file of a job, bytes.
    pub max_artifact_bytes: u64,
    /// Most readers of the live stream.
    pub max_stream_readers: usize,
}

/// `mqtt.*`
#[derive(Debug, Clone)]
pub struct MqttConfig {
    /// The plant's broker; without it one runs inside the process, as the other fields say.
    pub external: Option<ExternalBroker>,
    /// Where the broker listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Most connections.
    pub max_connections: usize,
    /// Most messages that wait for one client that is away.
    pub max_queued_messages: usize,
    /// Most bytes that wait for one client that is away.
    pub max_queued_bytes: usize,
}

/// `mqtt.url` with its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalBroker {
    /// Where it is.
    pub address: HostPort,
    /// Whose name the server uses there; none: anonymous.
    pub credentials: Option<Credentials>,
}

impl ExternalBroker {
    /// Its URL, without a user: what replicas compare to know that they share a broker.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }
}

/// `store.*`
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Which database.
    pub database: Database,
    /// Bring its tables up to date at the start.
    pub auto_migrate: bool,
    /// Most connections to PostgreSQL.
    pub max_connections: u32,
    /// How long events are kept; none: for ever.
    pub retention: Option<Duration>,
    /// How often what has expired is deleted.
    pub prune_interval: Duration,
}

/// `store.url`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// `fleet.db` in the data folder: one server.
    Sqlite,
    /// A PostgreSQL server, which replicas share.
    Postgres {
        /// `postgres://USER@HOST:PORT/DATABASE`, without a password.
        url: String,
        /// Its password, if it asks for one.
        password: Option<Secret>,
    },
}

/// `kafka.*`
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// Hosts and ports with commas between them, as `bootstrap.servers` takes them.
    pub bootstrap: String,
    /// `kafkas://`
    pub tls: bool,
    /// User, password and SASL mechanism.
    pub credentials: Option<Credentials>,
    /// PEM file with the trusted authorities.
    pub ca_file: Option<PathBuf>,
    /// Partitions of each topic that carries events.
    pub partitions: i32,
    /// Copies of each topic that is made; none: as the brokers are set.
    pub replication: Option<i32>,
    /// Make topics that are missing.
    pub create_topics: bool,
    /// Most records in one transaction.
    pub batch_rows: usize,
    /// `transaction.timeout.ms`
    pub transaction_timeout: Duration,
    /// How long the relay belongs to this server without being renewed.
    pub lease: Duration,
}

/// `ingest.*`
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Most messages in one transaction.
    pub batch_events: usize,
    /// Least time between the ends of two transactions under load.
    pub batch_wait: Duration,
    /// MQTT receive maximum of each of the 16 slot sessions.
    pub receive_maximum: u16,
    /// Most bytes of messages that wait for their commit, over all slots.
    pub max_buffered_bytes: usize,
    /// Least time between two receipts to one bench.
    pub receipt_interval: Duration,
    /// How long a slot belongs to this server without being renewed.
    pub lease: Duration,
    /// What one bench may send, and how many benches there may be.
    pub limits: Limits,
}

impl Config {
    /// The defaults with a data folder and free ports, for tests and tools that start a server inside themselves.
    ///
    /// # Panics
    /// Never: the defaults are checked by a test.
    pub fn for_folder(plant: PlantId, data_dir: PathBuf) -> Self {
        let mut config = fleet_settings::defaults::<Self>().unwrap_or_else(|faults| panic!("{faults}"));
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        config.plant = plant;
        config.data_dir = data_dir;
        config.http.listen = free;
        config.mqtt.listen = free;
        config
    }

    /// The folder of the files of jobs.
    pub fn artifacts_folder(&self) -> PathBuf {
        match &self.artifacts {
            Some(folder) => folder.clone(),
            None => self.data_dir.join("artifacts"),
        }
    }
}
