//! Slots with their terms, and the life of the database.

use std::time::Duration;

use fleet_domain::{Slot, StoreGeneration};
use fleet_recording::next_generation;
use fleet_store::{AlarmKind, SlotTerm, StoreError};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::column::{Columns, int, time};
use crate::error::from_sqlx;
use crate::work::Work;

/// Fencing numbers of a restored database start above those that it may have given away since its backup.
const FENCE_GAP: i64 = 1_000_000;

pub(crate) fn expiry(now: Timestamp, ttl: Duration) -> i64 {
    let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
    time(now).saturating_add(ttl)
}

pub(crate) async fn claim(
    store: &SqliteStore,
    slot: Slot,
    owner: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<Option<SlotTerm>, StoreError> {
    let mut tx = store.begin().await?;
    let term: Option<i64> = sqlx::query_scalar(
        "INSERT INTO slots (slot, owner, term, expires_at) VALUES (?1, ?2, 1, ?3)
         ON CONFLICT (slot) DO UPDATE SET owner = ?2, term = term + 1, expires_at = ?3
         WHERE slots.owner = ?2 OR slots.expires_at <= ?4
         RETURNING term",
    )
    .bind(i64::from(slot.number()))
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

pub(crate) async fn renew(
    store: &SqliteStore,
    terms: &[SlotTerm],
    now: Timestamp,
    ttl: Duration,
) -> Result<Vec<Slot>, StoreError> {
    let mut tx = store.begin().await?;
    let mut lost = Vec::new();
    for term in terms {
        let done = sqlx::query("UPDATE slots SET expires_at = ? WHERE slot = ? AND term = ?")
            .bind(expiry(now, ttl))
            .bind(i64::from(term.slot.number()))
            .bind(int("term", term.term)?)
            .execute(&mut *tx)
            .await
            .map_err(from_sqlx)?;
        if done.rows_affected() == 0 {
            lost.push(term.slot);
        }
    }
    tx.commit().await.map_err(from_sqlx)?;
    Ok(lost)
}

pub(crate) async fn release(store: &SqliteStore, terms: &[SlotTerm]) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    for term in terms {
        // The row stays, so that the next term is higher.
        sqlx::query("UPDATE slots SET expires_at = 0, owner = '' WHERE slot = ? AND term = ?")
            .bind(i64::from(term.slot.number()))
            .bind(int("term", term.term)?)
            .execute(&mut *tx)
            .await
            .map_err(from_sqlx)?;
    }
    tx.commit().await.map_err(from_sqlx)
}

/// The current terms of all slots; within a write transaction nobody else can change them.
pub(crate) async fn current(conn: &mut SqliteConnection) -> Result<Vec<SlotTerm>, StoreError> {
    sqlx::query("SELECT slot, term FROM slots")
        .fetch_all(conn)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| {
            let number = row.u32("slot")?;
            let slot = u8::try_from(number)
                .ok()
                .and_then(Slot::new)
                .ok_or_else(|| crate::column::unreadable("slot", number))?;
            Ok(SlotTerm {
                slot,
                term: row.u64("term")?,
            })
        })
        .collect()
}

/// Begins a generation that was chosen above the current one.
pub(crate) async fn write_generation(
    conn: &mut SqliteConnection,
    generation: StoreGeneration,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE meta SET generation = ?, restored = 1, last_fence = last_fence + ?")
        .bind(generation.0)
        .bind(FENCE_GAP)
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}

pub(crate) async fn read_generation(conn: &mut SqliteConnection) -> Result<StoreGeneration, StoreError> {
    let row = sqlx::query("SELECT generation FROM meta")
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(StoreGeneration(row.uuid("generation")?))
}

pub(crate) async fn declare_restored(
    store: &SqliteStore,
    candidate: StoreGeneration,
    now: Timestamp,
) -> Result<StoreGeneration, StoreError> {
    let mut tx = store.begin().await?;
    let current = read_generation(&mut tx).await?;
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
pub(crate) async fn online(conn: &mut SqliteConnection) -> Result<Vec<fleet_domain::DeviceId>, StoreError> {
    sqlx::query("SELECT device FROM devices WHERE online = 1")
        .fetch_all(conn)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| row.parsed("device"))
        .collect()
}
