//! Sessions: over an absence, and apart from each other.

use super::PAUSE;
use crate::client::Wanted;
use crate::fault::Fault;
use crate::number::{numbered, numbers, runs};
use crate::report::Findings;
use crate::runner::Run;

const MESSAGES: u32 = 200;

fn all() -> Vec<u32> {
    (0..MESSAGES).collect()
}

pub(super) async fn absence(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("session", "bench", "events");
    let mut reader = run.session("absent").await?;
    reader.subscribe(&run.topic("session", "+", "events")).await?;
    reader.cut().await;
    let mut writer = run.passing("absence-writer").await?;
    for n in 0..MESSAGES {
        writer.publish(&topic, numbered(n, 100)).await?;
    }
    let answers = writer.settled().await?;
    // No subscription is made: the session has it.
    let mut reader = run.session("absent").await?;
    let present = reader.connack.session_present;
    let messages = reader.resume(MESSAGES as usize, PAUSE).await?;
    let arrived = numbers(&messages);
    findings.judge(
        "session.absence",
        present && arrived == all(),
        format!(
            "session {}; {} of {MESSAGES} acknowledged messages arrived{}",
            if present { "kept" } else { "lost" },
            arrived.len(),
            if arrived.len() == answers.accepted && arrived != all() {
                ", not in order"
            } else {
                ""
            },
        ),
    );
    reader.disconnect().await
}

/// One session is read, the other waits; then one is ended.
pub(super) async fn isolation(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("isolation", "bench", "events");
    let filter = run.topic("isolation", "+", "events");
    for name in ["isolated-a", "isolated-b"] {
        let mut reader = run.session(name).await?;
        reader.subscribe(&filter).await?;
        reader.disconnect().await?;
    }
    let mut writer = run.passing("isolation-writer").await?;
    let mut first = run.session("isolated-a").await?;
    for n in 0..MESSAGES {
        writer.publish(&topic, numbered(n, 100)).await?;
    }
    writer.settled().await?;
    let of_first = numbers(&first.resume(MESSAGES as usize, PAUSE).await?);
    first.disconnect().await?;
    // The end of one session must not touch the other.
    let gone = run.open(&Wanted::passing(run.id("isolated-a"))).await?;
    gone.disconnect().await?;
    let mut second = run.session("isolated-b").await?;
    let present = second.connack.session_present;
    let of_second = numbers(&second.resume(MESSAGES as usize, PAUSE).await?);
    let again = run.session("isolated-a").await?;
    let ended = !again.connack.session_present;
    findings.judge(
        "isolation.sessions",
        of_first == all() && of_second == all() && present && ended,
        format!(
            "one got {}, the other {}; ending one {} the other's session{}",
            runs(&of_first),
            runs(&of_second),
            if present { "left" } else { "took" },
            if ended { "" } else { " and did not end its own" },
        ),
    );
    again.disconnect().await?;
    second.disconnect().await
}
