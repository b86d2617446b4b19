//! The storage in SQLite, on real files.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod crash;
mod migrations;
mod refused;
mod suite;
mod target;

use std::path::Path;

use fleet_clock::{new_uuid, wall_now};
use fleet_domain::StoreGeneration;
use fleet_store_sqlite::SqliteStore;

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(
        path,
        "plant-1".parse().unwrap(),
        wall_now(),
        StoreGeneration(uuid::Uuid::from_u128(1)),
    )
    .await
    .unwrap()
}

fn fresh() -> StoreGeneration {
    StoreGeneration(new_uuid())
}
