//! What the ingest gives to the storage and gets back.

use std::collections::BTreeSet;

use bytes::Bytes;
use fleet_domain::{
    BenchReport, DeviceId, Digest, EventId, Place, PresenceFacts, RejectCode, Rejection, Seq, Slot,
    SpoolAnswer, SpoolId, StoreGeneration, SyncFacts,
};
use jiff::Timestamp;

/// A slot's lease as claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotTerm {
    /// The slot.
    pub slot: Slot,
    /// Grows with each claim.
    pub term: u64,
}

/// Messages of one or more slots in arrival order.
#[derive(Debug, Clone)]
pub struct IngestBatch {
    /// The leases under which the messages were received.
    pub terms: Vec<SlotTerm>,
    /// The messages.
    pub items: Vec<Inbound>,
    /// Messages on topics that belong to no bench.
    pub misplaced: Vec<Misplaced>,
    /// When they were received, by the server's clock.
    pub received_at: Timestamp,
    /// Taken when a message proves that the database was restored and nobody said so (rule 18).
    pub spare_generation: StoreGeneration,
}

impl IngestBatch {
    /// Slots of the batch whose term is not, or no longer, among the `current` ones: their messages are left out.
    pub fn lost_slots(&self, current: &[SlotTerm]) -> BTreeSet<Slot> {
        let held: BTreeSet<Slot> = self
            .terms
            .iter()
            .filter(|term| current.contains(term))
            .map(|term| term.slot)
            .collect();
        self.slots().filter(|slot| !held.contains(slot)).collect()
    }

    /// The slots that the batch speaks of; more than once.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.items
            .iter()
            .map(|item| item.slot)
            .chain(self.misplaced.iter().map(|message| message.slot))
            .chain(self.terms.iter().map(|term| term.slot))
    }
}

/// A message on a topic that belongs to no bench: its device level is no id, or another slot than the
/// device's. Who sent it is not known, so no bench is made or told of it; it ends in the dead letters.
#[derive(Debug, Clone)]
pub struct Misplaced {
    /// The slot whose session brought it.
    pub slot: Slot,
    /// The device level of its topic as it came.
    pub device: String,
    /// The topic's last level.
    pub channel: String,
    /// The user properties as they came.
    pub user_properties: Vec<(String, String)>,
    /// The payload.
    pub bytes: Bytes,
    /// Names the topic and what is wrong with it.
    pub reason: String,
}

/// One message.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The slot of its topic.
    pub slot: Slot,
    /// The device of its topic.
    pub device: DeviceId,
    /// What it is.
    pub message: InboundMessage,
}

/// What a message is.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is an event: a box would cost each of them an allocation"
)]
pub enum InboundMessage {
    /// An event that could be read, or one whose data nobody understands yet.
    Event(InboundEvent),
    /// An event that can't be read, with usable user properties.
    Rejected(RejectedEvent),
    /// An event without usable user properties.
    Unattributed {
        /// The payload.
        bytes: Bytes,
        /// The user properties as they came.
        user_properties: Vec<(String, String)>,
        /// What is wrong with them.
        reason: String,
    },
    /// A message of another channel that can't be read: into the dead letters.
    Undecodable {
        /// The topic's last level.
        channel: String,
        /// The payload.
        bytes: Bytes,
        /// What is wrong with it.
        reason: String,
    },
    /// A sync.
    Sync(SyncFacts),
    /// A presence or a will.
    Presence(PresenceFacts),
    /// What the server knows by itself of a bench's presence: the bench was not heard.
    Assumed(PresenceFacts),
}

/// An event that could be read.
#[derive(Debug, Clone)]
pub struct InboundEvent {
    /// Its place, from the user properties.
    pub place: Place,
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// The payload as it came.
    pub bytes: Bytes,
    /// Its id.
    pub id: EventId,
    /// Its type as given.
    pub r#type: String,
    /// The VIN as given.
    pub vin: Option<String>,
    /// The bench's clock.
    pub time: Timestamp,
    /// W3C trace context as given.
    pub traceparent: Option<String>,
    /// What it means.
    pub report: BenchReport,
}

/// An event that can't be read.
#[derive(Debug, Clone)]
pub struct RejectedEvent {
    /// Its place, from the user properties.
    pub place: Place,
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// What the receipt says.
    pub code: RejectCode,
    /// The payload as it came.
    pub bytes: Bytes,
    /// What is wrong with it, for people.
    pub reason: String,
}

/// What a batch led to. Everything in it is committed.
#[derive(Debug, Clone, Default)]
pub struct IngestOutcome {
    /// Slots whose term was lost: their messages were left out and are not to be acknowledged.
    pub lost_slots: Vec<Slot>,
    /// A receipt for each spool that events arrived for.
    pub receipts: Vec<ReceiptRow>,
    /// Answers to syncs, in arrival order.
    pub answers: Vec<(DeviceId, SyncAnswerRow)>,
    /// Devices whose list of jobs changed, or that stated an older one than there is.
    pub lists: Vec<DeviceId>,
    /// What became of the messages.
    pub counts: IngestCounts,
    /// Alarms raised in this batch.
    pub alarms: Vec<AlarmRow>,
    /// The batch began a new generation.
    pub new_generation: Option<StoreGeneration>,
}

