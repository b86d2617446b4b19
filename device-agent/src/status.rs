//! `device-agent status`: what the agent says over its Unix socket, or what its disk says when it does not run.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_core::{JobView, Saved};
use fleet_domain::{JobId, RunId, SpoolId, StoreGeneration, Vin};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::crashsafe;
use crate::owner::STATE_FILE;

/// Name of the socket in the data folder.
pub const SOCKET: &str = "agent.sock";

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The saved state can't be read.
    #[error("the agent does not run, and its saved state {path} can't be read")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The agent's answer is no status.
    #[error("the agent's answer can't be read: is it of another version?")]
    Answer(#[from] serde_json::Error),
}

/// What a bench is and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether an agent answered; otherwise the disk did.
    pub running: bool,
    /// The plant.
    pub plant: String,
    /// The bench.
    pub device: String,
    /// What only a running agent knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessStatus>,
    /// Life of the server's database that the list belongs to.
    pub store_generation: Option<StoreGeneration>,
    /// Version of the list of jobs that is on disk; 0: none.
    pub desired_version: u64,
    /// Jobs: open ones and offers.
    pub jobs: Vec<JobView>,
}

/// A running agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Version of the agent.
    pub agent_version: String,
    /// Process id.
    pub pid: u32,
    /// The run.
    pub run_id: RunId,
    /// Since when, by the bench's clock.
    pub started_at: Timestamp,
    /// The bench's public key.
    pub public_key: String,
    /// Station of the line.
    pub station: Option<String>,
    /// The vehicle's entity.
    pub entity: String,
    /// VIN of the vehicle that stands there.
    pub vin: Option<Vin>,
    /// The broker.
    pub broker: String,
    /// Whether the bench is connected to it.
    pub connected: bool,
    /// Why not, as far as known.
    pub disconnected_because: Option<String>,
    /// The spool that is being written.
    pub spool_id: Option<SpoolId>,
    /// Events without receipt.
    pub outstanding: u64,
    /// Why no job is taken.
    pub refusing_jobs: Option<String>,
    /// Where the running job stands.
    pub step: Option<StepStatus>,
}

/// Where a running job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStatus {
    /// The job.
    pub job_id: JobId,
    /// The step.
    pub step: String,
    /// Its place, from 0.
    pub step_index: u32,
    /// Number of steps.
    pub steps_total: u32,
    /// Bytes transferred; 0 where nothing is.
    pub bytes_done: u64,
    /// Bytes to transfer; 0 where nothing is.
    pub bytes_total: u64,
}

/// A path to a file of the folder that is short enough for a socket's address, whatever the folder's own length
/// (a socket address holds 107 bytes). Valid while the folder handle lives.
pub(crate) fn short_path(folder: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// The status of the bench whose data lie in `data_dir`.
///
/// # Errors
/// [`StatusError`].
pub fn ask(data_dir: &Path, plant: &str, device: &str) -> Result<Status, StatusError> {
    match ask_agent(data_dir) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(error) => {
            tracing::debug!(%error, "nobody answers at the socket");
            from_disk(data_dir, plant, device)
        }
    }
}

fn ask_agent(data_dir: &Path) -> io::Result<String> {
    let folder = File::open(data_dir)?;
    let mut stream = UnixStream::connect(short_path(&folder, SOCKET))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn from_disk(data_dir: &Path, plant: &str, device: &str) -> Result<Status, StatusError> {
    let path = data_dir.join(STATE_FILE);
    let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| StatusError::State {
        path: path.clone(),
        source,
    };
    let bytes = crashsafe::read(&path).map_err(|error| unreadable(error.into()))?;
    let saved = match bytes {
        Some(bytes) => Saved::decode(&bytes).map_err(|error| unreadable(error.into()))?,
        None => Saved::default(),
    };
    Ok(Status {
        running: false,
        plant: plant.to_owned(),
        device: device.to_owned(),
        process: None,
        store_generation: saved.list().map(|(generation, _)| generation),
        desired_version: saved.list().map_or(0, |(_, version)| version),
        jobs: saved.jobs(),
    })
}

impl Status {
    /// A calm table for people.
    pub fn to_table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a text can't fail.
            let _ = writeln!(out, "{name:<12}{value}");
        };
        row("bench", format!("{} (plant {})", self.device, self.plant));
        match &self.process {
            None => row("agent", "not running; what follows is from its disk".to_owned()),
            Some(process) => process_rows(process, &mut row),
        }
        let list = match self.store_generation {
            Some(_) => format!("version {}", self.desired_version),
            None => "none received yet".to_owned(),
        };
        row("job list", list);
        if self.jobs.is_empty() {
            row("jobs", "none".to_owned());
        }
        for job in &self.jobs {
            let unknown = || "?".to_owned();
            row(
                "job",
                format!(
                    "{:<9} {} attempt {}: {} on {} of {}",
                    job.state,
                    job.job_id,
                    job.attempt,
                    job.procedure.clone().unwrap_or_else(unknown),
                    job.ecu.clone().unwrap_or_else(unknown),
                    job.vin.as_ref().map_or_else(unknown, ToString::to_string),
                ),
            );
        }
        out
    }
}

fn process_rows(process: &ProcessStatus, row: &mut impl FnMut(&str, String)) {
    let ProcessStatus {
        agent_version,
        pid,
        started_at,
        ..
    } = process;
    row(
        "agent",
        format!("running, version {agent_version}, process {pid}, since {started_at}"),
    );
    let link = match (process.connected, &process.disconnected_because) {
        (true, _) => format!("connected to {}", process.broker),
        (false, Some(reason)) => format!("not connected to {} ({reason})", process.broker),
        (false, None) => format!("not connected to {}", process.broker),
    };
    row("broker", link);
    let vin = match &process.vin {
        Some(vin) => vin.to_string(),
        None => format!("none answers at {}", process.entity),
    };
    row("vehicle", vin);
    row("spool", format!("{} events without receipt", process.outstanding));
    if let Some(reason) = &process.refusing_jobs {
        row("refusing", reason.clone());
    }
    if let Some(step) = &process.step {
        let place = u64::from(step.step_index).saturating_add(1);
        let bytes = if step.bytes_total > 0 {
            format!(", {} of {} bytes", step.bytes_done, step.bytes_total)
        } else {
            String::new()
        };
        row(
            "step",
            format!("{place} of {}: {}{bytes}", step.steps_total, step.step),
        );
    }
}
