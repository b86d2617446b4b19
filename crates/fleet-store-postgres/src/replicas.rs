//! Server processes that share the plant.

use std::time::Duration;

use fleet_domain::Slot;
use fleet_store::{ReplicaNotice, ReplicaRow, SlotLease, StoreError};
use jiff::{SignedDuration, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::PostgresStore;
use crate::column::{Columns, time, unreadable};
use crate::error::from_sqlx;
use crate::lease::expiry;

/// How long a dead replica is remembered: nobody sees it, but a clock that was set back doesn't revive it.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

pub(crate) async fn slot_leases(store: &PostgresStore) -> Result<Vec<SlotLease>, StoreError> {
    sqlx::query("SELECT slot, owner, term, expires_at FROM slots ORDER BY slot")
        .fetch_all(&mut *store.reader().await?)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| {
            let number: i16 = row.raw("slot")?;
            let slot = u8::try_from(number)
                .ok()
                .and_then(Slot::new)
                .ok_or_else(|| unreadable("slot", number))?;
            Ok(SlotLease {
                slot,
                owner: row.opt_text("owner")?,
                term: row.u64("term")?,
                expires_at: row.time("expires_at")?,
            })
        })
        .collect()
}

pub(crate) async fn announce(
    store: &PostgresStore,
    notice: &ReplicaNotice,
    now: Timestamp,
    ttl: Duration,
) -> Result<Vec<ReplicaRow>, StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query(
        "INSERT INTO replicas (owner, broker, http, version, slots_ready, started_at, seen_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7)
         ON CONFLICT (owner) DO UPDATE SET broker = excluded.broker, http = excluded.http,
             version = excluded.version, slots_ready = excluded.slots_ready, seen_at = excluded.seen_at,
             expires_at = excluded.expires_at",
    )
    .bind(&notice.owner)
    .bind(&notice.broker)
    .bind(&notice.http)
    .bind(&notice.version)
    .bind(i32::try_from(notice.slots_ready).unwrap_or(i32::MAX))
    .bind(time(now))
    .bind(expiry(now, ttl))
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    // Two replicas may clean up at the same time: each leaves what the other has begun with.
    let long_ago = now.checked_sub(REMEMBERED).unwrap_or(Timestamp::MIN);
    sqlx::query(
        "DELETE FROM replicas WHERE owner IN
             (SELECT owner FROM replicas WHERE expires_at < $1 ORDER BY owner FOR UPDATE SKIP LOCKED)",
    )
    .bind(time(long_ago))
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let living = read(&mut tx, now).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(living)
}

pub(crate) async fn withdraw(store: &PostgresStore, owner: &str) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query("DELETE FROM replicas WHERE owner = $1")
        .bind(owner)
        .execute(&mut *tx)
        .await
        .map_err(from_sqlx)?;
    tx.commit().await.map_err(from_sqlx)
}

pub(crate) async fn replicas(store: &PostgresStore, now: Timestamp) -> Result<Vec<ReplicaRow>, StoreError> {
    read(&mut *store.reader().await?, now).await
}

async fn read(conn: &mut PgConnection, now: Timestamp) -> Result<Vec<ReplicaRow>, StoreError> {
    sqlx::query(
        "SELECT r.*,
             (SELECT count(*) FROM slots s WHERE s.owner = r.owner AND s.expires_at > $1) AS slots_owned,
             EXISTS (SELECT FROM relay WHERE relay.owner = r.owner AND relay.expires_at > $1) AS relay
         FROM replicas r WHERE r.expires_at > $1 ORDER BY r.owner",
    )
    .bind(time(now))
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(replica)
    .collect()
}

fn replica(row: &PgRow) -> Result<ReplicaRow, StoreError> {
    let ready: i32 = row.try_get("slots_ready").map_err(from_sqlx)?;
    Ok(ReplicaRow {
        owner: row.text("owner")?,
        broker: row.text("broker")?,
        http: row.text("http")?,
        version: row.text("version")?,
        slots_ready: u32::try_from(ready).map_err(|_| unreadable("slots_ready", ready))?,
        started_at: row.time("started_at")?,
        seen_at: row.time("seen_at")?,
        expires_at: row.time("expires_at")?,
        slots_owned: row.u32("slots_owned")?,
        relay: row.flag("relay")?,
    })
}
