//! The storage in PostgreSQL, on a real server: one for this program, a database for each test.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod data;
mod failures;
mod lease;
mod migrations;
mod order;
mod suite;

use std::sync::atomic::{AtomicU32, Ordering};

use fleet_clock::wall_now;
use fleet_domain::StoreGeneration;
use fleet_store::Store as _;
use fleet_store_postgres::{PostgresOptions, PostgresStore};
use fleet_testkit::services::Postgres;

/// A database of one's own on the server that all tests share.
async fn database() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = Postgres::shared().await.unwrap();
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    server.create_database(&name).await.unwrap()
}

/// How the tests use a database.
fn options(url: &str) -> PostgresOptions {
    PostgresOptions {
        url: url.to_owned(),
        username: None,
        password: None,
        plant: "plant-1".parse().unwrap(),
        max_connections: 8,
        auto_migrate: true,
    }
}

/// A store that was not prepared.
fn unprepared(url: &str) -> PostgresStore {
    PostgresStore::open(&options(url), StoreGeneration(uuid::Uuid::from_u128(1))).unwrap()
}

/// A store, ready for use.
async fn open(url: &str) -> PostgresStore {
    let store = unprepared(url);
    store.prepare(wall_now()).await.unwrap();
    store
}

/// The database's name in a URL.
fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}
