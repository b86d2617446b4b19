//! The relay's lease, its cursor and what the ledger learns from it (delivery rules 19 to 21 and 23).

use std::time::Duration;

use fleet_domain::{SpoolId, StoreGeneration};
use fleet_recording::next_generation;
use fleet_store::{
    Advanced, AlarmKind, ChangeKind, KafkaHigh, OutboxAdvance, OutboxCursor, OutboxRead, RelayRow, RelayTerm,
    StoreError,
};
use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::SqliteStore;
use crate::column::{Columns, int, json, time};
use crate::error::from_sqlx;
use crate::lease::{expiry, read_generation, write_generation};
use crate::outbox::rows_after;
use crate::work::Work;

pub(crate) async fn claim(
    store: &SqliteStore,
    owner: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<Option<RelayTerm>, StoreError> {
    let mut tx = store.begin().await?;
    let term: Option<i64> = sqlx::query_scalar(
        "UPDATE relay SET owner = ?1, term = term + 1, expires_at = ?2
         WHERE owner IS NULL OR owner = ?1 OR expires_at <= ?3
         RETURNING term",
    )
    .bind(owner)
    .bind(expiry(now, ttl))
    .bind(time(now))
    .fetch_optional(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(term.map(|term| RelayTerm(term.unsigned_abs())))
}

pub(crate) async fn renew(
    store: &SqliteStore,
    term: RelayTerm,
    now: Timestamp,
    ttl: Duration,
) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let done = sqlx::query("UPDATE relay SET expires_at = ? WHERE term = ? AND owner IS NOT NULL")
        .bind(expiry(now, ttl))
        .bind(int("relay term", term.0)?)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn release(store: &SqliteStore, term: RelayTerm) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query("UPDATE relay SET owner = NULL, expires_at = 0 WHERE term = ?")
        .bind(int("relay term", term.0)?)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)
}

/// Whether the term is the current one and was not given back. Within a write transaction it stays so.
async fn holds(conn: &mut SqliteConnection, term: RelayTerm) -> Result<bool, StoreError> {
    let current: i64 = sqlx::query_scalar("SELECT count(*) FROM relay WHERE term = ? AND owner IS NOT NULL")
        .bind(int("relay term", term.0)?)
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(current == 1)
}

/// The database's own cursor.
async fn relayed(conn: &mut SqliteConnection) -> Result<OutboxCursor, StoreError> {
    let row = sqlx::query("SELECT relayed_seq, relayed_token FROM relay")
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(OutboxCursor {
        seq: row.u64("relayed_seq")?,
        token: row.uuid("relayed_token")?,
    })
}

async fn token_at(conn: &mut SqliteConnection, seq: u64) -> Result<Option<Uuid>, StoreError> {
    sqlx::query_scalar("SELECT token FROM outbox WHERE seq = ?")
        .bind(int("outbox sequence", seq)?)
        .fetch_optional(conn)
        .await
        .map_err(from_sqlx)
}

pub(crate) async fn after(
    store: &SqliteStore,
    cursor: OutboxCursor,
    limit: u32,
) -> Result<OutboxRead, StoreError> {
    let mut tx = store.snapshot().await?;
    let there = if cursor == OutboxCursor::START {
        relayed(&mut tx).await? == OutboxCursor::START
    } else {
        token_at(&mut tx, cursor.seq).await? == Some(cursor.token)
    };
    if !there {
        return Ok(OutboxRead::CursorLost);
    }
    Ok(OutboxRead::Rows(rows_after(&mut tx, cursor.seq, limit).await?))
}

