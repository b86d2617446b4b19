//! The settings of a small program.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod folder;
mod sources;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fleet_settings::{
    Key, Kind, Program, Reader, Settings, TELEMETRY_LOG, TELEMETRY_LOG_FORMAT, TELEMETRY_OTLP_ENDPOINT, key,
    unset,
};
use fleet_telemetry::TelemetryConfig;

const KEYS: &[Key] = &[
    unset("name", Kind::Text, "Its name; must be set"),
    key("data_dir", Kind::Folder, "\"probe-data\"", "Its folder"),
    key("loud", Kind::Flag, "false", "Whether it is loud"),
    key("ecus", Kind::Names, "[]", "Whom it asks"),
    key(
        "limits.most",
        Kind::Whole {
            least: 1,
            most: 1_000_000,
        },
        "250",
        "Most of them",
    ),
    key("limits.room", Kind::Bytes { least: 1024 }, "4096", "Its room"),
    key(
        "limits.wait",
        Kind::Duration {
            least: Duration::from_millis(10),
            most: Duration::from_mins(1),
        },
        "\"20ms\"",
        "How long it waits",
    ),
    key(
        "http.listen",
        Kind::Address {
            example: "127.0.0.1:8080",
        },
        "\"127.0.0.1:8080\"",
        "Where it listens",
    ),
    unset("secrets.file", Kind::File, "Where its secrets are"),
    TELEMETRY_LOG,
    TELEMETRY_LOG_FORMAT,
    TELEMETRY_OTLP_ENDPOINT,
];

const PROBE: Program = Program {
    name: "probe",
    environment: "FLEET_PROBE__",
    keys: KEYS,
    lock_file: "probe.lock",
    folder_mode: 0o700,
};

#[derive(Debug)]
struct Probe {
    name: String,
    data_dir: PathBuf,
    loud: bool,
    ecus: Vec<String>,
    most: u16,
    room: u64,
    wait: Duration,
    listen: SocketAddr,
    secrets: Option<PathBuf>,
    telemetry: TelemetryConfig,
}

impl Settings for Probe {
    const PROGRAM: Program = PROBE;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let name = reader.id("name");
        let data_dir = reader.folder("data_dir");
        let loud = reader.flag("loud");
        let ecus = reader.names("ecus");
        let most = reader.whole("limits.most");
        let room = reader.whole("limits.room");
        let wait = reader.duration("limits.wait");
        let listen = reader.address("http.listen");
        let secrets = reader.optional_file("secrets.file");
        let telemetry = reader.telemetry();
        Some(Self {
            name: name?,
            data_dir: data_dir?,
            loud: loud?,
            ecus: ecus?,
            most: most?,
            room: room?,
            wait: wait?,
            listen: listen?,
            secrets,
            telemetry: telemetry?,
        })
    }

    fn printed(&self) -> String {
        format!("{self:#?}\n")
    }
}
