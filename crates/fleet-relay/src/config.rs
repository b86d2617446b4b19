//! How the relay reaches Kafka.

use std::path::PathBuf;
use std::time::Duration;

/// Where Kafka is and how it is used.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// `host:port`, several with commas between them.
    pub bootstrap: String,
    /// Connections are encrypted, and the brokers' certificates checked.
    pub tls: bool,
    /// Who the relay is to Kafka; `None`: nobody asks.
    pub credentials: Option<KafkaCredentials>,
    /// PEM file with the trusted authorities; `None`: the machine's.
    pub ca_file: Option<PathBuf>,
    /// Partitions of each topic that carries events. Never changed once the topics exist.
    pub partitions: i32,
    /// Copies of each topic that is made; `None`: as the brokers are set.
    pub replication: Option<i32>,
    /// Make topics that are missing, as long as nothing was ever relayed.
    pub create_topics: bool,
    /// Most rows in one transaction.
    pub batch_rows: u32,
    /// How long the transaction of a relay that died may hold readers back.
    pub transaction_timeout: Duration,
    /// How long the relay belongs to a process that no longer renews its lease.
    pub lease: Duration,
}

impl KafkaConfig {
    /// The defaults of the settings, for these brokers.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            tls: false,
            credentials: None,
            ca_file: None,
            partitions: 12,
            replication: None,
            create_topics: true,
            batch_rows: 5000,
            transaction_timeout: Duration::from_secs(15),
            lease: Duration::from_secs(6),
        }
    }
}

/// How the password is proven (SASL).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// `SCRAM-SHA-512`
    ScramSha512,
    /// `SCRAM-SHA-256`
    ScramSha256,
    /// `PLAIN`: the password goes over the connection; only with TLS or on a trusted network.
    Plain,
}

impl SaslMechanism {
    /// Kafka's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
        }
    }

    /// The mechanism of a name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::ScramSha512, Self::ScramSha256, Self::Plain]
            .into_iter()
            .find(|mechanism| mechanism.as_str() == name)
    }
}

/// Name and password for Kafka. `Debug` hides the password.
#[derive(Clone)]
pub struct KafkaCredentials {
    username: String,
    password: String,
    mechanism: SaslMechanism,
}

impl KafkaCredentials {
    /// Credentials.
    pub fn new(username: String, password: String, mechanism: SaslMechanism) -> Self {
        Self {
            username,
            password,
            mechanism,
        }
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn parts(&self) -> (&str, &str, &'static str) {
        (&self.username, &self.password, self.mechanism.as_str())
    }
}

impl std::fmt::Debug for KafkaCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaCredentials")
            .field("username", &self.username)
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_shows() {
        let secret = KafkaCredentials::new("fleet".into(), "hunter2".into(), SaslMechanism::Plain);
        let mut config = KafkaConfig::new("localhost:9092");
        config.credentials = Some(secret);
        let shown = format!("{config:?}");
        assert!(shown.contains("fleet") && !shown.contains("hunter2"), "{shown}");
    }
}
