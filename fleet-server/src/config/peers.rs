//! The plant's parts that a URL chooses: database, broker, Kafka. Unset, the parts inside the process do the work.

use fleet_settings::{HostPort, Reader, peer_url};

use super::{Database, ExternalBroker, KafkaConfig, StoreConfig};

/// The mechanisms of `kafka.credentials_file`, the default first.
const KAFKA_MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];

/// Longest name of a replica: it is a part of an MQTT client id.
const MAX_REPLICA_NAME: usize = 40;

/// `mqtt.url`, `mqtt.credentials_file`
pub(super) fn broker(reader: &mut Reader<'_>) -> Option<ExternalBroker> {
    let credentials = reader.credentials("mqtt.credentials_file", &[]);
    let Some(text) = reader.optional("mqtt.url") else {
        if reader.is_set("mqtt.credentials_file") {
            reader.fault(
                "mqtt.credentials_file",
                "needs mqtt.url: the broker in the process knows no users",
            );
        }
        return None;
    };
    match broker_address(&text) {
        Ok(address) => Some(ExternalBroker { address, credentials }),
        Err(why) => {
            reader.fault("mqtt.url", why);
            None
        }
    }
}

fn broker_address(text: &str) -> Result<HostPort, String> {
    let wanted = || "must be mqtt://HOST:PORT, such as mqtt://10.0.0.5:1883".to_owned();
    let url = peer_url(text, "mqtt.credentials_file")?;
    match url.scheme {
        "mqtt" => {}
        "mqtts" | "ssl" | "tls" => {
            return Err(
                "TLS to the broker is not there yet: use mqtt://HOST:PORT in a network that you trust"
                    .to_owned(),
            );
        }
        _ => return Err(wanted()),
    }
    if url.user.is_some() {
        return Err("must not hold a user name: name a file with both by mqtt.credentials_file".to_owned());
    }
    match HostPort::parse(url.hosts) {
        Some(address) if url.path.is_empty() => Ok(address),
        _ => Err(wanted()),
    }
}

/// `store.*`
pub(super) fn store(reader: &mut Reader<'_>) -> Option<StoreConfig> {
    let database = database(reader);
    let auto_migrate = reader.flag("store.auto_migrate");
    let max_connections = reader.whole("store.max_connections");
    let retention = reader
        .is_set("store.retention")
        .then(|| reader.duration("store.retention"));
    let prune_interval = reader.duration("store.prune_interval");
    Some(StoreConfig {
        database: database?,
        auto_migrate: auto_migrate?,
        max_connections: max_connections?,
        retention: retention.flatten(),
        prune_interval: prune_interval?,
    })
}

fn database(reader: &mut Reader<'_>) -> Option<Database> {
    let credentials = reader.credentials("store.credentials_file", &[]);
    let text = reader.text("store.url")?;
    if text == "sqlite" {
        if reader.is_set("store.credentials_file") {
            reader.fault(
                "store.credentials_file",
                "needs a store.url of PostgreSQL: an SQLite file knows no users",
            );
        }
        return Some(Database::Sqlite);
    }
    let user = credentials
        .as_ref()
        .map(|credentials| credentials.username.as_str());
    match postgres_url(&text, user) {
        Ok(url) => Some(Database::Postgres {
            url,
            password: credentials.map(|credentials| credentials.password),
        }),
        Err(why) => {
            reader.fault("store.url", why);
            None
        }
    }
}

