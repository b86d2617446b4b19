//! `loadtest benches --config FILE`: a process with some benches that may be killed at any time and started again on
//! the same folders, as a real agent is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleet_domain::PlantId;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::client_log::ClientLog;
use crate::config_file::{self, ConfigError};
use crate::disks::FolderBench;
use crate::population::{Broker, Population, PopulationError, PopulationOptions};
use crate::schedule::Curve;
use crate::work::WorkOptions;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Settings of such a process, TOML. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchesConfig {
    /// The plant.
    pub plant: PlantId,
    /// `mqtt://HOST:PORT`
    pub broker: String,
    /// The benches are NAME-00000, NAME-00001 and so on. Unique over all processes at a broker.
    pub name: String,
    /// How many.
    pub benches: usize,
    /// Each bench has its disk below, `FOLDER/NAME-00000/spool` and `state`.
    pub folder: PathBuf,
    /// Folder of the history: each start writes a file of its own, `made-NAME-RUN.jsonl`.
    pub history: PathBuf,
    /// Replaced four times a second: how the benches stand, see [`StatusFile`].
    pub status: PathBuf,
    /// Events per second of all these benches.
    pub rate: f64,
    /// Once this file is there, nothing new is told; what there is goes on being sent. `SIGUSR1` does the same.
    #[serde(default)]
    pub drain: Option<PathBuf>,
    /// Vehicles that all benches of the plant share.
    #[serde(default = "default_vins")]
    pub vins: u64,
    /// One of so many events is one that the server has to reject; 0: none.
    #[serde(default)]
    pub refused_one_in: u64,
    /// Chance that a bench restarts with a new spool, in thousandths per event.
    #[serde(default)]
    pub restart_permille: u64,
    /// Content and schedule of this start.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Threads; the `fdatasync` of one does not hold up the others.
    #[serde(default = "default_threads")]
    pub threads: usize,
    /// Longest wait between two attempts to connect, milliseconds.
    #[serde(default = "default_reconnect_ms")]
    pub reconnect_at_most_ms: u64,
    /// A bench's disk may be put back to an earlier state between two starts; else a server that says so is wrong.
    #[serde(default)]
    pub disks_are_restored: bool,
}

fn default_vins() -> u64 {
    2000
}

fn default_seed() -> u64 {
    1
}

fn default_threads() -> usize {
    4
}

fn default_reconnect_ms() -> u64 {
    2000
}

/// What the status file says: JSON, replaced as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusFile {
    /// The process that wrote it.
    pub pid: u32,
    /// Nothing new is told any more.
    pub draining: bool,
    /// Benches connected, of [`BenchesConfig::benches`].
    pub connected: u64,
    /// Events that this process has made durable.
    pub durable: u64,
    /// Of these, so many have had their receipt.
    pub receipted: u64,
    /// Events on the disks without receipt, also of earlier processes.
    pub outstanding: u64,
    /// Publishes, each resend counted.
    pub publishes: u64,
    /// Distinct events published by this process.
    pub published: u64,
    /// Every bench is connected and has a receipt for every event on its disk.
    pub settled: bool,
}

/// Why such a process ended.
#[derive(Debug, thiserror::Error)]
pub enum BenchesError {
    /// The settings can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file or folder can't be used.
    #[error("{path} can't be used")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A bench can't go on.
    #[error(transparent)]
    Population(#[from] PopulationError),
}

impl BenchesConfig {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the file can't be read or a key is unknown, missing or wrong; with file and key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let config: Self = config_file::read(path)?;
        let wrong = |key, detail: String| Err(ConfigError::value(path, key, detail));
        if let Err(error) = config.broker.parse::<Broker>() {
            return wrong("broker", error.to_string());
        }
        if config.benches == 0 {
            return wrong("benches", "at least 1".to_owned());
        }
        if !config.rate.is_finite() || config.rate < 0.0 {
            return wrong("rate", "events per second, 0 or more".to_owned());
        }
        if config.restart_permille > 1000 {
            return wrong("restart_permille", "0 to 1000".to_owned());
        }
        if let Err(error) = format!("{}-00000", config.name).parse::<fleet_domain::DeviceId>() {
            return wrong("name", error.to_string());
        }
        Ok(config)
    }

