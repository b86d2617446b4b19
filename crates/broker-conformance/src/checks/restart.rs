//! Sessions and their messages over a restart of the broker.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::time::Instant;

use super::{PAUSE, SILENCE};
use crate::client::{Connection, Wanted};
use crate::control::Ending;
use crate::fault::Fault;
use crate::number::{numbered, numbers};
use crate::report::{Findings, Verdict};
use crate::runner::Run;

const MESSAGES: u32 = 200;
/// How long the broker may take to be there again.
const BACK_WITHIN: Duration = Duration::from_mins(1);
const RETRY: Duration = Duration::from_millis(100);

pub(super) async fn restart(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    for (id, ending, option) in [
        ("restart.orderly", Ending::Orderly, "--restart-command"),
        ("restart.killed", Ending::Killed, "--kill-command"),
    ] {
        if run.control.can(ending) {
            over(run, findings, id, ending).await?;
        } else {
            findings.note(id, Verdict::NotChecked, format!("{option} was not given"));
        }
    }
    Ok(())
}

async fn over(run: &Run, findings: &mut Findings, id: &'static str, ending: Ending) -> Result<(), Fault> {
    let slot = &id.replace('.', "-");
    let topic = run.topic(slot, "bench", "events");
    let presence = run.topic(slot, "bench", "presence");
    let mut reader = run.session(slot).await?;
    reader.subscribe(&topic).await?;
    reader.disconnect().await?;
    let mut writer = run.passing(&format!("{slot}-writer")).await?;
    run.retains(&presence);
    writer
        .publish_as(&presence, "online", true, PublishProperties::default())
        .await?;
    for n in 0..MESSAGES {
        writer.publish(&topic, numbered(n, 600)).await?;
    }
    writer.settled().await?;
    writer.disconnect().await?;
    let started = Instant::now();
    let restarted = run.control.restart(ending).await;
    restarted.map_err(|error| Fault::Control(error.to_string()))?;
    let mut reader = back(run, &Wanted::session(run.id(slot))).await?;
    let took = started.elapsed();
    let present = reader.connack.session_present;
    let arrived = numbers(&reader.resume(MESSAGES as usize, PAUSE).await?);
    reader.subscribe(&presence).await?;
    let retained = !reader.look(1, SILENCE / 2).await?.is_empty();
    let all = arrived == (0..MESSAGES).collect::<Vec<_>>();
    findings.judge(
        id,
        present && all,
        format!(
            "back after {:.1} s: session {}, {} of {MESSAGES} acknowledged messages{}, retained message {}",
            took.as_secs_f32(),
            if present { "kept" } else { "lost" },
            arrived.len(),
            if all || arrived.len() < MESSAGES as usize {
                ""
            } else {
                " not in order"
            },
            if retained { "kept" } else { "lost" },
        ),
    );
    reader.disconnect().await
}

/// Connects as soon as the broker takes connections again.
async fn back(run: &Run, wanted: &Wanted) -> Result<Connection, Fault> {
    let end = Instant::now() + BACK_WITHIN;
    loop {
        match run.open(wanted).await {
            Err(fault) if Instant::now() >= end => return Err(fault),
            Err(_) => tokio::time::sleep(RETRY).await,
            connected => return connected,
        }
    }
}
