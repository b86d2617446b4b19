//! The agent's settings: one table of keys, three sources, every fault reported at once.
//!
//! Sources, later ones win: the defaults in [`KEYS`], a TOML file, environment variables
//! `DEVICE_AGENT__SECTION__KEY`. No secret stands here: the bench's key lies in a file of its own.

mod keys;
mod load;

use std::net::SocketAddr;
use std::path::PathBuf;

use fleet_domain::{DeviceId, PlantId};
use fleet_settings::{Credentials, HostPort};
use fleet_telemetry::TelemetryConfig;

pub use keys::KEYS;

/// Prefix of the environment variables.
pub const ENV_PREFIX: &str = "DEVICE_AGENT__";

/// Everything that can be set. See [`KEYS`] for what each key means.
#[derive(Debug, Clone)]
pub struct Config {
    /// `plant`
    pub plant: PlantId,
    /// `device`
    pub device: DeviceId,
    /// `data_dir`
    pub data_dir: PathBuf,
    /// `station`
    pub station: Option<String>,
    /// `ecus`
    pub ecus: Vec<String>,
    /// `broker.*`
    pub broker: Broker,
    /// `server.url`, without a slash at the end.
    pub server_url: String,
    /// `vehicle.entity`
    pub entity: SocketAddr,
    /// `vehicle.tester_address`
    pub tester_address: u16,
    /// `spool.max_bytes`
    pub spool_max_bytes: u64,
    /// `spool.min_free_bytes`
    pub spool_min_free_bytes: u64,
    /// `telemetry.*`
    pub telemetry: TelemetryConfig,
}

/// `broker.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// `broker.url`
    pub address: HostPort,
    /// `broker.credentials_file`
    pub credentials_file: Option<PathBuf>,
    /// What it holds.
    pub credentials: Option<Credentials>,
}

impl Config {
    /// The settings as they are used, one `key = value` a line.
    pub fn to_toml(&self) -> String {
        let text = |value: &str| serde_json::Value::from(value).to_string();
        let ecus: Vec<String> = self.ecus.iter().map(|ecu| text(ecu)).collect();
        let format = match self.telemetry.log_format {
            fleet_telemetry::LogFormat::Text => "text",
            fleet_telemetry::LogFormat::Json => "json",
        };
        let mut lines = vec![
            format!("plant = {}", text(self.plant.as_str())),
            format!("device = {}", text(self.device.as_str())),
            format!("data_dir = {}", text(&self.data_dir.to_string_lossy())),
        ];
        lines.extend(
            self.station
                .as_ref()
                .map(|station| format!("station = {}", text(station))),
        );
        lines.extend([
            format!("ecus = [{}]", ecus.join(", ")),
            format!("\n[broker]\nurl = \"mqtt://{}\"", self.broker.address),
        ]);
        let credentials = self.broker.credentials_file.as_ref();
        lines.extend(credentials.map(|path| format!("credentials_file = {}", text(&path.to_string_lossy()))));
        lines.extend([
            format!("\n[server]\nurl = {}", text(&self.server_url)),
            format!("\n[vehicle]\nentity = \"{}\"", self.entity),
            format!("tester_address = 0x{:04X}", self.tester_address),
            format!("\n[spool]\nmax_bytes = {}", self.spool_max_bytes),
            format!("min_free_bytes = {}", self.spool_min_free_bytes),
            format!("\n[telemetry]\nlog = {}", text(&self.telemetry.log)),
            format!("log_format = \"{format}\""),
        ]);
        let otlp = self.telemetry.otlp_endpoint.as_ref();
        lines.extend(otlp.map(|endpoint| format!("otlp_endpoint = {}", text(endpoint))));
        lines.join("\n") + "\n"
    }
}
