//! Options of librdkafka.

use std::time::Duration;

use fleet_domain::PlantId;
use rdkafka::config::ClientConfig;

use crate::KafkaConfig;

/// The relay of a plant; there is one shard.
pub(super) fn transactional_id(plant: &PlantId) -> String {
    format!("vds-relay-{plant}-0")
}

fn common(config: &KafkaConfig, name: &str) -> ClientConfig {
    let mut options = ClientConfig::new();
    let socket_timeout = config.transaction_timeout.min(Duration::from_secs(10));
    options
        .set("bootstrap.servers", &config.bootstrap)
        .set("client.id", name)
        .set("socket.timeout.ms", socket_timeout.as_millis().to_string())
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000")
        .set("topic.metadata.propagation.max.ms", "5000")
        // A topic that is gone must not come back empty because somebody asked for it.
        .set("allow.auto.create.topics", "false");
    let protocol = match (config.tls, config.credentials.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    options.set("security.protocol", protocol);
    if config.tls {
        match &config.ca_file {
            Some(file) => options.set("ssl.ca.location", file.to_string_lossy()),
            None => options.set("ssl.ca.location", "probe"),
        };
    }
    if let Some(credentials) = &config.credentials {
        let (username, password, mechanism) = credentials.parts();
        options
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", username)
            .set("sasl.password", password);
    }
    options
}

/// For the one producer.
pub(super) fn producer(config: &KafkaConfig, plant: &PlantId) -> ClientConfig {
    let id = transactional_id(plant);
    let mut options = common(config, &id);
    let timeout = config.transaction_timeout.as_millis().to_string();
    options
        .set("transactional.id", &id)
        .set("transaction.timeout.ms", &timeout)
        .set("message.timeout.ms", &timeout)
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("compression.type", COMPRESSION)
        .set("linger.ms", "1")
        // One request stays well below max.message.bytes of a broker as it is installed (1 MiB).
        .set("batch.size", "300000")
        .set(
            "queue.buffering.max.messages",
            (config.batch_rows.saturating_add(1000)).max(10_000).to_string(),
        );
    options
}

/// Measured in docs/adr/0011.
const COMPRESSION: &str = "zstd";

/// For reading what is committed.
pub(super) fn reader(config: &KafkaConfig, plant: &PlantId) -> ClientConfig {
    let name = format!("{}-reader", transactional_id(plant));
    let mut options = common(config, &name);
    options
        // Needed by the library; nothing is committed to it and nothing is joined.
        .set("group.id", &name)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "100")
        .set("check.crcs", "true");
    options
}

/// For topics.
pub(super) fn admin(config: &KafkaConfig, plant: &PlantId) -> ClientConfig {
    common(config, &format!("{}-admin", transactional_id(plant)))
}
