//! The storage in memory: the model of a database for simulations.
//!
//! [`Database`] is plain rows without a lock or a runtime: a clone is a backup, a clone that is put back is a restore,
//! and a [`Transaction`] that was begun and not committed is what a crash leaves behind. [`MemoryStore`] is the
//! [`Store`] trait on it and passes the same suite as the real ones. What a batch leads to is decided by
//! `fleet-recording`, as there.

mod catalog;
mod database;
mod ingest;
mod jobs;
mod lease;
mod read;
mod relay;
mod store;
mod upkeep;
mod work;

pub use database::Database;
pub use ingest::Transaction;
pub use store::MemoryStore;
