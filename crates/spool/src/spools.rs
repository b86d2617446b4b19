//! The set of spools of a bench.

use std::collections::BTreeMap;
use std::io;

use fleet_domain::{Seq, SpoolId, StoreGeneration};
use jiff::Timestamp;

use crate::disk::Disk;
use crate::error::SpoolError;
use crate::files::{Files, RESERVE, STATE};
use crate::format::{self, Place, RECORD_HEAD};
use crate::open;
use crate::state::{Hole, SpoolState, State};
use crate::types::{Former, Held, HoleReason, Limits, Opened, Position, Predecessor, Read};

mod retention;
mod write;

/// A file of a spool.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) settled_at: Option<Timestamp>,
    /// By position; none at or above the first one of the next file.
    pub(crate) records: Vec<Place>,
}

impl Segment {
    fn record(&self, seq: Seq) -> Option<Place> {
        let at = self.records.binary_search_by_key(&seq, |place| place.seq).ok()?;
        self.records.get(at).copied()
    }

    /// Forgets records from this position on.
    pub(crate) fn cut(&mut self, from: Seq) {
        let keep = self.records.partition_point(|place| place.seq < from);
        self.records.truncate(keep);
    }
}

/// A spool: what is known of it, and its files by first position.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    /// `last_seq` is the last durable position.
    pub(crate) state: SpoolState,
    pub(crate) segments: BTreeMap<Seq, Segment>,
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

    /// The file that holds a position, if any does, and where.
    pub(crate) fn find(&self, seq: Seq) -> Option<(&Segment, Place)> {
        let (_, segment) = self.segments.range(..=seq).next_back()?;
        Some((segment, segment.record(seq)?))
    }

    /// First record at or after a position.
    pub(crate) fn next_record(&self, seq: Seq) -> Option<Seq> {
        let holding = self.segments.range(..=seq).next_back().into_iter();
        let later = self.segments.range(seq.saturating_add(1)..);
        holding.chain(later).find_map(|(_, segment)| {
            let at = segment.records.partition_point(|place| place.seq < seq);
            segment.records.get(at).map(|place| place.seq)
        })
    }

    /// The highest position that has a record; 0: none.
    pub(crate) fn last_record(&self) -> Seq {
        let mut segments = self.segments.values().rev();
        let last = segments.find_map(|segment| segment.records.last());
        last.map_or(0, |place| place.seq)
    }

    /// Forgets records from this position on.
    pub(crate) fn cut(&mut self, from: Seq) {
        for segment in self.segments.values_mut().rev() {
            if segment.records.first().is_some_and(|place| place.seq < from) {
                segment.cut(from);
                return;
            }
            segment.cut(from);
        }
    }

    /// Last position that may lie in the segment that begins at `first`.
    fn last_of(&self, first: Seq) -> Seq {
        let next = self.segments.range(first + 1..).next().map(|(seq, _)| seq - 1);
        next.unwrap_or(Seq::MAX)
            .min(self.state.last_seq.max(self.last_record()))
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
    /// Size at which that file is closed, bytes.
    close_at: u64,
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
    /// There are marks that may not be durable.
    marks_unsynced: bool,
    /// All spools before this one are settled.
    open_from: usize,
    /// Bytes of records, kept over the appends.
    buffer: Vec<u8>,
    /// The file of reserved space is there.
    reserved: bool,
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
        open::tidy(&mut files, &loaded)?;
        let mut spools = Self {
            files,
            limits,
            generation: loaded.generation,
            spools: loaded.spools,
            writer: None,
            marks: loaded.marks,
            marks_unsynced: false,
            open_from: 0,
            buffer: Vec::new(),
            reserved: false,
            state_dirty: loaded.state_changed,
        };
        // A full disk must not keep the bench from sending what it holds: compact tries again.
        let passes = |result| match result {
            Err(SpoolError::Disk { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        };
        if spools.state_dirty {
            passes(spools.write_state())?;
        }
        if let Some(newest) = loaded.unmarked {
            passes(spools.replace_marks(newest))?;
        }
        let reserve = spools.limits.reserve_bytes;
        // Its blocks are there already, unless the start that made it was cut short: then they are asked for again.
        spools.reserved =
            loaded.reserved && reserve > 0 && spools.files.disk.reserve(RESERVE, reserve).is_ok();
        passes(spools.keep_reserve())?;
        spools.skip_settled();
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
        let Some(found) = self.spools.iter().rfind(|s| s.state.id == spool) else {
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
        if let Some((segment, place)) = found.find(seq)
            && let Some(event) = read_record(&mut self.files.disk, &segment.name, place)?
        {
            return Ok(Read::Event(event));
        }
        self.make_hole(spool, seq, seq, HoleReason::Unreadable)?;
        Ok(Read::Hole {
            to: seq,
            reason: HoleReason::Unreadable,
        })
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

    /// The oldest spool that is not settled: id, last position, receipted.
    pub fn oldest_open(&self) -> Option<(SpoolId, Seq, Seq)> {
        let state = self.spools.iter().skip(self.open_from).map(|spool| &spool.state);
        let mut open = state.filter(|state| state.receipted < state.last_seq);
        open.next()
            .map(|state| (state.id, state.last_seq, state.receipted))
    }

    /// Last durable and last receipted position of a spool that has something durable.
    pub fn extent(&self, spool: SpoolId) -> Option<(Seq, Seq)> {
        let spool = self.get(spool).filter(|spool| spool.state.last_seq > 0)?;
        Some((spool.state.last_seq, spool.state.receipted))
    }

    /// Looks where the unsettled spools begin.
    fn skip_settled(&mut self) {
        let rest = self.spools.iter().skip(self.open_from);
        let settled = rest.take_while(|spool| {
            let state = &spool.state;
            state.last_seq > 0 && state.receipted >= state.last_seq && self.writer_id() != Some(state.id)
        });
        self.open_from += settled.count();
    }

    fn writer_id(&self) -> Option<SpoolId> {
        self.writer.as_ref().map(|writer| writer.id)
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
        self.spools.iter().rfind(|spool| spool.state.id == id)
    }

    fn get_mut(&mut self, id: SpoolId) -> Option<&mut Spool> {
        self.spools.iter_mut().rfind(|spool| spool.state.id == id)
    }
}

/// The record's content; none when it can't be had even at a second try.
pub(crate) fn read_record<D: Disk>(
    disk: &mut D,
    name: &str,
    place: Place,
) -> Result<Option<Vec<u8>>, SpoolError> {
    let mut record = vec![0; RECORD_HEAD + usize::try_from(place.len).unwrap_or(0)];
    for _ in 0..2 {
        match disk.read_at(name, u64::from(place.offset), &mut record) {
            Ok(()) => {
                if format::check_record(&record, place.seq).is_some() {
                    record.drain(..RECORD_HEAD);
                    return Ok(Some(record));
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

/// Errors that say "the bytes are gone", not "try again": EIO, and the end of the file before its time.
fn is_loss(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(nix::libc::EIO)
}
