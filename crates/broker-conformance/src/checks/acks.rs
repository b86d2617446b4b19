//! Manual acknowledgement.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{PAUSE, SILENCE};
use crate::fault::Fault;
use crate::number::{number, numbered, numbers, runs};
use crate::report::Findings;
use crate::runner::Run;

const MESSAGES: u32 = 20;
const ACKNOWLEDGED: u32 = 8;
/// How long a live connection is watched.
const LIVE_FOR: Duration = Duration::from_secs(3);

pub(super) async fn acks(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("acks", "bench", "events");
    let mut reader = run.session("acks").await?;
    reader.subscribe(&topic).await?;
    // Away while they are published: a broker may hold back what comes while others wait (inflight.while_waiting).
    reader.disconnect().await?;
    let mut writer = run.passing("acks-writer").await?;
    for n in 0..MESSAGES {
        writer.publish(&topic, numbered(n, 100)).await?;
    }
    writer.settled().await?;
    let mut reader = run.session("acks").await?;
    let messages = reader.collect(MESSAGES as usize, PAUSE).await?;
    let later = reader.look(usize::MAX, LIVE_FOR).await?;
    let seen: Vec<_> = messages.iter().chain(&later).filter_map(number).collect();
    let different: BTreeSet<_> = seen.iter().collect();
    findings.judge(
        "acks.live",
        different.len() == seen.len(),
        format!(
            "{} messages without acknowledgement for {} s: {} came again",
            different.len(),
            LIVE_FOR.as_secs(),
            seen.len() - different.len()
        ),
    );
    for message in messages.iter().take(ACKNOWLEDGED as usize) {
        reader.acknowledge(message).await?;
    }
    reader.acks_sent().await?;
    // The broker takes packets in their order: with this PUBACK it has taken the acknowledgements.
    reader
        .publish(&run.topic("acks", "bench", "sync"), "after the acknowledgements")
        .await?;
    reader.settled().await?;
    reader.cut().await;
    let mut reader = run.session("acks").await?;
    let mut again = reader.drain((MESSAGES - ACKNOWLEDGED) as usize, PAUSE).await?;
    again.extend(reader.look(usize::MAX, SILENCE).await?);
    let marked = again.iter().filter(|message| message.dup).count();
    let open: Vec<_> = (ACKNOWLEDGED..MESSAGES).collect();
    findings.judge(
        "acks.again",
        numbers(&again) == open,
        format!(
            "0-{} acknowledged; {} came again, {marked} marked as duplicates",
            ACKNOWLEDGED - 1,
            runs(&numbers(&again))
        ),
    );
    reader.disconnect().await
}