pub(crate) async fn advance(store: &SqliteStore, advance: &OutboxAdvance) -> Result<Advanced, StoreError> {
    let mut tx = store.begin().await?;
    if !holds(&mut tx, advance.term).await? {
        return Ok(Advanced::TermLost);
    }
    let before = relayed(&mut tx).await?;
    let through = advance.through;
    match token_at(&mut tx, through.seq).await? {
        Some(token) if token != through.token => return Ok(Advanced::CursorLost),
        None if through.seq > before.seq => return Ok(Advanced::CursorLost),
        _ if through.seq <= before.seq => return Ok(Advanced::Done),
        _ => {}
    }
    sqlx::query(
        "UPDATE spools SET in_kafka = in_kafka + c.sent, already_in_kafka = already_in_kafka + c.already
         FROM (SELECT e.device, e.spool,
                   count(*) FILTER (WHERE o.seq NOT IN (SELECT value FROM json_each(?3))) AS sent,
                   count(*) FILTER (WHERE o.seq IN (SELECT value FROM json_each(?3))) AS already
               FROM outbox o JOIN events e ON e.n = o.event
               WHERE o.seq > ?1 AND o.seq <= ?2 AND o.refused IS NULL
               GROUP BY e.device, e.spool) c
         WHERE spools.device = c.device AND spools.spool = c.spool",
    )
    .bind(int("outbox sequence", before.seq)?)
    .bind(int("outbox sequence", through.seq)?)
    .bind(json(&advance.already))
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    sqlx::query("UPDATE relay SET relayed_seq = ?, relayed_token = ?")
        .bind(int("outbox sequence", through.seq)?)
        .bind(through.token)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(Advanced::Done)
}

pub(crate) async fn refuse(
    store: &SqliteStore,
    term: RelayTerm,
    row: OutboxCursor,
    (code, reason): (&str, &str),
    now: Timestamp,
) -> Result<Advanced, StoreError> {
    let mut tx = store.begin().await?;
    if !holds(&mut tx, term).await? {
        return Ok(Advanced::TermLost);
    }
    if token_at(&mut tx, row.seq).await? != Some(row.token) {
        return Ok(Advanced::CursorLost);
    }
    let seq = int("outbox sequence", row.seq)?;
    let flagged = sqlx::query(
        "UPDATE outbox SET refused = ?1
         WHERE seq = ?2 AND refused IS NULL AND seq > (SELECT relayed_seq FROM relay)",
    )
    .bind(code)
    .bind(seq)
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    if flagged.rows_affected() == 0 {
        return Ok(Advanced::Done);
    }
    let mut work = Work::new(now);
    bury(&mut tx, seq, (code, reason), &mut work).await?;
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(Advanced::Done)
}

/// Counts the refused row in its spool, keeps its event for a person and raises the alarm.
async fn bury(
    conn: &mut SqliteConnection,
    seq: i64,
    (code, reason): (&str, &str),
    work: &mut Work,
) -> Result<(), StoreError> {
    let event = sqlx::query(
        "SELECT e.device, e.spool, e.seq, e.type FROM outbox o JOIN events e ON e.n = o.event WHERE o.seq = ?",
    )
    .bind(seq)
    .fetch_one(&mut *conn)
    .await
    .map_err(from_sqlx)?;
    let device: fleet_domain::DeviceId = event.parsed("device")?;
    let (spool, place) = (SpoolId(event.uuid("spool")?), event.u64("seq")?);
    sqlx::query("UPDATE spools SET unrelayable = unrelayable + 1 WHERE device = ? AND spool = ?")
        .bind(device.as_str())
        .bind(spool.0)
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    let letter: i64 = sqlx::query_scalar(
        "INSERT INTO dead_letters (device, channel, spool, seq, code, reason, user_properties, bytes, received_at)
         SELECT e.device, 'events', e.spool, e.seq, ?2, ?3, '[]', e.bytes, ?4
         FROM outbox o JOIN events e ON e.n = o.event WHERE o.seq = ?1
         RETURNING id",
    )
    .bind(seq)
    .bind(code)
    .bind(reason)
    .bind(time(work.now))
    .fetch_one(conn)
    .await
    .map_err(from_sqlx)?;
    work.changed(ChangeKind::DeadLetter, &letter);
    work.changed(ChangeKind::Bench, &device);
    work.raise(
        AlarmKind::Unrelayable,
        format!("{device} {code}"),
        Some(&device),
        format!(
            "event {place} of spool {spool} of {device} ({}) is stored, but Kafka will never take it: {reason}",
            event.text("type")?
        ),
    );
    Ok(())
}

