//! The table of keys: name, default and meaning. Everything else about the configuration follows from it.

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
    key(
        "plant",
        "\"plant-1\"",
        "Name of the plant: part of every topic and key",
    ),
    key(
        "data_dir",
        "\"fleet-data\"",
        "Folder of database, broker sessions and files; one server at a time",
    ),
    key(
        "allow_remote",
        "false",
        "Listen on addresses other than loopback; there are no logins yet",
    ),
    key(
        "http.listen",
        "\"127.0.0.1:8080\"",
        "Address of API and page; port 0 takes a free one",
    ),
    key(
        "http.request_timeout",
        "\"30s\"",
        "Longest time for one request; stream and files are exempt",
    ),
    key(
        "http.max_body_bytes",
        "1048576",
        "Largest body of a request; files are exempt",
    ),
    key("http.max_artifact_bytes", "2147483648", "Largest file of a job"),
    key(
        "http.max_stream_readers",
        "256",
        "Most readers of the live stream",
    ),
    key(
        "mqtt.listen",
        "\"127.0.0.1:1883\"",
        "Address of the MQTT 5 broker; port 0 takes a free one",
    ),
    key("mqtt.max_connections", "11000", "Most connections to the broker"),
    key(
        "mqtt.max_queued_messages",
        "100000",
        "Most messages that wait for a client that is away",
    ),
    key(
        "mqtt.max_queued_bytes",
        "268435456",
        "Most bytes that wait for a client that is away",
    ),
    key("ingest.batch_events", "500", "Most messages in one transaction"),
    key(
        "ingest.batch_wait",
        "\"20ms\"",
        "Least time between two transactions under load",
    ),
    key(
        "ingest.receive_maximum",
        "250",
        "MQTT receive maximum of each of the 16 slot sessions",
    ),
    key(
        "ingest.max_buffered_bytes",
        "134217728",
        "Most bytes that wait for their commit; above it a slot's connection is closed",
    ),
    key(
        "ingest.receipt_interval",
        "\"100ms\"",
        "Least time between two receipts to one bench",
    ),
    key(
        "ingest.lease",
        "\"15s\"",
        "How long a slot stays with a server that no longer renews it",
    ),
    key(
        "dispatch.interval",
        "\"1s\"",
        "How often offers and deadlines are looked at without another cause",
    ),
    key(
        "store.prune_interval",
        "\"1m\"",
        "How often what has expired is deleted",
    ),
    unset(
        "signer.secrets_file",
        "TOML file with the secret of each ECU in hexadecimal; without it security access is refused",
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
    let mut section = "";
    let mut lines = Vec::new();
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
    lines.push(String::new());
    lines.join("\n")
}
