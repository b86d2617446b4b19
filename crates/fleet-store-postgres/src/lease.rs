//! Slots with their terms, and the life of the database.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_domain::{DeviceId, Slot, StoreGeneration};
use fleet_recording::next_generation;
use fleet_store::{AlarmKind, SlotTerm, StoreError};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::PostgresStore;
use crate::column::{Columns, int, time, unreadable};
use crate::error::from_sqlx;
use crate::work::Work;

/// Fencing numbers of a restored database start above those that it may have given away since its backup.
const FENCE_GAP: i64 = 1_000_000;

/// When a lease that is taken or prolonged now runs out.
pub(crate) fn expiry(now: Timestamp, ttl: Duration) -> i64 {
    let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
    time(now).saturating_add(ttl)
}

pub(crate) async fn claim(
    store: &PostgresStore,
    slot: Slot,
    owner: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<Option<SlotTerm>, StoreError> {
    let mut tx = store.begin().await?;
    // Waits for every batch that holds the lease for share; the next one sees the new term.
    let term: Option<i64> = sqlx::query_scalar(
        "UPDATE slots SET owner = $2, term = term + 1, expires_at = $3
         WHERE slot = $1 AND (owner IS NULL OR owner = $2 OR expires_at <= $4)
         RETURNING term",
    )
    .bind(i16::from(slot.number()))
    .bind(owner)
    .bind(expiry(now, ttl))
    .bind(time(now))
    .fetch_optional(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(term.map(|term| SlotTerm {
        slot,
        term: term.unsigned_abs(),
    }))
}

/// Slots and terms as two columns, in the order of the slots: the order in which rows are locked.
fn columns(terms: &[SlotTerm]) -> Result<(Vec<i16>, Vec<i64>), StoreError> {
    let mut sorted: Vec<SlotTerm> = terms.to_vec();
    sorted.sort_by_key(|term| (term.slot.number(), term.term));
    let slots = sorted.iter().map(|term| i16::from(term.slot.number())).collect();
    let numbers = sorted
        .iter()
        .map(|term| int("term", term.term))
        .collect::<Result<_, _>>()?;
    Ok((slots, numbers))
}

fn slot_of(number: i16) -> Result<Slot, StoreError> {
    u8::try_from(number)
        .ok()
        .and_then(Slot::new)
        .ok_or_else(|| unreadable("slot", number))
}

pub(crate) async fn renew(
    store: &PostgresStore,
    terms: &[SlotTerm],
    now: Timestamp,
    ttl: Duration,
) -> Result<Vec<Slot>, StoreError> {
    let (slots, numbers) = columns(terms)?;
    let mut tx = store.begin().await?;
    let kept: Vec<(i16, i64)> = sqlx::query_as(
        "WITH mine AS (
             SELECT s.slot FROM slots s JOIN UNNEST($1::smallint[], $2::bigint[]) AS held (slot, term)
                 ON s.slot = held.slot AND s.term = held.term
             ORDER BY s.slot FOR NO KEY UPDATE OF s)
         UPDATE slots SET expires_at = $3 FROM mine WHERE slots.slot = mine.slot
         RETURNING slots.slot, slots.term",
    )
    .bind(&slots)
    .bind(&numbers)
    .bind(expiry(now, ttl))
    .fetch_all(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)?;
    let kept: BTreeSet<(i16, i64)> = kept.into_iter().collect();
    Ok(terms
        .iter()
        .filter(|term| {
            let number = i64::try_from(term.term).unwrap_or(i64::MAX);
            !kept.contains(&(i16::from(term.slot.number()), number))
        })
        .map(|term| term.slot)
        .collect())
}

pub(crate) async fn release(store: &PostgresStore, terms: &[SlotTerm]) -> Result<(), StoreError> {
    let (slots, numbers) = columns(terms)?;
    let mut tx = store.begin().await?;
    // The row stays, so that the next term is higher.
    sqlx::query(
        "WITH mine AS (
             SELECT s.slot FROM slots s JOIN UNNEST($1::smallint[], $2::bigint[]) AS held (slot, term)
                 ON s.slot = held.slot AND s.term = held.term
             ORDER BY s.slot FOR NO KEY UPDATE OF s)
         UPDATE slots SET owner = NULL, expires_at = 0 FROM mine WHERE slots.slot = mine.slot",
    )
    .bind(&slots)
    .bind(&numbers)
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)
}

/// The terms of these slots, whose rows no other transaction can change before this one ends.
pub(crate) async fn lock_for_share(
    conn: &mut PgConnection,
    slots: &BTreeSet<Slot>,
) -> Result<Vec<SlotTerm>, StoreError> {
    let numbers: Vec<i16> = slots.iter().map(|slot| i16::from(slot.number())).collect();
    let rows: Vec<(i16, i64)> =
        sqlx::query_as("SELECT slot, term FROM slots WHERE slot = ANY($1) ORDER BY slot FOR SHARE")
            .bind(numbers)
            .fetch_all(conn)
            .await
            .map_err(from_sqlx)?;
    rows.into_iter()
        .map(|(number, term)| {
            Ok(SlotTerm {
                slot: slot_of(number)?,
                term: term.unsigned_abs(),
            })
        })
        .collect()
}

/// The current generation, which no other transaction can end before this one ends.
pub(crate) async fn lock_generation(conn: &mut PgConnection) -> Result<StoreGeneration, StoreError> {
    sqlx::query_scalar("SELECT generation FROM meta FOR SHARE")
        .fetch_one(conn)
        .await
        .map(StoreGeneration)
        .map_err(from_sqlx)
}

/// The current generation.
pub(crate) async fn read_generation(conn: &mut PgConnection) -> Result<StoreGeneration, StoreError> {
    sqlx::query_scalar("SELECT generation FROM meta")
        .fetch_one(conn)
        .await
        .map(StoreGeneration)
        .map_err(from_sqlx)
}

/// Begins a generation that was chosen above the current one.
pub(crate) async fn write_generation(
    conn: &mut PgConnection,
    generation: StoreGeneration,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE meta SET generation = $1, restored = true")
        .bind(generation.0)
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    sqlx::query("UPDATE fences SET last_fence = last_fence + $1")
        .bind(FENCE_GAP)
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}

pub(crate) async fn declare_restored(
    store: &PostgresStore,
    candidate: StoreGeneration,
    now: Timestamp,
) -> Result<StoreGeneration, StoreError> {
    let mut tx = store.begin().await?;
    let current: StoreGeneration = sqlx::query_scalar("SELECT generation FROM meta FOR NO KEY UPDATE")
        .fetch_one(&mut *tx)
        .await
        .map(StoreGeneration)
        .map_err(from_sqlx)?;
    let next = next_generation(current, candidate);
    write_generation(&mut tx, next).await?;
    let mut work = Work::new(now);
    work.raise(
        AlarmKind::DeclaredRestore,
        next.to_string(),
        None,
        format!("the database was declared restored: generation {next} follows {current}"),
    );
    work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    store.set_generation(next);
    Ok(next)
}

/// Benches that are connected.
pub(crate) async fn online(conn: &mut PgConnection) -> Result<Vec<DeviceId>, StoreError> {
    sqlx::query("SELECT device FROM devices WHERE online")
        .fetch_all(conn)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| row.parsed("device"))
        .collect()
}
