//! Stored events, the outbox and the dead letters.

use fleet_domain::{DeviceId, Digest, EventId, Seq, SpoolId};
use fleet_store::{
    DeadLetterRow, EventRow, EventStanding, OutboxFate, OutboxRow, Page, Paged, StoreError, cursor_number,
};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, int, unreadable};
use crate::error::from_sqlx;

/// Codes of the column `standing`.
const PROJECTED: i64 = 0;
const UNPROJECTED: i64 = 1;
const FENCED: i64 = 2;

/// The columns `standing` and `reason`.
pub(crate) fn standing_columns(standing: &EventStanding) -> (i64, Option<&str>) {
    match standing {
        EventStanding::Projected => (PROJECTED, None),
        EventStanding::Unprojected(reason) => (UNPROJECTED, Some(reason)),
        EventStanding::Fenced => (FENCED, None),
    }
}

pub(crate) fn digest(row: &SqliteRow) -> Result<Digest, StoreError> {
    let bytes = row.blob("digest")?;
    bytes
        .try_into()
        .map(Digest)
        .map_err(|bytes: Vec<u8>| unreadable("digest", bytes))
}

fn event_row(row: &SqliteRow) -> Result<EventRow, StoreError> {
    let standing = match row.raw::<i64>("standing")? {
        PROJECTED => EventStanding::Projected,
        UNPROJECTED => EventStanding::Unprojected(row.opt_text("reason")?.unwrap_or_default()),
        FENCED => EventStanding::Fenced,
        other => return Err(unreadable("standing", other)),
    };
    Ok(EventRow {
        device: row.parsed("device")?,
        spool: SpoolId(row.uuid("spool")?),
        seq: row.u64("seq")?,
        id: EventId(row.uuid("event_id")?),
        r#type: row.text("type")?,
        vin: row.opt_text("vin")?,
        time: row.time("time")?,
        received_at: row.time("received_at")?,
        digest: digest(row)?,
        bytes: row.blob("bytes")?.into(),
        standing,
    })
}

pub(crate) async fn events(
    store: &SqliteStore,
    device: &DeviceId,
    spool: SpoolId,
    from: Seq,
    most: u32,
) -> Result<Vec<EventRow>, StoreError> {
    sqlx::query("SELECT * FROM events WHERE device = ? AND spool = ? AND seq >= ? ORDER BY seq LIMIT ?")
        .bind(device.as_str())
        .bind(spool.0)
        .bind(int("from", from)?)
        .bind(i64::from(most))
        .fetch_all(&store.readers)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(event_row)
        .collect()
}

pub(crate) async fn read(store: &SqliteStore, after: u64, most: u32) -> Result<Vec<OutboxRow>, StoreError> {
    let mut conn = store.readers.acquire().await.map_err(from_sqlx)?;
    rows_after(&mut conn, after, most).await
}

/// Rows behind a sequence, with their events.
pub(crate) async fn rows_after(
    conn: &mut SqliteConnection,
    after: u64,
    most: u32,
) -> Result<Vec<OutboxRow>, StoreError> {
    sqlx::query(
        "SELECT o.seq AS outbox_seq, o.token, o.topic, o.refused, e.*
         FROM outbox o JOIN events e ON e.n = o.event
         WHERE o.seq > ? ORDER BY o.seq LIMIT ?",
    )
    .bind(int("after", after)?)
    .bind(i64::from(most))
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(|row| {
        Ok(OutboxRow {
            seq: row.u64("outbox_seq")?,
            token: row.uuid("token")?,
            topic: row.text("topic")?,
            fate: match row.opt_text("refused")? {
                Some(code) => OutboxFate::Unrelayable { code },
                None => OutboxFate::Waiting,
            },
            traceparent: row.opt_text("traceparent")?,
            event: event_row(row)?,
        })
    })
    .collect()
}

pub(crate) async fn dead_letters(
    store: &SqliteStore,
    page: &Page,
) -> Result<Paged<DeadLetterRow>, StoreError> {
    let below = page.after.as_deref().map_or(Ok(i64::MAX), cursor_number)?;
    let rows = sqlx::query("SELECT * FROM dead_letters WHERE id < ? ORDER BY id DESC LIMIT ?")
        .bind(below)
        .bind(page.size() + 1)
        .fetch_all(&store.readers)
        .await
        .map_err(from_sqlx)?;
    let items = rows
        .iter()
        .map(|row| {
            Ok(DeadLetterRow {
                id: row.u64("id")?,
                device: row.text("device")?,
                channel: row.text("channel")?,
                spool: row.opt_uuid("spool")?.map(SpoolId),
                seq: row.opt_u64("seq")?,
                code: row.text("code")?,
                reason: row.text("reason")?,
                user_properties_json: row.text("user_properties")?,
                bytes: row.blob("bytes")?.into(),
                received_at: row.time("received_at")?,
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Paged::cut(items, page, |letter| letter.id.to_string()))
}
