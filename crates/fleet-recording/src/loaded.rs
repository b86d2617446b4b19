//! What was read of the database for a batch, and how the batch changes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleet_domain::withdraw::SyncMark;
use fleet_domain::{
    AttemptRef, DeviceId, DeviceLedger, Digest, JobId, Presence, RunId, Seq, SpoolId, SpoolLedger,
    StoreGeneration,
};
use jiff::{SignedDuration, Timestamp};

use crate::StoredJob;

/// How often the page is told that a bench was heard, where nothing else changed: with each sync, which
/// comes after 48 s at the earliest, whatever else the bench sends.
const TOLD_EVERY: SignedDuration = SignedDuration::from_secs(45);

/// Digests of stored events by place.
pub type Digests = HashMap<(DeviceId, SpoolId, Seq), Digest>;

/// A step of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey {
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub attempt: u32,
    /// Fencing number of the attempt.
    pub fence: u64,
    /// Place of the step in the plan.
    pub index: u32,
}

impl StepKey {
    /// The step of an attempt at a place.
    pub fn new(of: AttemptRef, index: u32) -> Self {
        Self {
            job: of.job,
            attempt: of.attempt,
            fence: of.fence,
            index,
        }
    }
}

/// Everything that a batch needs to know (see [`crate::wants`]).
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The current generation.
    pub generation: StoreGeneration,
    /// Every bench that a message is of, new ones too.
    pub devices: BTreeMap<DeviceId, DeviceState>,
    /// Digests of what is stored at the places of messages that are settled already.
    pub digests: Digests,
    /// The jobs that events speak of, and those that wait for a statement of one of the benches.
    pub jobs: BTreeMap<JobId, StoredJob>,
    /// Those steps of the batch that are recorded already.
    pub steps: BTreeSet<StepKey>,
}

/// What the last start of an agent said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Equipment {
    /// Station of the line.
    pub station: Option<String>,
    /// VIN of the vehicle that stands there, as given.
    pub vin: Option<String>,
    /// Names of the ECUs that it serves.
    pub ecus: Vec<String>,
    /// Ways to reach an ECU.
    pub transports: Vec<String>,
    /// Version of the agent.
    pub agent_version: Option<String>,
    /// The bench's public key.
    pub public_key: Option<String>,
}

/// A bench's row as the database has it; the default is that of a bench that is new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceRow {
    /// When the change log last told of it; 1970 if never.
    pub told_at: Timestamp,
    /// Connected or not, and in which run.
    pub presence: Option<Presence>,
    /// Since when.
    pub presence_since: Option<Timestamp>,
    /// Version of its list of jobs.
    pub list_version: u64,
    /// What its last sync stated.
    pub mark: SyncMark,
    /// Runs with their highest sync number, the current one last.
    pub runs: Vec<(RunId, u64)>,
    /// Generation in which it has synced and everything before that sync is settled.
    pub settled_generation: Option<StoreGeneration>,
    /// Why it takes no new job.
    pub refusing_jobs: Option<String>,
    /// Events that it holds.
    pub held_events: u64,
    /// What its last start said.
    pub equipment: Equipment,
    /// The highest ordinal given to a spool of it.
    pub last_ordinal: u64,
    /// The spool that got it.
    pub newest_spool: Option<SpoolId>,
}

/// A bench as the batch changes it.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one batch, none of which excludes another"
)]
pub struct DeviceState {
    /// Its row; `last_ordinal` and `newest_spool` are the ledger's.
    pub row: DeviceRow,
    /// Its spools.
    pub ledger: DeviceLedger,
    /// A message of the batch is its own, not the broker's about it.
    pub heard: bool,
    /// Columns beside the ledger changed.
    pub(crate) dirty: bool,
    /// Something that the page shows changed.
    pub(crate) shown: bool,
    /// The page was long told nothing of the bench, and it was heard.
    pub(crate) tell: bool,
    /// The list's version was raised in this batch: once, however many changes there are.
    pub(crate) list_raised: bool,
}

impl DeviceState {
    /// A bench as read, without its spools.
    pub fn new(row: DeviceRow, heard: bool, now: Timestamp) -> Self {
        let silent = row.told_at > now || now.duration_since(row.told_at) >= TOLD_EVERY;
        Self {
            ledger: DeviceLedger::from_rows([], row.last_ordinal, row.newest_spool),
            row,
            heard,
            dirty: false,
            shown: false,
            tell: heard && silent,
            list_raised: false,
        }
    }

    /// Its spools as read. Those that are not given count as unknown.
    pub fn with_spools(&mut self, spools: impl IntoIterator<Item = SpoolLedger>) {
        self.ledger = DeviceLedger::from_rows(spools, self.row.last_ordinal, self.row.newest_spool);
    }
}
