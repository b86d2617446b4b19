//! The server's storage: one narrow trait of domain operations, its row types and the suite that every
//! implementation passes.
//!
//! There is no generic repository layer: each method is one thing that the server does, in one
//! transaction. Time and identifiers are arguments.

mod error;
mod ingest;
mod job;
mod query;
mod relay;
mod replicas;
mod upkeep;

#[cfg(feature = "conformance")]
pub mod conformance;

use async_trait::async_trait;
use fleet_domain::{DeviceId, JobId, Seq, Slot, SpoolId, StoreGeneration};
use jiff::Timestamp;
use uuid::Uuid;

pub use error::{ConflictKind, NotFoundKind, StoreError};
pub use ingest::{
    AlarmKind, AlarmRow, Inbound, InboundEvent, InboundMessage, IngestBatch, IngestCounts, IngestOutcome,
    Misplaced, NewAlarm, ReceiptRow, RejectedEvent, SlotTerm, SyncAnswerRow,
};
pub use job::{
    ArtifactUse, AttemptRow, Created, DesiredEntry, DesiredList, DispatchOutcome, JobChange, JobFilter,
    JobRow, JobSummary, NewJob, ProcedureUse, Retry, StepRow,
};
pub use query::{
    ArtifactRow, BenchFilter, BenchRow, BenchState, ChangeKind, ChangeRow, Changes, DeadLetterRow, EventRow,
    EventStanding, LedgerTotals, OutboxRow, Page, Paged, ProcedureRow, SpoolCounts, StoreCounts,
    cursor_number, outbox_topic,
};
pub use relay::{
    Advanced, KafkaHigh, OutboxAdvance, OutboxCursor, OutboxFate, OutboxRead, RelayRow, RelayTerm,
};
pub use replicas::{ReplicaNotice, ReplicaRow, SlotLease};
pub use upkeep::{Patience, PruneOutcome, Retention};

/// Most entries of a bench's list that may be open at once.
pub const MAX_OPEN_JOBS: usize = 32;

