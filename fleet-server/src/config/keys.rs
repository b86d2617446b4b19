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
        "Folder of the SQLite database, the broker's sessions and the files; one server at a time",
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
    unset(
        "mqtt.url",
        Kind::Form("mqtt://HOST:PORT"),
        "MQTT 5 broker of the plant, such as mqtt://10.0.0.5:1883; without it a broker runs in the process",
    ),
    unset(
        "mqtt.credentials_file",
        Kind::File,
        "TOML file with username and password for mqtt.url",
    ),
    key(
        "mqtt.listen",
        Kind::Address {
            example: "127.0.0.1:1883",
        },
        "\"127.0.0.1:1883\"",
        "Address of the broker in the process; port 0 takes a free one",
    ),
    // The 16 slot sessions are connections too.
    key(
        "mqtt.max_connections",
        Kind::Whole {
            least: 32,
            most: 1_000_000,
        },
        "11000",
        "Most connections to the broker in the process",
    ),
    key(
        "mqtt.max_queued_messages",
        Kind::Whole {
            least: 100,
            most: 10_000_000,
        },
        "100000",
        "Most messages that wait in it for a client that is away",
    ),
    key(
        "mqtt.max_queued_bytes",
        Kind::Whole {
            least: 1 << 20,
            most: 1 << 36,
        },
        "268435456",
        "Most bytes that wait in it for a client that is away",
    ),
    key(
        "ingest.batch_events",
        Kind::Whole {
            least: 1,
            most: 10_000,
        },
        "2000",
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
        "\"6s\"",
        "How long a slot stays with a server that no longer renews it",
    ),
    key(
        "ingest.device_rate",
        Kind::Whole {
            least: 1,
            most: 1_000_000,
        },
        "1000",
        "Most messages of one bench in a second; what is above is not taken, the bench sends it again",
    ),
    key(
        "ingest.device_burst",
        Kind::Whole {
            least: 16,
            most: 10_000_000,
        },
        "5000",
        "Most messages of one bench at once, after a quiet time",
    ),
    key(
        "ingest.new_devices_per_minute",
        Kind::Whole {
            least: 1,
            most: 1_000_000,
        },
        "12000",
        "Most benches in a minute that nobody has heard of; known ones are not limited by it",
    ),
    key(
        "fleet.max_devices",
        Kind::Whole {
            least: 1,
            most: 1_000_000,
        },
        "20000",
        "Most benches of the plant; nothing is taken of more names",
    ),
    key(
        "ledger.outstanding_online",
        Kind::Duration {
            least: Duration::from_secs(1),
            most: Duration::from_hours(24 * 366),
        },
        "\"5m\"",
        "How long the same event of a connected bench may stay outstanding before an alarm",
    ),
    key(
        "ledger.outstanding_offline",
        Kind::Duration {
            least: Duration::from_secs(1),
            most: Duration::from_hours(24 * 366),
        },
        "\"24h\"",
        "The same for a bench that is away",
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
        "store.url",
        Kind::Form("sqlite, or postgres://USER@HOST:PORT/DATABASE"),
        "\"sqlite\"",
        "sqlite: a file in data_dir; or a PostgreSQL database, such as postgres://fleet@10.0.0.6:5432/fleet",
    ),
    unset(
        "store.credentials_file",
        Kind::File,
        "TOML file with username and password for a PostgreSQL database",
    ),
    key(
        "store.auto_migrate",
        Kind::Flag,
        "true",
        "Bring the tables of the database up to date at the start; false: only by fleet-server migrate",
    ),
    key(
        "store.max_connections",
        Kind::Whole { least: 4, most: 500 },
        "16",
        "Most connections of this server to PostgreSQL",
    ),
    unset(
        "store.retention",
        Kind::Duration {
            least: Duration::from_hours(1),
            most: Duration::from_hours(24 * 3660),
        },
        "How long events are kept after the relay took them, or after they came without one; unset: for ever",
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
        "artifacts.folder",
        Kind::Folder,
        "Folder of the files of jobs; replicas share one; unset: artifacts in data_dir",
    ),
    unset(
        "replica.name",
        Kind::Form("1 to 40 of A-Z a-z 0-9 _ -"),
        "Name of this server among the replicas of a plant; unset: a random one at each start",
    ),
    unset(
        "kafka.url",
        Kind::Form("kafka://HOST:PORT[,HOST:PORT] or kafkas://HOST:PORT[,HOST:PORT]"),
        "Kafka brokers, kafkas:// for TLS; without it nothing is relayed and the outbox is kept",
    ),
    unset(
        "kafka.credentials_file",
        Kind::File,
        "TOML file with username, password and mechanism (SCRAM-SHA-512, SCRAM-SHA-256, PLAIN) for Kafka",
    ),
    unset(
        "kafka.ca_file",
        Kind::File,
        "PEM file with the authorities that kafkas:// trusts; unset: the machine's",
    ),
    key(
        "kafka.partitions",
        Kind::Whole {
            least: 1,
            most: 10_000,
        },
        "12",
        "Partitions of each topic that carries events; never changed once the topics exist",
    ),
    unset(
        "kafka.replication",
        Kind::Whole { least: 1, most: 100 },
        "Copies of each topic that is made; unset: as the Kafka brokers are set",
    ),
    key(
        "kafka.create_topics",
        Kind::Flag,
        "true",
        "Make topics that are missing; false: say which are missing and wait for them",
    ),
    key(
        "kafka.batch_rows",
        Kind::Whole {
            least: 1,
            most: 100_000,
        },
        "5000",
        "Most records in one Kafka transaction",
    ),
    key(
        "kafka.transaction_timeout",
        Kind::Duration {
            least: Duration::from_secs(5),
            most: Duration::from_mins(15),
        },
        "\"15s\"",
        "How long the transaction of a relay that died may hold consumers back",
    ),
    key(
        "kafka.lease",
        Kind::Duration {
            least: Duration::from_secs(3),
            most: Duration::from_mins(10),
        },
        "\"6s\"",
        "How long the relay stays with a server that no longer renews it",
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
