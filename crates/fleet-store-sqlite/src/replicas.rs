//! The processes that share the plant, and who holds which slot. SQLite serves one process; the rows are kept
//! all the same, so that the page and the tests see one picture on both databases.

use std::time::Duration;

use fleet_domain::Slot;
use fleet_store::{ReplicaNotice, ReplicaRow, SlotLease, StoreError};
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, time};
use crate::error::from_sqlx;
use crate::lease::expiry;

/// How long a replica is remembered after its last word: for people who look at the table by hand.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(10);

pub(crate) async fn announce(
    store: &SqliteStore,
    notice: &ReplicaNotice,
    now: Timestamp,
    ttl: Duration,
) -> Result<Vec<ReplicaRow>, StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query(
        "INSERT INTO replicas (owner, broker, http, version, slots_ready, started_at, seen_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)
         ON CONFLICT (owner) DO UPDATE SET broker = ?2, http = ?3, version = ?4, slots_ready = ?5,
             seen_at = ?6, expires_at = ?7",
    )
    .bind(&notice.owner)
    .bind(&notice.broker)
    .bind(&notice.http)
    .bind(&notice.version)
    .bind(i64::from(notice.slots_ready))
    .bind(time(now))
    .bind(expiry(now, ttl))
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    sqlx::query("DELETE FROM replicas WHERE expires_at < ?")
        .bind(time(now.checked_sub(FORGOTTEN_AFTER).unwrap_or(now)))
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    let living = living(&mut tx, now).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(living)
}

pub(crate) async fn withdraw(store: &SqliteStore, owner: &str) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query("DELETE FROM replicas WHERE owner = ?")
        .bind(owner)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)
}

pub(crate) async fn replicas(store: &SqliteStore, now: Timestamp) -> Result<Vec<ReplicaRow>, StoreError> {
    let mut tx = store.snapshot().await?;
    living(&mut tx, now).await
}

async fn living(conn: &mut SqliteConnection, now: Timestamp) -> Result<Vec<ReplicaRow>, StoreError> {
    sqlx::query(
        "SELECT r.*,
             (SELECT count(*) FROM slots s WHERE s.owner = r.owner AND s.expires_at > ?1) AS slots_owned,
             EXISTS (SELECT 1 FROM relay l WHERE l.owner = r.owner AND l.expires_at > ?1) AS relay
         FROM replicas r WHERE r.expires_at > ?1 ORDER BY r.owner",
    )
    .bind(time(now))
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(replica_row)
    .collect()
}

fn replica_row(row: &SqliteRow) -> Result<ReplicaRow, StoreError> {
    Ok(ReplicaRow {
        owner: row.text("owner")?,
        broker: row.text("broker")?,
        http: row.text("http")?,
        version: row.text("version")?,
        slots_ready: row.u32("slots_ready")?,
        started_at: row.time("started_at")?,
        seen_at: row.time("seen_at")?,
        expires_at: row.time("expires_at")?,
        slots_owned: row.u32("slots_owned")?,
        relay: row.flag("relay")?,
    })
}

pub(crate) async fn slot_leases(store: &SqliteStore) -> Result<Vec<SlotLease>, StoreError> {
    let mut leases: Vec<SlotLease> = Slot::all()
        .map(|slot| SlotLease {
            slot,
            owner: None,
            term: 0,
            expires_at: Timestamp::UNIX_EPOCH,
        })
        .collect();
    let rows = sqlx::query("SELECT slot, nullif(owner, '') AS owner, term, expires_at FROM slots")
        .fetch_all(&store.readers)
        .await
        .map_err(from_sqlx)?;
    for row in &rows {
        let number = row.u32("slot")?;
        if let Some(lease) = leases
            .iter_mut()
            .find(|lease| u32::from(lease.slot.number()) == number)
        {
            lease.owner = row.opt_text("owner")?;
            lease.term = row.u64("term")?;
            lease.expires_at = row.time("expires_at")?;
        }
    }
    Ok(leases)
}
