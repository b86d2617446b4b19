//! What lies on a bench's disk.

use std::io;
use std::path::{Path, PathBuf};

use fleet_domain::{EventId, Seq, SpoolId};
use jiff::Timestamp;
use serde::Deserialize;
use spool::{Limits, Read, RealDisk, SpoolError, Spools};

use crate::{Made, Place, hash, topic};

/// Why a bench's disk says nothing that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The folder can't be opened.
    #[error("the spool {folder} can't be opened")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The spool can't be read.
    #[error("the spool {folder} can't be read")]
    Spool {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: SpoolError,
    },
    /// Events are gone that the judgement needs.
    #[error("the spool {folder} has removed events that the judgement needs")]
    Removed {
        /// Which.
        folder: PathBuf,
    },
    /// A place has no event.
    #[error("{folder}: {spool} {seq} is a hole")]
    Hole {
        /// The folder.
        folder: PathBuf,
        /// The spool.
        spool: SpoolId,
        /// The position.
        seq: Seq,
    },
    /// An event is none.
    #[error("{folder}: {spool} {seq} is no event")]
    Event {
        /// The folder.
        folder: PathBuf,
        /// The spool.
        spool: SpoolId,
        /// The position.
        seq: Seq,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What of an event's envelope is needed here.
#[derive(Debug, Deserialize)]
struct Envelope {
    id: EventId,
    r#type: String,
    #[serde(default)]
    subject: Option<String>,
}

/// Reads the spools in a folder after the bench's end: whatever lies there counts. It opens them as the bench would
/// at its start, so give it a copy where the original matters.
///
/// # Errors
/// When the disk can't be read, or no longer holds everything that was ever written.
pub fn read_spools(device: &str, folder: &Path, now: Timestamp) -> Result<Vec<Made>, DiskError> {
    let named = || folder.to_owned();
    let disk = RealDisk::open(folder).map_err(|source| DiskError::Folder {
        folder: named(),
        source,
    })?;
    let failed = |source| DiskError::Spool {
        folder: named(),
        source,
    };
    let (mut spools, _) = Spools::open(disk, Limits::default(), now).map_err(failed)?;
    if !spools.former().is_empty() {
        return Err(DiskError::Removed { folder: named() });
    }
    let mut made = Vec::new();
    for (ordinal, held) in spools.held().into_iter().enumerate() {
        if held.first_kept != 1 {
            return Err(DiskError::Removed { folder: named() });
        }
        for seq in held.first_kept..held.next_seq {
            let Read::Event(bytes) = spools.read(held.spool, seq).map_err(failed)? else {
                return Err(DiskError::Hole {
                    folder: named(),
                    spool: held.spool,
                    seq,
                });
            };
            let envelope: Envelope = serde_json::from_slice(&bytes).map_err(|source| DiskError::Event {
                folder: named(),
                spool: held.spool,
                seq,
                source,
            })?;
            let subject = envelope.subject.as_deref();
            made.push(Made {
                ordinal,
                id: envelope.id,
                topic: topic(&envelope.r#type),
                refused: subject.is_some_and(|vin| vin.len() > fleet_wire::limits::MAX_ATTRIBUTE_BYTES),
                vin: envelope.subject,
                hash: hash(&bytes),
                bytes: bytes.len(),
                place: Place {
                    device: device.to_owned(),
                    spool: held.spool,
                    seq,
                },
            });
        }
    }
    Ok(made)
}
