//! The set of spools of a bench.

use std::time::Duration;

use fleet_domain::{Seq, SpoolId, StoreGeneration};
use jiff::Timestamp;

use crate::disk::Disk;
use crate::error::SpoolError;
use crate::types::{Former, Held, HoleReason, Limits, Opened, Position, Read, Room};

/// All spools of a bench: the one being written and those before it.
#[derive(Debug)]
pub struct Spools<D: Disk> {
    disk: D,
    limits: Limits,
}

#[expect(unused_variables, clippy::todo, reason = "signatures first")]
impl<D: Disk> Spools<D> {
    /// Reads what is there. Nothing is appended to it any more: [`Spools::begin`] a new one.
    ///
    /// # Errors
    /// When the disk can't be read at all or was written by a newer agent. Damage is no error.
    pub fn open(disk: D, limits: Limits, now: Timestamp) -> Result<(Self, Opened), SpoolError> {
        todo!()
    }
    /// Begins a new spool; it comes to be with its first event. Any open one is sealed.
    ///
    /// # Errors
    /// When a spool of that id is known.
    pub fn begin(&mut self, id: SpoolId) -> Result<(), SpoolError> {
        todo!()
    }
    /// Seals the spool being written; [`Spools::begin`] another one.
    pub fn seal(&mut self) {
        todo!()
    }
    /// The place that the next event gets; none before [`Spools::begin`].
    pub fn next_position(&self) -> Option<Position> {
        todo!()
    }
    /// Writes an event at the next place. It does not count before [`Spools::sync`].
    ///
    /// # Errors
    /// When `position` is not [`Spools::next_position`], or the disk refuses; the place stays free then.
    pub fn append(&mut self, position: Position, bytes: &[u8]) -> Result<(), SpoolError> {
        todo!()
    }
    /// Makes everything appended durable.
    ///
    /// # Errors
    /// [`SpoolError::Poisoned`]: nothing appended since the last success counts, and nothing will.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        todo!()
    }
    /// What stands at a place. A record that is damaged becomes a durable hole here.
    ///
    /// # Errors
    /// When the disk refuses for a reason that may pass.
    pub fn read(&mut self, spool: SpoolId, seq: Seq) -> Result<Read, SpoolError> {
        todo!()
    }
    /// Declares `seq..=to` a hole, durably, before anybody is told.
    ///
    /// # Errors
    /// When that can't be made durable.
    pub fn make_hole(
        &mut self,
        spool: SpoolId,
        seq: Seq,
        to: Seq,
        reason: HoleReason,
    ) -> Result<(), SpoolError> {
        todo!()
    }
    /// Spools of which events are still there, oldest first.
    pub fn held(&self) -> Vec<Held> {
        todo!()
    }
    /// Spools that are gone, oldest first.
    pub fn former(&self) -> Vec<Former> {
        todo!()
    }
    /// The server has committed everything up to `through`. Never lowers. Durable by [`Spools::compact`].
    pub fn settle(&mut self, spool: SpoolId, through: Seq, now: Timestamp) {
        todo!()
    }
    /// The highest rejected position heard.
    pub fn reject(&mut self, spool: SpoolId, seq: Seq) {
        todo!()
    }
    /// The server's database has another life, or has less than it said: `through` of each spool named is
    /// taken as it is. Durable on return.
    ///
    /// # Errors
    /// When that can't be made durable.
    pub fn lower(
        &mut self,
        generation: StoreGeneration,
        through: &[(SpoolId, Seq)],
        now: Timestamp,
    ) -> Result<(), SpoolError> {
        todo!()
    }
    /// The life of the server's database that `receipted` speaks of.
    pub fn generation(&self) -> Option<StoreGeneration> {
        todo!()
    }
    /// Removes what is receipted and old enough, or takes space that is needed, and writes down receipts.
    ///
    /// # Errors
    /// When the disk refuses; nothing is lost by that.
    pub fn compact(&mut self, now: Timestamp) -> Result<(), SpoolError> {
        todo!()
    }
    /// Room left.
    ///
    /// # Errors
    /// When the disk does not say what is free.
    pub fn room(&mut self) -> Result<Room, SpoolError> {
        todo!()
    }
    /// Events without receipt, and the time since boot is not asked for.
    pub fn keep(&self) -> Duration {
        self.limits.keep_receipted
    }
}
