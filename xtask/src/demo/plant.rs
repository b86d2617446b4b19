//! The services of a plant, and what makes a server one of its replicas.

use std::path::Path;
use std::time::Instant;

use anyhow::anyhow;
use fleet_testkit::Settings;
use fleet_testkit::services::{Kafka, KafkaOptions, Mosquitto, MosquittoOptions, Postgres, PostgresOptions};

use super::below;

/// How many servers share the plant.
pub(super) const REPLICAS: usize = 2;

/// Database, broker and Kafka. Dropping them kills them.
pub(super) struct Services {
    pub(super) postgres: Postgres,
    pub(super) mosquitto: Mosquitto,
    pub(super) kafka: Kafka,
}

impl Services {
    /// Starts the three beside each other, each on a folder of its own.
    pub(super) async fn start(data: &Path) -> anyhow::Result<Self> {
        println!("  PostgreSQL, Mosquitto and Kafka are starting");
        let begin = Instant::now();
        let up = |name: &str, url: &str| {
            println!("  {name:<14} {url} after {:.1} s", begin.elapsed().as_secs_f32());
        };
        let postgres = async {
            let server = Postgres::start(&below(data, "postgres"), PostgresOptions::default()).await?;
            up("PostgreSQL", &server.url());
            Ok(server)
        };
        let mosquitto = async {
            let broker = Mosquitto::start(&below(data, "mosquitto"), MosquittoOptions::default()).await?;
            up("Mosquitto", &broker.url());
            Ok(broker)
        };
        let kafka = async {
            let kafka = Kafka::start(&below(data, "kafka"), KafkaOptions::default()).await?;
            up("Kafka", &kafka.url());
            Ok(kafka)
        };
        let (postgres, mosquitto, kafka) = tokio::try_join!(postgres, mosquitto, kafka)
            .map_err(|error: anyhow::Error| error.context("a service of the plant did not start"))?;
        Ok(Self {
            postgres,
            mosquitto,
            kafka,
        })
    }

    /// What makes a server a replica of this plant.
    pub(super) fn settings(&self, data: &Path, replica: usize) -> Settings {
        Settings::new()
            .with("replica.name", format!("replica-{replica}"))
            .with("store.url", self.postgres.url())
            .with("mqtt.url", self.mosquitto.url())
            .with("kafka.url", self.kafka.url())
            .with("artifacts.folder", below(data, "artifacts").display().to_string())
    }

    /// A service that has ended although nobody asked it to.
    pub(super) fn first_ended(&mut self) -> Option<anyhow::Error> {
        let logs = [self.postgres.log(), self.mosquitto.log(), self.kafka.log()];
        let run = [
            self.postgres.is_running(),
            self.mosquitto.is_running(),
            self.kafka.is_running(),
        ];
        let (log, _) = logs.into_iter().zip(run).find(|(_, runs)| !runs)?;
        Some(anyhow!("a service ended by itself; its log is {}", log.display()))
    }

    /// Ends all of them in order; says what went wrong.
    pub(super) async fn stop(mut self) -> Vec<String> {
        let (kafka, mosquitto, postgres) =
            tokio::join!(self.kafka.stop(), self.mosquitto.stop(), self.postgres.stop());
        let ends = [kafka, mosquitto, postgres].into_iter();
        ends.filter_map(|end| end.err().map(|error| format!("{error:#}")))
            .collect()
    }
}
