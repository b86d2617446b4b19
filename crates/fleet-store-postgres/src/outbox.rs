//! Stored events, the outbox and the dead letters.

use fleet_domain::{DeviceId, Digest, EventId, Seq, SpoolId};
use fleet_store::{
    DeadLetterRow, EventRow, EventStanding, OutboxFate, OutboxRow, Page, Paged, StoreError, cursor_number,
};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::PostgresStore;
use crate::column::{Columns, clamp, unreadable};
use crate::error::from_sqlx;

/// Codes of the column `standing`.
const PROJECTED: i16 = 0;
pub(crate) const UNPROJECTED: i16 = 1;
const FENCED: i16 = 2;

/// The columns `standing` and `reason`.
pub(crate) fn standing_columns(standing: &EventStanding) -> (i16, Option<&str>) {
    match standing {
        EventStanding::Projected => (PROJECTED, None),
        EventStanding::Unprojected(reason) => (UNPROJECTED, Some(reason)),
        EventStanding::Fenced => (FENCED, None),
    }
}

pub(crate) fn digest(row: &PgRow) -> Result<Digest, StoreError> {
    let bytes = row.blob("digest")?;
    bytes
        .try_into()
        .map(Digest)
        .map_err(|bytes: Vec<u8>| unreadable("digest", bytes))
}

fn event_row(row: &PgRow) -> Result<EventRow, StoreError> {
    let standing = match row.raw::<i16>("standing")? {
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
    store: &PostgresStore,
    device: &DeviceId,
    spool: SpoolId,
    from: Seq,
    most: u32,
) -> Result<Vec<EventRow>, StoreError> {
    sqlx::query("SELECT * FROM events WHERE device = $1 AND spool = $2 AND seq >= $3 ORDER BY seq LIMIT $4")
        .bind(device.as_str())
        .bind(spool.0)
        .bind(clamp(from))
        .bind(i64::from(most))
        .fetch_all(&mut *store.reader().await?)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(event_row)
        .collect()
}

pub(crate) async fn read(store: &PostgresStore, after: u64, most: u32) -> Result<Vec<OutboxRow>, StoreError> {
    rows_after(&mut *store.reader().await?, after, most).await
}

/// Rows of the outbox in commit order. Each looks up its event by itself: with the limit inside, the join can't
/// become one that reads a day's partition.
pub(crate) async fn rows_after(
    conn: &mut PgConnection,
    after: u64,
    most: u32,
) -> Result<Vec<OutboxRow>, StoreError> {
    sqlx::query(
        "SELECT o.seq AS outbox_seq, o.token, o.topic, o.refused, e.*
         FROM (SELECT * FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2) o
         CROSS JOIN LATERAL (
             SELECT * FROM events
             WHERE received_day = o.received_day AND device = o.device AND spool = o.spool AND seq = o.event_seq
             LIMIT 1) e
         ORDER BY o.seq",
    )
    .bind(clamp(after))
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
    store: &PostgresStore,
    page: &Page,
) -> Result<Paged<DeadLetterRow>, StoreError> {
    let below = page.after.as_deref().map_or(Ok(i64::MAX), cursor_number)?;
    let rows = sqlx::query("SELECT * FROM dead_letters WHERE id < $1 ORDER BY id DESC LIMIT $2")
        .bind(below)
        .bind(page.size() + 1)
        .fetch_all(&mut *store.reader().await?)
        .await
        .map_err(from_sqlx)?;
    let items = rows.iter().map(dead_letter).collect::<Result<Vec<_>, _>>()?;
    Ok(Paged::cut(items, page, |letter| letter.id.to_string()))
}

fn dead_letter(row: &PgRow) -> Result<DeadLetterRow, StoreError> {
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
}
