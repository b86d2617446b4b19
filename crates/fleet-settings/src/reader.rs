//! Typed access to the keys. What is wrong is noted and `None` given, so that reading can go on.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use figment::value::{Dict, Num, Value};
use figment::{Figment, Source};
use fleet_telemetry::{LogFormat, TelemetryConfig};

use crate::secret::without_password;
use crate::{Fault, Kind, Program};

/// Most characters of a value in a fault.
const SHOWN: usize = 80;

/// The sources of a program's settings, laid over each other.
#[derive(Debug)]
pub struct Reader<'a> {
    program: Program,
    sources: &'a Figment,
    faults: Vec<Fault>,
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(_, text) => format!("{:?}", without_password(text)),
        other => scalar(other).unwrap_or_else(|| "a table or list".to_owned()),
    };
    text.chars().take(SHOWN).collect()
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

impl<'a> Reader<'a> {
    pub(crate) fn new(program: Program, sources: &'a Figment) -> Self {
        Self {
            program,
            sources,
            faults: Vec::new(),
        }
    }

    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    fn source_of(&self, key: &str) -> String {
        let metadata = self.sources.find_metadata(key);
        match metadata.map(|found| (found.source.as_ref(), found.name.as_ref())) {
            Some((Some(Source::File(path)), _)) => format!("file {}", path.display()),
            Some((_, name)) if name.contains("environment") => format!(
                "environment variable {}{}",
                self.program.environment,
                key.to_uppercase().replace('.', "__")
            ),
            _ => "the defaults".to_owned(),
        }
    }

    /// Notes what is wrong with a key and what to do.
    pub fn fault(&mut self, key: &str, why: impl Into<String>) {
        let value = self.sources.find_value(key);
        let fault = Fault {
            key: key.to_owned(),
            value: value.map_or_else(|_| "not set".to_owned(), |value| shown(&value)),
            source: self.source_of(key),
            why: why.into(),
        };
        self.faults.push(fault);
    }

    pub(crate) fn refuse_unknown_keys(&mut self) {
        let Ok(all) = self.sources.extract::<Dict>() else {
            return;
        };
        let keys = self.program.keys;
        let known = |name: &str| keys.iter().any(|key| key.name == name);
        let mut unknown = Vec::new();
        for (name, value) in &all {
            let section = format!("{name}.");
            match value {
                Value::Dict(_, inner) if keys.iter().any(|key| key.name.starts_with(&section)) => {
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

    /// A plain value as text.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.sources.find_value(key).ok().as_ref().map(scalar) {
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

    /// A text that need not be set; an empty one is none.
    pub fn optional(&mut self, key: &str) -> Option<String> {
        self.sources.find_value(key).ok()?;
        self.text(key).filter(|text| !text.is_empty())
    }

    /// Whether a key that need not be set is set; an empty text is as none.
    pub fn is_set(&mut self, key: &str) -> bool {
        self.optional(key).is_some()
    }

    /// A value in a form of its own. Where `parse` gives none, the table's kind says what is wanted.
    pub fn parsed<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.of_kind(key, |_, text| parse(text))
    }

    fn of_kind<T>(&mut self, key: &str, parse: impl FnOnce(Kind, &str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let of = self.program.keys.iter().find(|of| of.name == key);
        let kind = of.map_or(Kind::Text, |of| of.kind);
        let value = parse(kind, &text);
        if value.is_none() {
            self.fault(key, format!("must be {}", kind.wanted()));
        }
        value
    }

    /// An id, or another type whose error says what is wrong with a text.
    pub fn id<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        match self.text(key)?.parse() {
            Ok(id) => Some(id),
            Err(error) => {
                self.fault(key, error.to_string());
                None
            }
        }
    }

    /// [`Kind::Flag`]
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, |text| text.parse().ok())
    }

    /// [`Kind::Whole`] and [`Kind::Bytes`]
    pub fn whole<T: TryFrom<u64>>(&mut self, key: &str) -> Option<T> {
        self.of_kind(key, |kind, text| {
            let range = match kind {
                Kind::Whole { least, most } => least..=most,
                Kind::Bytes { least } => least..=(1 << 60) - 1,
                _ => return None,
            };
            let number = text.parse().ok().filter(|number| range.contains(number))?;
            T::try_from(number).ok()
        })
    }

    /// [`Kind::Duration`]
    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        self.of_kind(key, |kind, text| {
            let Kind::Duration { least, most } = kind else {
                return None;
            };
            let duration = humantime::parse_duration(text).ok()?;
            (least..=most).contains(&duration).then_some(duration)
        })
    }

    /// [`Kind::Address`]
    pub fn address(&mut self, key: &str) -> Option<SocketAddr> {
        self.parsed(key, |text| text.parse().ok())
    }

    /// [`Kind::Folder`]
    pub fn folder(&mut self, key: &str) -> Option<PathBuf> {
        self.parsed(key, |text| (!text.is_empty()).then(|| PathBuf::from(text)))
    }

    /// [`Kind::File`] that need not be set.
    pub fn optional_file(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.optional(key).map(PathBuf::from)?;
        if !path.is_file() {
            self.fault(key, "there is no such file");
        }
        Some(path)
    }

    /// [`Kind::Names`]
    pub fn names(&mut self, key: &str) -> Option<Vec<String>> {
        let texts = match self.sources.find_value(key).ok()? {
            Value::Array(_, values) => values.iter().map(scalar).collect::<Option<Vec<_>>>(),
            other => scalar(&other).map(|text| text.split(',').map(str::to_owned).collect()),
        };
        let Some(texts) = texts else {
            self.fault(key, format!("must be {}", Kind::Names.wanted()));
            return None;
        };
        let names = texts.iter().map(|text| text.trim().to_owned());
        Some(names.filter(|name| !name.is_empty()).collect())
    }

    /// The keys of the section `telemetry`.
    pub fn telemetry(&mut self) -> Option<TelemetryConfig> {
        let log = self.text("telemetry.log");
        let log_format = self.parsed("telemetry.log_format", |text| match text {
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
