//! Reads the settings from their sources and judges them, all of them, before saying anything.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Num, Value};
use figment::{Figment, Source};

use super::{
    Config, ENV_PREFIX, HttpConfig, IngestConfig, KEYS, MqttConfig, TelemetrySettings, defaults_toml,
};

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key.
    pub key: String,
    /// The value as given, cut to 80 characters.
    pub value: String,
    /// Where it came from.
    pub source: String,
    /// What is wrong and what to do.
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} = {} (from {}): {}",
            self.key, self.value, self.source, self.why
        )
    }
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("configuration file {path} can't be read; name another with --config")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("configuration file {path} is not TOML: {detail}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what, as the reader said.
        detail: String,
    },
    /// One or more settings are wrong.
    #[error("{}", listed(.0))]
    Faults(Vec<Fault>),
}

fn listed(faults: &[Fault]) -> String {
    let mut lines = vec![format!("{} setting(s) are wrong:", faults.len())];
    lines.extend(faults.iter().map(|fault| format!("  {fault}")));
    lines.push("`fleet-server config print --defaults` lists every key.".to_owned());
    lines.join("\n")
}

pub(super) fn defaults() -> Figment {
    Figment::from(Toml::string(&defaults_toml()))
}

/// Reads the settings: defaults, then `file`, then the environment.
///
/// # Errors
/// Every fault at once, each with key, value and source.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let mut figment = defaults();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let from_file = Figment::from(Toml::string(&text));
        if let Err(error) = from_file.extract::<Dict>() {
            return Err(ConfigError::Syntax {
                path: path.to_owned(),
                detail: error.to_string(),
            });
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    from_figment(&figment.merge(Env::prefixed(ENV_PREFIX).split("__")))
}

pub(super) fn from_figment(figment: &Figment) -> Result<Config, ConfigError> {
    let mut reader = Reader {
        figment,
        faults: Vec::new(),
    };
    reader.refuse_unknown_keys();
    let config = reader.read();
    match config {
        Some(config) if reader.faults.is_empty() => Ok(config),
        _ => Err(ConfigError::Faults(reader.faults)),
    }
}

struct Reader<'a> {
    figment: &'a Figment,
    faults: Vec<Fault>,
}

fn shown(value: &Value) -> String {
    let text = scalar(value).unwrap_or_else(|| "a table or list".to_owned());
    let text = if matches!(value, Value::String(..)) {
        format!("{text:?}")
    } else {
        text
    };
    text.chars().take(80).collect()
}

/// The text of a plain value; environment variables and TOML spell the same value alike.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, c) => Some(c.to_string()),
        Value::Bool(_, b) => Some(b.to_string()),
        Value::Num(_, Num::F32(n)) => Some(n.to_string()),
        Value::Num(_, Num::F64(n)) => Some(n.to_string()),
        Value::Num(_, n) => n
            .to_u128()
            .map(|n| n.to_string())
            .or_else(|| n.to_i128().map(|n| n.to_string())),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

