//! Where a simulated bench keeps what it writes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spool::{Disk, RealDisk};
use tokio::sync::watch;

use crate::shared_log::Shared;

/// The disk of one bench: a folder for the spool and one for the agent's state, opened anew at each start.
pub trait BenchDisk {
    /// A folder of it.
    type Disk: Disk;
    /// Folder of the spool.
    ///
    /// # Errors
    /// What the disk says.
    fn spool(&self) -> io::Result<Self::Disk>;
    /// Folder of the agent's state.
    ///
    /// # Errors
    /// What the disk says.
    fn state(&self) -> io::Result<Self::Disk>;
    /// Whether what was synced is durable already.
    fn gate(&self) -> Gate {
        Gate::default()
    }
    /// Loses power and comes back, on a disk that can; says whether it did.
    fn lose_power(&self) -> bool {
        false
    }
}

/// Opens when everything is durable that a bench has synced. The default is always open: a disk whose `sync` waits.
#[derive(Debug, Clone, Default)]
pub struct Gate(Option<(Arc<Shared>, Arc<AtomicU64>)>);

impl Gate {
    pub(crate) fn of_log(log: Arc<Shared>, needs: Arc<AtomicU64>) -> Self {
        Self(Some((log, needs)))
    }

    /// What has to be durable for what the bench has synced so far.
    pub(crate) fn ticket(&self) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |(_, needs)| needs.load(Ordering::Acquire))
    }

    /// Whether that is durable.
    pub(crate) fn is_open(&self, ticket: u64) -> bool {
        self.0.as_ref().is_none_or(|(log, _)| log.is_durable(ticket))
    }

    /// Has what was synced flushed.
    pub(crate) fn flush(&self) {
        if let Some((log, _)) = &self.0 {
            log.flush();
        }
    }

    /// Changes with each flush.
    pub(crate) fn subscribe(&self) -> Option<watch::Receiver<u64>> {
        self.0.as_ref().map(|(log, _)| log.subscribe())
    }

    /// Why it never opens any more.
    pub(crate) fn failed(&self) -> Option<String> {
        self.0.as_ref().and_then(|(log, _)| log.failed())
    }
}

/// A bench's folder of the file system, as a real agent has one.
#[derive(Debug, Clone)]
pub struct FolderBench {
    folder: PathBuf,
}

impl FolderBench {
    /// The bench of this folder, which is made when it is not there.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

impl BenchDisk for FolderBench {
    type Disk = RealDisk;

    fn spool(&self) -> io::Result<RealDisk> {
        RealDisk::open(self.folder.join("spool"))
    }

    fn state(&self) -> io::Result<RealDisk> {
        RealDisk::open(self.folder.join("state"))
    }
}

/// A bench on simulated disks, which lose power on request.
#[cfg(feature = "sim")]
#[derive(Debug, Clone)]
pub struct SimBench {
    spool: spool::sim::SimDisk,
    state: spool::sim::SimDisk,
}

#[cfg(feature = "sim")]
impl SimBench {
    /// Empty disks.
    pub fn new(seed: u64) -> Self {
        Self {
            spool: spool::sim::SimDisk::new(seed),
            state: spool::sim::SimDisk::new(seed ^ 1),
        }
    }
}

#[cfg(feature = "sim")]
impl BenchDisk for SimBench {
    type Disk = spool::sim::SimDisk;

    fn spool(&self) -> io::Result<Self::Disk> {
        Ok(self.spool.clone())
    }

    fn state(&self) -> io::Result<Self::Disk> {
        Ok(self.state.clone())
    }

    fn lose_power(&self) -> bool {
        for disk in [&self.spool, &self.state] {
            disk.power_off();
            disk.power_on();
        }
        true
    }
}
