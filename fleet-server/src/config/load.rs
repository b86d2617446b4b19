//! Reads the settings by their table of keys.

use std::net::SocketAddr;

use fleet_domain::PlantId;
use fleet_settings::{Program, Reader, Settings};
use fleet_store::Patience;
use jiff::tz::TimeZone;

use super::{Config, ENV_PREFIX, HttpConfig, IngestConfig, KEYS, Limits, MqttConfig, peers};

impl Settings for Config {
    const PROGRAM: Program = Program {
        name: "fleet-server",
        environment: ENV_PREFIX,
        keys: KEYS,
        lock_file: "server.lock",
        folder_mode: 0o777,
    };

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let plant = reader.id::<PlantId>("plant");
        let data_dir = reader.folder("data_dir");
        let allow_remote = reader.flag("allow_remote");
        // A zone that this machine doesn't know could not be checked, and the page could not show it.
        let time_zone = reader.parsed("time_zone", |text| {
            let zone = TimeZone::get(text).ok()?;
            Some(zone.iana_name().unwrap_or(text).to_owned())
        });
        let http = http(reader, allow_remote.unwrap_or(false));
        let mqtt = mqtt(reader, allow_remote.unwrap_or(false));
        let ingest = ingest(reader);
        let dispatch = reader.duration("dispatch.interval");
        let store = peers::store(reader);
        let online = reader.duration("ledger.outstanding_online");
        let offline = reader.duration("ledger.outstanding_offline");
        let artifacts = reader
            .is_set("artifacts.folder")
            .then(|| reader.folder("artifacts.folder"));
        let replica = peers::replica(reader);
        let kafka = peers::kafka(reader);
        let telemetry = reader.telemetry();
        let signer_secrets = reader.optional_file("signer.secrets_file");
        Some(Self {
            plant: plant?,
            data_dir: data_dir?,
            allow_remote: allow_remote?,
            time_zone: time_zone?,
            http: http?,
            mqtt: mqtt?,
            ingest: ingest?,
            dispatch_interval: dispatch?,
            store: store?,
            patience: Patience {
                online: online?,
                offline: offline?,
            },
            artifacts: artifacts.flatten(),
            replica,
            kafka,
            signer_secrets,
            telemetry: telemetry?,
        })
    }

    fn printed(&self) -> String {
        format!("{self:#?}\n")
    }
}

fn listen(reader: &mut Reader<'_>, key: &str, allow_remote: bool) -> Option<SocketAddr> {
    let address = reader.address(key)?;
    if !address.ip().is_loopback() && !allow_remote {
        reader.fault(
            key,
            "is not a loopback address: set allow_remote = true to listen there, or use 127.0.0.1",
        );
        return None;
    }
    Some(address)
}

fn http(reader: &mut Reader<'_>, allow_remote: bool) -> Option<HttpConfig> {
    let listen = listen(reader, "http.listen", allow_remote);
    let timeout = reader.duration("http.request_timeout");
    let body = reader.whole("http.max_body_bytes");
    let artifact = reader.whole("http.max_artifact_bytes");
    let readers = reader.whole("http.max_stream_readers");
    Some(HttpConfig {
        listen: listen?,
        request_timeout: timeout?,
        max_body_bytes: body?,
        max_artifact_bytes: artifact?,
        max_stream_readers: readers?,
    })
}

fn mqtt(reader: &mut Reader<'_>, allow_remote: bool) -> Option<MqttConfig> {
    let external = peers::broker(reader);
    let listen = listen(reader, "mqtt.listen", allow_remote);
    let connections = reader.whole("mqtt.max_connections");
    let messages = reader.whole("mqtt.max_queued_messages");
    let bytes = reader.whole("mqtt.max_queued_bytes");
    Some(MqttConfig {
        external,
        listen: listen?,
        max_connections: connections?,
        max_queued_messages: messages?,
        max_queued_bytes: bytes?,
    })
}

fn ingest(reader: &mut Reader<'_>) -> Option<IngestConfig> {
    let batch_events = reader.whole("ingest.batch_events");
    let batch_wait = reader.duration("ingest.batch_wait");
    let receive_maximum = reader.whole("ingest.receive_maximum");
    let bytes = reader.whole("ingest.max_buffered_bytes");
    let receipts = reader.duration("ingest.receipt_interval");
    let lease = reader.duration("ingest.lease");
    let device_rate = reader.whole("ingest.device_rate");
    let device_burst = reader.whole("ingest.device_burst");
    let new_devices = reader.whole("ingest.new_devices_per_minute");
    let max_devices = reader.whole("fleet.max_devices");
    Some(IngestConfig {
        batch_events: batch_events?,
        batch_wait: batch_wait?,
        receive_maximum: receive_maximum?,
        max_buffered_bytes: bytes?,
        receipt_interval: receipts?,
        lease: lease?,
        limits: Limits {
            device_rate: device_rate?,
            device_burst: device_burst?,
            new_devices_per_minute: new_devices?,
            max_devices: max_devices?,
        },
    })
}
