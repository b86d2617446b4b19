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
mod outstanding;
mod recorded;
mod relay;
mod replicas;
mod schema;
mod upkeep;
mod work;

use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::time::Duration;

use async_trait::async_trait;
use fleet_domain::{DeviceId, JobId, PlantId, Seq, Slot, SpoolId, StoreGeneration};
use fleet_recording::orders::Order;
use fleet_store::{
    Advanced, AlarmRow, ArtifactRow, AttemptRow, BenchFilter, BenchRow, Changes, Created, DeadLetterRow,
    DesiredList, DispatchOutcome, EventRow, IngestBatch, IngestOutcome, JobChange, JobFilter, JobRow,
    KafkaHigh, LedgerTotals, NewAlarm, NewJob, OutboxAdvance, OutboxCursor, OutboxRead, OutboxRow, Page,
    Paged, Patience, ProcedureRow, PruneOutcome, RelayRow, RelayTerm, ReplicaNotice, ReplicaRow, Retention,
    SlotLease, SlotTerm, SpoolCounts, StepRow, Store, StoreCounts, StoreError,
};
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Sqlite, SqliteConnection, SqlitePool, Transaction};
use uuid::Uuid;

use crate::column::time;
use crate::error::from_sqlx;

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
    /// Its schema can't be brought up to date: changed by hand, or the file can't be written.
    #[error("database {path} has a schema that this version can't bring up to date")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// Its schema is not the one of this version: [`StoreError::SchemaTooNew`] or, where it may not be brought
    /// up to date, [`StoreError::SchemaTooOld`].
    #[error("database {path} can't be used by this version")]
    Schema {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
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
        Self::open_with(path, plant, now, first_generation, true).await
    }

    /// As [`SqliteStore::open`]; without `auto_migrate` a schema that is not this version's is refused, and so
    /// is a file that is not there: `migrate` makes it.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub async fn open_with(
        path: &Path,
        plant: PlantId,
        now: Timestamp,
        first_generation: StoreGeneration,
        auto_migrate: bool,
    ) -> Result<Self, OpenError> {
        let fault = Faults(path);
        if !auto_migrate && !path.exists() {
            let (found, known) = (0, schema::known());
            return Err(fault.store(StoreError::SchemaTooOld { found, known }));
        }
        let writer = writer(path).await?;
        if auto_migrate {
            schema::migrate(&writer)
                .await
                .map_err(|error| fault.migrate(error))?;
        }
        let mut conn = writer
            .acquire()
            .await
            .map_err(|error| fault.store(from_sqlx(error)))?;
        schema::check(&mut conn)
            .await
            .map_err(|error| fault.store(error))?;
        let generation = begin(&mut conn, &plant, now, first_generation)
            .await
            .map_err(|error| fault.store(error))?;
        drop(conn);
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options(path).read_only(true))
            .await
            .map_err(|error| fault.open(error))?;
        Ok(Self {
            plant,
            writer,
            readers,
            generation: RwLock::new(generation),
        })
    }

    /// Makes the file where it is missing and brings its schema up to date. Returns the versions before and
    /// after.
    ///
    /// # Errors
    /// Names the file and what is wrong with it. A schema that is newer than this version is refused before
    /// anything is touched.
    pub async fn migrate(path: &Path) -> Result<(i64, i64), OpenError> {
        let writer = writer(path).await?;
        let before = schema::migrate(&writer).await;
        writer.close().await;
        let before = before.map_err(|error| Faults(path).migrate(error))?;
        Ok((before, schema::known()))
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

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

async fn writer(path: &Path) -> Result<SqlitePool, OpenError> {
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        // SQLite ends a transaction by itself when the disk is full or fails, and the driver then counts one that is
        // not there: such a connection could never begin another. Chaos found a server that stood still for it.
        .before_acquire(|conn, _| Box::pin(async move { Ok(!conn.is_in_transaction()) }))
        .connect_with(options(path).create_if_missing(true))
        .await
        .map_err(|error| Faults(path).open(error))
}

/// The database's generation; a new one belongs to `plant` and begins with `first`.
async fn begin(
    conn: &mut SqliteConnection,
    plant: &PlantId,
    now: Timestamp,
    first: StoreGeneration,
) -> Result<StoreGeneration, StoreError> {
    sqlx::query("INSERT OR IGNORE INTO meta (one, plant, generation, created_at) VALUES (1, ?, ?, ?)")
        .bind(plant.as_str())
        .bind(first.0)
        .bind(time(now))
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    schema::check_plant(conn, plant).await?;
    lease::read_generation(conn).await
}

/// Faults of one file.
struct Faults<'a>(&'a Path);

