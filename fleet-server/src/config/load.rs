//! Reads the settings by their table of keys.

use std::net::SocketAddr;

use fleet_domain::PlantId;
use fleet_settings::{Program, Reader, Settings};
use jiff::tz::TimeZone;

use super::{Config, ENV_PREFIX, HttpConfig, IngestConfig, KEYS, MqttConfig};

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
        let prune = reader.duration("store.prune_interval");
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
            prune_interval: prune?,
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
    let listen = listen(reader, "mqtt.listen", allow_remote);
    let connections = reader.whole("mqtt.max_connections");
    let messages = reader.whole("mqtt.max_queued_messages");
    let bytes = reader.whole("mqtt.max_queued_bytes");
    Some(MqttConfig {
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
    Some(IngestConfig {
        batch_events: batch_events?,
        batch_wait: batch_wait?,
        receive_maximum: receive_maximum?,
        max_buffered_bytes: bytes?,
        receipt_interval: receipts?,
        lease: lease?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fleet_settings::{ConfigError, Fault, defaults, parse};

    use super::*;

    fn faults(toml: &str) -> Vec<Fault> {
        match parse::<Config>(toml) {
            Err(ConfigError::Faults(faults)) => faults.list,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = defaults::<Config>().unwrap();
        assert_eq!(config.http.listen.port(), 8080);
        assert_eq!(config.mqtt.listen.port(), 1883);
        assert_eq!(config.time_zone, "UTC");
        assert_eq!(config.ingest.batch_wait, Duration::from_millis(20));
    }

    #[test]
    fn every_fault_is_reported_at_once_with_key_and_value() {
        let found = faults(
            "plant = \"a/b\"\nnonsense = 1\n[http]\nlisten = \"nowhere\"\nport = 1\n[ingest]\nbatch_events = 0\nbatch_wait = \"20\"\n[telemetry]\nlog_format = \"xml\"\notlp_endpoint = \"collector:4318\"\n",
        );
        let keys: Vec<&str> = found.iter().map(|f| f.key.as_str()).collect();
        for key in [
            "nonsense",
            "http.port",
            "plant",
            "http.listen",
            "ingest.batch_events",
            "ingest.batch_wait",
            "telemetry.log_format",
            "telemetry.otlp_endpoint",
        ] {
            assert!(keys.contains(&key), "{key} not in {keys:?}");
        }
        assert_eq!(found.len(), 8, "{found:?}");
        assert!(found.iter().any(|f| f.key == "plant" && f.value == "\"a/b\""));
    }

    #[test]
    fn a_time_zone_is_one_that_is_known() {
        let zone = |name: &str| parse::<Config>(&format!("time_zone = {name:?}"));
        assert_eq!(zone("Europe/Berlin").unwrap().time_zone, "Europe/Berlin");
        assert_eq!(zone("europe/berlin").unwrap().time_zone, "Europe/Berlin");
        for bad in ["", "Mars/Olympus", "+01:00", "CET-1CEST", "../../etc/passwd"] {
            let Err(ConfigError::Faults(found)) = zone(bad) else {
                panic!("{bad:?} was taken");
            };
            assert_eq!(found.list[0].key, "time_zone", "{found:?}");
        }
    }

    #[test]
    fn another_address_than_loopback_must_be_allowed_by_name() {
        let found = faults("[mqtt]\nlisten = \"0.0.0.0:1883\"\n");
        assert!(found[0].why.contains("allow_remote"), "{found:?}");
        let allowed = "allow_remote = true\n[mqtt]\nlisten = \"0.0.0.0:1883\"\n";
        assert!(parse::<Config>(allowed).is_ok());
    }
}