impl Reader<'_> {
    fn source_of(&self, key: &str) -> String {
        let metadata = self.figment.find_metadata(key);
        match metadata.map(|m| (m.source.as_ref(), m.name.as_ref())) {
            Some((Some(Source::File(path)), _)) => format!("file {}", path.display()),
            Some((_, name)) if name.contains("environment") => {
                format!(
                    "environment variable {ENV_PREFIX}{}",
                    key.to_uppercase().replace('.', "__")
                )
            }
            _ => "the defaults".to_owned(),
        }
    }

    fn fault(&mut self, key: &str, why: impl Into<String>) {
        let value = self
            .figment
            .find_value(key)
            .map_or_else(|_| "not set".to_owned(), |v| shown(&v));
        let source = self.source_of(key);
        self.faults.push(Fault {
            key: key.to_owned(),
            value,
            source,
            why: why.into(),
        });
    }

    fn refuse_unknown_keys(&mut self) {
        let Ok(all) = self.figment.extract::<Dict>() else {
            return;
        };
        let mut unknown = Vec::new();
        for (name, value) in &all {
            let section = format!("{name}.");
            let known_section = KEYS.iter().any(|k| k.name.starts_with(&section));
            match value {
                Value::Dict(_, inner) if known_section => {
                    let names = inner.keys().map(|key| format!("{name}.{key}"));
                    unknown.extend(names.filter(|key| !KEYS.iter().any(|k| k.name == key)));
                }
                _ if KEYS.iter().any(|k| k.name == name) => {}
                _ => unknown.push(name.clone()),
            }
        }
        for key in unknown {
            self.fault(&key, "there is no such setting");
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.figment.find_value(key).ok().as_ref().map(scalar) {
            Some(Some(text)) => Some(text),
            Some(None) => {
                self.fault(key, "must be a plain value");
                None
            }
            None => {
                self.fault(key, "must be set");
                None
            }
        }
    }

    fn parsed<T>(&mut self, key: &str, wanted: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let value = parse(&text);
        if value.is_none() {
            self.fault(key, format!("must be {wanted}"));
        }
        value
    }

    fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        key: &str,
        least: T,
        most: T,
    ) -> Option<T> {
        self.parsed(key, &format!("a whole number from {least} to {most}"), |text| {
            text.parse().ok().filter(|n| (least..=most).contains(n))
        })
    }

    fn duration(&mut self, key: &str, least: Duration, most: Duration) -> Option<Duration> {
        let wanted = format!(
            "a duration such as \"30s\", from {} to {}",
            humantime::format_duration(least),
            humantime::format_duration(most)
        );
        self.parsed(key, &wanted, |text| {
            humantime::parse_duration(text)
                .ok()
                .filter(|d| (least..=most).contains(d))
        })
    }

    fn optional(&mut self, key: &str) -> Option<String> {
        self.figment.find_value(key).ok()?;
        self.text(key).filter(|text| !text.is_empty())
    }

    fn listen(&mut self, key: &str, allow_remote: bool) -> Option<SocketAddr> {
        let address = self.parsed(key, "an address with port, such as \"127.0.0.1:8080\"", |t| {
            t.parse::<SocketAddr>().ok()
        })?;
        if !address.ip().is_loopback() && !allow_remote {
            self.fault(
                key,
                "is not a loopback address: set allow_remote = true to listen there, or use 127.0.0.1",
            );
            return None;
        }
        Some(address)
    }

    /// Reads every key before giving up on any, so that all faults are known.
    fn read(&mut self) -> Option<Config> {
        let plant = match self.text("plant").map(|text| text.parse()) {
            Some(Ok(plant)) => Some(plant),
            Some(Err(error)) => {
                let error: fleet_domain::IdError = error;
                self.fault("plant", error.to_string());
                None
            }
            None => None,
        };
        let data_dir = self.parsed("data_dir", "the path of a folder", |t| {
            (!t.is_empty()).then(|| PathBuf::from(t))
        });
        let allow_remote = self.parsed("allow_remote", "true or false", |t| t.parse().ok());
        let http = self.http(allow_remote.unwrap_or(false));
        let mqtt = self.mqtt(allow_remote.unwrap_or(false));
        let ingest = self.ingest();
        let dispatch = self.duration(
            "dispatch.interval",
            Duration::from_millis(50),
            Duration::from_mins(1),
        );
        let prune = self.duration(
            "store.prune_interval",
            Duration::from_secs(1),
            Duration::from_hours(24),
        );
        let telemetry = self.telemetry();
        let signer_secrets = self.optional("signer.secrets_file").map(PathBuf::from);
        if signer_secrets.as_ref().is_some_and(|path| !path.is_file()) {
            self.fault("signer.secrets_file", "there is no such file");
        }
        Some(Config {
            plant: plant?,
            data_dir: data_dir?,
            allow_remote: allow_remote?,
            http: http?,
            mqtt: mqtt?,
            ingest: ingest?,
            dispatch_interval: dispatch?,
            prune_interval: prune?,
            signer_secrets,
            telemetry: telemetry?,
        })
    }

    fn http(&mut self, allow_remote: bool) -> Option<HttpConfig> {
        let listen = self.listen("http.listen", allow_remote);
        let timeout = self.duration(
            "http.request_timeout",
            Duration::from_millis(100),
            Duration::from_mins(10),
        );
        let body = self.number("http.max_body_bytes", 1024, 64 << 20);
        let artifact = self.number("http.max_artifact_bytes", 1024, u64::MAX >> 1);
        let readers = self.number("http.max_stream_readers", 1, 100_000);
        Some(HttpConfig {
            listen: listen?,
            request_timeout: timeout?,
            max_body_bytes: body?,
            max_artifact_bytes: artifact?,
            max_stream_readers: readers?,
        })
    }

    fn mqtt(&mut self, allow_remote: bool) -> Option<MqttConfig> {
        let listen = self.listen("mqtt.listen", allow_remote);
        // The 16 slot sessions are connections too.
        let connections = self.number("mqtt.max_connections", 32, 1_000_000);
        let messages = self.number("mqtt.max_queued_messages", 100, 10_000_000);
        let bytes = self.number("mqtt.max_queued_bytes", 1 << 20, 1 << 36);
        Some(MqttConfig {
            listen: listen?,
            max_connections: connections?,
            max_queued_messages: messages?,
            max_queued_bytes: bytes?,
        })
    }

    fn ingest(&mut self) -> Option<IngestConfig> {
        let batch_events = self.number("ingest.batch_events", 1, 10_000);
        let batch_wait = self.duration("ingest.batch_wait", Duration::ZERO, Duration::from_secs(1));
        let receive_maximum = self.number("ingest.receive_maximum", 16, 2000);
        let bytes = self.number("ingest.max_buffered_bytes", 1 << 20, 1 << 36);
        let receipts = self.duration("ingest.receipt_interval", Duration::ZERO, Duration::from_secs(5));
        let lease = self.duration("ingest.lease", Duration::from_secs(3), Duration::from_mins(10));
        Some(IngestConfig {
            batch_events: batch_events?,
            batch_wait: batch_wait?,
            receive_maximum: receive_maximum?,
            max_buffered_bytes: bytes?,
            receipt_interval: receipts?,
            lease: lease?,
        })
    }

    fn telemetry(&mut self) -> Option<TelemetrySettings> {
        let log = self.text("telemetry.log");
        let log_json = self.parsed("telemetry.log_format", "text or json", |t| match t {
            "text" => Some(false),
            "json" => Some(true),
            _ => None,
        });
        let otlp_endpoint = self.optional("telemetry.otlp_endpoint");
        let scheme = |t: &String| t.starts_with("http://") || t.starts_with("https://");
        if otlp_endpoint.as_ref().is_some_and(|t| !scheme(t)) {
            self.fault("telemetry.otlp_endpoint", "must begin with http:// or https://");
        }
        Some(TelemetrySettings {
            log: log?,
            log_json: log_json?,
            otlp_endpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(toml: &str) -> Vec<Fault> {
        match from_figment(&defaults().merge(Toml::string(toml))) {
            Err(ConfigError::Faults(faults)) => faults,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = from_figment(&defaults()).unwrap();
        assert_eq!(config.http.listen.port(), 8080);
        assert_eq!(config.mqtt.listen.port(), 1883);
        assert_eq!(config.ingest.batch_wait, Duration::from_millis(20));
    }

    #[test]
    fn every_fault_is_reported_at_once_with_key_and_value() {
        let found = faults(
            "plant = \"a/b\"\nnonsense = 1\n[http]\nlisten = \"nowhere\"\nport = 1\n[ingest]\nbatch_events = 0\nbatch_wait = \"20\"\n[telemetry]\nlog_format = \"xml\"\notlp_endpoint = \"collector:4318\"\n",
        );
        let keys: Vec<&str> = found.iter().map(|f| f.key.as_str()).collect();
        for key in [
            "nonsense",
            "http.port",
            "plant",
            "http.listen",
            "ingest.batch_events",
            "ingest.batch_wait",
            "telemetry.log_format",
            "telemetry.otlp_endpoint",
        ] {
            assert!(keys.contains(&key), "{key} not in {keys:?}");
        }
        assert_eq!(found.len(), 8, "{found:?}");
        assert!(found.iter().any(|f| f.key == "plant" && f.value == "\"a/b\""));
    }

    #[test]
    fn another_address_than_loopback_must_be_allowed_by_name() {
        let found = faults("[mqtt]\nlisten = \"0.0.0.0:1883\"\n");
        assert!(found[0].why.contains("allow_remote"), "{found:?}");
        let allowed = defaults().merge(Toml::string(
            "allow_remote = true\n[mqtt]\nlisten = \"0.0.0.0:1883\"\n",
        ));
        assert!(from_figment(&allowed).is_ok());
    }
}
