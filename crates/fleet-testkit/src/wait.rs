//! Waiting for a condition that no event announces.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

const STEP: Duration = Duration::from_millis(50);

/// Asks `probe` until it answers, every 50 ms, and gives that answer.
///
/// Only for conditions across processes; inside one process an event can be awaited.
///
/// # Errors
/// When there is no answer `within` the time; the message names `what` was awaited.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let end = Instant::now() + within;
    loop {
        if let Some(answer) = probe().await {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {} s", within.as_secs_f32());
        }
        sleep(STEP).await;
    }
}