pub(crate) async fn row(store: &SqliteStore) -> Result<RelayRow, StoreError> {
    let mut tx = store.snapshot().await?;
    let relayed = relayed(&mut tx).await?;
    let row = sqlx::query(
        "SELECT r.owner, r.term, r.expires_at,
             coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0) AS newest_seq,
             (SELECT CAST(total(stored - in_kafka - already_in_kafka - unrelayable - expired) AS INTEGER)
              FROM spools) AS waiting,
             (SELECT e.received_at FROM outbox o JOIN events e ON e.n = o.event
              WHERE o.seq > r.relayed_seq AND o.refused IS NULL ORDER BY o.seq LIMIT 1) AS oldest_waiting,
             (SELECT count(*) FROM kafka_highs) AS highs
         FROM relay r",
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let owner = row.opt_text("owner")?;
    let expires_at = row.time("expires_at")?;
    Ok(RelayRow {
        relayed,
        expires_at: owner.is_some().then_some(expires_at),
        owner,
        term: row.u64("term")?,
        newest_seq: row.u64("newest_seq")?,
        waiting: row.u64("waiting")?,
        oldest_waiting: row.opt_time("oldest_waiting")?,
        highs: row.u64("highs")?,
    })
}

pub(crate) async fn report_cursor_lost(
    store: &SqliteStore,
    term: RelayTerm,
    detail: &str,
    (cursor_generation, spare): (StoreGeneration, StoreGeneration),
    now: Timestamp,
) -> Result<StoreGeneration, StoreError> {
    let mut tx = store.begin().await?;
    if !holds(&mut tx, term).await? {
        return Err(StoreError::LostTerm);
    }
    let mut generation = read_generation(&mut tx).await?;
    if generation <= cursor_generation {
        generation = next_generation(cursor_generation, spare);
        write_generation(&mut tx, generation).await?;
    }
    let mut work = Work::new(now);
    work.raise(
        AlarmKind::RelayCursorLost,
        generation.to_string(),
        None,
        detail.to_owned(),
    );
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    store.set_generation(generation);
    Ok(generation)
}

pub(crate) async fn begin_reconciled(
    store: &SqliteStore,
    term: RelayTerm,
    highs: &[KafkaHigh],
) -> Result<OutboxCursor, StoreError> {
    let mut tx = store.begin().await?;
    if !holds(&mut tx, term).await? {
        return Err(StoreError::LostTerm);
    }
    let mut list = Vec::with_capacity(highs.len());
    for high in highs {
        let seq = int("position in Kafka", high.seq)?;
        list.push((high.device.as_str(), hex::encode(high.spool.0), seq));
    }
    sqlx::query(
        "INSERT INTO kafka_highs (device, spool, seq)
         SELECT value ->> 0, unhex(value ->> 1), value ->> 2 FROM json_each(?) WHERE true
         ON CONFLICT (device, spool) DO UPDATE SET seq = max(seq, excluded.seq)",
    )
    .bind(json(&list))
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let own = relayed(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(own)
}

pub(crate) async fn kafka_highs(store: &SqliteStore) -> Result<Vec<KafkaHigh>, StoreError> {
    sqlx::query("SELECT device, spool, seq FROM kafka_highs ORDER BY device, spool")
        .fetch_all(&store.readers)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| {
            Ok(KafkaHigh {
                device: row.parsed("device")?,
                spool: SpoolId(row.uuid("spool")?),
                seq: row.u64("seq")?,
            })
        })
        .collect()
}
