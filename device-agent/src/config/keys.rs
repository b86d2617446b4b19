//! The table of keys: name, default and meaning.

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted name.
    pub name: &'static str,
    /// Default as it would stand in TOML; `None`: not set.
    pub default: Option<&'static str>,
    /// What it means, one line.
    pub meaning: &'static str,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        default: Some(default),
        meaning,
    }
}

const fn unset(name: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        default: None,
        meaning,
    }
}

/// Every key, top-level ones first, then by section.
pub const KEYS: &[Key] = &[
    key("plant", "\"plant-1\"", "Name of the plant: part of every topic"),
    unset("device", "Name of this bench, unique across plants; must be set"),
    key(
        "data_dir",
        "\"agent-data\"",
        "Folder of spool, key, journal and results; one agent at a time",
    ),
    unset("station", "Station of the line where the bench stands"),
    key("ecus", "[]", "Names of the ECUs that it serves; empty: any"),
    key("broker.url", "\"mqtt://127.0.0.1:1883\"", "The MQTT 5 broker"),
    key(
        "server.url",
        "\"http://127.0.0.1:8080\"",
        "The server, for procedures, files and security access",
    ),
    key(
        "vehicle.entity",
        "\"127.0.0.1:13400\"",
        "The vehicle's DoIP entity, TCP and UDP",
    ),
    key(
        "vehicle.tester_address",
        "0x0E80",
        "Logical address of this tester, 0x0E00 to 0x0FFF",
    ),
    key(
        "spool.max_bytes",
        "536870912",
        "Size of the spool from which on new jobs are refused",
    ),
    key(
        "spool.min_free_bytes",
        "268435456",
        "Free space on the disk below which new jobs are refused",
    ),
    key("telemetry.log", "\"info\"", "Filter of the log"),
    key("telemetry.log_format", "\"text\"", "text or json"),
    unset(
        "telemetry.otlp_endpoint",
        "OTLP collector, HTTP/protobuf, such as http://127.0.0.1:4318",
    ),
];

/// The defaults as a commented TOML file.
pub fn defaults_toml() -> String {
    let mut lines = Vec::new();
    let mut section = "";
    for key in KEYS {
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
