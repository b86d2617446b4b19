//! Day partitions, retention and regular clean-up.

use std::sync::PoisonError;

use fleet_store::{PruneOutcome, Retention, StoreError};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::PostgresStore;
use crate::column::{Columns, day, day_begins, time};
use crate::error::{from_sqlx, is_lock_timeout};

/// How long a reader of the page's stream may be away before it has to read everything anew.
const CHANGES_KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Rows removed in one transaction: others wait for none of them for long.
const PRUNE_ROWS: i64 = 10_000;
/// Transactions of one clean-up, at most: as many rows as a plant at its peak makes in a minute, and some.
const PRUNE_ROUNDS: u32 = 500;
/// Days whose partition is made before they begin.
const DAYS_AHEAD: i32 = 2;
/// Key of the advisory lock under which partitions are made: one program at a time.
const PARTITIONS: i32 = 0x0056_4450;

/// Name of a day's partition: with the date, for people who archive them.
fn partition(day: i32) -> String {
    let begins = Timestamp::from_microsecond(day_begins(day)).unwrap_or(Timestamp::UNIX_EPOCH);
    let date = Offset::UTC.to_datetime(begins).date();
    format!("events_{:04}_{:02}_{:02}", date.year(), date.month(), date.day())
}

/// Makes sure that events of that day can be stored.
pub(crate) async fn ensure_day(store: &PostgresStore, day: i32) -> Result<(), StoreError> {
    let known = store
        .days
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .contains(&day);
    if known {
        return Ok(());
    }
    let mut tx = store.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, hashtext(current_schema()::text))")
        .bind(PARTITIONS)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    let name = partition(day);
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(&name)
        .fetch_one(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    if !there {
        // Made apart and then attached: this locks out no batch that is being stored.
        for statement in [
            format!("CREATE TABLE {name} (LIKE events INCLUDING ALL)"),
            format!(
                "ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({})",
                day.saturating_add(1)
            ),
        ] {
            // Made of a date and two numbers.
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut *tx)
                .await
                .map_err(from_sqlx)?;
        }
    }
    tx.commit().await.map_err(from_sqlx)?;
    store
        .days
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(day);
    Ok(())
}

/// Another program may have dropped a partition that this one remembers.
pub(crate) fn forget_days(store: &PostgresStore) {
    store.days.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

pub(crate) async fn prune(
    store: &PostgresStore,
    now: Timestamp,
    retention: Retention,
) -> Result<PruneOutcome, StoreError> {
    let today = day(now);
    for ahead in 0..=DAYS_AHEAD {
        ensure_day(store, today.saturating_add(ahead)).await?;
    }
    fold_figures(store).await?;
    let mut outcome = PruneOutcome::default();
    // Until a round finds much less than it may take; sequences have holes.
    for _ in 0..PRUNE_ROUNDS {
        let (changes, rows) = (prune_changes(store, now).await?, prune_outbox(store).await?);
        outcome.changes_removed += changes;
        outcome.outbox_removed += rows;
        if changes.max(rows) < PRUNE_ROWS.unsigned_abs() / 2 {
            break;
        }
    }
    let keep = retention
        .keep
        .and_then(|keep| SignedDuration::try_from(keep).ok());
    let Some(cut) = keep.and_then(|keep| now.checked_sub(keep).ok()) else {
        return Ok(outcome);
    };
    for (name, ends) in partitions(&mut *store.reader().await?).await? {
        if day_begins(ends) > time(cut) {
            break;
        }
        match drop_day(store, &name, ends - 1, retention.relay, &mut outcome).await {
            // Somebody reads the table for long: the next round tries again.
            Err(error) if is_lock_timeout(&error) => break,
            Err(error) => return Err(error),
            Ok(true) => {}
            Ok(false) => {
                // Later days wait too: the outbox is relayed in order.
                outcome.held_by_relay = true;
                break;
            }
        }
    }
    Ok(outcome)
}

/// The partitions with the day after theirs, the oldest first.
async fn partitions(conn: &mut PgConnection) -> Result<Vec<(String, i32)>, StoreError> {
    let mut found: Vec<(String, i32)> = sqlx::query(
        r"SELECT c.relname::text AS name,
              (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''?(-?\d+)''?\)'))[1]::integer AS ends
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = 'events'::regclass",
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .filter_map(|row| match row.raw::<Option<i32>>("ends") {
        Ok(Some(ends)) => Some(row.text("name").map(|name| (name, ends))),
        // A partition of a person's making, without a day's end.
        Ok(None) => None,
        Err(error) => Some(Err(error)),
    })
    .collect::<Result<_, _>>()?;
    found.sort_by_key(|(_, ends)| *ends);
    Ok(found)
}

/// Drops a day's partition with its rows of the outbox. `false`, and nothing done, while a relay still needs it.
async fn drop_day(
    store: &PostgresStore,
    name: &str,
    day: i32,
    relay: bool,
    outcome: &mut PruneOutcome,
) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    // What stores events waits behind this transaction: it must not wait itself.
    sqlx::query("SET LOCAL lock_timeout = '2s'")
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    let relayed: i64 = sqlx::query_scalar("SELECT relayed_seq FROM relay FOR NO KEY UPDATE")
        .fetch_one(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    let waiting: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM outbox WHERE received_day = $1 AND seq > $2)")
            .bind(day)
            .bind(relayed)
            .fetch_one(&mut *tx)
            .await
            .map_err(from_sqlx)?;
    if waiting && relay {
        return Ok(false);
    }
    let mut expired = 0;
    if waiting {
        expired = expire(&mut tx, day, relayed).await?;
    }
    // The newest relayed row stays: its token tells the relay that this is still the same database.
    let rows = sqlx::query("DELETE FROM outbox WHERE received_day = $1 AND seq <> $2")
        .bind(day)
        .bind(relayed)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    // A name out of the catalogue, quoted.
    let events: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {quoted}")))
        .fetch_one(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO figures SELECT 'unprojected', -count(*) FROM {quoted} WHERE standing = 1 HAVING count(*) > 0"
    )))
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    sqlx::query(AssertSqlSafe(format!("DROP TABLE {quoted}")))
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    forget_days(store);
    outcome.partitions_dropped += 1;
    outcome.events_removed += events.unsigned_abs();
    outcome.events_expired += expired;
    outcome.outbox_removed += rows.rows_affected();
    Ok(true)
}

