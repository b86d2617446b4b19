//! The ingest planner: what becomes of an arriving event (delivery rules 1-3, 8-13, 16-18, 23).
//!
//! A [`DeviceLedger`] is the server's knowledge of one bench's spools. The store loads it, asks it about
//! every message in arrival order, and writes the changed rows in the transaction that stores the events.
//! **Only the ledger decides what is a duplicate.**

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{JobId, RunId, Seq, SpoolId, StoreGeneration};

mod arrival;
mod sync;

/// SHA-256 of an event's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The spool before a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Predecessor {
    /// Its id.
    #[serde(rename = "spool")]
    pub spool: SpoolId,
    /// Its last position.
    pub last_seq: Seq,
}

/// Why an event is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectCode {
    /// The payload is no document that can be read.
    Malformed,
    /// The payload is larger than the limit.
    TooLarge,
    /// Another version of the envelope.
    SpecVersion,
    /// Payload and user properties or topic disagree.
    Disagrees,
    /// The same position came with other content before.
    Conflict,
}

crate::job::words!(RejectCode {
    Malformed = "malformed",
    TooLarge = "too_large",
    SpecVersion = "spec_version",
    Disagrees = "disagrees",
    Conflict = "conflict",
});

/// A refused position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The position.
    pub seq: Seq,
    /// Why.
    pub code: RejectCode,
}

/// Where an event stands, by its user properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its spool.
    pub spool: SpoolId,
    /// Its position, from 1.
    pub seq: Seq,
    /// The spool before, on position 1 only.
    pub predecessor: Option<Predecessor>,
    /// For a hole: the last position that it stands for, at least `seq`.
    pub hole_to: Option<Seq>,
}

/// An arriving event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Where it stands.
    pub place: Place,
    /// Digest of its bytes.
    pub digest: Digest,
    /// It can't be read, for this reason.
    pub rejected: Option<RejectCode>,
}

/// What becomes of an arriving event. It is acknowledged to the broker after the commit in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The next of its spool: store it.
    Stored,
    /// The next of its spool, and refused: into the dead letters, `through` passes over it.
    Rejected(RejectCode),
    /// Positions `from..=to` are settled as a hole.
    Hole {
        /// First position.
        from: Seq,
        /// Last position.
        to: Seq,
    },
    /// Settled before.
    Duplicate,
    /// Above the next position: left; the bench sends again.
    Gap,
    /// First event of a spool whose predecessor is not complete yet: left; the bench sends again.
    Waiting {
        /// The predecessor.
        predecessor: SpoolId,
        /// Position up to which it must be settled.
        needed: Seq,
    },
    /// Another content was stored at that position: kept aside, alarmed, named as rejected.
    Conflict,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerAlarm {
    /// Two contents for one position: a cloned or edited disk.
    Conflict {
        /// The spool.
        spool: SpoolId,
        /// The position.
        seq: Seq,
    },
    /// The bench's disk is older than what was heard from it.
    BenchRestored {
        /// The spool that shows it.
        spool: SpoolId,
        /// Highest position ever heard of.
        heard: Seq,
        /// Last position that the bench states now.
        stated: Seq,
    },
    /// The bench has receipts for more than the database holds: it was restored and nobody said so.
    UndeclaredRestore {
        /// The spool that shows it.
        spool: SpoolId,
        /// Position up to which the bench has receipts.
        receipted: Seq,
        /// Position up to which the database holds it.
        through: Seq,
    },
    /// The bench no longer has these events, and the database lost them.
    Forgotten {
        /// The spool.
        spool: SpoolId,
        /// First position.
        from: Seq,
        /// Last position.
        to: Seq,
    },
    /// The server holds more of the spool that is being written than the bench: a cloned or resumed disk.
    AheadOfBench {
        /// The spool.
        spool: SpoolId,
        /// Position up to which the server holds it.
        through: Seq,
        /// Last position that the bench states.
        stated: Seq,
    },
}

/// The ledger's row of one spool. Positions count, not messages: announced = stored + rejected + holes +
/// outstanding (rule 23); duplicates, gaps and conflicts count messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolLedger {
    /// The spool.
    pub spool: SpoolId,
    /// Order in which the server first heard of the device's spools, from 1.
    pub ordinal: u64,
    /// The spool before it, as named.
    pub predecessor: Option<Predecessor>,
    /// Every position up to this one is stored, rejected or a hole.
    pub through: Seq,
    /// Highest position ever heard of.
    pub announced: Seq,
    /// Positions stored.
    pub stored: u64,
    /// Positions rejected.
    pub rejected: u64,
    /// Positions that are holes.
    pub holes: u64,
    /// Rejections up to this position are known to the bench.
    pub rejections_known: Seq,
    /// Rejections above `rejections_known`, lowest first, conflicts too.
    pub rejections: BTreeMap<Seq, RejectCode>,
    /// Messages that were settled before.
    pub duplicates: u64,
    /// Messages above the next position or ahead of their predecessor.
    pub gaps: u64,
    /// Messages with other content than stored.
    pub conflicts: u64,
    /// The bench stated fewer positions of it than were heard of, in this run: it was restored.
    pub restored_in: Option<RunId>,
}

/// A spool as a sync states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldSpool {
    /// The spool.
    pub spool: SpoolId,
    /// The spool before it.
    pub predecessor: Option<Predecessor>,
    /// Lowest position that can still be resent.
    pub first_kept: Seq,
    /// Position that the next event will have.
    pub next_seq: Seq,
    /// Highest `through` heard.
    pub receipted: Seq,
    /// Highest rejected position heard.
    pub rejections_known: Seq,
}

