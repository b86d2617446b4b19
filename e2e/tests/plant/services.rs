//! The services that all walks share, and who may break them.

use std::sync::{Arc, Weak};
use std::time::Instant;

use anyhow::Context as _;
use fleet_testkit::services::{Kafka, KafkaOptions, Mosquitto, MosquittoOptions, Postgres, PostgresOptions};
use tempfile::TempDir;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// One of each.
pub(crate) struct Services {
    pub(crate) postgres: Postgres,
    pub(crate) kafka: Kafka,
    pub(crate) mosquitto: Mosquitto,
    // Dropped last: the services lie in it.
    _folder: TempDir,
}

/// The last walk that holds them ends them.
static RUNNING: Mutex<Weak<RwLock<Services>>> = Mutex::const_new(Weak::new());

async fn running() -> anyhow::Result<Arc<RwLock<Services>>> {
    let mut running = RUNNING.lock().await;
    if let Some(services) = running.upgrade() {
        return Ok(services);
    }
    let services = Arc::new(RwLock::new(Services::start().await?));
    *running = Arc::downgrade(&services);
    Ok(services)
}

/// The services for a walk that breaks none of them. Several such walks run beside each other.
pub(crate) async fn shared() -> anyhow::Result<OwnedRwLockReadGuard<Services>> {
    Ok(running().await?.read_owned().await)
}

/// The services for a walk that breaks one: it is alone.
pub(crate) async fn alone() -> anyhow::Result<OwnedRwLockWriteGuard<Services>> {
    let mut services = running().await?.write_owned().await;
    services.heal().await?;
    Ok(services)
}

impl Services {
    async fn start() -> anyhow::Result<Self> {
        let begun = Instant::now();
        let folder = TempDir::new().context("no temporary folder")?;
        let (postgres, kafka, mosquitto) = (
            folder.path().join("postgres"),
            folder.path().join("kafka"),
            folder.path().join("mosquitto"),
        );
        let (postgres, kafka, mosquitto) = tokio::try_join!(
            Postgres::start(&postgres, PostgresOptions::default()),
            Kafka::start(&kafka, KafkaOptions::default()),
            Mosquitto::start(&mosquitto, MosquittoOptions::default()),
        )?;
        println!(
            "PostgreSQL, Kafka and Mosquitto run after {:.1?}",
            begun.elapsed()
        );
        Ok(Self {
            postgres,
            kafka,
            mosquitto,
            _folder: folder,
        })
    }

    /// Brings back what a walk that failed half-way has left broken.
    async fn heal(&mut self) -> anyhow::Result<()> {
        match self.postgres.pid() {
            Some(_) => self.postgres.thaw()?,
            None => self.postgres.restart().await?,
        }
        self.postgres.set_read_only(false).await?;
        match self.kafka.pid() {
            Some(_) => self.kafka.thaw()?,
            None => self.kafka.restart().await?,
        }
        match self.mosquitto.pid() {
            Some(_) => self.mosquitto.thaw(),
            None => self.mosquitto.restart().await,
        }
    }
}
