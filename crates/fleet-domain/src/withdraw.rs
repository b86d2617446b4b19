//! When an offer is really gone (delivery rule 25).

use crate::ledger::{DeviceLedger, SyncFacts};
use crate::{JobId, Seq, SpoolId, StoreGeneration};

/// What a bench stated by its last sync, kept until the events before it are settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncMark {
    /// Generation that the bench knew.
    pub generation: Option<StoreGeneration>,
    /// Version of the list that it had durably.
    pub desired_version: u64,
    /// For each spool that it held, its last position.
    pub last: Vec<(SpoolId, Seq)>,
    /// The jobs that it said are open.
    pub jobs: Vec<JobId>,
}

impl SyncMark {
    /// The mark of a sync.
    pub fn of(sync: &SyncFacts) -> Self {
        Self {
            generation: sync.generation,
            desired_version: sync.desired_version,
            last: sync
                .held
                .iter()
                .map(|held| (held.spool, held.next_seq.saturating_sub(1)))
                .collect(),
            jobs: sync.jobs.clone(),
        }
    }

    /// Whether every event that the bench had at that sync is settled.
    pub fn settled(&self, ledger: &DeviceLedger) -> bool {
        self.last
            .iter()
            .all(|(spool, last)| ledger.through(*spool) >= *last)
    }

    /// Whether the withdrawal of `job`, made by list `version`, is a fact: the bench stated a list at
    /// least as new in the current generation, everything it said before is settled, and it does not
    /// name the job as its own. (An acceptance among the settled events has moved the job already.)
    pub fn confirms_withdrawal(
        &self,
        job: JobId,
        version: u64,
        current: StoreGeneration,
        ledger: &DeviceLedger,
    ) -> bool {
        self.generation == Some(current)
            && self.desired_version >= version
            && !self.jobs.contains(&job)
            && self.settled(ledger)
    }
}
