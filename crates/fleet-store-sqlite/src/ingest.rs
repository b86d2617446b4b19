//! Recording a batch: one transaction for ledger, events, projections, outbox and change log.
//!
//! Order: leases; what the batch names is loaded in a handful of statements; every message is decided in
//! arrival order in memory by the pure ledger; projections run behind savepoints; then everything is
//! written in multi-row statements. The transaction is dropped, and leaves nothing, on any error.

mod load;
mod plan;
mod project;
mod statement;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::{DeviceId, Slot, StoreGeneration};
use fleet_store::{IngestBatch, IngestCounts, IngestOutcome, ReceiptRow, StoreError, SyncAnswerRow};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::error::from_sqlx;
use crate::work::Work;
use crate::{SqliteStore, lease};

use load::Loaded;
use plan::Planned;

pub(crate) async fn ingest(store: &SqliteStore, batch: IngestBatch) -> Result<IngestOutcome, StoreError> {
    let mut tx = store.begin().await?;
    // The first statement of the transaction: from here on no lease can change.
    let lost = lost_slots(&mut tx, &batch).await?;
    let (mut items, mut misplaced) = (batch.items, batch.misplaced);
    items.retain(|item| !lost.contains(&item.slot));
    misplaced.retain(|message| !lost.contains(&message.slot));
    let mut work = Work::new(batch.received_at);
    let generation = lease::read_generation(&mut tx).await?;
    // A future that was dropped after its commit has not said what it began.
    store.set_generation(generation);
    let mut loaded = load::load(&mut tx, &items, generation, batch.received_at).await?;
    let mut planned = plan::plan(&mut loaded, items, batch.spare_generation, &mut tx, &mut work).await?;
    plan::bury_misplaced(&mut planned, misplaced, &mut work);
    project::project(&mut tx, &mut loaded, &mut planned, &mut work).await?;
    statement::confirm(&mut tx, &mut loaded, &mut work).await?;
    write::write(&mut tx, &mut loaded, &mut planned, &mut work).await?;
    let alarms = work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    if planned.new_generation.is_some() {
        store.set_generation(loaded.generation);
    }
    let mut outcome = outcome(&loaded, planned, &work);
    outcome.lost_slots = lost.into_iter().collect();
    outcome.alarms = alarms;
    Ok(outcome)
}

/// Slots of the batch whose term is not, or no longer, the one that it was received under.
async fn lost_slots(conn: &mut SqliteConnection, batch: &IngestBatch) -> Result<BTreeSet<Slot>, StoreError> {
    let current = lease::current(conn).await?;
    let held: BTreeSet<Slot> = batch
        .terms
        .iter()
        .filter(|term| current.contains(term))
        .map(|term| term.slot)
        .collect();
    Ok(batch
        .items
        .iter()
        .map(|item| item.slot)
        .chain(batch.misplaced.iter().map(|message| message.slot))
        .chain(batch.terms.iter().map(|term| term.slot))
        .filter(|slot| !held.contains(slot))
        .collect())
}

fn outcome(loaded: &Loaded, planned: Planned, work: &Work) -> IngestOutcome {
    let mut lists: BTreeSet<DeviceId> = planned.lists;
    lists.extend(work.lists().cloned());
    IngestOutcome {
        receipts: receipts(loaded, &planned.touched),
        answers: planned
            .answers
            .into_iter()
            .map(|(device, mut answer)| {
                // An earlier answer of the batch may be older than the generation that the batch began.
                answer.generation = loaded.generation;
                (device, answer)
            })
            .collect(),
        lists: lists.into_iter().collect(),
        counts: planned.counts,
        new_generation: planned.new_generation,
        ..IngestOutcome::default()
    }
}

fn receipts(loaded: &Loaded, touched: &plan::Touched) -> Vec<ReceiptRow> {
    let mut receipts = Vec::new();
    for (device, touch) in touched {
        let Some(state) = loaded.devices.get(device) else {
            continue;
        };
        let mut unattributed = touch.unattributed;
        let mut spools = touch.spools.clone();
        if unattributed && spools.is_empty() {
            let newest = state
                .ledger
                .newest()
                .unwrap_or(fleet_domain::SpoolId(Uuid::nil()));
            spools = BTreeMap::from([(newest, false)]);
        }
        for (spool, gap) in spools {
            let row = state.ledger.spool(spool);
            receipts.push(ReceiptRow {
                device: device.clone(),
                spool,
                through: row.map_or(0, |row| row.through),
                rejected: row.map(fleet_domain::SpoolLedger::rejections).unwrap_or_default(),
                gap,
                unattributed: std::mem::take(&mut unattributed),
                generation: loaded.generation,
            });
        }
    }
    receipts
}

/// Names used by the parts of this module.
type Answers = Vec<(DeviceId, SyncAnswerRow)>;
type Counts = IngestCounts;
type Generation = StoreGeneration;
