//! A plant with one bench: a real SQLite store, its relay, and what a `read_committed` consumer sees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use fleet_domain::{AttemptRef, JobId, PlantId, StoreGeneration};
use fleet_relay::{KafkaConfig, RelayHandle, RelayHealth, RelayObserver, RelayParts, RelayState};
use fleet_store::conformance::{Bench, Fixture};
use fleet_store::{AlarmKind, InboundMessage, LedgerTotals, Page, Store};
use fleet_store_sqlite::SqliteStore;
use fleet_testkit::services::{Kafka, KafkaOptions, KafkaRecord};
use tempfile::TempDir;
use tokio::runtime::Handle;

pub(crate) const DATA: [&str; 3] = ["vds.results.v1", "vds.job-events.v1", "vds.device-state.v1"];
/// "Within 10 s" of the requirements.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// What has no limit of its own: a machine that compiles beside it is slow.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A Kafka of one test.
pub(crate) async fn kafka(folder: &Path, options: KafkaOptions) -> anyhow::Result<Kafka> {
    Kafka::start(&folder.join("kafka"), options).await
}

/// Few partitions, and otherwise as a server is installed.
pub(crate) fn config(kafka: &Kafka) -> KafkaConfig {
    let mut config = KafkaConfig::new(kafka.bootstrap());
    config.partitions = 3;
    config
}

struct Nobody;
impl RelayObserver for Nobody {}

/// One plant.
pub(crate) struct Plant {
    pub(crate) id: PlantId,
    pub(crate) folder: TempDir,
    pub(crate) fixture: Fixture,
    pub(crate) bench: Bench,
    of: AttemptRef,
}

async fn open(file: &Path, plant: &PlantId) -> anyhow::Result<Arc<dyn Store>> {
    let now = fleet_clock::wall_now();
    let generation = StoreGeneration(fleet_clock::new_uuid());
    Ok(Arc::new(
        SqliteStore::open(file, plant.clone(), now, generation).await?,
    ))
}

/// Copies a database's file.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    // The write-ahead log belongs to it.
    for end in ["", "-wal"] {
        let from = PathBuf::from(format!("{}{end}", from.display()));
        if from.exists() {
            std::fs::copy(&from, format!("{}{end}", to.display()))?;
        }
    }
    Ok(())
}

