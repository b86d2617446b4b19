//! A connection that goes silent: nothing comes from it any more, and nobody closes it.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Will, last_will};
use crate::fault::Fault;
use crate::raw::Raw;
use crate::report::{Findings, Verdict};
use crate::runner::Run;

const KEEP_ALIVE: u16 = 2;
/// Later than one and a half keep alives (MQTT 5.0, 3.1.2.10) by so much: brokers look every few seconds.
const LATE: Duration = Duration::from_secs(6);
/// Longest keep alive of the broker's that is waited for.
const LONGEST: u16 = 20;

pub(super) async fn half_open(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("keepalive", "bench", "presence");
    let mut observer = run.passing("keepalive-observer").await?;
    observer.subscribe(&topic).await?;
    let will = last_will(&Will {
        topic,
        payload: b"will".to_vec(),
        delay: Duration::ZERO,
    });
    let (silent, connack) = Raw::connect(&run.target, &run.id("silent"), KEEP_ALIVE, Some(will)).await?;
    let started = Instant::now();
    let granted = connack
        .properties
        .and_then(|properties| properties.server_keep_alive)
        .unwrap_or(KEEP_ALIVE);
    if granted > LONGEST {
        let said = format!("the broker raises the keep alive to {granted} s");
        findings.note("keepalive.half_open", Verdict::NotChecked, said);
        return Ok(());
    }
    let keep_alive = Duration::from_secs(u64::from(granted));
    let rule = keep_alive + keep_alive / 2;
    let heard = observer.next(rule + LATE).await;
    drop(silent);
    let after = match heard {
        Ok(message) => Some(message.at - started),
        Err(Fault::Timeout { .. }) => None,
        Err(fault) => return Err(fault),
    };
    let text = match after {
        Some(after) => format!("will sent {} ms after the last packet", after.as_millis()),
        None => format!("no will within {} s", (rule + LATE).as_secs()),
    };
    findings.judge(
        "keepalive.half_open",
        after.is_some(),
        format!("keep alive {granted} s: {text}"),
    );
    observer.disconnect().await
}
