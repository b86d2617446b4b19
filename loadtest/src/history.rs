//! What the benches made, as it lies on their disks.

use std::collections::BTreeMap;
use std::io;

use fleet_domain::{DeviceId, EventId, Seq, SpoolId};
use serde::Deserialize;
use spool::{Limits, Read, SpoolError, Spools};

use crate::disks::BenchDisk;

pub use history_checker::{Hash, Made, Noted, Place, hash};

/// Why a bench's disk says nothing that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The disk can't be opened.
    #[error("{device}: the disk can't be opened")]
    Disk {
        /// The bench.
        device: DeviceId,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The spool can't be read.
    #[error("{device}: the spool can't be read")]
    Spool {
        /// The bench.
        device: DeviceId,
        /// Why.
        #[source]
        source: SpoolError,
    },
    /// Events are gone that the books need.
    #[error("{device} has removed events that the books need; keep_receipted or the disk is too small")]
    Removed {
        /// The bench.
        device: DeviceId,
    },
    /// A place has no event.
    #[error("{device} {spool} {seq} is a hole")]
    Hole {
        /// The bench.
        device: DeviceId,
        /// The spool.
        spool: SpoolId,
        /// The position.
        seq: Seq,
    },
    /// An event is none.
    #[error("{device} {spool} {seq} is no event")]
    Event {
        /// The bench.
        device: DeviceId,
        /// The spool.
        spool: SpoolId,
        /// The position.
        seq: Seq,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// What the bench had noted as durable is not on its disk.
    #[error("{noted:?} was durable and the disk holds {found}")]
    NotKept {
        /// What was noted.
        noted: Box<Noted>,
        /// What the disk has there.
        found: String,
    },
}

/// Reads a bench's disk after its end: whatever lies there counts. What the bench had noted has to be there.
///
/// # Errors
/// When the disk can't be read, or does not hold what it has to.
pub fn read_disk<B: BenchDisk>(
    device: &DeviceId,
    disk: &B,
    noted: &[Noted],
) -> Result<Vec<Made>, HistoryError> {
    let disk = disk.spool().map_err(|source| HistoryError::Disk {
        device: device.clone(),
        source,
    })?;
    let failed = |source| HistoryError::Spool {
        device: device.clone(),
        source,
    };
    let (mut spools, _) = Spools::open(disk, Limits::default(), fleet_clock::wall_now()).map_err(failed)?;
    let removed = || HistoryError::Removed {
        device: device.clone(),
    };
    if !spools.former().is_empty() {
        return Err(removed());
    }
    let mut made = Vec::new();
    for (ordinal, held) in spools.held().into_iter().enumerate() {
        if held.first_kept != 1 {
            return Err(removed());
        }
        for seq in held.first_kept..held.next_seq {
            let Read::Event(bytes) = spools.read(held.spool, seq).map_err(failed)? else {
                return Err(HistoryError::Hole {
                    device: device.clone(),
                    spool: held.spool,
                    seq,
                });
            };
            let place = Place {
                device: device.to_string(),
                spool: held.spool,
                seq,
            };
            made.push(event(device, place, ordinal, &bytes)?);
        }
    }
    check(&made, noted)?;
    Ok(made)
}

fn check(made: &[Made], noted: &[Noted]) -> Result<(), HistoryError> {
    if noted.is_empty() {
        return Ok(());
    }
    let by_place: BTreeMap<_, _> = made.iter().map(|made| (&made.place, made)).collect();
    for noted in noted {
        let found = by_place.get(&noted.place);
        if !found.is_some_and(|made| made.hash == noted.hash && made.id == noted.id) {
            return Err(HistoryError::NotKept {
                noted: Box::new(noted.clone()),
                found: found.map_or_else(|| "nothing".to_owned(), |made| format!("{made:?}")),
            });
        }
    }
    Ok(())
}

/// What of an event's envelope is needed here.
#[derive(Debug, Deserialize)]
struct Envelope {
    id: EventId,
    r#type: String,
    #[serde(default)]
    subject: Option<String>,
}

fn event(device: &DeviceId, place: Place, ordinal: usize, bytes: &[u8]) -> Result<Made, HistoryError> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|source| HistoryError::Event {
        device: device.clone(),
        spool: place.spool,
        seq: place.seq,
        source,
    })?;
    Ok(Made {
        ordinal,
        id: envelope.id,
        topic: history_checker::topic(&envelope.r#type),
        refused: envelope
            .subject
            .as_deref()
            .is_some_and(|vin| vin.len() > fleet_wire::limits::MAX_ATTRIBUTE_BYTES),
        vin: envelope.subject,
        hash: hash(bytes),
        bytes: bytes.len(),
        place,
    })
}
