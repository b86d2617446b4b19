//! The trait on the rows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
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
use uuid::Uuid;

use crate::Database;

/// The trait on a [`Database`]: each method holds it alone, so transactions follow one another.
#[derive(Debug)]
pub struct MemoryStore(Mutex<Database>);

impl MemoryStore {
    /// An empty store of a plant.
    pub fn new(plant: PlantId, generation: StoreGeneration) -> Self {
        Self(Mutex::new(Database::new(plant, generation)))
    }

    /// Lets others go first, as a real database does: who asks again and again must not keep everybody else away.
    async fn give_way() {
        let mut waited = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// The database, for as long as the guard lives. Not to be held across an await.
    pub fn database(&self) -> MutexGuard<'_, Database> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn generation(&self) -> StoreGeneration {
        self.database().generation()
    }

    async fn prepare(&self, _now: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn declare_restored(
        &self,
        candidate: StoreGeneration,
        now: Timestamp,
    ) -> Result<StoreGeneration, StoreError> {
        Ok(self.database().declare_restored(candidate, now))
    }

    async fn claim_slot(
        &self,
        slot: Slot,
        owner: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Option<SlotTerm>, StoreError> {
        Self::give_way().await;
        Ok(self.database().claim_slot(slot, owner, now, ttl))
    }

    async fn renew_slots(
        &self,
        terms: &[SlotTerm],
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Vec<Slot>, StoreError> {
        Ok(self.database().renew_slots(terms, now, ttl))
    }

    async fn release_slots(&self, terms: &[SlotTerm]) -> Result<(), StoreError> {
        self.database().release_slots(terms);
        Ok(())
    }

    async fn slot_leases(&self) -> Result<Vec<SlotLease>, StoreError> {
        Ok(self.database().slot_leases())
    }

    async fn announce_replica(
        &self,
        notice: &ReplicaNotice,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Vec<ReplicaRow>, StoreError> {
        Ok(self.database().announce(notice, now, ttl))
    }
    async fn withdraw_replica(&self, owner: &str) -> Result<(), StoreError> {
        self.database().replicas.remove(owner);
        Ok(())
    }
    async fn replicas(&self, now: Timestamp) -> Result<Vec<ReplicaRow>, StoreError> {
        Ok(self.database().living(now))
    }

    async fn ingest(&self, batch: IngestBatch) -> Result<IngestOutcome, StoreError> {
        Self::give_way().await;
        Ok(self.database().ingest(batch))
    }

    async fn create_job(&self, job: NewJob, now: Timestamp) -> Result<Created, StoreError> {
        self.database().create_job(job, now)
    }

    async fn cancel_job(
        &self,
        job: JobId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<JobChange, StoreError> {
        self.database()
            .decide_job(Order::Cancel, job, (reason, principal), now)
    }

    async fn take_over_job(
        &self,
        job: JobId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<JobChange, StoreError> {
        self.database()
            .decide_job(Order::TakeOver, job, (reason, principal), now)
    }

    async fn dispatch(
        &self,
        now: Timestamp,
        mint: &mut (dyn FnMut() -> Uuid + Send),
    ) -> Result<DispatchOutcome, StoreError> {
        Self::give_way().await;
        self.database().dispatch(now, mint)
    }

    async fn release_bench(
        &self,
        device: &DeviceId,
        reason: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.database().release_bench(device, (reason, principal), now)
    }

    async fn awaited_benches(&self) -> Result<Vec<DeviceId>, StoreError> {
        Ok(self.database().awaited())
    }

    async fn desired_list(&self, device: &DeviceId) -> Result<DesiredList, StoreError> {
        Ok(self.database().desired_list(device))
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRow>, StoreError> {
        Ok(self.database().job(job).map(|stored| stored.row.clone()))
    }
    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Paged<JobRow>, StoreError> {
        self.database().read_jobs(filter, page)
    }
    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, StoreError> {
        Ok(self.database().read_attempts(job))
    }
    async fn steps(&self, job: JobId, attempt: u32) -> Result<Vec<StepRow>, StoreError> {
        Ok(self.database().read_steps(job, attempt))
    }

    async fn bench(&self, device: &DeviceId) -> Result<Option<BenchRow>, StoreError> {
        Ok(self.database().read_bench(device))
    }
    async fn benches(&self, filter: &BenchFilter, page: &Page) -> Result<Paged<BenchRow>, StoreError> {
        Ok(self.database().read_benches(filter, page))
    }
    async fn device_names(&self, most: u32) -> Result<Vec<DeviceId>, StoreError> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(self.database().devices.keys().take(most).cloned().collect())
    }
    async fn bench_ledger(&self, device: &DeviceId) -> Result<Vec<SpoolCounts>, StoreError> {
        Ok(self.database().bench_ledger(device))
    }
    async fn ledger_totals(&self) -> Result<LedgerTotals, StoreError> {
        Ok(self.database().ledger_totals())
    }
    async fn counts(&self) -> Result<StoreCounts, StoreError> {
        Ok(self.database().counts())
    }

    async fn dead_letters(&self, page: &Page) -> Result<Paged<DeadLetterRow>, StoreError> {
        self.database().read_dead_letters(page)
    }
    async fn alarms(&self, page: &Page) -> Result<Paged<AlarmRow>, StoreError> {
        self.database().read_alarms(page)
    }
    async fn events(
        &self,
        device: &DeviceId,
        spool: SpoolId,
        from: Seq,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        Ok(self.database().read_events(device, spool, from, limit))
    }

    async fn outbox_read(&self, after: u64, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        Self::give_way().await;
        Ok(self.database().outbox_rows(after, limit))
    }
    async fn claim_relay(
        &self,
        owner: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Option<RelayTerm>, StoreError> {
        Ok(self.database().claim_relay(owner, now, ttl))
    }
    async fn renew_relay(&self, term: RelayTerm, now: Timestamp, ttl: Duration) -> Result<bool, StoreError> {
        Ok(self.database().renew_relay(term, now, ttl))
    }
    async fn release_relay(&self, term: RelayTerm) -> Result<(), StoreError> {
        self.database().release_relay(term);
        Ok(())
    }
    async fn outbox_after(&self, after: OutboxCursor, limit: u32) -> Result<OutboxRead, StoreError> {
        Self::give_way().await;
        Ok(self.database().outbox_after(after, limit))
    }
    async fn outbox_advance(&self, advance: &OutboxAdvance, _now: Timestamp) -> Result<Advanced, StoreError> {
        Ok(self.database().advance(advance))
    }
    async fn refuse_outbox_row(
        &self,
        term: RelayTerm,
        row: OutboxCursor,
        code: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Advanced, StoreError> {
        Ok(self.database().refuse_row(term, row, (code, reason), now))
    }
    async fn relay_row(&self) -> Result<RelayRow, StoreError> {
        Ok(self.database().relay_row())
    }
    async fn report_cursor_lost(
        &self,
        term: RelayTerm,
        detail: &str,
        cursor_generation: StoreGeneration,
        spare: StoreGeneration,
        now: Timestamp,
    ) -> Result<StoreGeneration, StoreError> {
        self.database()
            .report_cursor_lost(term, detail, (cursor_generation, spare), now)
    }
    async fn begin_reconciled(
        &self,
        term: RelayTerm,
        highs: &[KafkaHigh],
        _now: Timestamp,
    ) -> Result<OutboxCursor, StoreError> {
        self.database().begin_reconciled(term, highs)
    }
    async fn kafka_highs(&self) -> Result<Vec<KafkaHigh>, StoreError> {
        Ok(self.database().highs.iter().cloned().collect())
    }

    async fn raise_alarm(&self, alarm: &NewAlarm, now: Timestamp) -> Result<AlarmRow, StoreError> {
        self.database().raise_alarm(alarm, now)
    }

    async fn watch_outstanding(
        &self,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Vec<AlarmRow>, StoreError> {
        Ok(self.database().watch_outstanding(patience, now))
    }

    async fn changes(&self, since: u64, limit: u32) -> Result<Changes, StoreError> {
        Self::give_way().await;
        Ok(self.database().read_changes(since, limit))
    }
    async fn prune(&self, now: Timestamp, retention: Retention) -> Result<PruneOutcome, StoreError> {
        Ok(self.database().prune(now, retention))
    }

    async fn put_procedure(&self, procedure: ProcedureRow) -> Result<(), StoreError> {
        self.database().put_procedure(procedure)
    }
    async fn procedure(&self, id: &str, version: &str) -> Result<Option<ProcedureRow>, StoreError> {
        let key = (id.to_owned(), version.to_owned());
        Ok(self.database().procedures.get(&key).cloned())
    }
    async fn procedures(&self) -> Result<Vec<ProcedureRow>, StoreError> {
        Ok(self.database().procedures.values().cloned().collect())
    }
    async fn put_artifact(&self, artifact: ArtifactRow) -> Result<(), StoreError> {
        self.database().put_artifact(artifact)
    }
    async fn artifact(&self, name: &str, version: &str) -> Result<Option<ArtifactRow>, StoreError> {
        let key = (name.to_owned(), version.to_owned());
        Ok(self.database().artifacts.get(&key).cloned())
    }
    async fn artifacts(&self) -> Result<Vec<ArtifactRow>, StoreError> {
        Ok(self.database().artifacts.values().cloned().collect())
    }
}
