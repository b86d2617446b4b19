//! The storage in PostgreSQL: for a plant with several servers.
//!
//! Transactions of several servers run side by side. What keeps them apart: the leases of the slots, locked for
//! share first; the rows of the benches, locked in order; and one lock that makes the sequences of outbox and
//! change log the order of the commits (ADR 0010). Statements are checked by the tests, each of which runs on a
//! real server.
//!
//! The pool opens connections when they are needed: making a store waits for nothing, and a server that is away
//! shows in [`Store::prepare`] and [`Store::check`].

mod catalog;
mod changes;
mod column;
mod dispatch;
mod error;
mod fleet;
mod ingest;
mod jobs;
mod lease;
mod options;
mod orders;
mod outbox;
mod outstanding;
mod recorded;
mod relay;
mod replicas;
mod retry;
mod schema;
mod upkeep;
mod value;
mod work;

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError, RwLock};
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
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

pub use crate::options::{Migrated, OpenError, PostgresOptions};

use crate::error::{NotPrepared, from_sqlx};
use crate::retry::{retried, within};

/// How long a statement waits for a lock: longer than any transaction of ours takes.
const LOCK_TIMEOUT: &str = "10s";
/// How long a statement may run.
const STATEMENT_TIMEOUT: &str = "30s";
/// A transaction whose client says nothing for so long is ended by the server: its locks hold up all others, and a
/// replica that stands still in the middle of one must not keep its slots from their next owner for ten seconds.
const IDLE_IN_TRANSACTION: &str = "4s";
/// Begins a transaction in which plans are made once, of nested loops over indexes.
const BY_KEYS: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off; SET LOCAL jit = off";
/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long [`Store::check`] waits for its answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The storage of one plant in one database, which any number of servers may share.
#[derive(Debug)]
pub struct PostgresStore {
    plant: PlantId,
    pool: PgPool,
    /// As `pool` connects, but without time-outs: for the steps of the schema.
    patient: PgConnectOptions,
    auto_migrate: bool,
    first_generation: StoreGeneration,
    /// `None` until the database was found to be the right one.
    generation: RwLock<Option<StoreGeneration>>,
    /// Days whose partition of events is known to be there.
    days: Mutex<BTreeSet<i32>>,
}

