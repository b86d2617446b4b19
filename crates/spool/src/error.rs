//! Why the spool can't do what it was asked.

use std::io;

use fleet_domain::{Seq, SpoolId};

/// Why the spool can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk refused. Nothing was counted; the same call may be tried again later.
    #[error("{action} of spool file {file} failed")]
    Disk {
        /// What was tried: `append`, `read`, `create` ...
        action: &'static str,
        /// The file.
        file: String,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// A sync has failed. What was written before it may be gone although it can still be read, so nothing
    /// more is counted: end the process and start again.
    #[error("sync of spool file {file} failed; the spool counts nothing more until the agent starts again")]
    Poisoned {
        /// The file.
        file: String,
        /// What the disk said; none on every call after the first.
        #[source]
        source: Option<io::Error>,
    },
    /// No spool was begun in this run, or the one begun was sealed.
    #[error("no spool is open for writing: begin one first")]
    NotBegun,
    /// The position is not the next one.
    #[error("position {seq} of spool {spool} is not the next one ({next})")]
    NotNext {
        /// Spool asked for.
        spool: SpoolId,
        /// Position asked for.
        seq: Seq,
        /// The next position.
        next: Seq,
    },
    /// A spool of that id exists already.
    #[error("spool {0} exists already")]
    Exists(SpoolId),
    /// The folder was written by a newer agent.
    #[error(
        "spool file {file} has format version {version}, this agent reads up to {known}: run the newer agent, or move the folder away"
    )]
    NewerFormat {
        /// The file.
        file: String,
        /// Its version.
        version: u16,
        /// The newest version that can be read.
        known: u16,
    },
    /// A record is larger than the format allows.
    #[error("a record of {bytes} bytes is larger than {most}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
}

impl SpoolError {
    /// Whether the disk, or the quota on it, is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Disk { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
