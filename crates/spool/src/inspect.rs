//! Looks at a log without changing anything, also beside a running agent.
//!
//! An agent that works on it goes on in the meantime: what it appends may be seen in part (then the end of a file
//! is named as an unfinished write), and what it has not synced yet is shown as if it counted.

use std::io;

use fleet_domain::{Seq, SpoolId, StoreGeneration};
use jiff::Timestamp;

use crate::disk::Disk;
use crate::error::SpoolError;
use crate::files::Files;
use crate::open;
use crate::spools::{Spool, read_record};
use crate::types::{Damage, HoleReason, Predecessor};

/// A running agent may remove a file between its being listed and its being read.
const TRIES: u32 = 5;

/// A hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoleAt {
    /// First position.
    pub from: Seq,
    /// Last position.
    pub to: Seq,
    /// Why.
    pub reason: HoleReason,
}

/// A file of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOf {
    /// Its name.
    pub name: String,
    /// Its size, bytes.
    pub bytes: u64,
    /// Events in it that can be read.
    pub events: usize,
}

/// What is known of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its id.
    pub spool: SpoolId,
    /// Its place among the bench's spools, from 1.
    pub ordinal: u64,
    /// The spool before.
    pub predecessor: Option<Predecessor>,
    /// Lowest position whose event is still there.
    pub first_kept: Seq,
    /// Last position.
    pub last_seq: Seq,
    /// Highest position of which the server said that all up to it is committed, as last written down.
    pub receipted: Seq,
    /// Everything is receipted and removed.
    pub gone: bool,
    /// Its holes, as they will be sent.
    pub holes: Vec<HoleAt>,
    /// Its files, by first position.
    pub files: Vec<FileOf>,
}

/// What lies at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event {
        /// Its spool.
        spool: SpoolId,
        /// Its position.
        seq: Seq,
        /// The server has committed it.
        receipted: bool,
        /// The file.
        file: String,
        /// Where in the file its record begins, bytes.
        offset: u64,
        /// Its bytes as appended.
        payload: Vec<u8>,
    },
    /// No event.
    Hole {
        /// The spool.
        spool: SpoolId,
        /// Where, and why.
        hole: HoleAt,
    },
}

/// A log as it was found.
#[derive(Debug)]
pub struct Inspection<D: Disk> {
    disk: D,
    spools: Vec<Spool>,
    /// The life of the server's database that the receipts speak of.
    pub generation: Option<StoreGeneration>,
    /// Every fault, with file and offset.
    pub damage: Vec<Damage>,
}

/// Reads a log. Damage is no error.
///
/// # Errors
/// When the folder can't be read at all, or a newer agent wrote it.
pub fn inspect<D: Disk>(disk: D, now: Timestamp) -> Result<Inspection<D>, SpoolError> {
    let mut files = Files::new(disk);
    let mut tries = 0;
    let loaded = loop {
        match open::load(&mut files, now) {
            Err(error) if is_gone(&error) && tries < TRIES => tries += 1,
            result => break result?,
        }
    };
    Ok(Inspection {
        disk: files.disk,
        spools: loaded.spools,
        generation: loaded.generation,
        damage: loaded.damage,
    })
}

fn is_gone(error: &SpoolError) -> bool {
    matches!(error, SpoolError::Disk { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

impl<D: Disk> Inspection<D> {
    /// The spools, oldest first.
    pub fn summaries(&self) -> Vec<Summary> {
        self.spools.iter().map(summary).collect()
    }

    /// Gives everything that is kept to `take`, oldest first, until it says no more.
    ///
    /// # Errors
    /// When the disk can't be read for a reason that may pass.
    pub fn each(&mut self, mut take: impl FnMut(Item) -> bool) -> Result<(), SpoolError> {
        for spool in &self.spools {
            let state = &spool.state;
            let mut seq = spool.first_kept().max(1);
            while seq <= state.last_seq {
                let item = item_at(&mut self.disk, spool, seq)?;
                seq = match &item {
                    Item::Event { seq, .. } => seq + 1,
                    Item::Hole { hole, .. } => hole.to + 1,
                };
                if !take(item) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn item_at<D: Disk>(disk: &mut D, spool: &Spool, seq: Seq) -> Result<Item, SpoolError> {
    let state = &spool.state;
    let hole = |to, reason| Item::Hole {
        spool: state.id,
        hole: HoleAt {
            from: seq,
            to,
            reason,
        },
    };
    if let Some(found) = spool.hole_at(seq) {
        return Ok(hole(found.to.min(state.last_seq), found.reason));
    }
    let Some((segment, place)) = spool.find(seq) else {
        return Ok(hole(seq, HoleReason::Unreadable));
    };
    match read_record(disk, &segment.name, place) {
        Ok(Some(payload)) => Ok(Item::Event {
            spool: state.id,
            seq,
            receipted: seq <= state.receipted,
            file: segment.name.clone(),
            offset: u64::from(place.offset),
            payload,
        }),
        Ok(None) => Ok(hole(seq, HoleReason::Unreadable)),
        // The agent that runs beside has removed it: its time was over.
        Err(error) if is_gone(&error) => Ok(hole(seq, HoleReason::Expired)),
        Err(error) => Err(error),
    }
}

fn summary(spool: &Spool) -> Summary {
    let state = &spool.state;
    Summary {
        spool: state.id,
        ordinal: state.ordinal,
        predecessor: state.predecessor,
        first_kept: spool.first_kept(),
        last_seq: state.last_seq,
        receipted: state.receipted,
        gone: state.gone,
        holes: state
            .holes
            .iter()
            .map(|hole| HoleAt {
                from: hole.from,
                to: hole.to,
                reason: hole.reason,
            })
            .collect(),
        files: spool
            .segments
            .values()
            .map(|segment| FileOf {
                name: segment.name.clone(),
                bytes: segment.bytes,
                events: segment.records.len(),
            })
            .collect(),
    }
}
