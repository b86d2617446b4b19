//! The server's settings: one table of keys, three sources, every fault reported at once.
//!
//! Sources, later ones win: the defaults in [`keys::KEYS`], a TOML file, environment variables
//! `FLEET_SERVER__SECTION__KEY`. Secrets never stand here, only the paths of files that hold them.

mod keys;
mod load;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fleet_domain::PlantId;
use fleet_telemetry::TelemetryConfig;

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
    /// `store.prune_interval`
    pub prune_interval: Duration,
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

/// `mqtt.*`: the broker inside the process.
#[derive(Debug, Clone)]
pub struct MqttConfig {
    /// Where the broker listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Most connections.
    pub max_connections: usize,
    /// Most messages that wait for one client that is away.
    pub max_queued_messages: usize,
    /// Most bytes that wait for one client that is away.
    pub max_queued_bytes: usize,
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
}