/// The storage of one plant. Used as `Arc<dyn Store>`.
///
/// Every method is one transaction: it happens wholly or not at all, also when its future is dropped.
/// After a drop the caller doesn't know which, so it asks again; all writes bear being repeated.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The current life of the database; nil until [`Store::prepare`] succeeded.
    fn generation(&self) -> StoreGeneration;

    /// Makes the storage usable: plant and schema are checked, and the schema is brought up to date where that
    /// is wished. Until it succeeded once, every other method gives [`StoreError::Unavailable`]. Call it until
    /// it succeeds; afterwards it checks again and changes nothing.
    ///
    /// # Errors
    /// What is wrong, by name: see [`StoreError::state`].
    async fn prepare(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Whether the database can be reached and takes writes. Cheap: asked every second or two.
    ///
    /// # Errors
    /// What is wrong, by name: see [`StoreError::state`]. A full disk shows only when something is written.
    async fn check(&self) -> Result<(), StoreError>;

    /// Somebody restored the database from a backup and says so: begins a new generation, raised above the
    /// current one where `candidate` is not higher. No offer is made until every known bench has synced in
    /// it (delivery rule 28).
    async fn declare_restored(
        &self,
        candidate: StoreGeneration,
        now: Timestamp,
    ) -> Result<StoreGeneration, StoreError>;

    /// Takes a slot's lease: free, expired, or held by the same owner. Each claim is a new term. `None`
    /// while another owner holds it.
    ///
    /// Expiry is judged by `now`, the caller's clock. Replicas need clocks that agree to about a second, and
    /// only so that a lease changes hands neither early nor late; what keeps two owners apart is the term.
    async fn claim_slot(
        &self,
        slot: Slot,
        owner: &str,
        now: Timestamp,
        ttl: std::time::Duration,
    ) -> Result<Option<SlotTerm>, StoreError>;

    /// Prolongs leases. Returns the slots whose term was lost.
    async fn renew_slots(
        &self,
        terms: &[SlotTerm],
        now: Timestamp,
        ttl: std::time::Duration,
    ) -> Result<Vec<Slot>, StoreError>;

    /// Gives leases back; terms that were lost are ignored.
    async fn release_slots(&self, terms: &[SlotTerm]) -> Result<(), StoreError>;

    /// All sixteen slots with their leases, by number.
    async fn slot_leases(&self) -> Result<Vec<SlotLease>, StoreError>;

    /// Says that this replica is alive until `now + ttl`, and removes those that are long dead. Returns the
    /// living ones, this one too, by owner.
    async fn announce_replica(
        &self,
        notice: &ReplicaNotice,
        now: Timestamp,
        ttl: std::time::Duration,
    ) -> Result<Vec<ReplicaRow>, StoreError>;
    /// Says that the replica ends. Its leases are not touched.
    async fn withdraw_replica(&self, owner: &str) -> Result<(), StoreError>;
    /// The replicas that are alive, by owner.
    async fn replicas(&self, now: Timestamp) -> Result<Vec<ReplicaRow>, StoreError>;

    /// Records a batch (delivery rules 9-18): leases first, then each device's messages in arrival order.
    ///
    /// # Errors
    /// Only when the database fails: bad data never fails a batch. The batch may be given again as it is.
    async fn ingest(&self, batch: IngestBatch) -> Result<IngestOutcome, StoreError>;

    /// Records a job. The same request id again gives the same job.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the request id, or the id, belongs to a job with other content.
    async fn create_job(&self, job: NewJob, now: Timestamp) -> Result<Created, StoreError>;

    /// Calls a job back: at once when it is queued, as a request when it has been offered.
    async fn cancel_job(
        &self,
        job: JobId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<JobChange, StoreError>;

    /// Declares the job's bench lost: releases the VIN; the bench's list gets a fenced entry.
    async fn take_over_job(
        &self,
        job: JobId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<JobChange, StoreError>;

    /// Judges deadlines and offers queued jobs to benches. `mint` makes identifiers.
    async fn dispatch(
        &self,
        now: Timestamp,
        mint: &mut (dyn FnMut() -> Uuid + Send),
    ) -> Result<DispatchOutcome, StoreError>;

    /// After a restore: lets offers be made without waiting for this bench (delivery rule 28). A bench that
    /// was released in this generation stays so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown bench, [`StoreError::Conflict`] when nothing waits for it.
    async fn release_bench(
        &self,
        device: &DeviceId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The benches that offers wait for since a restore (delivery rule 28), by name.
    async fn awaited_benches(&self) -> Result<Vec<DeviceId>, StoreError>;

    /// The bench's complete list of open jobs. An unknown bench has an empty list of version 0.
    async fn desired_list(&self, device: &DeviceId) -> Result<DesiredList, StoreError>;

    /// A job.
    async fn job(&self, job: JobId) -> Result<Option<JobRow>, StoreError>;
    /// Jobs, newest first.
    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Paged<JobRow>, StoreError>;
    /// The attempts of a job, first to last.
    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, StoreError>;
    /// The steps of an attempt in the plan's order.
    async fn steps(&self, job: JobId, attempt: u32) -> Result<Vec<StepRow>, StoreError>;

    /// A bench.
    async fn bench(&self, device: &DeviceId) -> Result<Option<BenchRow>, StoreError>;
    /// Benches by name.
    async fn benches(&self, filter: &BenchFilter, page: &Page) -> Result<Paged<BenchRow>, StoreError>;
    /// The names of all benches, at most `most` of them.
    async fn device_names(&self, most: u32) -> Result<Vec<DeviceId>, StoreError>;
    /// The ledger of a bench, newest spool first.
    async fn bench_ledger(&self, device: &DeviceId) -> Result<Vec<SpoolCounts>, StoreError>;
    /// The ledger of the plant.
    async fn ledger_totals(&self) -> Result<LedgerTotals, StoreError>;
    /// Figures for metrics.
    async fn counts(&self) -> Result<StoreCounts, StoreError>;

    /// Messages that could not be taken, newest first.
    async fn dead_letters(&self, page: &Page) -> Result<Paged<DeadLetterRow>, StoreError>;
    /// Alarms, the last raised first.
    async fn alarms(&self, page: &Page) -> Result<Paged<AlarmRow>, StoreError>;
    /// Stored events of a spool from a position on.
    async fn events(
        &self,
        device: &DeviceId,
        spool: SpoolId,
        from: Seq,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError>;

    /// Outbox rows after a sequence, with the events' bytes; for the page. The relay uses
    /// [`Store::outbox_after`].
    async fn outbox_read(&self, after: u64, limit: u32) -> Result<Vec<OutboxRow>, StoreError>;

    /// Takes the relay's lease: free, expired, or held by the same owner. Each claim is a new term. `None`
    /// while another owner holds it.
    async fn claim_relay(
        &self,
        owner: &str,
        now: Timestamp,
        ttl: std::time::Duration,
    ) -> Result<Option<RelayTerm>, StoreError>;
    /// Prolongs the lease. `false` when the term was lost.
    async fn renew_relay(
        &self,
        term: RelayTerm,
        now: Timestamp,
        ttl: std::time::Duration,
    ) -> Result<bool, StoreError>;
    /// Gives the lease back; a term that was lost is ignored.
    async fn release_relay(&self, term: RelayTerm) -> Result<(), StoreError>;
    /// Rows behind a cursor in commit order, from one snapshot in which the cursor's own row is there.
    /// [`OutboxCursor::START`] is there as long as nothing was ever relayed.
    async fn outbox_after(&self, after: OutboxCursor, limit: u32) -> Result<OutboxRead, StoreError>;
    /// Records that a Kafka transaction with rows up to a place is committed, and counts them in the ledger.
    /// A place before what was recorded changes nothing.
    async fn outbox_advance(&self, advance: &OutboxAdvance, now: Timestamp) -> Result<Advanced, StoreError>;
    /// Records that Kafka will never take a row: flag, dead letter, alarm and ledger. To be committed before
    /// the Kafka transaction that passes the row over. The same row again changes nothing.
    async fn refuse_outbox_row(
        &self,
        term: RelayTerm,
        row: OutboxCursor,
        code: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Advanced, StoreError>;
    /// The relay as the database knows it.
    async fn relay_row(&self) -> Result<RelayRow, StoreError>;
    /// Kafka's cursor, written in generation `cursor_generation`, names no row of this database: it was
    /// restored. Raises the alarm and begins a new generation, unless the current one is newer than the
    /// cursor's already. Returns the generation that is current then.
    ///
    /// # Errors
    /// [`StoreError::LostTerm`] when another relay has the lease.
    async fn report_cursor_lost(
        &self,
        term: RelayTerm,
        detail: &str,
        cursor_generation: StoreGeneration,
        spare: StoreGeneration,
        now: Timestamp,
    ) -> Result<StoreGeneration, StoreError>;
    /// After a restore: stores what Kafka was found to hold, the higher position where a spool is known, and
    /// returns the database's own cursor, from which the relay goes on.
    ///
    /// # Errors
    /// [`StoreError::LostTerm`] when another relay has the lease.
    async fn begin_reconciled(
        &self,
        term: RelayTerm,
        highs: &[KafkaHigh],
        now: Timestamp,
    ) -> Result<OutboxCursor, StoreError>;
    /// What Kafka was found to hold, by device and spool. Empty without a restore.
    async fn kafka_highs(&self) -> Result<Vec<KafkaHigh>, StoreError>;

    /// Raises an alarm that no event led to. The same kind about the same subject is counted.
    async fn raise_alarm(&self, alarm: &NewAlarm, now: Timestamp) -> Result<AlarmRow, StoreError>;

    /// Raises [`AlarmKind::LedgerOutstanding`] once for each bench of which the same position stays outstanding
    /// longer than `patience`, and takes the alarm back where that is over. Call it each minute or so. Returns the
    /// alarms that were raised; at most 1000 benches have one.
    async fn watch_outstanding(
        &self,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Vec<AlarmRow>, StoreError>;

    /// Changes after a position of the change log.
    async fn changes(&self, since: u64, limit: u32) -> Result<Changes, StoreError>;
    /// Bounded clean-up: change log older than an hour, relayed outbox rows but the newest, events older than
    /// the retention; on PostgreSQL the partitions of the next days are made. Call it each minute or so.
    async fn prune(&self, now: Timestamp, retention: Retention) -> Result<PruneOutcome, StoreError>;

    /// Stores a procedure. The same bytes again change nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when that version has other bytes.
    async fn put_procedure(&self, procedure: ProcedureRow) -> Result<(), StoreError>;
    /// A procedure.
    async fn procedure(&self, id: &str, version: &str) -> Result<Option<ProcedureRow>, StoreError>;
    /// All procedures by id and version.
    async fn procedures(&self) -> Result<Vec<ProcedureRow>, StoreError>;
    /// Stores what is known of an artifact; its bytes lie in a file.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when that version has another hash or size.
    async fn put_artifact(&self, artifact: ArtifactRow) -> Result<(), StoreError>;
    /// An artifact.
    async fn artifact(&self, name: &str, version: &str) -> Result<Option<ArtifactRow>, StoreError>;
    /// All artifacts by name and version.
    async fn artifacts(&self) -> Result<Vec<ArtifactRow>, StoreError>;
}
