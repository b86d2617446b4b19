//! The services and the one server.

use std::path::Path;
use std::time::Duration;

use fleet_testkit::services::{Kafka, KafkaOptions, Mosquitto, MosquittoOptions, Postgres, PostgresOptions};
use fleet_testkit::{ApiError, Server, Settings, eventually};

use super::processes::Watched;
use super::{figures, program};

pub(super) const PLANT: &str = "bench";
const RELAYS_WITHIN: Duration = Duration::from_mins(1);
/// Of the topics with events.
const PARTITIONS: u32 = 8;

/// What stands behind the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Mosquitto, PostgreSQL and Kafka.
    Plant,
    /// The broker and the database in the process.
    Embedded,
    /// The same with Kafka.
    EmbeddedKafka,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Plant, Self::Embedded, Self::EmbeddedKafka];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plant => "plant",
            Self::Embedded => "embedded",
            Self::EmbeddedKafka => "embedded-kafka",
        }
    }
}

/// Everything that runs. Dropping it kills it, the server first.
pub(super) struct Stand {
    pub(super) server: Server,
    pub(super) postgres: Option<Postgres>,
    pub(super) mosquitto: Option<Mosquitto>,
    pub(super) kafka: Option<Kafka>,
}

pub(super) async fn postgres(folder: &Path) -> anyhow::Result<Postgres> {
    let options = PostgresOptions {
        settings: figures::postgres_settings(),
        ..PostgresOptions::default()
    };
    Postgres::start(folder, options).await
}

pub(super) async fn kafka(folder: &Path) -> anyhow::Result<Kafka> {
    let options = KafkaOptions {
        for_benchmark: true,
        ..KafkaOptions::default()
    };
    Kafka::start(folder, options).await
}

impl Stand {
    /// Starts it on an empty folder.
    pub(super) async fn start(folder: &Path, kind: Kind) -> anyhow::Result<Self> {
        println!("\n{}: starting", kind.name());
        let mut settings = Settings::new()
            .with("plant", PLANT)
            // Each job of the load is reported by its bench alone, and each is an alarm: not the log is measured.
            .with("telemetry.log", "error")
            .with("kafka.partitions", PARTITIONS);
        let kafka = match kind {
            Kind::Embedded => None,
            Kind::Plant | Kind::EmbeddedKafka => Some(kafka(&folder.join("kafka")).await?),
        };
        if let Some(kafka) = &kafka {
            settings.set("kafka.url", kafka.url());
        }
        let (mut of_postgres, mut of_mosquitto) = (None, None);
        if kind == Kind::Plant {
            let postgres = postgres(&folder.join("postgres")).await?;
            let mosquitto = Mosquitto::start(&folder.join("mosquitto"), MosquittoOptions::default()).await?;
            settings.set("store.url", postgres.url());
            settings.set("mqtt.url", mosquitto.url());
            settings.set("artifacts.folder", folder.join("artifacts").display().to_string());
            (of_postgres, of_mosquitto) = (Some(postgres), Some(mosquitto));
        }
        let server = Server::start(&program("fleet-server"), &folder.join("server"), settings, &[]).await?;
        let stand = Self {
            server,
            postgres: of_postgres,
            mosquitto: of_mosquitto,
            kafka,
        };
        if stand.kafka.is_some() {
            stand.relays().await?;
        }
        Ok(stand)
    }

    /// Waits until the relay has its topics.
    async fn relays(&self) -> anyhow::Result<()> {
        let api = self.server.api();
        eventually("a relay that runs", RELAYS_WITHIN, async || {
            let answer = match api.get("/readyz").await {
                Ok(answer) => answer,
                // Not ready is an answer too.
                Err(ApiError::Refused { problem, .. }) => problem,
                Err(ApiError::Transport { .. }) => return None,
            };
            let checks = answer["checks"].as_array()?;
            let kafka = checks.iter().find(|check| check["name"] == "kafka")?;
            (kafka["state"] == "ok").then_some(())
        })
        .await
    }

    /// Where the benches connect.
    pub(super) fn broker(&self) -> String {
        self.mosquitto
            .as_ref()
            .map_or_else(|| self.server.mqtt.clone(), Mosquitto::url)
    }

    /// Its processes.
    pub(super) fn watched(&mut self) -> Watched {
        let mut watched = Watched::default();
        watched.add("fleet-server", Some(self.server.process.pid()));
        watched.add("postgresql", self.postgres.as_mut().and_then(Postgres::pid));
        watched.add("mosquitto", self.mosquitto.as_mut().and_then(Mosquitto::pid));
        watched.add("kafka", self.kafka.as_mut().and_then(Kafka::pid));
        watched
    }
}
