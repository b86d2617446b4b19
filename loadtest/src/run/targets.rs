//! The benches' disks of a run.

use std::path::PathBuf;

use super::{DiskKind, RunError, RunOptions};
use crate::disks::FolderBench;
use crate::population::{Population, PopulationError, PopulationOptions};
use crate::report::DiskReport;
use crate::scenario::Scenario;
use crate::shared_log::SharedLog;

/// What an event takes on a shared log, with marks and heads, bytes: for the question whether there is room.
const BYTES_OF_AN_EVENT: f64 = 900.0;
/// Folders' benches wait for the disk, so they have several threads.
const THREADS_OF_FOLDERS: usize = 4;

pub(super) struct Disks {
    folder: PathBuf,
    log: Option<SharedLog>,
}

impl Disks {
    /// Makes the run's folder, `FOLDER/NAME`.
    pub(super) fn open(options: &RunOptions, name: &str, scenario: &Scenario) -> Result<Self, RunError> {
        let folder = options.folder.join(name);
        let failed = |source| RunError::Disks {
            path: folder.clone(),
            source,
        };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let stat = nix::sys::statvfs::statvfs(&folder).map_err(|error| failed(error.into()))?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        let needed = scenario.curve().events() * BYTES_OF_AN_EVENT;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let fits = needed < free as f64;
        if !fits {
            let detail = format!(
                "the events take about {:.1} GB and {free} bytes are free; give another --folder or a shorter run",
                needed / 1e9
            );
            return Err(failed(std::io::Error::new(
                std::io::ErrorKind::StorageFull,
                detail,
            )));
        }
        let log = match options.disks {
            DiskKind::SharedLog => Some(SharedLog::open(&folder.join("benches.log")).map_err(failed)?),
            DiskKind::Folders => None,
        };
        Ok(Self { folder, log })
    }

    pub(super) fn threads(&self) -> usize {
        if self.log.is_some() { 1 } else { THREADS_OF_FOLDERS }
    }

    pub(super) fn start(&mut self, options: &PopulationOptions) -> Result<Population, PopulationError> {
        match &self.log {
            Some(log) => Population::start(options, |_, device| Ok(log.bench(device.as_str()))),
            None => Population::start(options, |_, device| {
                Ok(FolderBench::new(self.folder.join(device.as_str())))
            }),
        }
    }

    pub(super) fn report(&self) -> DiskReport {
        match &self.log {
            Some(log) => DiskReport::shared_log(log.flushes()),
            None => DiskReport::folders(),
        }
    }

    /// Closes the log and removes what is not to be kept.
    pub(super) fn close(self, keep: bool) {
        drop(self.log);
        if !keep {
            // What can't be removed now costs room only; its folder is named in the report's text by its run.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