impl Plant {
    pub(crate) async fn new(name: &str) -> anyhow::Result<Self> {
        let (folder, id) = (tempfile::tempdir()?, name.parse()?);
        let mut fixture = Fixture::new(open(&folder.path().join("fleet.db"), &id).await?);
        fixture.now = fleet_clock::wall_now();
        fixture.lease_all().await;
        let bench = fixture.bench(&format!("{name}-bench"));
        let of = AttemptRef {
            job: JobId(fixture.uuid()),
            attempt: 1,
            fence: 1,
        };
        let mut this = Self {
            id,
            folder,
            fixture,
            bench,
            of,
        };
        let first = this
            .fixture
            .started(&mut this.bench, "WVWZZZ1JZXW000001", &["gateway"]);
        this.fixture.ingest(vec![first]).await;
        Ok(this)
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.fixture.store)
    }

    /// The bench's next events are recorded.
    pub(crate) async fn write(&mut self, events: u32) {
        for part in (0..events).collect::<Vec<_>>().chunks(500) {
            let items = self
                .fixture
                .steps(&mut self.bench, self.of, u32::try_from(part.len()).unwrap());
            self.fixture.ingest(items).await;
        }
    }

    /// An event of that many bytes that nothing compresses.
    pub(crate) async fn write_large(&mut self, bytes: usize) {
        let mut items = self.fixture.steps(&mut self.bench, self.of, 1);
        let mut state = 1u64;
        let noise = (0..bytes).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        });
        if let InboundMessage::Event(event) = &mut items[0].message {
            event.bytes = noise.collect::<Bytes>();
        }
        self.fixture.ingest(items).await;
    }

    /// Events that the bench has written.
    pub(crate) fn written(&self) -> u64 {
        self.bench.next_seq - 1
    }

    pub(crate) fn relay(&self, config: &KafkaConfig) -> anyhow::Result<RelayHandle> {
        self.relay_of("relay-1", config)
    }

    pub(crate) fn relay_of(&self, owner: &str, config: &KafkaConfig) -> anyhow::Result<RelayHandle> {
        Ok(fleet_relay::spawn(RelayParts {
            plant: self.id.clone(),
            owner: owner.to_owned(),
            config: config.clone(),
            store: self.store(),
            runtime: Handle::current(),
            observer: Arc::new(Nobody),
        })?)
    }

    pub(crate) async fn totals(&self) -> anyhow::Result<LedgerTotals> {
        Ok(self.store().ledger_totals().await?)
    }

    /// Waits for an alarm.
    pub(crate) async fn alarmed(&self, kind: AlarmKind) -> anyhow::Result<()> {
        let end = std::time::Instant::now() + SOON;
        loop {
            let alarms = self.store().alarms(&Page::default()).await?.items;
            if alarms.iter().any(|alarm| alarm.kind == kind) {
                return Ok(());
            }
            ensure!(std::time::Instant::now() < end, "no alarm {kind:?}: {alarms:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until nothing waits for the relay.
    pub(crate) async fn drained(&self, relay: &RelayHandle) -> anyhow::Result<LedgerTotals> {
        let end = std::time::Instant::now() + LONG;
        loop {
            let totals = self.totals().await?;
            if totals.in_outbox == 0 {
                ensure!(
                    totals.stored == totals.in_kafka + totals.already_in_kafka + totals.unrelayable,
                    "the ledger does not add up: {totals:?}"
                );
                return Ok(totals);
            }
            if std::time::Instant::now() > end {
                bail!(
                    "{} rows wait, the relay says {:?}",
                    totals.in_outbox,
                    relay.health()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The database's file as it is now.
    pub(crate) fn back_up(&self) -> anyhow::Result<PathBuf> {
        let backup = self.folder.path().join("backup.db");
        let database = self.folder.path().join("fleet.db");
        copy(&database, &backup)?;
        Ok(backup)
    }

    /// Goes on with the backup's database. What the bench wrote since is still on the bench.
    pub(crate) async fn restore(&mut self, backup: &Path) -> anyhow::Result<()> {
        let name = format!("restored-{}.db", fleet_clock::new_uuid());
        let database = self.folder.path().join(name);
        copy(backup, &database)?;
        self.fixture.store = open(&database, &self.id).await?;
        self.fixture.now = fleet_clock::wall_now();
        self.fixture.lease_all().await;
        Ok(())
    }
}

/// Waits for a state.
pub(crate) async fn until(
    relay: &RelayHandle,
    state: RelayState,
    within: Duration,
) -> anyhow::Result<RelayHealth> {
    let mut health = relay.watch();
    let seen = tokio::time::timeout(within, health.wait_for(|health| health.state == state)).await;
    match seen {
        Ok(seen) => Ok(seen.context("the relay has ended")?.clone()),
        Err(_) => bail!("not {state} within {within:?}: {:?}", relay.health()),
    }
}

/// What a `read_committed` consumer sees of a plant's benches.
pub(crate) async fn committed(kafka: &Kafka, plant: &PlantId) -> anyhow::Result<Vec<KafkaRecord>> {
    let records = kafka.consumer(&DATA).read(LONG).await?;
    let of_plant = |record: &KafkaRecord| record.header("plant") == Some(plant.as_str());
    Ok(records.into_iter().filter(of_plant).collect())
}

/// Each position once, and in order wherever an order is promised: per spool, within a partition.
pub(crate) fn once_and_in_order(records: &[KafkaRecord], expected: u64) -> anyhow::Result<()> {
    let mut seen = BTreeMap::<u64, u32>::new();
    let mut last = BTreeMap::<(String, i32), u64>::new();
    for record in records {
        let Some(seq) = record.header("seq") else { continue };
        let seq: u64 = seq.parse()?;
        *seen.entry(seq).or_default() += 1;
        let before = last.insert((record.topic.clone(), record.partition), seq);
        ensure!(
            before.is_none_or(|before| before < seq),
            "{seq} after {before:?} in {}/{}",
            record.topic,
            record.partition
        );
    }
    let doubled: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(doubled.is_empty(), "doubled: {doubled:?}");
    let missing: Vec<_> = (1..=expected).filter(|seq| !seen.contains_key(seq)).collect();
    ensure!(missing.is_empty(), "missing: {missing:?}");
    ensure!(
        seen.len() as u64 == expected,
        "more than {expected}: {}",
        seen.len()
    );
    Ok(())
}
