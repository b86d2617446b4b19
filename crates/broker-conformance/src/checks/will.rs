//! The will: after its delay, canceled by a reconnect, not after a goodbye.

use std::time::Duration;

use tokio::time::Instant;

use super::SILENCE;
use crate::client::{Connection, Wanted, Will};
use crate::fault::Fault;
use crate::report::Findings;
use crate::runner::Run;

const DELAY: Duration = Duration::from_secs(3);
/// A will may come so much later than its delay.
const LATE: Duration = Duration::from_secs(3);
/// Clocks that count whole seconds may be so early.
const EARLY: Duration = Duration::from_secs(1);

/// A client with a will, and one that hears it.
async fn pair(run: &Run, name: &str) -> Result<(Wanted, Connection, Connection), Fault> {
    let topic = run.topic("will", name, "presence");
    let mut observer = run.passing(&format!("will-observer-{name}")).await?;
    observer.subscribe(&topic).await?;
    let wanted = Wanted {
        will: Some(Will {
            topic,
            payload: b"will".to_vec(),
            delay: DELAY,
        }),
        ..Wanted::session(run.id(&format!("will-{name}")))
    };
    let client = run.open(&wanted).await?;
    Ok((wanted, client, observer))
}

/// When the will came, if it did.
async fn heard(observer: &mut Connection, within: Duration) -> Result<Option<Instant>, Fault> {
    match observer.next(within).await {
        Ok(message) => Ok(Some(message.at)),
        Err(Fault::Timeout { .. }) => Ok(None),
        Err(fault) => Err(fault),
    }
}

pub(super) async fn wills(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let (delayed, canceled, goodbye) =
        futures::future::try_join3(delay(run), cancel(run), goodbye(run)).await?;
    let in_time = delayed.is_some_and(|after| after + EARLY >= DELAY && after <= DELAY + LATE);
    findings.judge(
        "will.delay",
        in_time,
        match delayed {
            Some(after) => format!("delay {} s; sent after {} ms", DELAY.as_secs(), after.as_millis()),
            None => format!("not sent within {} s", (DELAY + LATE).as_secs()),
        },
    );
    let sent = |after: Option<Duration>| match after {
        Some(after) => format!("sent after {} ms", after.as_millis()),
        None => "not sent".to_owned(),
    };
    findings.judge("will.canceled", canceled.is_none(), sent(canceled));
    findings.judge("will.goodbye", goodbye.is_none(), sent(goodbye));
    Ok(())
}

async fn delay(run: &Run) -> Result<Option<Duration>, Fault> {
    let (_, client, mut observer) = pair(run, "delay").await?;
    client.cut().await;
    let lost = Instant::now();
    let at = heard(&mut observer, DELAY + LATE).await?;
    Ok(at.map(|at| at - lost))
}

async fn cancel(run: &Run) -> Result<Option<Duration>, Fault> {
    let (wanted, client, mut observer) = pair(run, "cancel").await?;
    client.cut().await;
    let lost = Instant::now();
    tokio::time::sleep(DELAY / 4).await;
    let client = run.open(&wanted).await?;
    let at = heard(&mut observer, DELAY + SILENCE).await?;
    client.disconnect().await?;
    Ok(at.map(|at| at - lost))
}

async fn goodbye(run: &Run) -> Result<Option<Duration>, Fault> {
    let (_, client, mut observer) = pair(run, "goodbye").await?;
    client.disconnect().await?;
    let left = Instant::now();
    let at = heard(&mut observer, DELAY + SILENCE).await?;
    Ok(at.map(|at| at - left))
}
