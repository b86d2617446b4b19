//! What becomes of an arriving event.

use super::{Arrival, Decision, DeviceLedger, Digest, LedgerAlarm, Place, Predecessor, RejectCode};
use crate::{Seq, SpoolId};

impl DeviceLedger {
    /// Decides about one message and moves the ledger.
    ///
    /// `stored_digest` gives the digest of the event that is stored at a settled position; `None` where
    /// that position was rejected, is a hole, or its event was cleaned up: then nothing can be said
    /// against the arrival and it is a duplicate.
    pub fn decide(
        &mut self,
        arrival: &Arrival,
        stored_digest: impl Fn(SpoolId, Seq) -> Option<Digest>,
    ) -> Decision {
        let place = arrival.place;
        let last = place.hole_to.map_or(place.seq, |to| to.max(place.seq));
        self.learn_predecessor(&place);
        let row = self.entry(place.spool);
        row.announced = row.announced.max(last);
        let through = row.through;
        if last <= through {
            return self.settled_before(arrival, &stored_digest);
        }
        if place.seq > through.saturating_add(1) {
            row.gaps += 1;
            return Decision::Gap;
        }
        if let Some(decision) = self.waiting(&place, through) {
            return decision;
        }
        self.take(arrival, through, last)
    }

    /// A predecessor that is shorter than what was heard of it: the disk was restored.
    fn learn_predecessor(&mut self, place: &Place) {
        let Some(predecessor) = place.predecessor.filter(|_| place.seq == 1) else {
            return;
        };
        let known = self.entry(place.spool).predecessor.replace(predecessor);
        if known != Some(predecessor) {
            self.judge_predecessor(predecessor);
        }
    }

    pub(super) fn judge_predecessor(&mut self, predecessor: Predecessor) -> bool {
        let Some(row) = self.spools.get(&predecessor.spool) else {
            return false;
        };
        if row.announced <= predecessor.last_seq {
            return false;
        }
        self.alarms.push(LedgerAlarm::BenchRestored {
            spool: predecessor.spool,
            heard: row.announced,
            stated: predecessor.last_seq,
        });
        true
    }

    fn settled_before(
        &mut self,
        arrival: &Arrival,
        stored_digest: &impl Fn(SpoolId, Seq) -> Option<Digest>,
    ) -> Decision {
        let Place {
            spool, seq, hole_to, ..
        } = arrival.place;
        let stored = hole_to.map_or_else(|| stored_digest(spool, seq), |_| None);
        let row = self.entry(spool);
        if stored.is_none_or(|digest| digest == arrival.digest) {
            row.duplicates += 1;
            return Decision::Duplicate;
        }
        row.conflicts += 1;
        if seq > row.rejections_known {
            row.rejections.entry(seq).or_insert(RejectCode::Conflict);
        }
        self.alarms.push(LedgerAlarm::Conflict { spool, seq });
        Decision::Conflict
    }

    /// Rule 2: a spool begins only when its predecessor is complete.
    fn waiting(&mut self, place: &Place, through: Seq) -> Option<Decision> {
        if through > 0 {
            return None;
        }
        let predecessor = self.spools.get(&place.spool)?.predecessor?;
        if self.through(predecessor.spool) >= predecessor.last_seq {
            return None;
        }
        self.entry(place.spool).gaps += 1;
        Some(Decision::Waiting {
            predecessor: predecessor.spool,
            needed: predecessor.last_seq,
        })
    }

    fn take(&mut self, arrival: &Arrival, through: Seq, last: Seq) -> Decision {
        let row = self.entry(arrival.place.spool);
        row.through = last;
        if let Some(code) = arrival.rejected {
            // A rejected hole has no range that could be believed: wire decoding rejects it whole, so
            // every position it claims is passed over as rejected.
            row.rejected += last - through;
            row.rejections.insert(last, code);
            return Decision::Rejected(code);
        }
        if arrival.place.hole_to.is_some() {
            row.holes += last - through;
            return Decision::Hole {
                from: through + 1,
                to: last,
            };
        }
        row.stored += 1;
        Decision::Stored
    }
}
