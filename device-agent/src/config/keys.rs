//! The table of keys.

use fleet_settings::{Key, Kind, TELEMETRY_LOG, TELEMETRY_LOG_FORMAT, TELEMETRY_OTLP_ENDPOINT, key, unset};

/// Every key, top-level ones first, then by section.
pub const KEYS: &[Key] = &[
    key(
        "plant",
        Kind::Text,
        "\"plant-1\"",
        "Name of the plant: part of every topic",
    ),
    unset(
        "device",
        Kind::Text,
        "Name of this bench, unique across plants; must be set",
    ),
    key(
        "data_dir",
        Kind::Folder,
        "\"agent-data\"",
        "Folder of spool, key, journal and results; one agent at a time",
    ),
    unset(
        "station",
        Kind::Text,
        "Station of the line where the bench stands",
    ),
    key(
        "ecus",
        Kind::Names,
        "[]",
        "Names of the ECUs that it serves; empty: any",
    ),
    key(
        "broker.url",
        Kind::Form("mqtt://HOST:PORT"),
        "\"mqtt://127.0.0.1:1883\"",
        "The MQTT 5 broker",
    ),
    unset(
        "broker.credentials_file",
        Kind::File,
        "TOML file with username and password for the broker",
    ),
    key(
        "server.url",
        Kind::Form("http://HOST:PORT"),
        "\"http://127.0.0.1:8080\"",
        "The server, for procedures, files and security access",
    ),
    key(
        "vehicle.entity",
        Kind::Address {
            example: "127.0.0.1:13400",
        },
        "\"127.0.0.1:13400\"",
        "The vehicle's DoIP entity, TCP and UDP",
    ),
    key(
        "vehicle.tester_address",
        Kind::Form("from 0x0E00 to 0x0FFF"),
        "0x0E80",
        "Logical address of this tester, 0x0E00 to 0x0FFF",
    ),
    // A running job must still find room for its result below the limit.
    key(
        "spool.max_bytes",
        Kind::Bytes { least: 1 << 20 },
        "536870912",
        "Size of the spool from which on new jobs are refused",
    ),
    key(
        "spool.min_free_bytes",
        Kind::Bytes { least: 0 },
        "268435456",
        "Free space on the disk below which new jobs are refused",
    ),
    TELEMETRY_LOG,
    TELEMETRY_LOG_FORMAT,
    TELEMETRY_OTLP_ENDPOINT,
];
