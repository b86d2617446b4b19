//! The services of a plant are started, killed, frozen, ended and started again, and keep what they promise.

mod hivemq;
#[cfg(feature = "kafka")]
mod kafka;
mod mosquitto;
mod mqtt;
mod postgres;
mod watchdog;

use std::time::Instant;

use tempfile::TempDir;

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

/// Says how long something took: `cargo test -- --nocapture` shows the table.
fn took(what: &str, begin: Instant) {
    println!("{what:<40} {:>8.0} ms", begin.elapsed().as_secs_f64() * 1e3);
}