    /// The folder of a bench's disk.
    pub fn disk(&self, device: &fleet_domain::DeviceId) -> PathBuf {
        self.folder.join(device.as_str())
    }

    fn options(&self, broker: Broker, log: ClientLog) -> PopulationOptions {
        let mut options = PopulationOptions::new(self.plant.clone(), broker, &self.name, self.benches);
        options.vins = self.vins;
        options.work = WorkOptions {
            refused_one_in: self.refused_one_in,
            large: None,
        };
        options.restart_permille = self.restart_permille;
        // The same content after each start would be as good, but no two starts need the same pauses.
        options.seed = self.seed ^ fleet_clock::jitter_seed();
        options.starts_per_second = None;
        options.reconnect_at_most = Duration::from_millis(self.reconnect_at_most_ms);
        options.threads = self.threads;
        options.disks_are_restored = self.disks_are_restored;
        options.client_log = Some(Arc::new(log));
        options
    }
}

/// Runs until `SIGTERM` or `SIGINT`, then says goodbye.
///
/// # Errors
/// When it can't start, or a bench can't go on.
pub async fn run(config: &BenchesConfig) -> Result<(), BenchesError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| BenchesError::File { path, source }
    };
    std::fs::create_dir_all(&config.folder).map_err(file(&config.folder))?;
    std::fs::create_dir_all(&config.history).map_err(file(&config.history))?;
    let run = fleet_clock::new_uuid();
    let history = config.history.join(format!("made-{}-{run}.jsonl", config.name));
    let log = ClientLog::create(&history).map_err(file(&history))?;
    let signals = |kind| signal(kind).map_err(file(Path::new("the handler of signals")));
    let (mut terminate, mut interrupt) = (
        signals(SignalKind::terminate())?,
        signals(SignalKind::interrupt())?,
    );
    let mut drain = signals(SignalKind::user_defined1())?;
    // The settings were read: the address is one.
    let broker = config
        .broker
        .parse::<Broker>()
        .map_err(|error| ConfigError::value(Path::new("the settings"), "broker", error.to_string()))?;
    let options = config.options(broker, log);
    let population = Population::start(&options, |_, device| Ok(FolderBench::new(config.disk(device))))?;
    population.begin(&Curve::steady(config.rate), &[]);
    let (mut draining, mut written) = (false, None);
    loop {
        population.check()?;
        let asked = config.drain.as_ref().is_some_and(|file| file.exists());
        if asked && !draining {
            draining = true;
            population.quiet();
        }
        let status = status(&population, draining).await?;
        if written.as_ref() != Some(&status) {
            write_status(&config.status, &status).map_err(file(&config.status))?;
            written = Some(status);
        }
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = drain.recv() => {
                draining = true;
                population.quiet();
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    population.end().await?;
    Ok(())
}

async fn status(population: &Population, draining: bool) -> Result<StatusFile, PopulationError> {
    let counts = population.counts().await?;
    let totals = population.totals();
    Ok(StatusFile {
        pid: std::process::id(),
        draining,
        connected: totals.connected,
        durable: totals.durable,
        receipted: totals.receipted,
        outstanding: totals.outstanding,
        publishes: counts.publishes,
        published: counts.published,
        settled: totals.connected == totals.benches && totals.outstanding == 0 && totals.durable > 0,
    })
}

/// A reader sees the file before or this one, never half of it.
fn write_status(path: &Path, status: &StatusFile) -> std::io::Result<()> {
    let new = path.with_added_extension("new");
    std::fs::write(&new, serde_json::to_vec(status)?)?;
    std::fs::rename(&new, path)
}
