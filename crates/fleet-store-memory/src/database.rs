//! The rows. A clone is a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet_domain::{DeviceId, JobId, PlantId, RejectCode, Seq, Slot, SpoolId, SpoolLedger, StoreGeneration};
use fleet_recording::{Aside, DeviceRow, StepKey, StoredJob};
use fleet_store::{
    AlarmRow, ArtifactRow, AttemptRow, ChangeKind, ChangeRow, DeadLetterRow, EventRow, KafkaHigh,
    OutboxCursor, ProcedureRow, StepRow,
};
use jiff::Timestamp;
use uuid::Uuid;

/// A lease on a slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease {
    /// None: given back.
    pub(crate) owner: Option<String>,
    pub(crate) term: u64,
    pub(crate) expires_at: Timestamp,
}

/// The relay's lease and the copy of its cursor.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) lease: Lease,
    pub(crate) relayed: OutboxCursor,
}

/// A bench.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) row: DeviceRow,
    pub(crate) last_seen: Timestamp,
    pub(crate) released_generation: Option<StoreGeneration>,
}

/// A spool: the ledger's row, and what the relay counts in it.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    pub(crate) ledger: SpoolLedger,
    /// Since when the lowest position that is not settled stays so.
    pub(crate) outstanding_since: Option<Timestamp>,
    pub(crate) in_kafka: u64,
    pub(crate) already_in_kafka: u64,
    pub(crate) unrelayable: u64,
    pub(crate) expired: u64,
}

/// A stored event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) row: EventRow,
    pub(crate) traceparent: Option<String>,
}

/// A row of the outbox; its key is its sequence.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) token: Uuid,
    pub(crate) topic: &'static str,
    pub(crate) event: Arc<Event>,
    pub(crate) refused: Option<String>,
}

/// A replica as it announced itself.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) notice: fleet_store::ReplicaNotice,
    pub(crate) started_at: Timestamp,
    pub(crate) seen_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Everything that one plant's database holds. A clone is a backup, or what a crash before the commit leaves.
///
/// Whoever works on it alone has a transaction; [`crate::Transaction`] is one that lasts, so that others come in
/// between.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) plant: PlantId,
    pub(crate) generation: StoreGeneration,
    /// The generation was made by a restore: offers wait for every known bench.
    pub(crate) restored: bool,
    pub(crate) last_fence: u64,
    pub(crate) slots: BTreeMap<Slot, Lease>,
    /// Slots whose rows running transactions hold, and how many.
    pub(crate) locked: BTreeMap<Slot, u32>,
    pub(crate) replicas: BTreeMap<String, Replica>,
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    pub(crate) spools: BTreeMap<DeviceId, BTreeMap<SpoolId, Spool>>,
    pub(crate) rejections: BTreeMap<(DeviceId, SpoolId), BTreeMap<Seq, RejectCode>>,
    /// By number, which is the order of the commits.
    pub(crate) events: BTreeMap<u64, Arc<Event>>,
    pub(crate) last_event: u64,
    pub(crate) places: BTreeMap<(DeviceId, SpoolId), BTreeMap<Seq, Arc<Event>>>,
    pub(crate) holes: Vec<Arc<Aside>>,
    pub(crate) conflicts: Vec<Arc<Aside>>,
    pub(crate) dead: BTreeMap<u64, Arc<DeadLetterRow>>,
    pub(crate) outbox: BTreeMap<u64, Outgoing>,
    pub(crate) last_outgoing: u64,
    pub(crate) relay: Relay,
    pub(crate) highs: BTreeSet<KafkaHigh>,
    /// In the order they were recorded.
    pub(crate) jobs: BTreeMap<u64, StoredJob>,
    pub(crate) job_numbers: BTreeMap<JobId, u64>,
    pub(crate) vin_leases: BTreeMap<String, JobId>,
    pub(crate) attempts: BTreeMap<(JobId, u32, u64), AttemptRow>,
    pub(crate) steps: BTreeMap<StepKey, StepRow>,
    pub(crate) changes: Vec<(ChangeRow, Timestamp)>,
    pub(crate) last_change: u64,
    pub(crate) changes_pruned_through: u64,
    pub(crate) alarms: BTreeMap<(&'static str, String), AlarmRow>,
    pub(crate) procedures: BTreeMap<(String, String), ProcedureRow>,
    pub(crate) artifacts: BTreeMap<(String, String), ArtifactRow>,
    /// Of the tokens of outbox rows: another one after each restore, so that no token comes again.
    pub(crate) tokens: u64,
    pub(crate) life: u64,
}

