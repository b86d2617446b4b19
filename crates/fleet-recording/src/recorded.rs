//! What a batch led to: the rows to write and the answers to give after the commit.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::report::StepReport;
use fleet_domain::{
    AttemptRef, DeviceId, Digest, JobId, Place, RejectCode, Seq, SpoolId, SpoolLedger, StoreGeneration,
    Verdict,
};
use fleet_store::{
    AlarmRow, ChangeKind, EventStanding, Inbound, InboundEvent, IngestCounts, IngestOutcome, Misplaced,
    ReceiptRow, SyncAnswerRow,
};
use jiff::Timestamp;

use crate::answer::{Touched, receipts};
use crate::{Blamed, DeviceState, Loaded, Raised, StoredJob};

/// An event to store, and its row of the outbox.
#[derive(Debug)]
pub struct NewEvent<'a> {
    /// Index of its message in the batch.
    pub item: usize,
    /// The bench.
    pub device: &'a DeviceId,
    /// The event.
    pub event: &'a InboundEvent,
    /// What became of it.
    pub standing: EventStanding,
}

/// A hole, or other content for a position that is stored. Of a conflict `from` and `to` are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// The bench.
    pub device: DeviceId,
    /// Its spool.
    pub spool: SpoolId,
    /// First position.
    pub from: Seq,
    /// Last position.
    pub to: Seq,
    /// Why, of a hole.
    pub reason: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// The payload as it came.
    pub bytes: bytes::Bytes,
}

/// A message for the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The device level of its topic.
    pub device: String,
    /// The topic's last level.
    pub channel: String,
    /// Where it stood, if it could be said.
    pub place: Option<Place>,
    /// Stable word: why.
    pub code: &'static str,
    /// For people.
    pub reason: String,
    /// The user properties as they came.
    pub user_properties: Vec<(String, String)>,
    /// The payload as it came.
    pub bytes: bytes::Bytes,
}

/// A refused position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectionRow {
    /// The bench.
    pub device: DeviceId,
    /// Its spool.
    pub spool: SpoolId,
    /// The position.
    pub seq: Seq,
    /// Why.
    pub code: RejectCode,
}

/// What an attempt's row learns: what is `None` stays as it was. A row that is not there is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptWrite {
    /// The attempt.
    pub of: AttemptRef,
    /// The bench; of a new row.
    pub device: DeviceId,
    /// Acceptance received.
    pub accepted_at: Option<Timestamp>,
    /// Start received.
    pub started_at: Option<Timestamp>,
    /// Final event received.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Stable reason of the end.
    pub reason_code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// Steps in the plan.
    pub steps_total: Option<u32>,
    /// Software versions read back, by ECU.
    pub software: Option<BTreeMap<String, String>>,
    /// The signed result record.
    pub record: Option<String>,
    /// It was taken away before its end. Once true it stays so.
    pub fenced: bool,
}

/// A bench to write.
#[derive(Debug)]
pub struct DeviceWrite {
    /// The bench.
    pub device: DeviceId,
    /// What it is now.
    pub state: DeviceState,
    /// Columns other than the times of hearing and telling changed.
    pub changed: bool,
    /// The change log tells of it: keep when.
    pub told: bool,
}

/// A finished step to write.
pub type StepWrite<'a> = &'a StepReport;

/// What a batch led to. All rows are to be written in the transaction that the batch was loaded in.
#[derive(Debug)]
pub struct Recorded<'a> {
    /// Events to store, in arrival order, with a row of the outbox each, in the same order.
    pub events: Vec<NewEvent<'a>>,
    /// Holes; the same place again is the same hole.
    pub holes: Vec<Aside>,
    /// Conflicts; the same content again is the same conflict.
    pub conflicts: Vec<Aside>,
    /// Dead letters.
    pub dead: Vec<DeadLetter>,
    /// Rejections; the first one of a position stands.
    pub rejections: Vec<RejectionRow>,
    /// Rows of the ledger that changed.
    pub spools: Vec<(DeviceId, SpoolLedger)>,
    /// Every bench that a message was of, by name.
    pub devices: Vec<DeviceWrite>,
    /// Jobs that changed, by id; new ones too.
    pub jobs: Vec<StoredJob>,
    /// Those of `jobs` that were not loaded: a bench reported them.
    pub new_jobs: BTreeSet<JobId>,
    /// Attempts that changed, by job, attempt and fence.
    pub attempts: Vec<AttemptWrite>,
    /// Steps that ended.
    pub steps: Vec<StepWrite<'a>>,
    /// Alarms.
    pub raised: Raised,
    /// What changed, for the page's stream. Alarms and dead letters come to it when they have numbers.
    pub changes: BTreeSet<(ChangeKind, String)>,
    /// The batch proves a restore that nobody declared: this generation begins.
    pub begun: Option<StoreGeneration>,
    suspects: Vec<usize>,
    receipts: Vec<ReceiptRow>,
    answers: Vec<(DeviceId, SyncAnswerRow)>,
    lists: BTreeSet<DeviceId>,
    counts: IngestCounts,
}

impl Recorded<'_> {
    /// Messages whose meaning is among the rows, should the database refuse one (see [`crate::Blame`]).
    pub fn suspects(&self) -> Vec<usize> {
        self.suspects.clone()
    }

    /// What the batch led to, once it is committed. `alarms` are the alarms as they stand, `everybody` the benches
    /// that are connected where a generation began: each needs the list of the new generation.
    pub fn outcome(
        self,
        lost_slots: impl IntoIterator<Item = fleet_domain::Slot>,
        alarms: Vec<AlarmRow>,
        everybody: impl IntoIterator<Item = DeviceId>,
    ) -> IngestOutcome {
        let mut lists = self.lists;
        lists.extend(everybody);
        IngestOutcome {
            lost_slots: lost_slots.into_iter().collect(),
            receipts: self.receipts,
            answers: self.answers,
            lists: lists.into_iter().collect(),
            counts: self.counts,
            alarms,
            new_generation: self.begun,
        }
    }
}