/// What became of the messages of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngestCounts {
    /// Events stored.
    pub stored: u64,
    /// Events settled before.
    pub duplicates: u64,
    /// Events above the next position, or ahead of their predecessor.
    pub gaps: u64,
    /// Events with other content than stored.
    pub conflicts: u64,
    /// Events rejected.
    pub rejected: u64,
    /// Messages without usable user properties, or of another channel and unreadable.
    pub dead: u64,
    /// Holes.
    pub holes: u64,
    /// Stored events that could not be projected.
    pub unprojected: u64,
    /// Stored events of a fenced attempt.
    pub fenced: u64,
    /// Stored events whose time is far from the server's clock.
    pub clock_off: u64,
    /// Syncs.
    pub syncs: u64,
    /// Presences and wills.
    pub presences: u64,
}

/// A receipt to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptRow {
    /// To whom.
    pub device: DeviceId,
    /// For which spool. Nil where only unattributed messages came and the bench has no spool yet.
    pub spool: SpoolId,
    /// Every position up to this one is settled.
    pub through: Seq,
    /// Rejections that the bench doesn't know, lowest first, at most 100.
    pub rejected: Vec<Rejection>,
    /// An event arrived above `through + 1`.
    pub gap: bool,
    /// A message of this bench had no usable user properties.
    pub unattributed: bool,
    /// The generation that it speaks of.
    pub generation: StoreGeneration,
}

/// The answer to a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncAnswerRow {
    /// The sync's number.
    pub number: u64,
    /// The current generation.
    pub generation: StoreGeneration,
    /// Every held spool, in the sync's order.
    pub spools: Vec<SpoolAnswer>,
    /// The bench's disk is older than what was heard from it.
    pub bench_restored: bool,
}

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// Two contents for one position.
    Conflict,
    /// The bench's disk is older than what was heard from it.
    BenchRestored,
    /// The database was restored and nobody said so.
    UndeclaredRestore,
    /// Somebody declared that the database was restored.
    DeclaredRestore,
    /// Events are lost on both sides.
    Forgotten,
    /// A cloned or resumed disk.
    AheadOfBench,
    /// A message without usable user properties.
    Unattributed,
    /// An event was rejected.
    Rejected,
    /// An event could not be projected.
    Unprojected,
    /// An event of an attempt that was taken away.
    FencedReport,
    /// A bench reports a job that the server doesn't know.
    ReportedJob,
    /// A message on a topic that belongs to no bench.
    Misplaced,
    /// No offer is made: benches have not synced since a restore.
    OffersHeld,
    /// Kafka's cursor names no row of this database: it was restored. The relay stands still.
    RelayCursorLost,
    /// Kafka holds less than was relayed to it. The relay stands still.
    KafkaLostData,
    /// Kafka will never take an event.
    Unrelayable,
    /// The relay can't go on before a person acts: a topic is missing or has another partition count.
    RelayStopped,
    /// Kafka refuses or hangs; the outbox grows.
    KafkaDown,
    /// A living replica uses another broker.
    OtherBroker,
    /// The same position of a bench stays outstanding. Over, and gone, when it is settled.
    LedgerOutstanding,
    /// A bench sends more than its limit takes.
    Flooded,
    /// More benches that nobody has heard of than the limits take.
    TooManyDevices,
    /// The time in a bench's events is far from the server's clock.
    ClockOff,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [Self; 23] = [
        Self::Conflict,
        Self::BenchRestored,
        Self::UndeclaredRestore,
        Self::DeclaredRestore,
        Self::Forgotten,
        Self::AheadOfBench,
        Self::Unattributed,
        Self::Rejected,
        Self::Unprojected,
        Self::FencedReport,
        Self::ReportedJob,
        Self::Misplaced,
        Self::OffersHeld,
        Self::RelayCursorLost,
        Self::KafkaLostData,
        Self::Unrelayable,
        Self::RelayStopped,
        Self::KafkaDown,
        Self::OtherBroker,
        Self::LedgerOutstanding,
        Self::Flooded,
        Self::TooManyDevices,
        Self::ClockOff,
    ];

    /// Its stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::BenchRestored => "bench_restored",
            Self::UndeclaredRestore => "undeclared_restore",
            Self::DeclaredRestore => "declared_restore",
            Self::Forgotten => "forgotten",
            Self::AheadOfBench => "ahead_of_bench",
            Self::Unattributed => "unattributed",
            Self::Rejected => "rejected",
            Self::Unprojected => "unprojected",
            Self::FencedReport => "fenced_report",
            Self::ReportedJob => "reported_job",
            Self::Misplaced => "misplaced",
            Self::OffersHeld => "offers_held",
            Self::RelayCursorLost => "relay_cursor_lost",
            Self::KafkaLostData => "kafka_lost_data",
            Self::Unrelayable => "unrelayable",
            Self::RelayStopped => "relay_stopped",
            Self::KafkaDown => "kafka_down",
            Self::OtherBroker => "other_broker",
            Self::LedgerOutstanding => "ledger_outstanding",
            Self::Flooded => "flooded",
            Self::TooManyDevices => "too_many_devices",
            Self::ClockOff => "clock_off",
        }
    }

    /// The kind of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// An alarm to raise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlarm {
    /// What it is about.
    pub kind: AlarmKind,
    /// Which one of its kind: the same again is counted.
    pub subject: String,
    /// The bench, where it is about one.
    pub device: Option<DeviceId>,
    /// For people: what happened, where, and what to do.
    pub detail: String,
}

/// An alarm. The same kind about the same subject is one alarm with a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmRow {
    /// Its number.
    pub id: u64,
    /// What it is about.
    pub kind: AlarmKind,
    /// The bench, where it is about one.
    pub device: Option<DeviceId>,
    /// For people: what happened and where.
    pub detail: String,
    /// How often.
    pub count: u64,
    /// First raised.
    pub raised_at: Timestamp,
    /// Last raised.
    pub last_at: Timestamp,
}
