//! The table of keys: name, kind, default and meaning. Everything else about the settings follows from it.

use std::time::Duration;

use humantime::format_duration;

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted name.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Default as it would stand in TOML; `None`: not set.
    pub default: Option<&'static str>,
    /// What it means, one line.
    pub meaning: &'static str,
}

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text, also one that its reader judges by rules of its own, such as an id.
    Text,
    /// Path of a folder, which need not be there yet.
    Folder,
    /// Path of a file that is there.
    File,
    /// `true` or `false`.
    Flag,
    /// A whole number within a range.
    Whole {
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
    /// A size in bytes with a lower limit, below 2^60.
    Bytes {
        /// Smallest.
        least: u64,
    },
    /// A duration with its unit, within a range.
    Duration {
        /// Shortest.
        least: Duration,
        /// Longest.
        most: Duration,
    },
    /// An IP address with port.
    Address {
        /// How one looks.
        example: &'static str,
    },
    /// A list of names; in an environment variable with commas between them.
    Names,
    /// A form that the program reads itself, in words that follow "must be".
    Form(&'static str),
}

impl Kind {
    /// What a value must be, in words that follow "must be".
    pub fn wanted(&self) -> String {
        match self {
            Self::Text => "a plain value".to_owned(),
            Self::Folder => "the path of a folder".to_owned(),
            Self::File => "the path of a file".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Whole { least, most } => format!("a whole number from {least} to {most}"),
            Self::Bytes { least } => format!("a whole number of bytes, {least} or more"),
            Self::Duration { least, most } => format!(
                "a duration such as \"30s\", from {} to {}",
                format_duration(*least),
                format_duration(*most)
            ),
            Self::Address { example } => format!("an address with port, such as {example:?}"),
            Self::Names => "a list of names, such as [\"ESP\", \"CAM\"]".to_owned(),
            Self::Form(words) => (*words).to_owned(),
        }
    }
}

/// A key with a default.
pub const fn key(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        kind,
        default: Some(default),
        meaning,
    }
}

/// A key that is not set unless somebody sets it.
pub const fn unset(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key {
        name,
        kind,
        default: None,
        meaning,
    }
}

/// `telemetry.log`, read by [`Reader::telemetry`](crate::Reader::telemetry) as the next two are.
pub const TELEMETRY_LOG: Key = key("telemetry.log", Kind::Text, "\"info\"", "Filter of the log");

/// `telemetry.log_format`
pub const TELEMETRY_LOG_FORMAT: Key = key(
    "telemetry.log_format",
    Kind::Form("text or json"),
    "\"text\"",
    "text or json",
);

/// `telemetry.otlp_endpoint`
pub const TELEMETRY_OTLP_ENDPOINT: Key = unset(
    "telemetry.otlp_endpoint",
    Kind::Text,
    "OTLP collector, HTTP/protobuf, such as http://127.0.0.1:4318",
);

/// The defaults as a commented TOML file.
pub(crate) fn defaults_toml(keys: &[Key]) -> String {
    let mut lines = Vec::new();
    let mut section = "";
    for key in keys {
        let (of, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if of != section {
            section = of;
            lines.push(format!("\n[{section}]"));
        }
        lines.push(format!("# {}.", key.meaning));
        lines.push(match key.default {
            Some(default) => format!("{name} = {default}"),
            None => format!("# {name} ="),
        });
    }
    lines.join("\n") + "\n"
}