/// The messages of a batch, without those of slots that were lost.
#[derive(Debug, Clone, Copy)]
pub struct Messages<'a> {
    /// Messages in arrival order.
    pub items: &'a [&'a Inbound],
    /// Messages on topics of nobody.
    pub misplaced: &'a [&'a Misplaced],
    /// When they were received.
    pub received_at: Timestamp,
    /// Taken when a restore is proved.
    pub spare_generation: StoreGeneration,
}

/// Decides every message in arrival order and projects those that are stored. `blamed` are messages whose meaning
/// the database refused before.
pub fn record<'a>(loaded: Loaded, messages: Messages<'a>, blamed: &Blamed) -> Recorded<'a> {
    let mut working = Working::new(loaded, messages.received_at);
    working.plan(messages);
    working.bury_misplaced(messages.misplaced);
    working.project(blamed);
    working.confirm();
    working.finish()
}

/// A batch while it is decided.
#[derive(Debug)]
pub(crate) struct Working<'a> {
    pub(crate) now: Timestamp,
    pub(crate) loaded: Loaded,
    pub(crate) changed_jobs: BTreeSet<JobId>,
    pub(crate) new_jobs: BTreeSet<JobId>,
    pub(crate) events: Vec<NewEvent<'a>>,
    pub(crate) holes: Vec<Aside>,
    pub(crate) conflicts: Vec<Aside>,
    pub(crate) dead: Vec<DeadLetter>,
    pub(crate) rejections: Vec<RejectionRow>,
    pub(crate) attempts: BTreeMap<(JobId, u32, u64), AttemptWrite>,
    pub(crate) steps: Vec<StepWrite<'a>>,
    pub(crate) suspects: Vec<usize>,
    pub(crate) raised: Raised,
    pub(crate) changes: BTreeSet<(ChangeKind, String)>,
    pub(crate) touched: Touched,
    pub(crate) answers: Vec<(DeviceId, SyncAnswerRow)>,
    pub(crate) lists: BTreeSet<DeviceId>,
    pub(crate) counts: IngestCounts,
    pub(crate) begun: Option<StoreGeneration>,
}

impl<'a> Working<'a> {
    fn new(loaded: Loaded, now: Timestamp) -> Self {
        Self {
            now,
            loaded,
            changed_jobs: BTreeSet::new(),
            new_jobs: BTreeSet::new(),
            events: Vec::new(),
            holes: Vec::new(),
            conflicts: Vec::new(),
            dead: Vec::new(),
            rejections: Vec::new(),
            attempts: BTreeMap::new(),
            steps: Vec::new(),
            suspects: Vec::new(),
            raised: Raised::default(),
            changes: BTreeSet::new(),
            touched: Touched::new(),
            answers: Vec::new(),
            lists: BTreeSet::new(),
            counts: IngestCounts::default(),
            begun: None,
        }
    }

    /// The bench's list has another version after this batch: one more than before it, however many changes there
    /// are.
    pub(crate) fn raise_list(&mut self, device: &DeviceId) {
        let Some(state) = self.loaded.devices.get_mut(device) else {
            return;
        };
        if !state.list_raised {
            state.list_raised = true;
            state.dirty = true;
            state.row.list_version = state.row.list_version.saturating_add(1);
            self.changes.insert((ChangeKind::Bench, device.to_string()));
            self.lists.insert(device.clone());
        }
    }

    fn finish(mut self) -> Recorded<'a> {
        let receipts = receipts(&self.loaded, &self.touched);
        // An earlier answer of the batch may be older than the generation that the batch began.
        for (_, answer) in &mut self.answers {
            answer.generation = self.loaded.generation;
        }
        let mut jobs = Vec::with_capacity(self.changed_jobs.len());
        for id in &self.changed_jobs {
            let Some(stored) = self.loaded.jobs.remove(id) else {
                continue;
            };
            self.changes.insert((ChangeKind::Job, id.to_string()));
            for device in stored.shown_on() {
                self.changes.insert((ChangeKind::Bench, device.to_string()));
            }
            jobs.push(stored);
        }
        let (mut devices, mut spools) = (Vec::new(), Vec::new());
        for (device, mut state) in self.loaded.devices {
            spools.extend(state.ledger.changed().map(|row| (device.clone(), row.clone())));
            let newest = (state.ledger.last_ordinal(), state.ledger.newest());
            let began = newest != (state.row.last_ordinal, state.row.newest_spool);
            (state.row.last_ordinal, state.row.newest_spool) = newest;
            let told = state.shown || state.tell;
            if told {
                self.changes.insert((ChangeKind::Bench, device.to_string()));
            }
            devices.push(DeviceWrite {
                changed: state.dirty || began,
                told,
                device,
                state,
            });
        }
        Recorded {
            events: self.events,
            holes: self.holes,
            conflicts: self.conflicts,
            dead: self.dead,
            rejections: self.rejections,
            spools,
            devices,
            jobs,
            new_jobs: self.new_jobs,
            attempts: self.attempts.into_values().collect(),
            steps: self.steps,
            raised: self.raised,
            changes: self.changes,
            begun: self.begun,
            suspects: self.suspects,
            receipts,
            answers: self.answers,
            lists: self.lists,
            counts: self.counts,
        }
    }
}
