//! The relay's lease, its cursor and what the ledger learns from it (delivery rules 19 to 21 and 23).
//!
//! Every write locks the relay's row first: statements of the relay follow one another, and the term can't change
//! before they are committed.

use std::time::Duration;

use fleet_domain::{DeviceId, SpoolId, StoreGeneration};
use fleet_recording::next_generation;
use fleet_store::{
    Advanced, AlarmKind, ChangeKind, KafkaHigh, OutboxAdvance, OutboxCursor, OutboxRead, RelayRow, RelayTerm,
    StoreError,
};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::PostgresStore;
use crate::column::{Columns, clamp, int, text, time};
use crate::error::from_sqlx;
use crate::lease::{expiry, write_generation};
use crate::outbox::rows_after;
use crate::work::Work;

pub(crate) async fn claim(
    store: &PostgresStore,
    owner: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<Option<RelayTerm>, StoreError> {
    let mut tx = store.begin().await?;
    let term: Option<i64> = sqlx::query_scalar(
        "UPDATE relay SET owner = $1, term = term + 1, expires_at = $2
         WHERE owner IS NULL OR owner = $1 OR expires_at <= $3
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
    store: &PostgresStore,
    term: RelayTerm,
    now: Timestamp,
    ttl: Duration,
) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let done = sqlx::query("UPDATE relay SET expires_at = $1 WHERE term = $2 AND owner IS NOT NULL")
        .bind(expiry(now, ttl))
        .bind(int("relay term", term.0)?)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn release(store: &PostgresStore, term: RelayTerm) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query("UPDATE relay SET owner = NULL, expires_at = 0 WHERE term = $1")
        .bind(int("relay term", term.0)?)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)
}

/// The database's own cursor, if the term is the current one and was not given back. It stays so until the
/// transaction ends.
async fn lock(conn: &mut PgConnection, term: RelayTerm) -> Result<Option<OutboxCursor>, StoreError> {
    let row = sqlx::query(
        "SELECT relayed_seq, relayed_token, term = $1 AND owner IS NOT NULL AS held FROM relay FOR NO KEY UPDATE",
    )
    .bind(int("relay term", term.0)?)
    .fetch_one(conn)
    .await
    .map_err(from_sqlx)?;
    let cursor = OutboxCursor {
        seq: row.u64("relayed_seq")?,
        token: row.uuid("relayed_token")?,
    };
    Ok(row.flag("held")?.then_some(cursor))
}

async fn relayed(conn: &mut PgConnection) -> Result<OutboxCursor, StoreError> {
    let row = sqlx::query("SELECT relayed_seq, relayed_token FROM relay")
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(OutboxCursor {
        seq: row.u64("relayed_seq")?,
        token: row.uuid("relayed_token")?,
    })
}

async fn token_at(conn: &mut PgConnection, seq: u64) -> Result<Option<Uuid>, StoreError> {
    sqlx::query_scalar("SELECT token FROM outbox WHERE seq = $1")
        .bind(clamp(seq))
        .fetch_optional(conn)
        .await
        .map_err(from_sqlx)
}

