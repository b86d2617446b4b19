//! Reads the settings from their sources and judges them, all of them, before saying anything.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Num, Value};
use figment::{Figment, Source};
use fleet_domain::IdError;
use fleet_telemetry::{LogFormat, TelemetryConfig};

use super::{Broker, Config, ENV_PREFIX, KEYS, defaults_toml};

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
    #[error("configuration file {path} is not TOML")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what, as the reader said.
        #[source]
        source: Box<figment::Error>,
    },
    /// One or more settings are wrong.
    #[error("{}", listed(.0))]
    Faults(Vec<Fault>),
}

fn listed(faults: &[Fault]) -> String {
    let mut lines = vec![format!("{} setting(s) are wrong:", faults.len())];
    lines.extend(faults.iter().map(|fault| format!("  {fault}")));
    lines.push("`device-agent config print --defaults` lists every key.".to_owned());
    lines.join("\n")
}

/// Reads the settings: defaults, then `file`, then the environment.
///
/// # Errors
/// Every fault at once, each with key, value and source.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let mut figment = Figment::from(Toml::string(&defaults_toml()));
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Figment::from(Toml::string(&text))
            .extract::<Dict>()
            .map_err(|source| ConfigError::Syntax {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
        figment = figment.merge(Toml::file_exact(path));
    }
    let mut reader = Reader {
        figment: &figment.merge(Env::prefixed(ENV_PREFIX).split("__")),
        faults: Vec::new(),
    };
    reader.refuse_unknown_keys();
    match reader.read() {
        Some(config) if reader.faults.is_empty() => Ok(config),
        _ => Err(ConfigError::Faults(reader.faults)),
    }
}

struct Reader<'a> {
    figment: &'a Figment,
    faults: Vec<Fault>,
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(_, text) => format!("{text:?}"),
        other => scalar(other).unwrap_or_else(|| "a table or list".to_owned()),
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
        Value::Num(_, n) => {
            let whole = n.to_u128().map(|n| n.to_string());
            whole.or_else(|| n.to_i128().map(|n| n.to_string()))
        }
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

impl Reader<'_> {
    fn source_of(&self, key: &str) -> String {
        let metadata = self.figment.find_metadata(key);
        match metadata.map(|found| (found.source.as_ref(), found.name.as_ref())) {
            Some((Some(Source::File(path)), _)) => format!("file {}", path.display()),
            Some((_, name)) if name.contains("environment") => format!(
                "environment variable {ENV_PREFIX}{}",
                key.to_uppercase().replace('.', "__")
            ),
            _ => "the defaults".to_owned(),
        }
    }

    fn fault(&mut self, key: &str, why: impl Into<String>) {
        let value = self.figment.find_value(key);
        let fault = Fault {
            key: key.to_owned(),
            value: value.map_or_else(|_| "not set".to_owned(), |value| shown(&value)),
            source: self.source_of(key),
            why: why.into(),
        };
        self.faults.push(fault);
    }

    fn refuse_unknown_keys(&mut self) {
        let Ok(all) = self.figment.extract::<Dict>() else {
            return;
        };
        let known = |name: &str| KEYS.iter().any(|key| key.name == name);
        let mut unknown = Vec::new();
        for (name, value) in &all {
            let section = format!("{name}.");
            match value {
                Value::Dict(_, inner) if KEYS.iter().any(|key| key.name.starts_with(&section)) => {
                    let names = inner.keys().map(|key| format!("{name}.{key}"));
                    unknown.extend(names.filter(|key| !known(key)));
                }
                _ if known(name) => {}
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

    fn id<T: FromStr<Err = IdError>>(&mut self, key: &str) -> Option<T> {
        match self.text(key)?.parse() {
            Ok(id) => Some(id),
            Err(error) => {
                self.fault(key, error.to_string());
                None
            }
        }
    }

    fn optional(&mut self, key: &str) -> Option<String> {
        self.figment.find_value(key).ok()?;
        self.text(key).filter(|text| !text.is_empty())
    }

    /// A list, or one text with commas, as an environment variable has it.
    fn list(&mut self, key: &str) -> Option<Vec<String>> {
        let texts = match self.figment.find_value(key).ok()? {
            Value::Array(_, values) => values.iter().map(scalar).collect::<Option<Vec<_>>>(),
            other => scalar(&other).map(|text| text.split(',').map(str::to_owned).collect()),
        };
        let Some(texts) = texts else {
            self.fault(key, "must be a list of names, such as [\"ESP\", \"CAM\"]");
            return None;
        };
        let names = texts.iter().map(|text| text.trim().to_owned());
        Some(names.filter(|name| !name.is_empty()).collect())
    }

    /// Reads every key before giving up on any, so that all faults are known.
    fn read(&mut self) -> Option<Config> {
        let plant = self.id("plant");
        let device = self.id("device");
        let data_dir = self.parsed("data_dir", "the path of a folder", |text| {
            (!text.is_empty()).then(|| PathBuf::from(text))
        });
        let station = self.optional("station");
        let ecus = self.list("ecus");
        let broker = self.parsed("broker.url", "mqtt://HOST:PORT", broker);
        let server_url = self.parsed("server.url", "http://HOST:PORT", server);
        let entity = self.parsed(
            "vehicle.entity",
            "an address with port, such as \"127.0.0.1:13400\"",
            |text| text.parse::<SocketAddr>().ok(),
        );
        let tester_address = self.parsed("vehicle.tester_address", "from 0x0E00 to 0x0FFF", |text| {
            let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(digits) => u16::from_str_radix(digits, 16),
                None => text.parse(),
            };
            number.ok().filter(|address| (0x0E00..=0x0FFF).contains(address))
        });
        // A running job must still find room for its result below the limit.
        let most = self.bytes("spool.max_bytes", 1 << 20);
        let free = self.bytes("spool.min_free_bytes", 0);
        let telemetry = self.telemetry();
        Some(Config {
            plant: plant?,
            device: device?,
            data_dir: data_dir?,
            station,
            ecus: ecus?,
            broker: broker?,
            server_url: server_url?,
            entity: entity?,
            tester_address: tester_address?,
            spool_max_bytes: most?,
            spool_min_free_bytes: free?,
            telemetry: telemetry?,
        })
    }

    fn bytes(&mut self, key: &str, least: u64) -> Option<u64> {
        let wanted = format!("a whole number of bytes, {least} or more");
        self.parsed(key, &wanted, |text| {
            text.parse().ok().filter(|bytes| (least..1 << 60).contains(bytes))
        })
    }

    fn telemetry(&mut self) -> Option<TelemetryConfig> {
        let log = self.text("telemetry.log");
        let log_format = self.parsed("telemetry.log_format", "text or json", |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        });
        let otlp_endpoint = self.optional("telemetry.otlp_endpoint");
        if otlp_endpoint
            .as_ref()
            .is_some_and(|text| !text.starts_with("http://"))
        {
            self.fault("telemetry.otlp_endpoint", "must begin with http://");
        }
        Some(TelemetryConfig {
            log: log?,
            log_format: log_format?,
            otlp_endpoint,
        })
    }
}

fn broker(text: &str) -> Option<Broker> {
    let (host, port) = text
        .strip_prefix("mqtt://")?
        .trim_end_matches('/')
        .rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let plain = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/@?#".contains(c));
    plain.then(|| Broker {
        host: host.to_owned(),
        port,
    })
}

fn server(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    let whole = url.scheme() == "http" && url.host_str().is_some_and(|host| !host.is_empty());
    let bare = url.query().is_none() && url.fragment().is_none() && url.password().is_none();
    (whole && bare).then(|| text.trim_end_matches('/').to_owned())
}
