//! Measures the ingest of both storages: `cargo run --release -p fleet-store-postgres --example ingest_rate`.
//!
//! Steps of about 600 bytes from 200 benches, given in batches by one writer or several, each with leases and benches
//! of its own. Prints events per second and how long a batch takes from the call to its answer. PostgreSQL runs in a
//! temporary folder with fsync, SQLite on a file beside it.
//!
//! The same writers with a database each, on the same server, share everything but the lock that puts the commits of
//! a plant in order (ADR 0010): the difference is the price of that lock.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use fleet_clock::{new_uuid, wall_now};
use fleet_domain::report::StepReport;
use fleet_domain::{
    AttemptRef, BenchReport, DeviceId, Digest, EventId, JobId, Outcome, Place, Slot, SpoolId, StoreGeneration,
};
use fleet_store::{Inbound, InboundEvent, InboundMessage, IngestBatch, SlotTerm, Store};
use fleet_store_postgres::{PostgresOptions, PostgresStore};
use fleet_store_sqlite::SqliteStore;
use fleet_testkit::services::{Postgres, PostgresOptions as ServerOptions};

const EVENTS: usize = 40_000;
const BENCHES: usize = 200;
const BYTES: usize = 600;
const VIN: &str = "WDB1110101A000001";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    println!(
        "fdatasync of 4 KiB: {:.2} ms",
        fdatasync(folder.path())?.as_secs_f64() * 1e3
    );
    println!("| storage | batch x writers | events/s | batch p50 / p99 ms |\n|---|---|---|---|");
    let server = Postgres::start(&folder.path().join("postgres"), ServerOptions::default()).await?;
    for (n, (batch, writers)) in [
        (100, 1),
        (500, 1),
        (2000, 1),
        (100, 2),
        (500, 2),
        (2000, 2),
        (500, 4),
    ]
    .into_iter()
    .enumerate()
    {
        let url = server.create_database(&format!("rate_{n}")).await?;
        measure("PostgreSQL", &[postgres(&url).await?], batch, writers).await?;
    }
    for (n, (batch, writers)) in [(500, 2), (2000, 2), (500, 4)].into_iter().enumerate() {
        let mut stores = Vec::new();
        for writer in 0..writers {
            let url = server.create_database(&format!("apart_{n}_{writer}")).await?;
            stores.push(postgres(&url).await?);
        }
        measure("PostgreSQL, a database each", &stores, batch, writers).await?;
    }
    for (n, batch) in [100, 500, 2000].into_iter().enumerate() {
        let path = folder.path().join(format!("rate_{n}.db"));
        let store = SqliteStore::open(&path, plant()?, wall_now(), StoreGeneration(new_uuid())).await?;
        measure("SQLite", &[Arc::new(store)], batch, 1).await?;
    }
    Ok(())
}

fn plant() -> anyhow::Result<fleet_domain::PlantId> {
    "plant-1".parse().context("it is a name")
}

async fn postgres(url: &str) -> anyhow::Result<Arc<dyn Store>> {
    let options = PostgresOptions {
        url: url.to_owned(),
        username: None,
        password: None,
        plant: plant()?,
        max_connections: 16,
        auto_migrate: true,
    };
    let store = PostgresStore::open(&options, StoreGeneration(new_uuid()))?;
    store.prepare(wall_now()).await?;
    Ok(Arc::new(store))
}

