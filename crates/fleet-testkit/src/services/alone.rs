//! One heavy test at a time.

use std::fs::File;

use anyhow::Context as _;

use super::jars;

/// While this lives, no other holder of the lock runs, in this process or another.
#[derive(Debug)]
pub struct Alone {
    _lock: File,
}

/// Waits until no other heavy test runs on this machine's target folder, and keeps others waiting until the guard
/// is dropped or the process ends. For tests that load the machine or judge by time.
///
/// Cancellation: a waiter that is given up may still take the lock for an instant and lets go of it at once.
///
/// # Errors
/// When the lock file cannot be made.
pub async fn alone() -> anyhow::Result<Alone> {
    tokio::task::spawn_blocking(|| {
        let lock = jars::lock_file("alone")?;
        lock.lock().context("cannot lock a file")?;
        Ok(Alone { _lock: lock })
    })
    .await
    .context("the wait was cut off")?
}
