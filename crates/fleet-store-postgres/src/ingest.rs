//! Recording a batch: one transaction for ledger, events, projections, outbox and change log.
//!
//! Order: leases are locked for share; what the batch names is locked and loaded in a handful of statements;
//! `fleet-recording` decides every message in memory; everything is written with a statement or two for each table;
//! last, under the lock that makes sequences the order of commits, outbox and change log. The transaction is
//! dropped, and leaves nothing, on any error.

mod device;
mod load;
mod write;

pub(crate) use write::Outbox;

use fleet_domain::error_chain;
use fleet_recording::{Blame, Blamed, Messages, Recorded, record};
use fleet_store::{AlarmRow, Inbound, IngestBatch, IngestOutcome, Misplaced, StoreError};
use sqlx::PgConnection;

use crate::column::day;
use crate::error::{Overtaken, from_sqlx, is_without_partition};
use crate::work::Work;
use crate::{PostgresStore, lease, upkeep};

pub(crate) async fn ingest(store: &PostgresStore, batch: &IngestBatch) -> Result<IngestOutcome, StoreError> {
    upkeep::ensure_day(store, day(batch.received_at)).await?;
    match commit(store, batch, false).await {
        Err(error) if is_without_partition(&error) => {
            upkeep::forget_days(store);
            Err(Overtaken("the partition of the day").into())
        }
        // A row was refused that should not have been: whose it is is found under savepoints.
        Err(StoreError::Statement(source)) => {
            tracing::warn!(
                error = source.as_ref() as &dyn std::error::Error,
                "the database refuses a batch; it is taken apart"
            );
            commit(store, batch, true).await
        }
        result => result,
    }
}

async fn commit(
    store: &PostgresStore,
    batch: &IngestBatch,
    careful: bool,
) -> Result<IngestOutcome, StoreError> {
    let mut tx = store.begin_by_keys().await?;
    // The first statement of the transaction: from here on no lease can change.
    let current = lease::lock_for_share(&mut tx, &batch.slots().collect()).await?;
    let lost = batch.lost_slots(&current);
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
    // Another server may have begun one, or a future that was dropped after its commit.
    store.set_generation(lease::lock_generation(&mut tx).await?);
    let blamed = if careful {
        find_blame(&mut tx, messages).await?
    } else {
        Blamed::new()
    };
    let (recorded, everybody, alarms) = attempt(&mut tx, messages, &blamed).await?;
    tx.commit().await.map_err(from_sqlx)?;
    if let Some(begun) = recorded.begun {
        store.set_generation(begun);
    }
    Ok(recorded.outcome(lost, alarms, everybody))
}

type Attempt<'a> = (Recorded<'a>, Vec<fleet_domain::DeviceId>, Vec<AlarmRow>);

/// Loads, decides and writes the batch once.
async fn attempt<'a>(
    conn: &mut PgConnection,
    messages: Messages<'a>,
    blamed: &Blamed,
) -> Result<Attempt<'a>, StoreError> {
    let loaded = load::load(conn, messages).await?;
    let mut recorded = record(loaded, messages, blamed);
    let mut work = Work::new(messages.received_at);
    write::write(conn, &recorded, &mut work).await?;
    let everybody = match recorded.begun {
        Some(_) => lease::online(conn).await?,
        None => Vec::new(),
    };
    work.take(
        std::mem::take(&mut recorded.changes),
        std::mem::take(&mut recorded.raised),
    );
    let outbox = Outbox::of(&recorded.events, messages.received_at);
    let alarms = work.finish_with(conn, &outbox).await?;
    Ok((recorded, everybody, alarms))
}

/// Which messages of the batch the database refuses. What was tried is undone.
async fn find_blame(conn: &mut PgConnection, messages: Messages<'_>) -> Result<Blamed, StoreError> {
    let suspects = record(load::load(conn, messages).await?, messages, &Blamed::new()).suspects();
    let mut blame = Blame::among(suspects);
    while let Some(left_out) = blame.trial() {
        savepoint(conn, "SAVEPOINT trial").await?;
        let result = attempt(conn, messages, &left_out).await.map(|_| ());
        savepoint(conn, "ROLLBACK TO SAVEPOINT trial").await?;
        savepoint(conn, "RELEASE SAVEPOINT trial").await?;
        match result {
            Ok(()) => blame.passed(),
            Err(StoreError::Statement(source)) => blame.refused(&error_chain(source.as_ref())),
            Err(error) => return Err(error),
        }
    }
    Ok(blame.found())
}

async fn savepoint(conn: &mut PgConnection, statement: &'static str) -> Result<(), StoreError> {
    sqlx::query(statement).execute(conn).await.map_err(from_sqlx)?;
    Ok(())
}
