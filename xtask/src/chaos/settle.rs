//! How far everything has come, and the wait at the end.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::jobs::Jobs;
use super::restore::ledger;
use super::stand::Stand;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Nothing moves for so long: it is settled.
const STILL: usize = 3;
/// After that it is judged as it stands.
const SETTLES_WITHIN: Duration = Duration::from_mins(8);
/// A job of an agent has so long to end by itself.
const JOBS_END_WITHIN: Duration = Duration::from_secs(45);

/// What a process with benches says of itself.
#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    draining: bool,
    connected: u64,
    outstanding: u64,
    receipted: u64,
    settled: bool,
}

/// How the benches stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    connected: u64,
    receipted: u64,
    outstanding: u64,
    /// Every process drains and is settled.
    settled: bool,
}

impl Standing {
    /// As the status files say.
    pub(super) fn of(stand: &Stand) -> Self {
        let mut standing = Self {
            settled: true,
            ..Self::default()
        };
        for benches in &stand.benches {
            let status: Status = std::fs::read(&benches.status)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default();
            standing.connected += status.connected;
            standing.outstanding += status.outstanding;
            standing.receipted += status.receipted;
            standing.settled &= status.draining && status.settled;
        }
        standing
    }

    /// Everybody is connected and receipts come.
    pub(super) fn is_warm(&self, benches: u64) -> bool {
        self.connected == benches && self.receipted >= benches
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connected, {} without receipt",
            self.connected, self.outstanding
        )
    }
}

/// Events that were begun, by the size of the histories: lines of `append` are the longest, so this is a guess for
/// the progress and for the least number of events.
pub(super) fn written(stand: &Stand) -> u64 {
    let entries = std::fs::read_dir(&stand.history).into_iter().flatten().flatten();
    let bytes: u64 = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("made-"))
        .filter_map(|entry| entry.metadata().ok())
        .map(|file| file.len())
        .sum();
    // An event takes three lines: about 300, 110 and 110 bytes.
    bytes / 530
}

/// Waits until every event has its receipt and is in Kafka. Gives what is still open, if anything.
pub(super) async fn settle(stand: &mut Stand, jobs: &Jobs) -> anyhow::Result<Option<String>> {
    let begun = Instant::now();
    jobs.quiet();
    std::fs::write(stand.drain_file(), b"")?;
    let (mut still, mut last) = (0, Value::Null);
    loop {
        stand.check()?;
        let standing = Standing::of(stand);
        let ledger = ledger(stand).await.unwrap_or_default();
        let jobs_end = jobs.open() == 0 || begun.elapsed() > JOBS_END_WITHIN;
        let settled = standing.settled && ledger["in_outbox"] == 0 && jobs_end;
        still = if settled && ledger == last { still + 1 } else { 0 };
        if still >= STILL {
            println!("settled after {:.1} s", begun.elapsed().as_secs_f64());
            return Ok(None);
        }
        if begun.elapsed() > SETTLES_WITHIN {
            return Ok(Some(format!(
                "{standing}, {} jobs open; ledger {ledger}",
                jobs.open()
            )));
        }
        last = ledger;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until the relay has taken everything, after benches and agents have ended.
pub(super) async fn relayed(stand: &Stand) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < SETTLES_WITHIN {
        if ledger(stand).await.is_some_and(|ledger| ledger["in_outbox"] == 0) {
            return true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    false
}
