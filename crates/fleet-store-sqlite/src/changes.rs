//! The change log and alarms.

use fleet_store::{
    AlarmKind, AlarmRow, ChangeKind, ChangeRow, Changes, NewAlarm, Page, Paged, StoreError, cursor_number,
};
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, int, time};
use crate::error::from_sqlx;
use crate::work::Work;

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
    .bind(page.size() + 1)
    .fetch_all(&store.readers)
    .await
    .map_err(from_sqlx)?;
    let items = rows.iter().map(alarm_row).collect::<Result<Vec<_>, _>>()?;
    Ok(Paged::cut(items, page, |alarm| {
        format!("{}-{}", time(alarm.last_at), alarm.id)
    }))
}

pub(crate) async fn raise_alarm(
    store: &SqliteStore,
    alarm: &NewAlarm,
    now: Timestamp,
) -> Result<AlarmRow, StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    work.raise(
        alarm.kind,
        alarm.subject.clone(),
        alarm.device.as_ref(),
        alarm.detail.clone(),
    );
    let raised = work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    raised
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::Statement("an alarm that was raised has no row".into()))
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