pub(crate) async fn after(
    store: &PostgresStore,
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

pub(crate) async fn advance(store: &PostgresStore, advance: &OutboxAdvance) -> Result<Advanced, StoreError> {
    let mut tx = store.begin_by_keys().await?;
    let Some(before) = lock(&mut tx, advance.term).await? else {
        return Ok(Advanced::TermLost);
    };
    let through = advance.through;
    match token_at(&mut tx, through.seq).await? {
        Some(token) if token != through.token => return Ok(Advanced::CursorLost),
        None if through.seq > before.seq => return Ok(Advanced::CursorLost),
        _ if through.seq <= before.seq => return Ok(Advanced::Done),
        _ => {}
    }
    let already: Vec<i64> = advance.already.iter().map(|seq| clamp(*seq)).collect();
    sqlx::query(
        "INSERT INTO relayed AS r (device, spool, in_kafka, already_in_kafka)
         SELECT o.device, o.spool, count(*) FILTER (WHERE a.seq IS NULL), count(a.seq)
         FROM outbox o LEFT JOIN UNNEST($3::bigint[]) AS a (seq) ON a.seq = o.seq
         WHERE o.seq > $1 AND o.seq <= $2 AND o.refused IS NULL
         GROUP BY o.device, o.spool
         ON CONFLICT (device, spool) DO UPDATE SET in_kafka = r.in_kafka + excluded.in_kafka,
             already_in_kafka = r.already_in_kafka + excluded.already_in_kafka",
    )
    .bind(clamp(before.seq))
    .bind(clamp(through.seq))
    .bind(already)
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    sqlx::query("UPDATE relay SET relayed_seq = $1, relayed_token = $2")
        .bind(clamp(through.seq))
        .bind(through.token)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(Advanced::Done)
}

pub(crate) async fn refuse(
    store: &PostgresStore,
    term: RelayTerm,
    row: OutboxCursor,
    (code, reason): (&str, &str),
    now: Timestamp,
) -> Result<Advanced, StoreError> {
    let mut tx = store.begin().await?;
    let Some(before) = lock(&mut tx, term).await? else {
        return Ok(Advanced::TermLost);
    };
    if token_at(&mut tx, row.seq).await? != Some(row.token) {
        return Ok(Advanced::CursorLost);
    }
    let flagged =
        sqlx::query("UPDATE outbox SET refused = $1 WHERE seq = $2 AND refused IS NULL AND seq > $3")
            .bind(text(code))
            .bind(clamp(row.seq))
            .bind(clamp(before.seq))
            .execute(&mut *tx)
            .await
            .map_err(from_sqlx)?;
    if flagged.rows_affected() == 0 {
        return Ok(Advanced::Done);
    }
    let mut work = Work::new(now);
    bury(&mut tx, row.seq, (code, reason), &mut work).await?;
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(Advanced::Done)
}

/// Counts the refused row in its spool, keeps its event for a person and raises the alarm.
async fn bury(
    conn: &mut PgConnection,
    seq: u64,
    (code, reason): (&str, &str),
    work: &mut Work,
) -> Result<(), StoreError> {
    let letter = sqlx::query(
        "WITH row AS (SELECT * FROM outbox WHERE seq = $1),
             counted AS (
                 INSERT INTO relayed AS r (device, spool, unrelayable) SELECT device, spool, 1 FROM row
                 ON CONFLICT (device, spool) DO UPDATE SET unrelayable = r.unrelayable + 1),
             event AS (
                 SELECT e.* FROM row CROSS JOIN LATERAL (
                     SELECT device, spool, seq, type, bytes FROM events
                     WHERE received_day = row.received_day AND device = row.device AND spool = row.spool
                         AND seq = row.event_seq
                     LIMIT 1) e),
             letter AS (
                 INSERT INTO dead_letters (device, channel, spool, seq, code, reason, user_properties, bytes,
                     received_at)
                 SELECT device, 'events', spool, seq, $2, $3, '[]', bytes, $4 FROM event
                 RETURNING id)
         SELECT letter.id, event.device, event.spool, event.seq, event.type FROM letter, event",
    )
    .bind(clamp(seq))
    .bind(text(code))
    .bind(text(reason))
    .bind(time(work.now))
    .fetch_one(conn)
    .await
    .map_err(from_sqlx)?;
    let device: DeviceId = letter.parsed("device")?;
    work.changed(ChangeKind::DeadLetter, &letter.u64("id")?);
    work.changed(ChangeKind::Bench, &device);
    work.raise(
        AlarmKind::Unrelayable,
        format!("{device} {code}"),
        Some(&device),
        format!(
            "event {} of spool {} of {device} ({}) is stored, but Kafka will never take it: {reason}",
            letter.u64("seq")?,
            SpoolId(letter.uuid("spool")?),
            letter.text("type")?
        ),
    );
    Ok(())
}

pub(crate) async fn row(store: &PostgresStore) -> Result<RelayRow, StoreError> {
    let row = sqlx::query(
        "SELECT r.*,
             coalesce((SELECT max(seq) FROM outbox), 0) AS newest_row,
             greatest((SELECT coalesce(sum(stored), 0) FROM spools)
                 - (SELECT coalesce(sum(in_kafka + already_in_kafka + unrelayable + expired), 0) FROM relayed),
                 0)::bigint AS waiting,
             (SELECT e.received_at FROM
                  (SELECT * FROM outbox WHERE seq > r.relayed_seq AND refused IS NULL ORDER BY seq LIMIT 1) o
                  CROSS JOIN LATERAL (
                      SELECT received_at FROM events
                      WHERE received_day = o.received_day AND device = o.device AND spool = o.spool
                          AND seq = o.event_seq
                      LIMIT 1) e) AS oldest_waiting,
             (SELECT count(*) FROM kafka_highs) AS highs
         FROM relay r",
    )
    .fetch_one(&mut *store.reader().await?)
    .await
    .map_err(from_sqlx)?;
    let owner = row.opt_text("owner")?;
    let expires_at = row.time("expires_at")?;
    let relayed = OutboxCursor {
        seq: row.u64("relayed_seq")?,
        token: row.uuid("relayed_token")?,
    };
    Ok(RelayRow {
        relayed,
        expires_at: owner.is_some().then_some(expires_at),
        owner,
        term: row.u64("term")?,
        // The newest relayed row stays, so this is the newest row ever but where all have expired.
        newest_seq: row.u64("newest_row")?.max(relayed.seq),
        waiting: row.u64("waiting")?,
        oldest_waiting: row.opt_time("oldest_waiting")?,
        highs: row.u64("highs")?,
    })
}

pub(crate) async fn report_cursor_lost(
    store: &PostgresStore,
    term: RelayTerm,
    detail: &str,
    (cursor_generation, spare): (StoreGeneration, StoreGeneration),
    now: Timestamp,
) -> Result<StoreGeneration, StoreError> {
    let mut tx = store.begin().await?;
    if lock(&mut tx, term).await?.is_none() {
        return Err(StoreError::LostTerm);
    }
    let mut generation: StoreGeneration = sqlx::query_scalar("SELECT generation FROM meta FOR NO KEY UPDATE")
        .fetch_one(&mut *tx)
        .await
        .map(StoreGeneration)
        .map_err(from_sqlx)?;
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
    store: &PostgresStore,
    term: RelayTerm,
    highs: &[KafkaHigh],
) -> Result<OutboxCursor, StoreError> {
    let mut tx = store.begin().await?;
    let Some(own) = lock(&mut tx, term).await? else {
        return Err(StoreError::LostTerm);
    };
    let (mut devices, mut spools, mut seqs) = (Vec::new(), Vec::new(), Vec::new());
    for high in highs {
        devices.push(high.device.as_str());
        spools.push(high.spool.0);
        seqs.push(int("position in Kafka", high.seq)?);
    }
    sqlx::query(
        "INSERT INTO kafka_highs AS h (device, spool, seq)
         SELECT device, spool, max(seq) FROM UNNEST($1::text[], $2::uuid[], $3::bigint[]) AS new (device, spool, seq)
         GROUP BY device, spool
         ON CONFLICT (device, spool) DO UPDATE SET seq = greatest(h.seq, excluded.seq)",
    )
    .bind(devices)
    .bind(spools)
    .bind(seqs)
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(own)
}

pub(crate) async fn kafka_highs(store: &PostgresStore) -> Result<Vec<KafkaHigh>, StoreError> {
    sqlx::query("SELECT device, spool, seq FROM kafka_highs ORDER BY device, spool")
        .fetch_all(&mut *store.reader().await?)
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