impl Faults<'_> {
    fn open(&self, source: sqlx::Error) -> OpenError {
        OpenError::Open {
            path: self.0.to_owned(),
            source,
        }
    }

    fn store(&self, source: StoreError) -> OpenError {
        let path = self.0.to_owned();
        match source {
            StoreError::OtherPlant { found, expected } => OpenError::OtherPlant {
                path,
                found,
                expected,
            },
            StoreError::SchemaTooNew { .. } | StoreError::SchemaTooOld { .. } => {
                OpenError::Schema { path, source }
            }
            source => OpenError::Read { path, source },
        }
    }

    fn migrate(&self, error: schema::MigrateError) -> OpenError {
        match error {
            schema::MigrateError::Store(source) => self.store(source),
            schema::MigrateError::Migrate(source) => OpenError::Migrate {
                path: self.0.to_owned(),
                source,
            },
        }
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
        upkeep::prepare(self).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        upkeep::check(self).await
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
        replicas::slot_leases(self).await
    }

    async fn announce_replica(
        &self,
        notice: &ReplicaNotice,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Vec<ReplicaRow>, StoreError> {
        replicas::announce(self, notice, now, ttl).await
    }
    async fn withdraw_replica(&self, owner: &str) -> Result<(), StoreError> {
        replicas::withdraw(self, owner).await
    }
    async fn replicas(&self, now: Timestamp) -> Result<Vec<ReplicaRow>, StoreError> {
        replicas::replicas(self, now).await
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
        orders::decide(self, Order::Cancel, job, (reason, principal), now).await
    }

    async fn take_over_job(
        &self,
        job: JobId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<JobChange, StoreError> {
        orders::decide(self, Order::TakeOver, job, (reason, principal), now).await
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
        orders::release_bench(self, device, (reason, principal), now).await
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
    async fn device_names(&self, most: u32) -> Result<Vec<DeviceId>, StoreError> {
        outstanding::device_names(self, most).await
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
        owner: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Option<RelayTerm>, StoreError> {
        relay::claim(self, owner, now, ttl).await
    }
    async fn renew_relay(&self, term: RelayTerm, now: Timestamp, ttl: Duration) -> Result<bool, StoreError> {
        relay::renew(self, term, now, ttl).await
    }
    async fn release_relay(&self, term: RelayTerm) -> Result<(), StoreError> {
        relay::release(self, term).await
    }
    async fn outbox_after(&self, after: OutboxCursor, limit: u32) -> Result<OutboxRead, StoreError> {
        relay::after(self, after, limit).await
    }
    async fn outbox_advance(&self, advance: &OutboxAdvance, _now: Timestamp) -> Result<Advanced, StoreError> {
        relay::advance(self, advance).await
    }
    async fn refuse_outbox_row(
        &self,
        term: RelayTerm,
        row: OutboxCursor,
        code: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Advanced, StoreError> {
        relay::refuse(self, term, row, (code, reason), now).await
    }
    async fn relay_row(&self) -> Result<RelayRow, StoreError> {
        relay::row(self).await
    }
    async fn report_cursor_lost(
        &self,
        term: RelayTerm,
        detail: &str,
        cursor_generation: StoreGeneration,
        spare: StoreGeneration,
        now: Timestamp,
    ) -> Result<StoreGeneration, StoreError> {
        relay::report_cursor_lost(self, term, detail, (cursor_generation, spare), now).await
    }
    async fn begin_reconciled(
        &self,
        term: RelayTerm,
        highs: &[KafkaHigh],
        _now: Timestamp,
    ) -> Result<OutboxCursor, StoreError> {
        relay::begin_reconciled(self, term, highs).await
    }
    async fn kafka_highs(&self) -> Result<Vec<KafkaHigh>, StoreError> {
        relay::kafka_highs(self).await
    }

    async fn raise_alarm(&self, alarm: &NewAlarm, now: Timestamp) -> Result<AlarmRow, StoreError> {
        changes::raise_alarm(self, alarm, now).await
    }

    async fn watch_outstanding(
        &self,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Vec<AlarmRow>, StoreError> {
        outstanding::watch(self, patience, now).await
    }

    async fn changes(&self, since: u64, limit: u32) -> Result<Changes, StoreError> {
        changes::changes(self, since, limit).await
    }
    async fn prune(&self, now: Timestamp, retention: Retention) -> Result<PruneOutcome, StoreError> {
        upkeep::prune(self, now, retention).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transaction_that_sqlite_has_ended_by_itself_does_not_end_the_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let plant = "plant-1".parse().expect("a name");
        let now = Timestamp::UNIX_EPOCH;
        let generation = StoreGeneration(Uuid::from_u128(1));
        let store = SqliteStore::open(&folder.path().join("fleet.db"), plant, now, generation)
            .await
            .expect("a store");
        let mut tx = store.begin().await.expect("a transaction");
        // As SQLite does when the disk is full (SQLITE_FULL) or fails (SQLITE_IOERR).
        sqlx::query("ROLLBACK")
            .execute(&mut *tx)
            .await
            .expect("rolled back");
        drop(tx);
        let tx = store.begin().await.expect("another one");
        tx.commit().await.expect("committed");
    }
}
