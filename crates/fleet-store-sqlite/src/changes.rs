//! The change log, alarms and clean-up.

use fleet_store::{AlarmKind, AlarmRow, ChangeKind, ChangeRow, Changes, Page, Paged, StoreError};
use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, int, time};
use crate::error::from_sqlx;
use crate::recorded::{cursor_number, limit, paged};

/// How long a reader of the page's stream may be away before it has to read everything anew.
const CHANGES_KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Rows removed in one go: the writer is held for a moment only.
const PRUNE_ROWS: i64 = 10_000;

pub(crate) fn alarm_row(row: &SqliteRow) -> Result<AlarmRow, StoreError> {
    Ok(AlarmRow {
        id: row.u64("id")?,
        kind: row.word("kind", AlarmKind::of)?,
        device: row.opt_parsed("device")?,
        detail: row.text("detail")?,
        count: row.u64("count")?,
        raised_at: row.time("raised_at")?,
        last_at: row.time("last_at")?,
    })
}

pub(crate) async fn alarms(store: &SqliteStore, page: &Page) -> Result<Paged<AlarmRow>, StoreError> {
    // By number of the last alarm seen: its own place may have moved up meanwhile, so its time is in
    // the cursor.
    let (at, id) = match &page.after {
        None => (i64::MAX, i64::MAX),
        Some(cursor) => {
            let (at, id) = cursor.split_once('-').unwrap_or((cursor, ""));
            (cursor_number(at)?, cursor_number(id)?)
        }
    };
    let rows = sqlx::query(
        "SELECT * FROM alarms WHERE (last_at, id) < (?, ?) ORDER BY last_at DESC, id DESC LIMIT ?",
    )
    .bind(at)
    .bind(id)
    .bind(limit(page) + 1)
    .fetch_all(&store.readers)
    .await
    .map_err(from_sqlx)?;
    let items = rows.iter().map(alarm_row).collect::<Result<Vec<_>, _>>()?;
    Ok(paged(items, page, |alarm| {
        format!("{}-{}", time(alarm.last_at), alarm.id)
    }))
}

pub(crate) async fn changes(store: &SqliteStore, since: u64, most: u32) -> Result<Changes, StoreError> {
    let mut tx = store.snapshot().await?;
    let row = sqlx::query(
        "SELECT changes_pruned_through AS pruned,
                max(changes_pruned_through, coalesce((SELECT max(seq) FROM changes), 0)) AS head
         FROM meta",
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let (pruned, head) = (row.u64("pruned")?, row.u64("head")?);
    if since < pruned || since > head {
        return Ok(Changes {
            head,
            rows: Vec::new(),
            truncated: true,
        });
    }
    let rows = sqlx::query("SELECT seq, kind, id FROM changes WHERE seq > ? ORDER BY seq LIMIT ?")
        .bind(int("since", since)?)
        .bind(i64::from(most))
        .fetch_all(&mut *tx)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| {
            Ok(ChangeRow {
                seq: row.u64("seq")?,
                kind: row.word("kind", ChangeKind::of)?,
                id: row.text("id")?,
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Changes {
        head,
        rows,
        truncated: false,
    })
}

pub(crate) async fn prune(store: &SqliteStore, now: Timestamp) -> Result<(), StoreError> {
    let oldest = now.checked_sub(CHANGES_KEPT).unwrap_or(now);
    let mut tx = store.begin().await?;
    // Up to the first young one in order: a wall clock that jumped back must not tear holes into the log.
    let cut: Option<i64> = sqlx::query_scalar(
        "SELECT min(
             (SELECT min(seq) FROM changes) + ?,
             coalesce((SELECT seq - 1 FROM changes WHERE at >= ? ORDER BY seq LIMIT 1),
                      (SELECT max(seq) FROM changes)))",
    )
    .bind(PRUNE_ROWS)
    .bind(time(oldest))
    .fetch_one(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    sqlx::query("UPDATE meta SET changes_pruned_through = max(changes_pruned_through, coalesce(?, 0))")
        .bind(cut)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    sqlx::query("DELETE FROM changes WHERE seq <= (SELECT changes_pruned_through FROM meta)")
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    // The newest relayed row stays: its token tells the relay that this is still the same database.
    sqlx::query(
        "DELETE FROM outbox
         WHERE seq < (SELECT min(relayed_through, (SELECT min(seq) FROM outbox) + ?) FROM meta)",
    )
    .bind(PRUNE_ROWS)
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)
}
