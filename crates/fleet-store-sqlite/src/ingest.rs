//! Recording a batch: one transaction for ledger, events, projections, outbox and change log.
//!
//! Order: leases; what the batch names is loaded in a handful of statements; `fleet-recording` decides every
//! message in memory; then everything is written in multi-row statements. The transaction is dropped, and leaves
//! nothing, on any error.

mod load;
mod write;

use std::collections::BTreeSet;

use fleet_domain::{Slot, error_chain};
use fleet_recording::{Blame, Blamed, Messages, Recorded, record};
use fleet_store::{AlarmRow, Inbound, IngestBatch, IngestOutcome, Misplaced, StoreError};
use sqlx::SqliteConnection;

use crate::error::from_sqlx;
use crate::work::Work;
use crate::{SqliteStore, lease};

pub(crate) async fn ingest(store: &SqliteStore, batch: IngestBatch) -> Result<IngestOutcome, StoreError> {
    match commit(store, &batch, false).await {
        // A row was refused that should not have been: whose it is is found under savepoints.
        Err(StoreError::Statement(_)) => commit(store, &batch, true).await,
        result => result,
    }
}

async fn commit(
    store: &SqliteStore,
    batch: &IngestBatch,
    careful: bool,
) -> Result<IngestOutcome, StoreError> {
    let mut tx = store.begin().await?;
    // The first statement of the transaction: from here on no lease can change.
    let lost = lost_slots(&mut tx, batch).await?;
    let items: Vec<&Inbound> = batch
        .items
        .iter()
        .filter(|item| !lost.contains(&item.slot))
        .collect();
    let misplaced: Vec<&Misplaced> = batch
        .misplaced
        .iter()
        .filter(|message| !lost.contains(&message.slot))
        .collect();
    let messages = Messages {
        items: &items,
        misplaced: &misplaced,
        received_at: batch.received_at,
        spare_generation: batch.spare_generation,
    };
    // A future that was dropped after its commit has not said what it began.
    store.set_generation(lease::read_generation(&mut tx).await?);
    let blamed = if careful {
        find_blame(&mut tx, messages).await?
    } else {
        Blamed::new()
    };
    let (recorded, alarms) = attempt(&mut tx, messages, &blamed).await?;
    let everybody = match recorded.begun {
        Some(_) => lease::online(&mut tx).await?,
        None => Vec::new(),
    };
    tx.commit().await.map_err(from_sqlx)?;
    if let Some(begun) = recorded.begun {
        store.set_generation(begun);
    }
    Ok(recorded.outcome(lost, alarms, everybody))
}

/// Loads, decides and writes the batch once.
async fn attempt<'a>(
    conn: &mut SqliteConnection,
    messages: Messages<'a>,
    blamed: &Blamed,
) -> Result<(Recorded<'a>, Vec<AlarmRow>), StoreError> {
    let loaded = load::load(conn, messages).await?;
    let mut recorded = record(loaded, messages, blamed);
    let mut work = Work::new(messages.received_at);
    write::write(conn, &mut recorded, &mut work).await?;
    let alarms = work.finish(conn).await?;
    Ok((recorded, alarms))
}

/// Which messages of the batch the database refuses. What was tried is undone.
async fn find_blame(conn: &mut SqliteConnection, messages: Messages<'_>) -> Result<Blamed, StoreError> {
    let suspects = record(load::load(conn, messages).await?, messages, &Blamed::new()).suspects();
    let mut blame = Blame::among(suspects);
    while let Some(left_out) = blame.trial() {
        savepoint(conn, "SAVEPOINT trial").await?;
        let result = attempt(conn, messages, &left_out).await.map(|_| ());
        savepoint(conn, "ROLLBACK TO trial").await?;
        savepoint(conn, "RELEASE trial").await?;
        match result {
            Ok(()) => blame.passed(),
            Err(StoreError::Statement(source)) => blame.refused(&error_chain(source.as_ref())),
            Err(error) => return Err(error),
        }
    }
    Ok(blame.found())
}

async fn savepoint(conn: &mut SqliteConnection, statement: &'static str) -> Result<(), StoreError> {
    sqlx::query(statement).execute(conn).await.map_err(from_sqlx)?;
    Ok(())
}

/// Slots of the batch whose term is not, or no longer, the one that it was received under.
async fn lost_slots(conn: &mut SqliteConnection, batch: &IngestBatch) -> Result<BTreeSet<Slot>, StoreError> {
    let current = lease::current(conn).await?;
    Ok(batch.lost_slots(&current))
}