impl Database {
    /// An empty database of a plant.
    pub fn new(plant: PlantId, generation: StoreGeneration) -> Self {
        Self {
            plant,
            generation,
            restored: false,
            last_fence: 0,
            slots: BTreeMap::new(),
            locked: BTreeMap::new(),
            replicas: BTreeMap::new(),
            devices: BTreeMap::new(),
            spools: BTreeMap::new(),
            rejections: BTreeMap::new(),
            events: BTreeMap::new(),
            last_event: 0,
            places: BTreeMap::new(),
            holes: Vec::new(),
            conflicts: Vec::new(),
            dead: BTreeMap::new(),
            outbox: BTreeMap::new(),
            last_outgoing: 0,
            relay: Relay {
                lease: Lease::default(),
                relayed: OutboxCursor::START,
            },
            highs: BTreeSet::new(),
            jobs: BTreeMap::new(),
            job_numbers: BTreeMap::new(),
            vin_leases: BTreeMap::new(),
            attempts: BTreeMap::new(),
            steps: BTreeMap::new(),
            changes: Vec::new(),
            last_change: 0,
            changes_pruned_through: 0,
            alarms: BTreeMap::new(),
            procedures: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            tokens: 0,
            life: 0,
        }
    }

    /// This backup takes the place of `lost`. Nobody is told: that takes [`Database::declare_restored`], or a bench
    /// that knows better. Terms, tokens and running transactions of the other life end with it.
    pub fn restored_over(mut self, lost: &Self) -> Self {
        self.life = lost.life + 1;
        self.locked.clear();
        self
    }

    /// The current generation.
    pub fn generation(&self) -> StoreGeneration {
        self.generation
    }

    /// A bench's spools in the ledger.
    pub fn ledger(&self, device: &DeviceId) -> impl Iterator<Item = &SpoolLedger> {
        self.spools
            .get(device)
            .into_iter()
            .flat_map(|spools| spools.values().map(|spool| &spool.ledger))
    }

    /// Every position of the spool up to this one is settled.
    pub fn through(&self, device: &DeviceId, spool: SpoolId) -> Seq {
        let spools = self.spools.get(device);
        spools
            .and_then(|spools| spools.get(&spool))
            .map_or(0, |spool| spool.ledger.through)
    }

    /// The stored events in the order of their commits.
    pub fn stored(&self) -> impl Iterator<Item = &EventRow> {
        self.events.values().map(|event| &event.row)
    }

    /// Whether the position is refused for good.
    pub fn is_rejected(&self, device: &DeviceId, spool: SpoolId, seq: Seq) -> bool {
        self.rejections
            .get(&(device.clone(), spool))
            .is_some_and(|rejected| rejected.contains_key(&seq))
    }

    /// The holes that were recorded.
    pub fn holes(&self) -> impl Iterator<Item = &Aside> {
        self.holes.iter().map(AsRef::as_ref)
    }

    /// Other contents for places that are stored.
    pub fn conflicts(&self) -> impl Iterator<Item = &Aside> {
        self.conflicts.iter().map(AsRef::as_ref)
    }

    pub(crate) fn token(&mut self) -> Uuid {
        self.tokens += 1;
        Uuid::from_u64_pair(self.life + 1, self.tokens)
    }

    pub(crate) fn changed(&mut self, kind: ChangeKind, id: String, now: Timestamp) {
        self.last_change += 1;
        let seq = self.last_change;
        self.changes.push((ChangeRow { seq, kind, id }, now));
    }

    pub(crate) fn job(&self, job: JobId) -> Option<&StoredJob> {
        self.jobs.get(self.job_numbers.get(&job)?)
    }

    pub(crate) fn waits(&self, seq: u64) -> bool {
        seq > self.relay.relayed.seq
    }
}
