//! The spool being written: begin, append, sync, seal (rules 1 and 2).

use std::collections::BTreeMap;

use fleet_domain::{Seq, SpoolId};

use super::{Loc, Segment, Spool, Spools, Writer};
use crate::disk::Disk;
use crate::error::SpoolError;
use crate::files::MARKS;
use crate::format::{self, HEADER, Header, MARK, Mark};
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
        self.writer = None;
        Ok(())
    }

    /// Writes an event at the next place. It does not count before [`Spools::sync`].
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
        let record = format::encode_record(position.seq, bytes).ok_or(SpoolError::TooLarge {
            bytes: bytes.len(),
            most: format::MAX_CONTENT,
        })?;
        let first = self.segment_for_next()?;
        let (Some(writer), Some(spool)) = (self.writer.as_mut(), self.spools.last_mut()) else {
            return Err(SpoolError::NotBegun);
        };
        let Some(segment) = spool.segments.get_mut(&first) else {
            return Err(SpoolError::NotBegun);
        };
        if !writer.dirty.contains(&segment.name) {
            writer.dirty.push(segment.name.clone());
        }
        if let Err(error) = self.files.append(&segment.name, &record) {
            // Part of the record may stand there now: nothing is written behind it.
            writer.segment = None;
            return Err(error);
        }
        let loc = Loc {
            segment: first,
            offset: segment.bytes,
            len: bytes.len(),
        };
        segment.bytes += record.len() as u64;
        if segment.bytes >= self.limits.segment_bytes {
            writer.segment = None;
        }
        spool.index.insert(position.seq, loc);
        writer.next += 1;
        Ok(())
    }

    /// The file that takes the next record, made where there is none.
    fn segment_for_next(&mut self) -> Result<Seq, SpoolError> {
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
        self.files.create(&name)?;
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
                index: BTreeMap::new(),
            });
        }
        if let Some(spool) = self.spools.last_mut() {
            let segment = Segment {
                name,
                bytes: HEADER as u64,
                settled_at: None,
            };
            spool.segments.insert(first, segment);
        }
        writer.segment = Some(first);
        writer.new_names = true;
        Ok(first)
    }

    /// Makes everything appended durable.
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
        // Taken: after an error the file may end in part of a mark, and is written anew.
        if let Some(bytes) = self.marks.take().filter(|bytes| *bytes < MARKS_BYTES) {
            self.files.append(MARKS, &mark.encode())?;
            self.files.sync(MARKS)?;
            self.marks = Some(bytes + MARK);
        } else {
            self.files.replace(MARKS, &mark.encode())?;
            self.marks = Some(MARK);
        }
        spool.state.last_seq = mark.seq;
        Ok(())
    }
}
