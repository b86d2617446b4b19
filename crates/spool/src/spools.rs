//! The set of spools of a bench.

use std::collections::BTreeMap;
use std::io;

use fleet_domain::{Seq, SpoolId, StoreGeneration};
use jiff::Timestamp;

use crate::disk::Disk;
use crate::error::SpoolError;
use crate::files::{Files, STATE};
use crate::format::{self, RECORD_HEAD};
use crate::open;
use crate::state::{Hole, SpoolState, State};
use crate::types::{Former, Held, HoleReason, Limits, Opened, Position, Predecessor, Read};

mod retention;
mod write;

/// Where a record lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loc {
    /// First position of its segment.
    pub(crate) segment: Seq,
    pub(crate) offset: u64,
    /// Length of the content.
    pub(crate) len: usize,
}

/// A file of a spool.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) settled_at: Option<Timestamp>,
}

/// A spool: what is known of it, its files by first position, its records.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    /// `last_seq` is the last durable position.
    pub(crate) state: SpoolState,
    pub(crate) segments: BTreeMap<Seq, Segment>,
    pub(crate) index: BTreeMap<Seq, Loc>,
}

impl Spool {
    pub(crate) fn first_kept(&self) -> Seq {
        self.segments
            .keys()
            .next()
            .copied()
            .unwrap_or(self.state.last_seq + 1)
    }

    pub(crate) fn hole_at(&self, seq: Seq) -> Option<Hole> {
        self.state
            .holes
            .iter()
            .find(|hole| (hole.from..=hole.to).contains(&seq))
            .copied()
    }

    /// Last position that may lie in the segment that begins at `first`.
    fn last_of(&self, first: Seq) -> Seq {
        let next = self.segments.range(first + 1..).next().map(|(seq, _)| seq - 1);
        next.unwrap_or(Seq::MAX).min(
            self.state
                .last_seq
                .max(self.index.keys().next_back().copied().unwrap_or(0)),
        )
    }
}

/// The spool being written.
#[derive(Debug)]
struct Writer {
    id: SpoolId,
    ordinal: u64,
    predecessor: Option<Predecessor>,
    /// The file that takes the next record; none: a new one.
    segment: Option<Seq>,
    /// Position of the next event.
    next: Seq,
    /// Files with records that are not synced.
    dirty: Vec<String>,
    new_names: bool,
}

/// All spools of a bench: the one being written and those before it.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the spools are what it is about")]
pub struct Spools<D: Disk> {
    files: Files<D>,
    limits: Limits,
    generation: Option<StoreGeneration>,
    spools: Vec<Spool>,
    writer: Option<Writer>,
    /// Size of the file of marks; none: write it anew.
    marks: Option<usize>,
    state_dirty: bool,
}

