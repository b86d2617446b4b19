//! The end of every walk: the benches' disks against the database, against Kafka and against the ledger.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use fleet_domain::{DeviceId, StoreGeneration};
use fleet_store::{BenchFilter, EventRow, OutboxRow, Page, Store};
use fleet_store_postgres::{PostgresOptions, PostgresStore};
use serde_json::Value;

use crate::WITHIN;
use crate::books::judge;
use crate::consumer;
use crate::history::{Arrived, Made, Place, hash};
use crate::load::Load;
use crate::plant::Plant;

const PAGE: u32 = 1000;

/// What a walk has proven, for the reader of its output and for more checks.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) ledger: Value,
    pub(crate) events: u64,
}

/// Ends the load and compares everything. At least one replica runs.
pub(crate) async fn agree(plant: &Plant, load: Load) -> anyhow::Result<Account> {
    load.quiet();
    load.settles(WITHIN).await?;
    let slowest = load.slowest();
    let made = load.end().await?;
    plant.relayed().await?;
    let account = agree_with(plant, &made).await?;
    println!(
        "{}: {} events agree; longest time from fsync to receipt {slowest:.1?}; ledger {}",
        plant.id, account.events, account.ledger
    );
    Ok(account)
}

/// Compares what these benches made.
pub(crate) async fn agree_with(plant: &Plant, made: &[Made]) -> anyhow::Result<Account> {
    let store = open(plant).await?;
    let ledger = plant.ledger().await?;
    let outcome = async {
        database(&*store, made).await?;
        kafka(plant, made).await?;
        totals(&ledger, made)?;
        benches(plant, made).await
    };
    outcome
        .await
        .with_context(|| format!("plant {}, ledger {ledger}", plant.id))?;
    Ok(Account {
        ledger,
        events: made.len() as u64,
    })
}

async fn open(plant: &Plant) -> anyhow::Result<Arc<dyn Store>> {
    let options = PostgresOptions {
        url: plant.database.clone(),
        username: None,
        password: None,
        plant: plant.id.clone(),
        max_connections: 4,
        auto_migrate: false,
    };
    let store = PostgresStore::open(&options, StoreGeneration(fleet_clock::new_uuid()))?;
    store.prepare(fleet_clock::wall_now()).await?;
    Ok(Arc::new(store))
}

/// The database has each event that was not refused once, and took a bench's events in order.
pub(crate) async fn database(store: &dyn Store, made: &[Made]) -> anyhow::Result<()> {
    let mut arrived = Vec::new();
    let mut page = Page {
        limit: PAGE,
        after: None,
    };
    loop {
        let benches = store.benches(&BenchFilter::default(), &page).await?;
        for bench in benches.items {
            arrived.extend(of_bench(store, &bench.device).await?);
        }
        page.after = benches.next;
        if page.after.is_none() {
            break;
        }
    }
    let faults = judge(made, &arrived);
    ensure!(
        faults.is_none(),
        "the database of {} events:\n{faults}",
        made.len()
    );
    // Relayed rows are cleaned up, so only what is there can be judged: in order, and nothing that is nowhere else.
    let mut faults = judge(made, &outbox(store).await?);
    faults.lost.clear();
    ensure!(faults.is_none(), "the outbox of {} events:\n{faults}", made.len());
    Ok(())
}

/// A bench's events in the order in which they were taken.
async fn of_bench(store: &dyn Store, device: &DeviceId) -> anyhow::Result<Vec<Arrived>> {
    let mut taken = Vec::new();
    for spool in store.bench_ledger(device).await? {
        let mut from = 1;
        loop {
            let rows = store.events(device, spool.spool, from, PAGE).await?;
            let Some(last) = rows.last() else { break };
            from = last.seq + 1;
            taken.extend(rows.into_iter().map(|row| {
                let at = format!("{} as stored", row.received_at);
                ((row.received_at, spool.ordinal, row.seq), arrived(&row, at))
            }));
        }
    }
    taken.sort_by_key(|(taken, _)| *taken);
    Ok(taken.into_iter().map(|(_, arrived)| arrived).collect())
}

async fn outbox(store: &dyn Store) -> anyhow::Result<Vec<Arrived>> {
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let page = store.outbox_read(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(rows) };
        after = last.seq;
        let row = |row: OutboxRow| arrived(&row.event, format!("outbox row {}", row.seq));
        rows.extend(page.into_iter().map(row));
    }
}

fn arrived(row: &EventRow, at: String) -> Arrived {
    Arrived {
        lane: row.device.to_string(),
        at,
        place: Place {
            device: row.device.to_string(),
            spool: row.spool,
            seq: row.seq,
        },
        id: row.id,
        hash: hash(&row.bytes),
    }
}

/// A `read_committed` consumer has each event once; per key a bench's events are in order.
pub(crate) async fn kafka(plant: &Plant, made: &[Made]) -> anyhow::Result<()> {
    let wanted = made.iter().filter(|made| !made.refused).count();
    let enough = |records: &[_]| consumer::count(records) >= wanted;
    let records = consumer::records(&plant.kafka, plant.id.as_str(), enough).await?;
    let faults = judge(made, &consumer::events(&records)?);
    ensure!(faults.is_none(), "Kafka, of {} events:\n{faults}", made.len());
    consumer::keys(made, &records, plant.id.as_str())
}

/// Rule 23 for the plant, and that its figures are those of the benches.
pub(crate) fn totals(ledger: &Value, made: &[Made]) -> anyhow::Result<()> {
    equation(ledger)?;
    let refused = made.iter().filter(|made| made.refused).count() as u64;
    let figures = [
        ("announced", made.len() as u64),
        ("stored", made.len() as u64 - refused),
        ("rejected", refused),
        ("holes", 0),
        ("outstanding", 0),
        ("in_outbox", 0),
        ("expired", 0),
        ("unrelayable", 0),
        ("conflicts", 0),
    ];
    for (name, wanted) in figures {
        ensure!(figure(ledger, name)? == wanted, "{name} is not {wanted}");
    }
    Ok(())
}

fn figure(ledger: &Value, name: &str) -> anyhow::Result<u64> {
    let value = ledger[name].as_u64();
    value.with_context(|| format!("the ledger has no figure {name}"))
}

/// Rule 23.
pub(crate) fn equation(ledger: &Value) -> anyhow::Result<()> {
    let sum = |names: &[&str]| -> anyhow::Result<u64> {
        let figures = names.iter().map(|name| figure(ledger, name));
        figures.sum()
    };
    ensure!(
        figure(ledger, "announced")? == sum(&["stored", "rejected", "holes", "outstanding"])?,
        "announced is not stored + rejected + holes + outstanding"
    );
    let fates = [
        "in_kafka",
        "already_in_kafka",
        "unrelayable",
        "expired",
        "in_outbox",
    ];
    ensure!(
        figure(ledger, "stored")? == sum(&fates)?,
        "stored is not in_kafka + already_in_kafka + unrelayable + expired + in_outbox"
    );
    Ok(())
}

/// Rule 23 for each spool.
async fn benches(plant: &Plant, made: &[Made]) -> anyhow::Result<()> {
    let name = plant.replicas.keys().next().context("a replica runs")?;
    let api = plant.api(name)?;
    let devices: std::collections::BTreeSet<_> = made.iter().map(|made| made.place.device.as_str()).collect();
    for device in devices {
        let ledger = api.get(&format!("/api/v1/benches/{device}/ledger")).await?;
        for spool in ledger["spools"].as_array().context("a list of spools")? {
            equation(spool).with_context(|| format!("{device}: {spool}"))?;
        }
    }
    Ok(())
}