/// The URL with a user in it: its own, or the one of the credentials.
fn postgres_url(text: &str, user: Option<&str>) -> Result<String, String> {
    const WANTED: &str = "must be sqlite, or postgres://USER@HOST:PORT/DATABASE";
    if !text.contains("://") {
        return Err(WANTED.to_owned());
    }
    let url = peer_url(text, "store.credentials_file")?;
    if !matches!(url.scheme, "postgres" | "postgresql") {
        return Err(WANTED.to_owned());
    }
    let plain =
        |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "/?#@:%".contains(c));
    let address = HostPort::parse(url.hosts).ok_or_else(|| WANTED.to_owned())?;
    if !plain(url.path) {
        return Err(WANTED.to_owned());
    }
    let user = match (url.user, user) {
        (Some(of_url), Some(of_file)) if of_url != of_file => {
            return Err("names another user than store.credentials_file: leave one of them out".to_owned());
        }
        (Some(user), _) | (None, Some(user)) => user,
        (None, None) => {
            return Err("names no user: put one before the host, or into store.credentials_file".to_owned());
        }
    };
    if !plain(user) {
        return Err("names a user with characters that a URL can't hold plainly".to_owned());
    }
    Ok(format!("postgres://{user}@{address}/{}", url.path))
}

/// `replica.name`
pub(super) fn replica(reader: &mut Reader<'_>) -> Option<String> {
    let name = reader.optional("replica.name")?;
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if !plain || name.len() > MAX_REPLICA_NAME {
        reader.fault(
            "replica.name",
            format!("must be 1 to {MAX_REPLICA_NAME} of A-Z a-z 0-9 _ -"),
        );
        return None;
    }
    Some(name)
}

/// `kafka.*`; every key is judged, also without `kafka.url`.
pub(super) fn kafka(reader: &mut Reader<'_>) -> Option<KafkaConfig> {
    let credentials = reader.credentials("kafka.credentials_file", &KAFKA_MECHANISMS);
    let ca_file = reader.optional_file("kafka.ca_file");
    let partitions = reader.whole::<i32>("kafka.partitions");
    let replication = reader
        .is_set("kafka.replication")
        .then(|| reader.whole::<i32>("kafka.replication"));
    let create_topics = reader.flag("kafka.create_topics");
    let batch_rows = reader.whole("kafka.batch_rows");
    let transaction_timeout = reader.duration("kafka.transaction_timeout");
    let lease = reader.duration("kafka.lease");
    if let (Some(timeout), Some(lease)) = (transaction_timeout, lease)
        && lease > timeout
    {
        // The next relay ends the transaction of the one before: waiting longer than Kafka itself would is no use.
        reader.fault(
            "kafka.lease",
            format!(
                "must be at most kafka.transaction_timeout ({})",
                humantime_text(timeout)
            ),
        );
    }
    let url = reader.optional("kafka.url").map(|text| brokers(&text));
    let (bootstrap, tls) = match url {
        Some(Ok(found)) => found,
        Some(Err(why)) => {
            reader.fault("kafka.url", why);
            return None;
        }
        None => {
            for key in ["kafka.credentials_file", "kafka.ca_file"] {
                if reader.is_set(key) {
                    reader.fault(key, "needs kafka.url");
                }
            }
            return None;
        }
    };
    if ca_file.is_some() && !tls {
        reader.fault("kafka.ca_file", "needs a kafka.url that begins with kafkas://");
    }
    Some(KafkaConfig {
        bootstrap,
        tls,
        credentials,
        ca_file,
        partitions: partitions?,
        replication: replication.flatten(),
        create_topics: create_topics?,
        batch_rows: batch_rows?,
        transaction_timeout: transaction_timeout?,
        lease: lease?,
    })
}

fn humantime_text(time: std::time::Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn brokers(text: &str) -> Result<(String, bool), String> {
    let wanted =
        || "must be kafka://HOST:PORT or kafkas://HOST:PORT, several with commas between them".to_owned();
    let url = peer_url(text, "kafka.credentials_file")?;
    let tls = match url.scheme {
        "kafka" => false,
        "kafkas" => true,
        _ => return Err(wanted()),
    };
    if url.user.is_some() {
        return Err("must not hold a user name: name a file with both by kafka.credentials_file".to_owned());
    }
    let hosts: Option<Vec<String>> = url
        .hosts
        .split(',')
        .map(|host| HostPort::parse(host.trim()).map(|host| host.to_string()))
        .collect();
    match hosts {
        Some(hosts) if url.path.is_empty() => Ok((hosts.join(","), tls)),
        _ => Err(wanted()),
    }
}