/// The disk's own figure, without which none of the others means anything.
fn fdatasync(folder: &Path) -> anyhow::Result<Duration> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(folder.join("fdatasync"))?;
    let mut times = Vec::new();
    for _ in 0..100 {
        file.write_all(&[7; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

struct Bench {
    device: DeviceId,
    spool: SpoolId,
    of: AttemptRef,
    sent: u64,
}

fn event(bench: &mut Bench) -> Inbound {
    bench.sent += 1;
    let filler = "x".repeat(BYTES);
    let now = wall_now();
    Inbound {
        slot: Slot::of(&bench.device),
        device: bench.device.clone(),
        message: InboundMessage::Event(InboundEvent {
            place: Place {
                spool: bench.spool,
                seq: bench.sent,
                predecessor: None,
                hole_to: None,
            },
            digest: Digest([7; 32]),
            bytes: Bytes::from(filler),
            id: EventId(new_uuid()),
            r#type: "vds.step.finished.v1".to_owned(),
            vin: Some(VIN.to_owned()),
            time: now,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            report: BenchReport::StepFinished(StepReport {
                of: bench.of,
                index: u32::try_from(bench.sent).unwrap_or(u32::MAX),
                step: "write_block".to_owned(),
                name: "Write a block".to_owned(),
                outcome: Outcome::Passed,
                started_at: now,
                finished_at: now,
                duration_ms: 12,
                retries: 0,
                nrc: None,
                detail: None,
                measurements_json: r#"[{"name":"voltage","value":12.4,"unit":"V"}]"#.to_owned(),
            }),
        }),
    }
}

/// All writers on one store, or each on its own.
async fn measure(name: &str, stores: &[Arc<dyn Store>], size: usize, writers: usize) -> anyhow::Result<()> {
    let mut terms = Vec::new();
    for slot in Slot::all() {
        for store in stores {
            let term = store
                .claim_slot(slot, "rate", wall_now(), Duration::from_hours(1))
                .await?;
            // In each database it is the first term of the slot.
            terms.push(term.context("the slot is free")?);
        }
    }
    terms.dedup();
    let mut benches: Vec<Bench> = (0..BENCHES)
        .map(|n| {
            Ok(Bench {
                device: format!("bench-{n:03}").parse().context("it is a name")?,
                spool: SpoolId(new_uuid()),
                of: AttemptRef {
                    job: JobId(new_uuid()),
                    attempt: 1,
                    fence: 1,
                },
                sent: 0,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    // Writers are replicas: each has slots of its own.
    benches.sort_by_key(|bench| usize::from(Slot::of(&bench.device).number()) % writers);
    let per_writer = EVENTS / writers;
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let mine = |slot: Slot| usize::from(slot.number()) % writers == writer;
        let held: Vec<SlotTerm> = terms.iter().filter(|term| mine(term.slot)).copied().collect();
        let mut own: Vec<&mut Bench> = benches
            .iter_mut()
            .filter(|bench| mine(Slot::of(&bench.device)))
            .collect();
        let mut batches = Vec::new();
        let mut made = 0;
        while made < per_writer {
            let items: Vec<Inbound> = (made..made + size.min(per_writer - made))
                .map(|n| {
                    let at = n % own.len();
                    event(own[at])
                })
                .collect();
            made += items.len();
            batches.push(IngestBatch {
                terms: held.clone(),
                items,
                misplaced: Vec::new(),
                received_at: wall_now(),
                spare_generation: StoreGeneration(new_uuid()),
            });
        }
        let store = stores.get(writer % stores.len()).context("there is a store")?;
        tasks.push((Arc::clone(store), batches));
    }
    let began = Instant::now();
    let running: Vec<_> = tasks
        .into_iter()
        .map(|(store, batches)| tokio::spawn(write(store, batches)))
        .collect();
    let mut times = Vec::new();
    for task in running {
        times.extend(task.await??);
    }
    let seconds = began.elapsed().as_secs_f64();
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
    let rate = (per_writer * writers) as f64 / seconds;
    println!(
        "| {name} | {size} x {writers} | {rate:.0} | {:.1} / {:.1} |",
        at(50),
        at(99)
    );
    Ok(())
}

async fn write(store: Arc<dyn Store>, batches: Vec<IngestBatch>) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for batch in batches {
        let events = batch.items.len() as u64;
        let began = Instant::now();
        let outcome = store.ingest(batch).await?;
        times.push(began.elapsed());
        anyhow::ensure!(
            outcome.counts.stored == events && outcome.counts.unprojected == 0,
            "not everything was stored: {:?}",
            outcome.counts
        );
    }
    Ok(times)
}
