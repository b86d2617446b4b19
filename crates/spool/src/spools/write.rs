//! The spool being written: begin, append, sync, seal (rules 1 and 2).

use std::collections::BTreeMap;

use fleet_domain::{Seq, SpoolId};

use super::{Segment, Spool, Spools, Writer};
use crate::disk::Disk;
use crate::error::SpoolError;
use crate::files::{MARKS, RESERVE};
use crate::format::{self, HEADER, Header, MARK, MAX_SEGMENT, Mark, Place};
use crate::state::SpoolState;
use crate::types::{Position, Predecessor};

/// The file of marks is written anew when it has grown so large, bytes.
const MARKS_BYTES: usize = 64 * 1024;

impl<D: Disk> Spools<D> {
    /// Begins a new spool; it comes to be with its first event. Any open one is sealed.
    ///
    /// # Errors
    /// When a spool of that id is known, or what was appended to the one before can't be synced.
    pub fn begin(&mut self, id: SpoolId) -> Result<(), SpoolError> {
        self.sync()?;
        if self.spools.iter().any(|spool| spool.state.id == id) {
            return Err(SpoolError::Exists(id));
        }
        let last = self.spools.last();
        self.writer = Some(Writer {
            id,
            ordinal: last.map_or(1, |spool| spool.state.ordinal + 1),
            predecessor: last.map(|spool| Predecessor {
                spool: spool.state.id,
                last_seq: spool.state.last_seq,
            }),
            segment: None,
            close_at: self.limits.segment_bytes.min(MAX_SEGMENT),
            next: 1,
            dirty: Vec::new(),
            new_names: false,
        });
        Ok(())
    }

    /// Seals the spool being written; [`Spools::begin`] another one.
    ///
    /// # Errors
    /// When what was appended to it can't be synced.
    pub fn seal(&mut self) -> Result<(), SpoolError> {
        self.sync()?;
        self.keep_marks()?;
        self.writer = None;
        self.skip_settled();
        Ok(())
    }

    /// Writes an event at the next place. It does not count before [`Spools::sync`]. On a full disk it goes to
    /// the space set aside for results of accepted jobs ([`crate::Limits::reserve_bytes`]).
    ///
    /// # Errors
    /// When `position` is not [`Spools::next_position`], or the disk refuses; the place stays free then.
    pub fn append(&mut self, position: Position, bytes: &[u8]) -> Result<(), SpoolError> {
        self.files.sound()?;
        let writer = self.writer.as_mut().ok_or(SpoolError::NotBegun)?;
        if (position.spool, position.seq) != (writer.id, writer.next) {
            return Err(SpoolError::NotNext {
                spool: position.spool,
                seq: position.seq,
                next: writer.next,
            });
        }
        if bytes.len() > format::MAX_CONTENT {
            return Err(SpoolError::TooLarge {
                bytes: bytes.len(),
                most: format::MAX_CONTENT,
            });
        }
        match self.append_next(bytes, false) {
            Err(error) if self.reserved && error.is_no_space() => self.append_next(bytes, true),
            result => result,
        }
    }