/// Counts the day's events that no relay took. Returns how many they are.
async fn expire(conn: &mut PgConnection, day: i32, relayed: i64) -> Result<u64, StoreError> {
    let expired: i64 = sqlx::query_scalar(
        "WITH gone AS (
             SELECT device, spool, count(*) AS events FROM outbox
             WHERE received_day = $1 AND seq > $2 AND refused IS NULL
             GROUP BY device, spool),
         counted AS (
             INSERT INTO relayed AS r (device, spool, expired) SELECT device, spool, events FROM gone
             ON CONFLICT (device, spool) DO UPDATE SET expired = r.expired + excluded.expired)
         SELECT coalesce(sum(events), 0)::bigint FROM gone",
    )
    .bind(day)
    .bind(relayed)
    .fetch_one(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(expired.unsigned_abs())
}

/// Makes one row of each figure again. What is written meanwhile is a row of its own and stays.
async fn fold_figures(store: &PostgresStore) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query(
        "WITH gone AS (DELETE FROM figures RETURNING name, n)
         INSERT INTO figures SELECT name, sum(n)::bigint FROM gone GROUP BY name",
    )
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)
}

async fn prune_changes(store: &PostgresStore, now: Timestamp) -> Result<u64, StoreError> {
    let oldest = now.checked_sub(CHANGES_KEPT).unwrap_or(now);
    let mut tx = store.begin().await?;
    let before: i64 = sqlx::query_scalar("SELECT through FROM changes_pruned FOR NO KEY UPDATE")
        .fetch_one(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    // Up to the first young one in order: a wall clock that jumped back must not tear holes into the log.
    let cut: Option<i64> = sqlx::query_scalar(
        "SELECT least(
             (SELECT min(seq) FROM changes) + $1,
             coalesce((SELECT seq - 1 FROM changes WHERE at >= $2 ORDER BY seq LIMIT 1),
                      (SELECT max(seq) FROM changes)))",
    )
    .bind(PRUNE_ROWS)
    .bind(time(oldest))
    .fetch_one(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let through = cut.unwrap_or(0).max(before);
    sqlx::query("UPDATE changes_pruned SET through = $1")
        .bind(through)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    let gone = sqlx::query("DELETE FROM changes WHERE seq <= $1")
        .bind(through)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(gone.rows_affected())
}

/// The newest relayed row stays: its token tells the relay that this is still the same database.
async fn prune_outbox(store: &PostgresStore) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let gone = sqlx::query(
        "DELETE FROM outbox
         WHERE seq < (SELECT least(relayed_seq, (SELECT min(seq) FROM outbox) + $1) FROM relay)",
    )
    .bind(PRUNE_ROWS)
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(gone.rows_affected())
}
