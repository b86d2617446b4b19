//! The table of keys. Everything else about the configuration follows from it.

use std::time::Duration;

use fleet_settings::{Key, Kind, TELEMETRY_LOG, TELEMETRY_LOG_FORMAT, TELEMETRY_OTLP_ENDPOINT, key, unset};

/// Every key, top-level ones first, then by section.
pub const KEYS: &[Key] = &[
    key(
        "plant",
        Kind::Text,
        "\"plant-1\"",
        "Name of the plant: part of every topic and key",
    ),
    key(
        "data_dir",
        Kind::Folder,
        "\"fleet-data\"",
        "Folder of database, broker sessions and files; one server at a time",
    ),
    key(
        "allow_remote",
        Kind::Flag,
        "false",
        "Listen on addresses other than loopback; there are no logins yet",
    ),
    key(
        "time_zone",
        Kind::Form(
            "the IANA name of a time zone, such as Europe/Berlin, that is in this machine's time zone data",
        ),
        "\"UTC\"",
        "Time zone of the plant, an IANA name such as Europe/Berlin: the page shows times in it",
    ),
    key(
        "http.listen",
        Kind::Address {
            example: "127.0.0.1:8080",
        },
        "\"127.0.0.1:8080\"",
        "Address of API and page; port 0 takes a free one",
    ),
    key(
        "http.request_timeout",
        Kind::Duration {
            least: Duration::from_millis(100),
            most: Duration::from_mins(10),
        },
        "\"30s\"",
        "Longest time for one request; stream and files are exempt",
    ),
    key(
        "http.max_body_bytes",
        Kind::Whole {
            least: 1024,
            most: 64 << 20,
        },
        "1048576",
        "Largest body of a request; files are exempt",
    ),
    key(
        "http.max_artifact_bytes",
        Kind::Whole {
            least: 1024,
            most: u64::MAX >> 1,
        },
        "2147483648",
        "Largest file of a job",
    ),
    key(
        "http.max_stream_readers",
        Kind::Whole {
            least: 1,
            most: 100_000,
        },
        "256",
        "Most readers of the live stream",
    ),
    key(
        "mqtt.listen",
        Kind::Address {
            example: "127.0.0.1:1883",
        },
        "\"127.0.0.1:1883\"",
        "Address of the MQTT 5 broker; port 0 takes a free one",
    ),
    // The 16 slot sessions are connections too.
    key(
        "mqtt.max_connections",
        Kind::Whole {
            least: 32,
            most: 1_000_000,
        },
        "11000",
        "Most connections to the broker",
    ),
    key(
        "mqtt.max_queued_messages",
        Kind::Whole {
            least: 100,
            most: 10_000_000,
        },
        "100000",
        "Most messages that wait for a client that is away",
    ),
    key(
        "mqtt.max_queued_bytes",
        Kind::Whole {
            least: 1 << 20,
            most: 1 << 36,
        },
        "268435456",
        "Most bytes that wait for a client that is away",
    ),
    key(
        "ingest.batch_events",
        Kind::Whole {
            least: 1,
            most: 10_000,
        },
        "500",
        "Most messages in one transaction",
    ),
    key(
        "ingest.batch_wait",
        Kind::Duration {
            least: Duration::ZERO,
            most: Duration::from_secs(1),
        },
        "\"20ms\"",
        "Least time between two transactions under load",
    ),
    key(
        "ingest.receive_maximum",
        Kind::Whole {
            least: 16,
            most: 2000,
        },
        "250",
        "MQTT receive maximum of each of the 16 slot sessions",
    ),
    key(
        "ingest.max_buffered_bytes",
        Kind::Whole {
            least: 1 << 20,
            most: 1 << 36,
        },
        "134217728",
        "Most bytes that wait for their commit; above it a slot's connection is closed",
    ),
    key(
        "ingest.receipt_interval",
        Kind::Duration {
            least: Duration::ZERO,
            most: Duration::from_secs(5),
        },
        "\"100ms\"",
        "Least time between two receipts to one bench",
    ),
    key(
        "ingest.lease",
        Kind::Duration {
            least: Duration::from_secs(3),
            most: Duration::from_mins(10),
        },
        "\"15s\"",
        "How long a slot stays with a server that no longer renews it",
    ),
    key(
        "dispatch.interval",
        Kind::Duration {
            least: Duration::from_millis(50),
            most: Duration::from_mins(1),
        },
        "\"1s\"",
        "How often offers and deadlines are looked at without another cause",
    ),
    key(
        "store.prune_interval",
        Kind::Duration {
            least: Duration::from_secs(1),
            most: Duration::from_hours(24),
        },
        "\"1m\"",
        "How often what has expired is deleted",
    ),
    unset(
        "signer.secrets_file",
        Kind::File,
        "TOML file with the secret of each ECU in hexadecimal; without it security access is refused",
    ),
    TELEMETRY_LOG,
    TELEMETRY_LOG_FORMAT,
    TELEMETRY_OTLP_ENDPOINT,
];