    fn append_next(&mut self, bytes: &[u8], use_reserve: bool) -> Result<(), SpoolError> {
        let first = self.segment_for_next(use_reserve)?;
        let (Some(writer), Some(spool)) = (self.writer.as_mut(), self.spools.last_mut()) else {
            return Err(SpoolError::NotBegun);
        };
        let seq = writer.next;
        self.buffer.clear();
        if !format::encode_record(seq, spool.state.last_seq, bytes, &mut self.buffer) {
            return Err(SpoolError::TooLarge {
                bytes: bytes.len(),
                most: format::MAX_CONTENT,
            });
        }
        let Some(segment) = spool.segments.get_mut(&first) else {
            return Err(SpoolError::NotBegun);
        };
        let place = Place {
            seq,
            // A segment is closed far below this.
            offset: u32::try_from(segment.bytes).unwrap_or(u32::MAX),
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        if writer.dirty.last() != Some(&segment.name) {
            writer.dirty.push(segment.name.clone());
        }
        if let Err(error) = self.files.append(&segment.name, &self.buffer) {
            // Part of the record may stand there now: nothing is written behind it.
            writer.segment = None;
            return Err(error);
        }
        segment.bytes += self.buffer.len() as u64;
        if segment.bytes >= writer.close_at {
            writer.segment = None;
        }
        segment.records.push(place);
        writer.next += 1;
        Ok(())
    }

    /// The file that takes the next record, made where there is none.
    fn segment_for_next(&mut self, use_reserve: bool) -> Result<Seq, SpoolError> {
        let writer = self.writer.as_mut().ok_or(SpoolError::NotBegun)?;
        if let Some(first) = writer.segment {
            return Ok(first);
        }
        let first = writer.next;
        let name = format::segment_name(writer.ordinal, writer.id, first);
        // An earlier try at this very place may have left a file without a record that counts.
        self.files.remove(&name)?;
        writer.dirty.retain(|dirty| *dirty != name);
        if let Some(spool) = self.spools.last_mut().filter(|spool| spool.state.id == writer.id) {
            spool.segments.remove(&first);
        }
        if use_reserve {
            // The file that has the blocks becomes the segment: nobody else can take them in between.
            self.files.rename(RESERVE, &name)?;
            self.reserved = false;
            writer.close_at = self.limits.reserve_bytes.min(MAX_SEGMENT);
        } else {
            self.files.create(&name)?;
            writer.close_at = self.limits.segment_bytes.min(MAX_SEGMENT);
        }
        let header = Header {
            ordinal: writer.ordinal,
            spool: writer.id,
            first_seq: first,
            predecessor: writer.predecessor,
        };
        self.files.append(&name, &header.encode())?;
        if self.spools.last().is_none_or(|spool| spool.state.id != writer.id) {
            self.spools.push(Spool {
                state: SpoolState::new(writer.id, writer.ordinal, writer.predecessor),
                segments: BTreeMap::new(),
            });
        }
        if let Some(spool) = self.spools.last_mut() {
            let segment = Segment {
                name,
                bytes: HEADER as u64,
                settled_at: None,
                records: Vec::new(),
            };
            spool.segments.insert(first, segment);
        }
        writer.segment = Some(first);
        writer.new_names = true;
        Ok(first)
    }

    /// Makes everything appended durable: one sync of the segment. The mark that says so is written after it
    /// and not synced (ADR 0012).
    ///
    /// # Errors
    /// [`SpoolError::Poisoned`]: nothing appended since the last success counts, and nothing will.
    /// [`SpoolError::Disk`]: nothing of it counts yet; try again.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        self.files.sound()?;
        let Some(writer) = self.writer.as_mut() else {
            return Ok(());
        };
        let Some(spool) = self.spools.last_mut().filter(|spool| spool.state.id == writer.id) else {
            return Ok(());
        };
        if spool.state.last_seq + 1 == writer.next {
            return Ok(());
        }
        for name in &writer.dirty {
            self.files.sync(name)?;
        }
        writer.dirty.clear();
        if writer.new_names {
            self.files.sync_dir()?;
            writer.new_names = false;
        }
        let mark = Mark {
            spool: writer.id,
            seq: writer.next - 1,
        };
        spool.state.last_seq = mark.seq;
        self.mark(mark)
    }

    /// Writes a mark. A disk that refuses takes nothing from what counts: without its mark the last group is
    /// found by its own bytes, and the group after it proves it.
    fn mark(&mut self, mark: Mark) -> Result<(), SpoolError> {
        // Taken: after an error the file may end in part of a mark, and is written anew.
        let written = match self.marks.take().filter(|bytes| *bytes < MARKS_BYTES) {
            Some(bytes) => self.files.append(MARKS, &mark.encode()).map(|()| {
                self.marks = Some(bytes + MARK);
                self.marks_unsynced = true;
            }),
            None => self.replace_marks(mark),
        };
        match written {
            Err(SpoolError::Disk { .. }) => Ok(()),
            result => result,
        }
    }

    /// Begins the file of marks anew, durably, with this one.
    pub(super) fn replace_marks(&mut self, mark: Mark) -> Result<(), SpoolError> {
        self.files.replace(MARKS, &mark.encode())?;
        self.marks = Some(MARK);
        self.marks_unsynced = false;
        Ok(())
    }

    /// Makes the marks durable; writes them anew after one that was refused.
    pub(super) fn keep_marks(&mut self) -> Result<(), SpoolError> {
        if self.marks_unsynced && self.marks.is_some() {
            self.files.sync(MARKS)?;
            self.marks_unsynced = false;
        }
        let newest = self.spools.last().map(|spool| &spool.state);
        match newest.filter(|newest| newest.last_seq > 0 && !newest.gone && self.marks.is_none()) {
            Some(newest) => self.replace_marks(Mark {
                spool: newest.id,
                seq: newest.last_seq,
            }),
            None => Ok(()),
        }
    }

    /// Sets space aside for results of accepted jobs, where the disk has it.
    pub(super) fn keep_reserve(&mut self) -> Result<(), SpoolError> {
        let bytes = self.limits.reserve_bytes;
        if self.reserved || bytes == 0 || self.free_bytes()? <= bytes {
            return Ok(());
        }
        self.files.remove(RESERVE)?;
        self.files.create(RESERVE)?;
        if let Err(source) = self.files.disk.reserve(RESERVE, bytes) {
            self.files.remove(RESERVE)?;
            return Err(SpoolError::Disk {
                action: "reserve",
                file: RESERVE.to_owned(),
                source,
            });
        }
        self.files.sync(RESERVE)?;
        self.files.sync_dir()?;
        self.reserved = true;
        Ok(())
    }
}