/// What a sync states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncFacts {
    /// Counts up within one run; echoed.
    pub number: u64,
    /// The agent's process.
    pub run_id: RunId,
    /// Connects of this process, from 1.
    pub connect_counter: u64,
    /// The generation that the bench knows.
    pub generation: Option<StoreGeneration>,
    /// Version of the list of jobs that the bench has durably.
    pub desired_version: u64,
    /// Spools held, oldest first; the last one is being written.
    pub held: Vec<HeldSpool>,
    /// `held` names every spool that the bench holds (it was not cut at the limit of the wire).
    pub complete: bool,
    /// Spools that are gone after their last event was receipted.
    pub former: Vec<Predecessor>,
    /// Jobs that are open on the bench.
    pub jobs: Vec<JobId>,
    /// Why no new job is taken at the moment.
    pub refusing_jobs: Option<String>,
}

/// State of a spool in the answer to a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolAnswer {
    /// The spool.
    pub spool: SpoolId,
    /// Every position up to this one is settled; 0 for an unknown spool.
    pub through: Seq,
    /// Rejections above the sync's `rejections_known`, at most [`MAX_REJECTIONS`], lowest first.
    pub rejected: Vec<Rejection>,
}

/// What follows from a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncDecision {
    /// Every held spool, in the sync's order.
    pub spools: Vec<SpoolAnswer>,
    /// The bench's disk is older than what was heard from it. Said again to every sync of that run, since
    /// the answer may be lost; the bench obeys once in a run.
    pub bench_restored: bool,
    /// The database was restored and nobody said so: a new generation is needed.
    pub undeclared_restore: bool,
    /// Positions that became holes because the bench no longer has them.
    pub forgotten: Vec<(SpoolId, Seq, Seq)>,
    /// What a person should know.
    pub alarms: Vec<LedgerAlarm>,
}

/// Most rejections named at once.
pub const MAX_REJECTIONS: usize = 100;

/// All that the server knows of one bench's spools.
///
/// A store may load only the rows of the spools that the messages of a batch name (their own, their
/// predecessors, those of a sync): a spool that is not here counts as unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceLedger {
    spools: BTreeMap<SpoolId, SpoolLedger>,
    changed: std::collections::BTreeSet<SpoolId>,
    last_ordinal: u64,
    newest: Option<SpoolId>,
    alarms: Vec<LedgerAlarm>,
}

impl DeviceLedger {
    /// A ledger of loaded rows. `last_ordinal` is the highest ever given to this device and `newest` the
    /// spool that got it, whether loaded or not.
    pub fn from_rows(
        rows: impl IntoIterator<Item = SpoolLedger>,
        last_ordinal: u64,
        newest: Option<SpoolId>,
    ) -> Self {
        Self {
            spools: rows.into_iter().map(|row| (row.spool, row)).collect(),
            last_ordinal,
            newest,
            ..Self::default()
        }
    }

    /// The row of a spool.
    pub fn spool(&self, spool: SpoolId) -> Option<&SpoolLedger> {
        self.spools.get(&spool)
    }

    /// All rows.
    pub fn spools(&self) -> impl Iterator<Item = &SpoolLedger> {
        self.spools.values()
    }

    /// Rows that changed since they were loaded.
    pub fn changed(&self) -> impl Iterator<Item = &SpoolLedger> {
        self.changed.iter().filter_map(|spool| self.spools.get(spool))
    }

    /// Position up to which a spool is settled; 0 for an unknown one.
    pub fn through(&self, spool: SpoolId) -> Seq {
        self.spools.get(&spool).map_or(0, |row| row.through)
    }

    /// The highest ordinal given.
    pub fn last_ordinal(&self) -> u64 {
        self.last_ordinal
    }

    /// The spool that was heard of last.
    pub fn newest(&self) -> Option<SpoolId> {
        self.newest
    }

    /// Takes the alarms that arrivals raised.
    pub fn take_alarms(&mut self) -> Vec<LedgerAlarm> {
        std::mem::take(&mut self.alarms)
    }

    fn entry(&mut self, spool: SpoolId) -> &mut SpoolLedger {
        self.changed.insert(spool);
        let (last_ordinal, newest) = (&mut self.last_ordinal, &mut self.newest);
        self.spools.entry(spool).or_insert_with(|| {
            *last_ordinal += 1;
            *newest = Some(spool);
            SpoolLedger::new(spool, *last_ordinal)
        })
    }
}

impl SpoolLedger {
    /// A spool that was just heard of.
    pub fn new(spool: SpoolId, ordinal: u64) -> Self {
        Self {
            spool,
            ordinal,
            predecessor: None,
            through: 0,
            announced: 0,
            stored: 0,
            rejected: 0,
            holes: 0,
            rejections_known: 0,
            rejections: BTreeMap::new(),
            duplicates: 0,
            gaps: 0,
            conflicts: 0,
            restored_in: None,
        }
    }

    /// Positions heard of and not settled.
    pub fn outstanding(&self) -> u64 {
        self.announced.saturating_sub(self.through)
    }

    /// Rejections for a receipt: above what the bench knows, at most [`MAX_REJECTIONS`], lowest first.
    pub fn rejections(&self) -> Vec<Rejection> {
        self.rejections
            .range(self.rejections_known.saturating_add(1)..)
            .take(MAX_REJECTIONS)
            .map(|(&seq, &code)| Rejection { seq, code })
            .collect()
    }
}
