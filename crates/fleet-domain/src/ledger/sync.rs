//! What follows from a sync.

use super::{DeviceLedger, HeldSpool, LedgerAlarm, MAX_REJECTIONS, Predecessor, Rejection, SpoolAnswer};
use super::{SyncDecision, SyncFacts};
use crate::{Seq, SpoolId, StoreGeneration};

impl DeviceLedger {
    /// Decides about a sync and moves the ledger.
    ///
    /// `fresh` says that no later sync of the bench was seen: an old one that the broker delivers again
    /// is answered, but proves no restored disk.
    pub fn sync(&mut self, facts: &SyncFacts, current: StoreGeneration, fresh: bool) -> SyncDecision {
        let mut decision = SyncDecision {
            spools: Vec::with_capacity(facts.held.len()),
            bench_restored: false,
            undeclared_restore: false,
            forgotten: Vec::new(),
            alarms: Vec::new(),
        };
        for held in &facts.held {
            self.judge_receipted(held, facts, current, &mut decision);
        }
        if fresh {
            self.judge_disk(facts, &mut decision);
        }
        for held in &facts.held {
            self.learn_held(held);
        }
        self.settle_forgotten(facts, &mut decision);
        for held in &facts.held {
            decision.spools.push(self.answer(held));
        }
        decision.alarms.append(&mut self.alarms);
        decision
    }

    /// Rule 18. A generation above ours proves it too: this backup is older than an earlier restore, and
    /// lists of a lower generation would be ignored for ever.
    fn judge_receipted(
        &self,
        held: &HeldSpool,
        facts: &SyncFacts,
        current: StoreGeneration,
        decision: &mut SyncDecision,
    ) {
        let through = self.through(held.spool);
        let later = facts.generation.is_some_and(|known| known > current);
        if later || (facts.generation == Some(current) && held.receipted > through) {
            decision.undeclared_restore = true;
            decision.alarms.push(LedgerAlarm::UndeclaredRestore {
                spool: held.spool,
                receipted: held.receipted,
                through,
            });
        }
    }

    /// Rule 17. The spool that is being written is judged by the bench itself, which knows whether the
    /// server's `through` has overtaken its sync; an earlier spool can't have grown.
    fn judge_disk(&mut self, facts: &SyncFacts, decision: &mut SyncDecision) {
        let mut stated: Vec<(SpoolId, Seq)> = Vec::new();
        if let Some((_, earlier)) = facts.held.split_last() {
            stated.extend(
                earlier
                    .iter()
                    .map(|held| (held.spool, held.next_seq.saturating_sub(1))),
            );
        }
        stated.extend(
            facts
                .held
                .iter()
                .filter_map(|held| held.predecessor)
                .chain(facts.former.iter().copied())
                .map(|Predecessor { spool, last_seq }| (spool, last_seq)),
        );
        for (spool, last) in stated {
            if let Some(heard) = self.through_heard(spool).filter(|heard| *heard > last) {
                self.restored(spool, (spool, heard, last), facts, decision);
            }
        }
        for held in &facts.held {
            if let Some(other) = self.fork_of(held) {
                let heard = self.through_heard(other).unwrap_or(0);
                self.restored(held.spool, (other, heard, 0), facts, decision);
            }
        }
    }

    fn through_heard(&self, spool: SpoolId) -> Option<Seq> {
        self.spools.get(&spool).map(|row| row.announced)
    }

    /// Another spool that names the same predecessor: the disk forgot that it had begun that one.
    fn fork_of(&self, held: &HeldSpool) -> Option<SpoolId> {
        let before = held.predecessor?.spool;
        let mut siblings = self
            .spools
            .values()
            .filter(|row| row.spool != held.spool && row.predecessor.is_some_and(|p| p.spool == before));
        siblings.next().map(|row| row.spool)
    }

    /// `shown_by` is the spool whose row remembers that this was said.
    fn restored(
        &mut self,
        shown_by: SpoolId,
        (spool, heard, stated): (SpoolId, Seq, Seq),
        facts: &SyncFacts,
        decision: &mut SyncDecision,
    ) {
        let row = self.entry(shown_by);
        match row.restored_in {
            None => {
                row.restored_in = Some(facts.run_id);
                decision
                    .alarms
                    .push(LedgerAlarm::BenchRestored { spool, heard, stated });
                decision.bench_restored = true;
            }
            // Once told in a run, told for all of it; the next run starts with a clean slate.
            Some(run) => decision.bench_restored |= run == facts.run_id,
        }
    }

    fn learn_held(&mut self, held: &HeldSpool) {
        let row = self.entry(held.spool);
        row.announced = row.announced.max(held.next_seq.saturating_sub(1));
        if row.predecessor.is_none() {
            row.predecessor = held.predecessor;
        }
        row.rejections_known = held.rejections_known;
    }

    /// What the bench states to hold no longer, and the database lost, can never come: without this its
    /// successors would wait for ever.
    fn settle_forgotten(&mut self, facts: &SyncFacts, decision: &mut SyncDecision) {
        if !facts.complete {
            return;
        }
        let gone: Vec<Predecessor> = facts
            .former
            .iter()
            .copied()
            .chain(facts.held.iter().filter_map(|held| held.predecessor))
            .filter(|gone| facts.held.iter().all(|held| held.spool != gone.spool))
            .collect();
        for Predecessor { spool, last_seq } in gone {
            let through = self.through(spool);
            if last_seq <= through {
                continue;
            }
            let row = self.entry(spool);
            row.announced = row.announced.max(last_seq);
            row.holes += last_seq - through;
            row.through = last_seq;
            let (from, to) = (through + 1, last_seq);
            decision.forgotten.push((spool, from, to));
            decision.alarms.push(LedgerAlarm::Forgotten { spool, from, to });
        }
    }

    fn answer(&self, held: &HeldSpool) -> SpoolAnswer {
        let row = self.spools.get(&held.spool);
        SpoolAnswer {
            spool: held.spool,
            through: row.map_or(0, |row| row.through),
            rejected: row
                .into_iter()
                .flat_map(|row| row.rejections.range(held.rejections_known.saturating_add(1)..))
                .take(MAX_REJECTIONS)
                .map(|(&seq, &code)| Rejection { seq, code })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunId;

    fn generation(n: u128) -> StoreGeneration {
        StoreGeneration(uuid::Uuid::from_u128(n))
    }

    fn sync(known: Option<u128>, receipted: Seq) -> SyncFacts {
        SyncFacts {
            number: 1,
            run_id: RunId(uuid::Uuid::from_u128(7)),
            connect_counter: 1,
            generation: known.map(generation),
            desired_version: 0,
            held: vec![HeldSpool {
                spool: SpoolId(uuid::Uuid::from_u128(9)),
                predecessor: None,
                first_kept: 1,
                next_seq: 6,
                receipted,
                rejections_known: 0,
            }],
            complete: true,
            former: Vec::new(),
            jobs: Vec::new(),
            refusing_jobs: None,
        }
    }

    #[test]
    fn a_restore_that_nobody_declared_is_proved_by_receipts_or_by_a_later_generation() {
        let judged = |known, receipted| {
            let mut ledger = DeviceLedger::default();
            ledger
                .sync(&sync(known, receipted), generation(5), true)
                .undeclared_restore
        };
        assert!(judged(Some(5), 3), "receipts for what the database lacks");
        assert!(judged(Some(6), 0), "a generation that this database never had");
        assert!(!judged(Some(5), 0), "nothing is missing");
        assert!(
            !judged(Some(4), 3),
            "a declared restore: the generation has changed already"
        );
        assert!(!judged(None, 0), "a new bench");
    }
}
