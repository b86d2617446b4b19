//! The storage in SQLite: the embedded default.
//!
//! WAL with `synchronous=FULL`: a commit that was answered survives a power cut. One writer connection,
//! so transactions follow one another; readers see snapshots and never wait for it. Statements are
//! checked by the tests, each of which runs on a real file.

mod catalog;
mod changes;
mod column;
mod dispatch;
mod error;
mod fleet;
mod ingest;
mod jobs;
mod lease;
mod orders;
mod outbox;
mod recorded;
mod work;

use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::time::Duration;

use async_trait::async_trait;
use fleet_domain::{DeviceId, JobId, PlantId, Seq, Slot, SpoolId, StoreGeneration};
use fleet_store::{
    Advanced, AlarmRow, ArtifactRow, AttemptRow, BenchFilter, BenchRow, Changes, Created, DeadLetterRow,
    DesiredList, DispatchOutcome, EventRow, IngestBatch, IngestOutcome, JobChange, JobFilter, JobRow,
    KafkaHigh, LedgerTotals, NewAlarm, NewJob, OutboxAdvance, OutboxCursor, OutboxRead, OutboxRow, Page,
    Paged, ProcedureRow, PruneOutcome, RelayRow, RelayTerm, ReplicaNotice, ReplicaRow, Retention, SlotLease,
    SlotTerm, SpoolCounts, StepRow, Store, StoreCounts, StoreError,
};
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};
use uuid::Uuid;

use crate::column::{Columns, time};
use crate::error::from_sqlx;

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/sqlite");

/// How long a transaction waits for another process that holds the file (a backup, a person's shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file can't be opened or created.
    #[error("database {path} can't be opened")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Its schema can't be brought up to date: made by a newer version, or changed by hand.
    #[error("database {path} has a schema that this version can't bring up to date")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// It belongs to another plant.
    #[error("database {path} belongs to plant {found}, the configuration says {expected}")]
    OtherPlant {
        /// The file.
        path: PathBuf,
        /// The plant in the file.
        found: String,
        /// The plant of the configuration.
        expected: PlantId,
    },
    /// Its content can't be read.
    #[error("database {path} can't be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// The storage of one plant in one file. Only one process may write it; the server's lock sees to that.
#[derive(Debug)]
pub struct SqliteStore {
    plant: PlantId,
    writer: SqlitePool,
    readers: SqlitePool,
    generation: RwLock<StoreGeneration>,
}

