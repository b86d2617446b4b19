//! `kafka.*` as the relay takes it.

use fleet_relay::{KafkaCredentials, SaslMechanism};

use crate::config::KafkaConfig;

/// The relay's settings. The mechanism was checked when the settings were read.
pub(super) fn of(config: &KafkaConfig) -> fleet_relay::KafkaConfig {
    fleet_relay::KafkaConfig {
        bootstrap: config.bootstrap.clone(),
        tls: config.tls,
        credentials: config.credentials.as_ref().map(|credentials| {
            let mechanism = credentials.mechanism.as_deref().and_then(SaslMechanism::of);
            KafkaCredentials::new(
                credentials.username.clone(),
                credentials.password.reveal().to_owned(),
                mechanism.unwrap_or(SaslMechanism::ScramSha512),
            )
        }),
        ca_file: config.ca_file.clone(),
        partitions: config.partitions,
        replication: config.replication,
        create_topics: config.create_topics,
        batch_rows: u32::try_from(config.batch_rows).unwrap_or(u32::MAX),
        transaction_timeout: config.transaction_timeout,
        lease: config.lease,
    }
}
