//! Receipts, and what may be removed because of them (rules 3 and 4).

use fleet_domain::{Seq, SpoolId, StoreGeneration};
use jiff::{SignedDuration, Timestamp};

use super::Spools;
use crate::disk::Disk;
use crate::error::SpoolError;
use crate::types::Room;

/// Most former spools that are remembered.
const MOST_FORMER: usize = 1024;

impl<D: Disk> Spools<D> {
    /// The server has committed everything up to `through`. Never lowers. Written down by
    /// [`Spools::compact`]: losing it costs some resent events.
    pub fn settle(&mut self, spool: SpoolId, through: Seq, now: Timestamp) {
        let Some(spool) = self.get_mut(spool) else { return };
        let through = through.min(spool.state.last_seq);
        if through <= spool.state.receipted {
            return;
        }
        // Files below the one that holds the first new position were settled before.
        let oldest = spool.segments.range(..=spool.state.receipted + 1).next_back();
        let oldest = oldest.map_or(0, |(first, _)| *first);
        spool.state.receipted = through;
        spool.state.receipted_at = Some(now);
        let firsts: Vec<_> = spool
            .segments
            .range(oldest..=through)
            .map(|(first, _)| *first)
            .collect();
        for first in firsts {
            let settled = spool.last_of(first) <= through;
            if let Some(segment) = spool.segments.get_mut(&first)
                && settled
            {
                segment.settled_at.get_or_insert(now);
            }
        }
        self.state_dirty = true;
        self.skip_settled();
    }

    /// The highest rejected position heard.
    pub fn reject(&mut self, spool: SpoolId, seq: Seq) {
        if let Some(spool) = self.get_mut(spool)
            && seq > spool.state.rejections_known
        {
            spool.state.rejections_known = seq;
            self.state_dirty = true;
        }
    }

    /// The server's database has another life, or has less than it said: `through` of each spool named is
    /// taken as it is. Durable on return.
    ///
    /// # Errors
    /// When that can't be made durable; it holds all the same until the process ends.
    pub fn lower(
        &mut self,
        generation: StoreGeneration,
        through: &[(SpoolId, Seq)],
    ) -> Result<(), SpoolError> {
        self.generation = Some(generation);
        self.open_from = 0;
        for (id, through) in through {
            let Some(spool) = self.get_mut(*id) else { continue };
            if *through >= spool.state.receipted {
                continue;
            }
            spool.state.receipted = *through;
            spool.state.rejections_known = spool.state.rejections_known.min(*through);
            let firsts: Vec<_> = spool.segments.keys().copied().collect();
            for first in firsts {
                let open = spool.last_of(first) > *through;
                if let Some(segment) = spool.segments.get_mut(&first)
                    && open
                {
                    segment.settled_at = None;
                }
            }
        }
        self.skip_settled();
        self.write_state()
    }

    /// The life of the server's database that `receipted` speaks of.
    pub fn generation(&self) -> Option<StoreGeneration> {
        self.generation
    }

    /// Removes what is receipted and old enough, or takes space that is needed; writes receipts down.
    ///
    /// # Errors
    /// When the disk refuses; nothing is lost by that.
    pub fn compact(&mut self, now: Timestamp) -> Result<(), SpoolError> {
        self.files.sound()?;
        let mut short = self.shortage()?;
        let mut removed = Vec::new();
        for index in 0..self.spools.len() {
            while let Some((name, bytes)) = self.removable(index, now, short > 0) {
                short = short.saturating_sub(bytes);
                removed.push(name);
            }
        }
        let former = self.spools.iter().filter(|spool| spool.state.gone).count();
        for _ in MOST_FORMER..former {
            // Only from the old end: the order of the rest must stay whole.
            if self
                .spools
                .first()
                .is_some_and(|s| s.state.gone && s.state.receipted == s.state.last_seq)
            {
                self.spools.remove(0);
                self.open_from = self.open_from.saturating_sub(1);
            }
        }
        if self.state_dirty || !removed.is_empty() {
            self.write_state()?;
        }
        self.keep_marks()?;
        for name in removed {
            self.files.remove(&name)?;
        }
        self.keep_reserve()
    }

    /// Takes the first segment of a spool out when it may go.
    fn removable(&mut self, index: usize, now: Timestamp, short: bool) -> Option<(String, u64)> {
        let keep = SignedDuration::try_from(self.limits.keep_receipted).unwrap_or(SignedDuration::MAX);
        let writing = self.writing();
        let spool = self.spools.get_mut(index)?;
        let first = *spool.segments.keys().next()?;
        let last = spool.last_of(first);
        let is_last = spool.segments.len() == 1;
        if last > spool.state.receipted || (is_last && writing == Some(spool.state.id)) {
            return None;
        }
        let settled_at = spool
            .segments
            .get(&first)?
            .settled_at
            .or(spool.state.receipted_at);
        let old = settled_at.is_some_and(|at| now.duration_since(at) >= keep);
        if !old && !short {
            return None;
        }
        let segment = spool.segments.remove(&first)?;
        spool.state.gone = spool.segments.is_empty();
        Some((segment.name, segment.bytes))
    }

    /// Bytes over the limits.
    fn shortage(&mut self) -> Result<u64, SpoolError> {
        let free = self.free_bytes()?;
        let over = self.used().saturating_sub(self.limits.max_bytes);
        Ok(over.max(self.limits.min_free_bytes.saturating_sub(free)))
    }

    pub(super) fn free_bytes(&mut self) -> Result<u64, SpoolError> {
        self.files.disk.free_bytes().map_err(|source| SpoolError::Disk {
            action: "measure",
            file: ".".to_owned(),
            source,
        })
    }

    fn used(&self) -> u64 {
        self.spools
            .iter()
            .flat_map(|spool| spool.segments.values())
            .map(|segment| segment.bytes)
            .sum()
    }

    /// Room left. Call [`Spools::compact`] before: it may make some.
    ///
    /// # Errors
    /// When the disk does not say what is free.
    pub fn room(&mut self) -> Result<Room, SpoolError> {
        let free = self.free_bytes()?;
        let used = self.used();
        let by_size = self.limits.max_bytes.saturating_sub(used);
        let by_disk = free.saturating_sub(self.limits.min_free_bytes);
        let refusing = if let Err(error) = self.files.sound() {
            Some(error.to_string())
        } else if by_size == 0 {
            Some(format!(
                "spool holds {used} bytes, its limit is {}",
                self.limits.max_bytes
            ))
        } else if by_disk == 0 {
            Some(format!(
                "disk has {free} bytes free, {} are kept free",
                self.limits.min_free_bytes
            ))
        } else if self.limits.reserve_bytes > 0 && !self.reserved {
            Some(format!(
                "disk has no {} bytes to set aside for results of accepted jobs",
                self.limits.reserve_bytes
            ))
        } else {
            None
        };
        Ok(Room {
            used_bytes: used,
            left_bytes: by_size.min(by_disk),
            outstanding: self.outstanding(),
            refusing,
        })
    }
}