impl SqliteStore {
    /// Opens the file, makes it where it is missing, and brings its schema up to date.
    ///
    /// `first_generation` is taken by a database that is made now; an existing one keeps its own.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub async fn open(
        path: &Path,
        plant: PlantId,
        now: Timestamp,
        first_generation: StoreGeneration,
    ) -> Result<Self, OpenError> {
        let open = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone().create_if_missing(true))
            .await
            .map_err(open)?;
        MIGRATOR.run(&writer).await.map_err(|source| OpenError::Migrate {
            path: path.to_owned(),
            source,
        })?;
        let read = |source| OpenError::Read {
            path: path.to_owned(),
            source,
        };
        sqlx::query("INSERT OR IGNORE INTO meta (one, plant, generation, created_at) VALUES (1, ?, ?, ?)")
            .bind(plant.as_str())
            .bind(first_generation.0)
            .bind(time(now))
            .execute(&writer)
            .await
            .map_err(|error| read(from_sqlx(error)))?;
        let row = sqlx::query("SELECT plant, generation FROM meta")
            .fetch_one(&writer)
            .await
            .map_err(|error| read(from_sqlx(error)))?;
        let found = row.text("plant").map_err(read)?;
        if found != plant.as_str() {
            return Err(OpenError::OtherPlant {
                path: path.to_owned(),
                found,
                expected: plant,
            });
        }
        let generation = StoreGeneration(row.uuid("generation").map_err(read)?);
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await
            .map_err(open)?;
        Ok(Self {
            plant,
            writer,
            readers,
            generation: RwLock::new(generation),
        })
    }

    /// Closes all connections; what was committed is in the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A write transaction. Dropped without a commit, it leaves nothing.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(from_sqlx)
    }

    /// A snapshot.
    async fn snapshot(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.readers.begin().await.map_err(from_sqlx)
    }

    fn set_generation(&self, generation: StoreGeneration) {
        *self
            .generation
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = generation;
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn generation(&self) -> StoreGeneration {
        *self
            .generation
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn prepare(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.check().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        lease::read_generation(&mut *self.readers.acquire().await.map_err(from_sqlx)?)
            .await
            .map(|_| ())
    }

    async fn declare_restored(
        &self,
        candidate: StoreGeneration,
        now: Timestamp,
    ) -> Result<StoreGeneration, StoreError> {
        lease::declare_restored(self, candidate, now).await
    }

    async fn claim_slot(
        &self,
        slot: Slot,
        owner: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Option<SlotTerm>, StoreError> {
        lease::claim(self, slot, owner, now, ttl).await
    }

    async fn renew_slots(
        &self,
        terms: &[SlotTerm],
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Vec<Slot>, StoreError> {
        lease::renew(self, terms, now, ttl).await
    }

    async fn release_slots(&self, terms: &[SlotTerm]) -> Result<(), StoreError> {
        lease::release(self, terms).await
    }

    async fn slot_leases(&self) -> Result<Vec<SlotLease>, StoreError> {
        Err(error::not_there_yet())
    }
    async fn announce_replica(
        &self,
        _notice: &ReplicaNotice,
        _now: Timestamp,
        _ttl: Duration,
    ) -> Result<Vec<ReplicaRow>, StoreError> {
        Err(error::not_there_yet())
    }
    async fn withdraw_replica(&self, _owner: &str) -> Result<(), StoreError> {
        Err(error::not_there_yet())
    }
    async fn replicas(&self, _now: Timestamp) -> Result<Vec<ReplicaRow>, StoreError> {
        Err(error::not_there_yet())
    }

    async fn ingest(&self, batch: IngestBatch) -> Result<IngestOutcome, StoreError> {
        ingest::ingest(self, batch).await
    }

    async fn create_job(&self, job: NewJob, now: Timestamp) -> Result<Created, StoreError> {
        orders::create(self, job, now).await
    }

    async fn cancel_job(
        &self,
        job: JobId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<JobChange, StoreError> {
        orders::cancel(self, job, reason, principal, now).await
    }

    async fn take_over_job(
        &self,
        job: JobId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<JobChange, StoreError> {
        orders::take_over(self, job, reason, principal, now).await
    }

    async fn dispatch(
        &self,
        now: Timestamp,
        mint: &mut (dyn FnMut() -> Uuid + Send),
    ) -> Result<DispatchOutcome, StoreError> {
        dispatch::dispatch(self, now, mint).await
    }

    async fn release_bench(
        &self,
        device: &DeviceId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        orders::release_bench(self, device, reason, principal, now).await
    }

    async fn awaited_benches(&self) -> Result<Vec<DeviceId>, StoreError> {
        dispatch::awaited_benches(self).await
    }

    async fn desired_list(&self, device: &DeviceId) -> Result<DesiredList, StoreError> {
        dispatch::desired_list(self, device).await
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRow>, StoreError> {
        recorded::job(self, job).await
    }
    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Paged<JobRow>, StoreError> {
        recorded::jobs(self, filter, page).await
    }
    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, StoreError> {
        recorded::attempts(self, job).await
    }
    async fn steps(&self, job: JobId, attempt: u32) -> Result<Vec<StepRow>, StoreError> {
        recorded::steps(self, job, attempt).await
    }

    async fn bench(&self, device: &DeviceId) -> Result<Option<BenchRow>, StoreError> {
        fleet::bench(self, device).await
    }
    async fn benches(&self, filter: &BenchFilter, page: &Page) -> Result<Paged<BenchRow>, StoreError> {
        fleet::benches(self, filter, page).await
    }
    async fn bench_ledger(&self, device: &DeviceId) -> Result<Vec<SpoolCounts>, StoreError> {
        fleet::bench_ledger(self, device).await
    }
    async fn ledger_totals(&self) -> Result<LedgerTotals, StoreError> {
        fleet::ledger_totals(self).await
    }
    async fn counts(&self) -> Result<StoreCounts, StoreError> {
        fleet::counts(self).await
    }

    async fn dead_letters(&self, page: &Page) -> Result<Paged<DeadLetterRow>, StoreError> {
        outbox::dead_letters(self, page).await
    }
    async fn alarms(&self, page: &Page) -> Result<Paged<AlarmRow>, StoreError> {
        changes::alarms(self, page).await
    }
    async fn events(
        &self,
        device: &DeviceId,
        spool: SpoolId,
        from: Seq,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        outbox::events(self, device, spool, from, limit).await
    }

    async fn outbox_read(&self, after: u64, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        outbox::read(self, after, limit).await
    }
    async fn claim_relay(
        &self,
        _owner: &str,
        _now: Timestamp,
        _ttl: Duration,
    ) -> Result<Option<RelayTerm>, StoreError> {
        Err(error::not_there_yet())
    }
    async fn renew_relay(
        &self,
        _term: RelayTerm,
        _now: Timestamp,
        _ttl: Duration,
    ) -> Result<bool, StoreError> {
        Err(error::not_there_yet())
    }
    async fn release_relay(&self, _term: RelayTerm) -> Result<(), StoreError> {
        Err(error::not_there_yet())
    }
    async fn outbox_after(&self, _after: OutboxCursor, _limit: u32) -> Result<OutboxRead, StoreError> {
        Err(error::not_there_yet())
    }
    async fn outbox_advance(
        &self,
        _advance: &OutboxAdvance,
        _now: Timestamp,
    ) -> Result<Advanced, StoreError> {
        Err(error::not_there_yet())
    }
    async fn refuse_outbox_row(
        &self,
        _term: RelayTerm,
        _row: OutboxCursor,
        _code: &str,
        _reason: &str,
        _now: Timestamp,
    ) -> Result<Advanced, StoreError> {
        Err(error::not_there_yet())
    }
    async fn relay_row(&self) -> Result<RelayRow, StoreError> {
        Err(error::not_there_yet())
    }
    async fn report_cursor_lost(
        &self,
        _term: RelayTerm,
        _detail: &str,
        _cursor_generation: StoreGeneration,
        _spare: StoreGeneration,
        _now: Timestamp,
    ) -> Result<StoreGeneration, StoreError> {
        Err(error::not_there_yet())
    }
    async fn begin_reconciled(
        &self,
        _term: RelayTerm,
        _highs: &[KafkaHigh],
        _now: Timestamp,
    ) -> Result<OutboxCursor, StoreError> {
        Err(error::not_there_yet())
    }
    async fn kafka_highs(&self) -> Result<Vec<KafkaHigh>, StoreError> {
        Err(error::not_there_yet())
    }
    async fn raise_alarm(&self, _alarm: &NewAlarm, _now: Timestamp) -> Result<AlarmRow, StoreError> {
        Err(error::not_there_yet())
    }

    async fn changes(&self, since: u64, limit: u32) -> Result<Changes, StoreError> {
        changes::changes(self, since, limit).await
    }
    async fn prune(&self, now: Timestamp, _retention: Retention) -> Result<PruneOutcome, StoreError> {
        changes::prune(self, now).await?;
        Ok(PruneOutcome::default())
    }

    async fn put_procedure(&self, procedure: ProcedureRow) -> Result<(), StoreError> {
        catalog::put_procedure(self, procedure).await
    }
    async fn procedure(&self, id: &str, version: &str) -> Result<Option<ProcedureRow>, StoreError> {
        catalog::procedure(self, id, version).await
    }
    async fn procedures(&self) -> Result<Vec<ProcedureRow>, StoreError> {
        catalog::procedures(self).await
    }
    async fn put_artifact(&self, artifact: ArtifactRow) -> Result<(), StoreError> {
        catalog::put_artifact(self, artifact).await
    }
    async fn artifact(&self, name: &str, version: &str) -> Result<Option<ArtifactRow>, StoreError> {
        catalog::artifact(self, name, version).await
    }
    async fn artifacts(&self) -> Result<Vec<ArtifactRow>, StoreError> {
        catalog::artifacts(self).await
    }
}
