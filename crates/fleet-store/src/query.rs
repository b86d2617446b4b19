//! What the server reads.

use bytes::Bytes;
use fleet_domain::{DeviceId, Digest, EventId, JobState, PlantId, RunId, Seq, Slot, SpoolId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{JobSummary, NotFoundKind, OutboxFate, StoreError};

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Most items; 1 to 1000, others are brought into that range.
    pub limit: u32,
    /// `next` of the part before.
    pub after: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: 100,
            after: None,
        }
    }
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paged<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next part begins; `None` at the end. Opaque.
    pub next: Option<String>,
}

impl Page {
    /// Most items of a part.
    const MOST: u32 = 1000;

    /// Its size, brought into range.
    pub fn size(&self) -> i64 {
        i64::from(self.limit.clamp(1, Self::MOST))
    }
}

impl<T> Paged<T> {
    /// Cuts what was read with one item more than the page's size, so that it is known whether more follow.
    /// `cursor` gives the place of the last item.
    pub fn cut(mut items: Vec<T>, page: &Page, cursor: impl Fn(&T) -> String) -> Self {
        let most = usize::try_from(page.size()).unwrap_or(usize::MAX);
        let more = items.len() > most;
        items.truncate(most);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }

    /// The same part of a list of something else.
    pub fn map<U>(self, of: impl FnMut(T) -> U) -> Paged<U> {
        Paged {
            items: self.items.into_iter().map(of).collect(),
            next: self.next,
        }
    }
}

/// Reads a number out of a cursor.
///
/// # Errors
/// [`StoreError::NotFound`]: it was not made by this query.
pub fn cursor_number(cursor: &str) -> Result<i64, StoreError> {
    cursor
        .parse()
        .map_err(|_| StoreError::NotFound(NotFoundKind::Cursor(cursor.chars().take(80).collect())))
}

/// Connected or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BenchState {
    /// Connected.
    Online,
    /// Not connected.
    Offline,
}

/// Which benches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BenchFilter {
    /// In this state.
    pub state: Option<BenchState>,
    /// Name, station or VIN contains this text, regardless of case.
    pub text: Option<String>,
}

/// A bench.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchRow {
    /// Its name.
    pub device: DeviceId,
    /// The plant.
    pub plant: PlantId,
    /// Its slot.
    pub slot: Slot,
    /// Connected.
    pub online: bool,
    /// Since when it is connected or not.
    pub presence_since: Option<Timestamp>,
    /// Last message of any kind received.
    pub last_seen: Timestamp,
    /// Station of the line.
    pub station: Option<String>,
    /// VIN of the vehicle that stands there.
    pub vin: Option<String>,
    /// Names of the ECUs that it serves; empty: any.
    pub ecus: Vec<String>,
    /// Ways to reach an ECU.
    pub transports: Vec<String>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// Its Ed25519 public key, base64url.
    pub public_key: Option<String>,
    /// Its agent's process.
    pub run_id: Option<RunId>,
    /// Version of its list of jobs here.
    pub desired_version: u64,
    /// Version of the list that it stated last.
    pub stated_version: u64,
    /// Why it takes no new job at the moment.
    pub refusing_jobs: Option<String>,
    /// Events that it holds, as stated by its last sync.
    pub held_events: u64,
    /// Positions heard of and not settled.
    pub outstanding: u64,
    /// Jobs that hold a vehicle on it, in doubt ones too.
    pub open_jobs: Vec<JobSummary>,
}

/// The ledger of one spool (rule 23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolCounts {
    /// The spool.
    pub spool: SpoolId,
    /// Order in which the device's spools were first heard of.
    pub ordinal: u64,
    /// Every position up to this one is settled.
    pub through: Seq,
    /// Highest position heard of.
    pub announced: u64,
    /// Positions stored.
    pub stored: u64,
    /// Positions rejected.
    pub rejected: u64,
    /// Positions that are holes.
    pub holes: u64,
    /// Positions heard of and not settled.
    pub outstanding: u64,
    /// Since when the lowest of them stays so, by the server's clock; `None` where nothing is outstanding.
    pub outstanding_since: Option<Timestamp>,
    /// Messages that were settled before.
    pub duplicates: u64,
    /// Messages that came too early.
    pub gaps: u64,
    /// Messages with other content than stored.
    pub conflicts: u64,
    /// Stored events that wait in the outbox. stored = `in_kafka` + `already_in_kafka` + `unrelayable` +
    /// `expired` + `in_outbox`.
    pub in_outbox: u64,
    /// Stored events that the relay brought into Kafka.
    pub in_kafka: u64,
    /// Stored events that the relay found in Kafka after a restore.
    pub already_in_kafka: u64,
    /// Stored events that Kafka will never take: they lie in the dead letters.
    pub unrelayable: u64,
    /// Stored events that no relay had taken when their retention ended.
    pub expired: u64,
}