impl PostgresStore {
    /// A store for a database. Nothing is connected to yet: see [`Store::prepare`].
    ///
    /// `first_generation` is taken by a database that is made by `prepare`; an existing one keeps its own.
    ///
    /// # Errors
    /// Names the URL that can't be read.
    pub fn open(options: &PostgresOptions, first_generation: StoreGeneration) -> Result<Self, OpenError> {
        let mut patient = PgConnectOptions::from_str(&options.url)
            .map_err(|source| OpenError::Url {
                url: options.url.clone(),
                source,
            })?
            .application_name("fleet-server");
        if let Some(username) = &options.username {
            patient = patient.username(username);
        }
        if let Some(password) = &options.password {
            patient = patient.password(password);
        }
        let bounded = patient.clone().options([
            ("lock_timeout", LOCK_TIMEOUT),
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(bounded);
        Ok(Self {
            plant: options.plant.clone(),
            pool,
            patient,
            auto_migrate: options.auto_migrate,
            first_generation,
            generation: RwLock::new(None),
            days: Mutex::new(BTreeSet::new()),
        })
    }

    /// Brings the schema up to date, whatever the options say.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`], [`StoreError::OtherPlant`], or why the database can't be used.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        let mut conn = PgConnection::connect_with(&self.patient)
            .await
            .map_err(from_sqlx)?;
        if let Some((found, _)) = schema::owner(&mut conn).await? {
            schema::check_plant(&found, &self.plant)?;
        }
        let (from, to) = schema::migrate(&mut conn).await?;
        // A connection that is not closed properly only costs the server a line in its log.
        let _ = conn.close().await;
        Ok(Migrated { from, to })
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn prepare_now(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut conn = self.pool.acquire().await.map_err(from_sqlx)?;
        if let Some((found, _)) = schema::owner(&mut conn).await? {
            schema::check_plant(&found, &self.plant)?;
        }
        match schema::check(&mut conn).await {
            Err(StoreError::SchemaTooOld { .. }) if self.auto_migrate => {
                self.migrate().await?;
            }
            result => result?,
        }
        if schema::owner(&mut conn).await?.is_none() {
            schema::settle(&mut conn, &self.plant, self.first_generation, now).await?;
        }
        schema::warn_of_lost_commits(&mut conn).await?;
        self.recognise(&mut conn).await
    }

    /// Whose the database is, and in which generation.
    async fn recognise(&self, conn: &mut PgConnection) -> Result<(), StoreError> {
        let (found, generation) = schema::owner(conn)
            .await?
            .ok_or_else(|| StoreError::Corrupt("the table `meta` is empty".into()))?;
        schema::check_plant(&found, &self.plant)?;
        self.set_generation(generation);
        Ok(())
    }

    /// A connection for one statement.
    async fn reader(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.prepared()?;
        self.pool.acquire().await.map_err(from_sqlx)
    }

    /// A write transaction. Each statement sees what was committed before it. Dropped without a commit, it
    /// leaves nothing.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.prepared()?;
        self.pool
            .begin_with("BEGIN ISOLATION LEVEL READ COMMITTED")
            .await
            .map_err(from_sqlx)
    }

    /// A write transaction of statements that go from a list of keys to their rows. They take the way over the
    /// indexes, whatever the planner thinks: it knows a table by its last statistics, which are those of an empty
    /// one on a new database, and a plan that is made for each call costs more than most of these statements.
    async fn begin_by_keys(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.prepared()?;
        self.pool.begin_with(BY_KEYS).await.map_err(from_sqlx)
    }

    /// A snapshot: all statements see the same.
    async fn snapshot(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.prepared()?;
        self.pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(from_sqlx)
    }

    fn prepared(&self) -> Result<(), StoreError> {
        let prepared = self
            .generation
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        prepared
            .then_some(())
            .ok_or_else(|| StoreError::Unavailable(NotPrepared.into()))
    }

    fn set_generation(&self, generation: StoreGeneration) {
        *self.generation.write().unwrap_or_else(PoisonError::into_inner) = Some(generation);
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn generation(&self) -> StoreGeneration {
        self.generation
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .unwrap_or(StoreGeneration(Uuid::nil()))
    }

    async fn prepare(&self, now: Timestamp) -> Result<(), StoreError> {
        self.prepare_now(now).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        within(CHECK_TIMEOUT, async {
            let mut conn = self.reader().await?;
            schema::check_writable(&mut conn).await?;
            schema::check(&mut conn).await?;
            // The database may have been exchanged for a backup, and another server may have begun a generation.
            self.recognise(&mut conn).await
        })
        .await
    }

    async fn declare_restored(
        &self,
        candidate: StoreGeneration,
        now: Timestamp,
    ) -> Result<StoreGeneration, StoreError> {
        retried!(lease::declare_restored(self, candidate, now))
    }

    async fn claim_slot(
        &self,
        slot: Slot,
        owner: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Option<SlotTerm>, StoreError> {
        retried!(lease::claim(self, slot, owner, now, ttl))
    }

    async fn renew_slots(
        &self,
        terms: &[SlotTerm],
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Vec<Slot>, StoreError> {
        retried!(lease::renew(self, terms, now, ttl))
    }

    async fn release_slots(&self, terms: &[SlotTerm]) -> Result<(), StoreError> {
        retried!(lease::release(self, terms))
    }

    async fn slot_leases(&self) -> Result<Vec<SlotLease>, StoreError> {
        retried!(replicas::slot_leases(self))
    }

    async fn announce_replica(
        &self,
        notice: &ReplicaNotice,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Vec<ReplicaRow>, StoreError> {
        retried!(replicas::announce(self, notice, now, ttl))
    }
    async fn withdraw_replica(&self, owner: &str) -> Result<(), StoreError> {
        retried!(replicas::withdraw(self, owner))
    }
    async fn replicas(&self, now: Timestamp) -> Result<Vec<ReplicaRow>, StoreError> {
        retried!(replicas::replicas(self, now))
    }

    async fn ingest(&self, batch: IngestBatch) -> Result<IngestOutcome, StoreError> {
        retried!(ingest::ingest(self, &batch))
    }

    async fn create_job(&self, job: NewJob, now: Timestamp) -> Result<Created, StoreError> {
        retried!(orders::create(self, &job, now))
    }

    async fn cancel_job(
        &self,
        job: JobId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<JobChange, StoreError> {
        retried!(orders::decide(self, Order::Cancel, job, (reason, principal), now))
    }

    async fn take_over_job(
        &self,
        job: JobId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<JobChange, StoreError> {
        retried!(orders::decide(
            self,
            Order::TakeOver,
            job,
            (reason, principal),
            now
        ))
    }

    async fn dispatch(
        &self,
        now: Timestamp,
        mint: &mut (dyn FnMut() -> Uuid + Send),
    ) -> Result<DispatchOutcome, StoreError> {
        retried!(dispatch::dispatch(self, now, &mut *mint))
    }

    async fn release_bench(
        &self,
        device: &DeviceId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        retried!(orders::release_bench(self, device, (reason, principal), now))
    }

    async fn awaited_benches(&self) -> Result<Vec<DeviceId>, StoreError> {
        retried!(dispatch::awaited_benches(self))
    }

    async fn desired_list(&self, device: &DeviceId) -> Result<DesiredList, StoreError> {
        retried!(dispatch::desired_list(self, device))
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRow>, StoreError> {
        retried!(recorded::job(self, job))
    }
    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Paged<JobRow>, StoreError> {
        retried!(recorded::jobs(self, filter, page))
    }
    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, StoreError> {
        retried!(recorded::attempts(self, job))
    }
    async fn steps(&self, job: JobId, attempt: u32) -> Result<Vec<StepRow>, StoreError> {
        retried!(recorded::steps(self, job, attempt))
    }

    async fn bench(&self, device: &DeviceId) -> Result<Option<BenchRow>, StoreError> {
        retried!(fleet::bench(self, device))
    }
    async fn benches(&self, filter: &BenchFilter, page: &Page) -> Result<Paged<BenchRow>, StoreError> {
        retried!(fleet::benches(self, filter, page))
    }
    async fn device_names(&self, most: u32) -> Result<Vec<DeviceId>, StoreError> {
        retried!(outstanding::device_names(self, most))
    }
    async fn bench_ledger(&self, device: &DeviceId) -> Result<Vec<SpoolCounts>, StoreError> {
        retried!(fleet::bench_ledger(self, device))
    }
    async fn ledger_totals(&self) -> Result<LedgerTotals, StoreError> {
        retried!(fleet::ledger_totals(self))
    }
    async fn counts(&self) -> Result<StoreCounts, StoreError> {
        retried!(fleet::counts(self))
    }

    async fn dead_letters(&self, page: &Page) -> Result<Paged<DeadLetterRow>, StoreError> {
        retried!(outbox::dead_letters(self, page))
    }
    async fn alarms(&self, page: &Page) -> Result<Paged<AlarmRow>, StoreError> {
        retried!(changes::alarms(self, page))
    }
    async fn events(
        &self,
        device: &DeviceId,
        spool: SpoolId,
        from: Seq,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        retried!(outbox::events(self, device, spool, from, limit))
    }

    async fn outbox_read(&self, after: u64, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        retried!(outbox::read(self, after, limit))
    }
    async fn claim_relay(
        &self,
        owner: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Option<RelayTerm>, StoreError> {
        retried!(relay::claim(self, owner, now, ttl))
    }
    async fn renew_relay(&self, term: RelayTerm, now: Timestamp, ttl: Duration) -> Result<bool, StoreError> {
        retried!(relay::renew(self, term, now, ttl))
    }
    async fn release_relay(&self, term: RelayTerm) -> Result<(), StoreError> {
        retried!(relay::release(self, term))
    }
    async fn outbox_after(&self, after: OutboxCursor, limit: u32) -> Result<OutboxRead, StoreError> {
        retried!(relay::after(self, after, limit))
    }
    async fn outbox_advance(&self, advance: &OutboxAdvance, _now: Timestamp) -> Result<Advanced, StoreError> {
        retried!(relay::advance(self, advance))
    }
    async fn refuse_outbox_row(
        &self,
        term: RelayTerm,
        row: OutboxCursor,
        code: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Advanced, StoreError> {
        retried!(relay::refuse(self, term, row, (code, reason), now))
    }
    async fn relay_row(&self) -> Result<RelayRow, StoreError> {
        retried!(relay::row(self))
    }
    async fn report_cursor_lost(
        &self,
        term: RelayTerm,
        detail: &str,
        cursor_generation: StoreGeneration,
        spare: StoreGeneration,
        now: Timestamp,
    ) -> Result<StoreGeneration, StoreError> {
        retried!(relay::report_cursor_lost(
            self,
            term,
            detail,
            (cursor_generation, spare),
            now
        ))
    }
    async fn begin_reconciled(
        &self,
        term: RelayTerm,
        highs: &[KafkaHigh],
        _now: Timestamp,
    ) -> Result<OutboxCursor, StoreError> {
        retried!(relay::begin_reconciled(self, term, highs))
    }
    async fn kafka_highs(&self) -> Result<Vec<KafkaHigh>, StoreError> {
        retried!(relay::kafka_highs(self))
    }

    async fn raise_alarm(&self, alarm: &NewAlarm, now: Timestamp) -> Result<AlarmRow, StoreError> {
        retried!(changes::raise_alarm(self, alarm, now))
    }

    async fn watch_outstanding(
        &self,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Vec<AlarmRow>, StoreError> {
        retried!(outstanding::watch(self, patience, now))
    }

    async fn changes(&self, since: u64, limit: u32) -> Result<Changes, StoreError> {
        retried!(changes::changes(self, since, limit))
    }
    async fn prune(&self, now: Timestamp, retention: Retention) -> Result<PruneOutcome, StoreError> {
        retried!(upkeep::prune(self, now, retention))
    }

    async fn put_procedure(&self, procedure: ProcedureRow) -> Result<(), StoreError> {
        retried!(catalog::put_procedure(self, &procedure))
    }
    async fn procedure(&self, id: &str, version: &str) -> Result<Option<ProcedureRow>, StoreError> {
        retried!(catalog::procedure(self, id, version))
    }
    async fn procedures(&self) -> Result<Vec<ProcedureRow>, StoreError> {
        retried!(catalog::procedures(self))
    }
    async fn put_artifact(&self, artifact: ArtifactRow) -> Result<(), StoreError> {
        retried!(catalog::put_artifact(self, &artifact))
    }
    async fn artifact(&self, name: &str, version: &str) -> Result<Option<ArtifactRow>, StoreError> {
        retried!(catalog::artifact(self, name, version))
    }
    async fn artifacts(&self) -> Result<Vec<ArtifactRow>, StoreError> {
        retried!(catalog::artifacts(self))
    }
}