impl<D: Disk> Spools<D> {
    /// Reads what is there. Nothing is appended to it any more: [`Spools::begin`] a new one.
    ///
    /// # Errors
    /// When the disk can't be read at all, what was read can't be made durable, or a newer agent wrote it.
    /// Damage is no error: it is named in [`Opened`].
    pub fn open(disk: D, limits: Limits, now: Timestamp) -> Result<(Self, Opened), SpoolError> {
        let mut files = Files::new(disk);
        let loaded = open::load(&mut files, now)?;
        let mut spools = Self {
            files,
            limits,
            generation: loaded.generation,
            spools: loaded.spools,
            writer: None,
            marks: loaded.marks,
            state_dirty: loaded.state_changed,
        };
        if spools.state_dirty {
            // A full disk must not keep the bench from sending what it holds: compact tries again.
            match spools.write_state() {
                Err(SpoolError::Disk { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        let outstanding = spools.outstanding();
        Ok((
            spools,
            Opened {
                damage: loaded.damage,
                outstanding,
            },
        ))
    }

    /// Id of the spool being written, once begun.
    pub fn writing(&self) -> Option<SpoolId> {
        self.writer.as_ref().map(|writer| writer.id)
    }

    /// The place that the next event gets; none before [`Spools::begin`].
    pub fn next_position(&self) -> Option<Position> {
        self.writer.as_ref().map(|writer| Position {
            spool: writer.id,
            seq: writer.next,
            predecessor: writer.predecessor.filter(|_| writer.next == 1),
        })
    }

    /// The place of an event of a known spool.
    pub fn position(&self, spool: SpoolId, seq: Seq) -> Position {
        let found = self.get(spool);
        // The oldest former spool that is remembered can't wait for one that nobody remembers.
        let waits = |p: &Predecessor| found.is_some_and(|s| !s.state.gone) || self.get(p.spool).is_some();
        let predecessor = found.and_then(|spool| spool.state.predecessor).filter(waits);
        Position {
            spool,
            seq,
            predecessor: predecessor.filter(|_| seq == 1),
        }
    }

    /// What stands at a place. A record that turns out to be damaged becomes a durable hole here.
    ///
    /// # Errors
    /// When the disk refuses for a reason that may pass.
    pub fn read(&mut self, spool: SpoolId, seq: Seq) -> Result<Read, SpoolError> {
        let Some(found) = self.spools.iter().find(|s| s.state.id == spool) else {
            return Ok(Read::Absent);
        };
        if seq == 0 || seq > found.state.last_seq {
            return Ok(Read::Absent);
        }
        if let Some(hole) = found.hole_at(seq) {
            return Ok(Read::Hole {
                to: hole.to,
                reason: hole.reason,
            });
        }
        if seq < found.first_kept() {
            return Ok(Read::Hole {
                to: found.first_kept() - 1,
                reason: HoleReason::Expired,
            });
        }
        let loc = found.index.get(&seq).copied();
        let name = loc
            .and_then(|loc| found.segments.get(&loc.segment))
            .map(|segment| segment.name.clone());
        if let (Some(loc), Some(name)) = (loc, name)
            && let Some(event) = self.read_record(&name, loc, seq)?
        {
            return Ok(Read::Event(event));
        }
        self.make_hole(spool, seq, seq, HoleReason::Unreadable)?;
        Ok(Read::Hole {
            to: seq,
            reason: HoleReason::Unreadable,
        })
    }

    /// The record's content; none when it can't be had even at a second try.
    fn read_record(&mut self, name: &str, loc: Loc, seq: Seq) -> Result<Option<Vec<u8>>, SpoolError> {
        let mut record = vec![0; RECORD_HEAD + loc.len];
        for _ in 0..2 {
            match self.files.disk.read_at(name, loc.offset, &mut record) {
                Ok(()) => {
                    if let Some(content) = format::check_record(&record, seq) {
                        return Ok(Some(content.to_vec()));
                    }
                }
                Err(error) if is_loss(&error) => {}
                Err(source) => {
                    return Err(SpoolError::Disk {
                        action: "read",
                        file: name.to_owned(),
                        source,
                    });
                }
            }
        }
        Ok(None)
    }

    /// Declares `seq..=to` a hole, durably, before anybody is told.
    ///
    /// # Errors
    /// When that can't be made durable; then it is no hole.
    pub fn make_hole(
        &mut self,
        spool: SpoolId,
        seq: Seq,
        to: Seq,
        reason: HoleReason,
    ) -> Result<(), SpoolError> {
        let Some(found) = self.get_mut(spool) else {
            return Ok(());
        };
        found.state.holes.push(Hole {
            from: seq,
            to,
            reason,
        });
        let result = self.write_state();
        if result.is_err()
            && let Some(found) = self.get_mut(spool)
        {
            found.state.holes.pop();
        }
        result
    }

    /// Every spool with something durable, oldest first: id, last position, receipted.
    pub fn order(&self) -> impl Iterator<Item = (SpoolId, Seq, Seq)> {
        self.spools
            .iter()
            .filter(|spool| spool.state.last_seq > 0)
            .map(|spool| (spool.state.id, spool.state.last_seq, spool.state.receipted))
    }

    /// Spools of which events are still there, oldest first.
    pub fn held(&self) -> Vec<Held> {
        let held = self
            .spools
            .iter()
            .filter(|spool| !spool.state.gone && spool.state.last_seq > 0);
        held.map(|spool| Held {
            spool: spool.state.id,
            predecessor: spool.state.predecessor,
            first_kept: spool.first_kept(),
            next_seq: spool.state.last_seq + 1,
            receipted: spool.state.receipted,
            rejections_known: spool.state.rejections_known,
        })
        .collect()
    }

    /// Spools that are gone, oldest first.
    pub fn former(&self) -> Vec<Former> {
        let former = self.spools.iter().filter(|spool| spool.state.gone);
        former
            .map(|spool| Former {
                spool: spool.state.id,
                predecessor: spool.state.predecessor,
                last_seq: spool.state.last_seq,
                receipted: spool.state.receipted,
            })
            .collect()
    }

    /// Highest position of a spool of which the server said that all up to it is committed.
    pub fn receipted(&self, spool: SpoolId) -> Option<Seq> {
        self.get(spool).map(|spool| spool.state.receipted)
    }

    /// Events without receipt.
    pub fn outstanding(&self) -> u64 {
        self.spools
            .iter()
            .map(|spool| spool.state.last_seq.saturating_sub(spool.state.receipted))
            .sum()
    }

    fn write_state(&mut self) -> Result<(), SpoolError> {
        let state = State {
            generation: self.generation,
            spools: self
                .spools
                .iter()
                .filter(|s| s.state.last_seq > 0)
                .map(|s| s.state.clone())
                .collect(),
        };
        let content = state.encode().map_err(|source| SpoolError::Disk {
            action: "encode",
            file: STATE.to_owned(),
            source: io::Error::other(source),
        })?;
        self.files.replace(STATE, &content)?;
        self.state_dirty = false;
        Ok(())
    }

    fn get(&self, id: SpoolId) -> Option<&Spool> {
        self.spools.iter().find(|spool| spool.state.id == id)
    }

    fn get_mut(&mut self, id: SpoolId) -> Option<&mut Spool> {
        self.spools.iter_mut().find(|spool| spool.state.id == id)
    }
}

/// Errors that say "the bytes are gone", not "try again": EIO, and the end of the file before its time.
fn is_loss(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(nix::libc::EIO)
}