/// The ledger of the plant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerTotals {
    /// Spools.
    pub spools: u64,
    /// Positions heard of.
    pub announced: u64,
    /// Positions stored.
    pub stored: u64,
    /// Positions rejected.
    pub rejected: u64,
    /// Positions that are holes.
    pub holes: u64,
    /// Positions heard of and not settled.
    pub outstanding: u64,
    /// Messages that were settled before.
    pub duplicates: u64,
    /// Messages that came too early.
    pub gaps: u64,
    /// Messages with other content than stored.
    pub conflicts: u64,
    /// Stored events that wait in the outbox. stored = `in_kafka` + `already_in_kafka` + `unrelayable` +
    /// `expired` + `in_outbox`.
    pub in_outbox: u64,
    /// Stored events that the relay brought into Kafka.
    pub in_kafka: u64,
    /// Stored events that the relay found in Kafka after a restore.
    pub already_in_kafka: u64,
    /// Stored events that Kafka will never take: they lie in the dead letters.
    pub unrelayable: u64,
    /// Stored events that no relay had taken when their retention ended.
    pub expired: u64,
    /// Stored events that could not be projected.
    pub unprojected: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Figures for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Jobs by state; states without jobs are left out.
    pub jobs: Vec<(JobState, u64)>,
    /// Benches that are connected.
    pub benches_online: u64,
    /// Benches that are not.
    pub benches_offline: u64,
    /// The ledger.
    pub ledger: LedgerTotals,
}

/// A message that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Its number.
    pub id: u64,
    /// The device level of its topic as it came; not necessarily a name.
    pub device: String,
    /// Its topic's last level.
    pub channel: String,
    /// Where it stood, if it could be said.
    pub spool: Option<SpoolId>,
    /// Its position.
    pub seq: Option<Seq>,
    /// Stable word: a reject code, `unattributed`, `undecodable` or `misplaced`; of the relay, why Kafka
    /// will not take it.
    pub code: String,
    /// For people.
    pub reason: String,
    /// User properties, as a JSON list of pairs.
    pub user_properties_json: String,
    /// The payload.
    pub bytes: Bytes,
    /// Received.
    pub received_at: Timestamp,
}

/// What became of a stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventStanding {
    /// Seen in jobs, steps and benches.
    Projected,
    /// Stored and relayed, not understood: why.
    Unprojected(String),
    /// Of an attempt that was taken away: it moved nothing.
    Fenced,
}

/// A stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// The bench.
    pub device: DeviceId,
    /// Its spool.
    pub spool: SpoolId,
    /// Its position.
    pub seq: Seq,
    /// Its id.
    pub id: EventId,
    /// Its type as given.
    pub r#type: String,
    /// The VIN as given.
    pub vin: Option<String>,
    /// The bench's clock.
    pub time: Timestamp,
    /// Received.
    pub received_at: Timestamp,
    /// SHA-256 of the payload.
    pub digest: Digest,
    /// The payload as it came.
    pub bytes: Bytes,
    /// What became of it.
    pub standing: EventStanding,
}

/// A row of the outbox, joined with its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its sequence: the order in which the store committed.
    pub seq: u64,
    /// Random: tells a row from another one at the same place after a restore.
    pub token: Uuid,
    /// Topic in Kafka.
    pub topic: String,
    /// What the relay may do with it.
    pub fate: OutboxFate,
    /// W3C trace context of the event, if it had one.
    pub traceparent: Option<String>,
    /// The event.
    pub event: EventRow,
}

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// A bench; the id is its name.
    Bench,
    /// A job; the id is its id.
    Job,
    /// An alarm; the id is its number.
    Alarm,
    /// A dead letter; the id is its number.
    DeadLetter,
}

impl ChangeKind {
    /// Its stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bench => "bench",
            Self::Job => "job",
            Self::Alarm => "alarm",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// The kind of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Bench, Self::Job, Self::Alarm, Self::DeadLetter]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// Its place in the log.
    pub seq: u64,
    /// What it is about.
    pub kind: ChangeKind,
    /// Which one.
    pub id: String,
}

/// Part of the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The newest place in the log.
    pub head: u64,
    /// Changes after the place asked for, in order.
    pub rows: Vec<ChangeRow>,
    /// Changes after the place asked for are gone, or that place is not of this database: read everything
    /// anew and go on from `head`.
    pub truncated: bool,
}

/// A procedure. A version never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcedureRow {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Its bytes: YAML.
    pub yaml: String,
    /// Stored.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// An artifact. A version never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// Stored.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// The Kafka topic of an event type. Types of a newer agent go with the events of jobs.
pub fn outbox_topic(event_type: &str) -> &'static str {
    match event_type {
        "vds.job.finished.v1" => "vds.results.v1",
        "vds.agent.started.v1" => "vds.device-state.v1",
        _ => "vds.job-events.v1",
    }
}
