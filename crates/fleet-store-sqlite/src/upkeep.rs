//! Regular clean-up, and what can be said of the file's condition.

use fleet_store::{PruneOutcome, Retention, StoreError};
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::column::{Columns, time};
use crate::error::from_sqlx;
use crate::schema;

/// How long a reader of the page's stream may be away before it has to read everything anew.
const CHANGES_KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Rows removed in one go: the writer is held for a moment only.
const PRUNE_ROWS: i64 = 10_000;

/// The oldest events received before `?1`, `?2` of them.
macro_rules! old_events {
    () => {
        "SELECT n FROM events WHERE received_at < ?1 ORDER BY received_at, n LIMIT ?2"
    };
}

/// Plant and schema as at the start: the file may have been replaced, or changed by a newer version.
pub(crate) async fn prepare(store: &SqliteStore) -> Result<(), StoreError> {
    let mut tx = store.snapshot().await?;
    schema::check(&mut tx).await?;
    schema::check_plant(&mut tx, &store.plant).await
}

/// Takes the write lock and looks whose database it is.
pub(crate) async fn check(store: &SqliteStore) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    schema::check(&mut tx).await?;
    schema::check_plant(&mut tx, &store.plant).await?;
    tx.rollback().await.map_err(from_sqlx)
}

pub(crate) async fn prune(
    store: &SqliteStore,
    now: Timestamp,
    retention: Retention,
) -> Result<PruneOutcome, StoreError> {
    let mut tx = store.begin().await?;
    let mut outcome = PruneOutcome {
        changes_removed: prune_changes(&mut tx, now).await?,
        outbox_removed: prune_outbox(&mut tx).await?,
        ..PruneOutcome::default()
    };
    let keep = retention
        .keep
        .and_then(|keep| SignedDuration::try_from(keep).ok());
    if let Some(cut) = keep.and_then(|keep| now.checked_sub(keep).ok()) {
        expire(&mut tx, cut, retention.relay, &mut outcome).await?;
    }
    tx.commit().await.map_err(from_sqlx)?;
    Ok(outcome)
}

async fn prune_changes(conn: &mut SqliteConnection, now: Timestamp) -> Result<u64, StoreError> {
    let oldest = now.checked_sub(CHANGES_KEPT).unwrap_or(now);
    // Up to the first young one in order: a wall clock that jumped back must not tear holes into the log.
    let cut: Option<i64> = sqlx::query_scalar(
        "SELECT min(
             (SELECT min(seq) FROM changes) + ?,
             coalesce((SELECT seq - 1 FROM changes WHERE at >= ? ORDER BY seq LIMIT 1),
                      (SELECT max(seq) FROM changes)))",
    )
    .bind(PRUNE_ROWS)
    .bind(time(oldest))
    .fetch_one(&mut *conn)
    .await
    .map_err(from_sqlx)?;
    sqlx::query("UPDATE meta SET changes_pruned_through = max(changes_pruned_through, coalesce(?, 0))")
        .bind(cut)
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    let gone = sqlx::query("DELETE FROM changes WHERE seq <= (SELECT changes_pruned_through FROM meta)")
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(gone.rows_affected())
}

/// The newest relayed row stays: its token tells the relay that this is still the same database.
async fn prune_outbox(conn: &mut SqliteConnection) -> Result<u64, StoreError> {
    let gone = sqlx::query(
        "DELETE FROM outbox
         WHERE seq < (SELECT min(relayed_seq, (SELECT min(seq) FROM outbox) + ?) FROM relay)",
    )
    .bind(PRUNE_ROWS)
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(gone.rows_affected())
}

/// Removes events received before `cut`, the oldest first, a bounded number. What stands in the outbox stays,
/// unless no relay is configured: then its wait ends here, and the ledger says so.
async fn expire(
    conn: &mut SqliteConnection,
    cut: Timestamp,
    relay: bool,
    outcome: &mut PruneOutcome,
) -> Result<(), StoreError> {
    if relay {
        let held: i64 = sqlx::query_scalar(concat!(
            "SELECT EXISTS (SELECT 1 FROM outbox o WHERE o.event IN (",
            old_events!(),
            ") AND o.seq > (SELECT relayed_seq FROM relay))"
        ))
        .bind(time(cut))
        .bind(PRUNE_ROWS)
        .fetch_one(&mut *conn)
        .await
        .map_err(from_sqlx)?;
        outcome.held_by_relay = held != 0;
    } else {
        sqlx::query(concat!(
            "UPDATE spools SET expired = expired + c.events
             FROM (SELECT e.device, e.spool, count(*) AS events
                   FROM outbox o JOIN events e ON e.n = o.event
                   WHERE o.event IN (",
            old_events!(),
            ") AND o.seq > (SELECT relayed_seq FROM relay) AND o.refused IS NULL
                   GROUP BY e.device, e.spool) c
             WHERE spools.device = c.device AND spools.spool = c.spool"
        ))
        .bind(time(cut))
        .bind(PRUNE_ROWS)
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
        let gone = sqlx::query(concat!(
            "DELETE FROM outbox WHERE event IN (",
            old_events!(),
            ") AND seq > (SELECT relayed_seq FROM relay) RETURNING refused IS NULL AS expired"
        ))
        .bind(time(cut))
        .bind(PRUNE_ROWS)
        .fetch_all(&mut *conn)
        .await
        .map_err(from_sqlx)?;
        for row in &gone {
            outcome.outbox_removed += 1;
            outcome.events_expired += u64::from(row.flag("expired")?);
        }
    }
    let gone = sqlx::query(concat!(
        "DELETE FROM events WHERE n IN (",
        old_events!(),
        ") AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.event = n)"
    ))
    .bind(time(cut))
    .bind(PRUNE_ROWS)
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    outcome.events_removed = gone.rows_affected();
    Ok(())
}
