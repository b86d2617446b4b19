//! How much the broker keeps and hands out, and what a reader that stands still does to the others.

use std::fmt::Write as _;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Subscribe};
use tokio::time::Instant;

use super::{PAUSE, SILENCE, SOON};
use crate::client::{ANSWER_WITHIN, Answers, Connection, Wanted};
use crate::fault::Fault;
use crate::number::{numbered, numbers, runs};
use crate::raw::Raw;
use crate::report::{Findings, Verdict};
use crate::runner::Run;

/// What a slot's session takes at once by default, and what it may be set to.
const SLOT: u16 = 250;
const MOST: u16 = 2000;
/// Messages that come later, while one waits for its acknowledgement.
const LATER: u32 = 20;
/// Messages for the reader that stands still: more than sockets hold.
const FLOOD: u32 = 1500;
const FLOOD_BYTES: usize = 4096;

async fn publish(run: &Run, name: &str, topic: &str, count: u32, size: usize) -> Result<Answers, Fault> {
    let mut writer = run.passing(name).await?;
    for n in 0..count {
        writer.publish(topic, numbered(n, size)).await?;
    }
    let answers = writer.settled().await?;
    writer.disconnect().await?;
    Ok(answers)
}

/// A session that is subscribed and away.
async fn away(run: &Run, wanted: &Wanted, topic: &str) -> Result<(), Fault> {
    let mut reader = run.open(wanted).await?;
    reader.subscribe(topic).await?;
    reader.disconnect().await
}

pub(super) async fn queue(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("queue", "bench", "events");
    let wanted = Wanted::session(run.id("queue"));
    away(run, &wanted, &topic).await?;
    let answers = publish(run, "queue-writer", &topic, run.messages, 64).await?;
    let mut reader = run.open(&wanted).await?;
    let arrived = numbers(&reader.resume(run.messages as usize, PAUSE).await?);
    let dropped = answers.accepted.saturating_sub(arrived.len());
    let in_order = arrived.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    let mut measured = format!(
        "{} published for a session that is away, {} arrived",
        run.messages,
        arrived.len()
    );
    if answers.refused > 0 {
        let _ = write!(measured, ", {} refused ({:?})", answers.refused, answers.refusal);
    }
    if dropped > 0 {
        let _ = write!(measured, ", {dropped} acknowledged and dropped");
    }
    if !in_order {
        let _ = write!(measured, "; not in order: {}", runs(&arrived));
    }
    findings.judge(
        "queue.offline",
        arrived.len() == run.messages as usize && in_order,
        measured,
    );
    reader.disconnect().await
}

/// How many of `offered` messages come before the first acknowledgement.
async fn at_once(run: &Run, name: &str, receive_maximum: u16, offered: u32) -> Result<usize, Fault> {
    let topic = run.topic("inflight", name, "events");
    let wanted = Wanted {
        receive_maximum,
        ..Wanted::session(run.id(name))
    };
    away(run, &wanted, &topic).await?;
    publish(run, &format!("{name}-writer"), &topic, offered, 64).await?;
    let mut reader: Connection = run.open(&wanted).await?;
    let count = reader.collect(offered as usize, SILENCE / 2).await?.len();
    reader.cut().await;
    Ok(count)
}

pub(super) async fn in_flight(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let over = |count: usize, maximum: u16| match count.checked_sub(usize::from(maximum)) {
        None | Some(0) => String::new(),
        Some(more) => format!(", {more} above it: borne, nothing is sized by it"),
    };
    let slot = at_once(run, "inflight-slot", SLOT, u32::from(SLOT) + 150).await?;
    findings.judge(
        "inflight.slot",
        slot >= usize::from(SLOT),
        format!("{slot} at once at receive maximum {SLOT}{}", over(slot, SLOT)),
    );
    let most = at_once(run, "inflight-most", MOST, u32::from(MOST) + 150).await?;
    findings.judge(
        "inflight.most",
        most == usize::from(MOST),
        format!("{most} at once at receive maximum {MOST}{}", over(most, MOST)),
    );
    while_waiting(run, findings).await
}

/// Whether messages that arrive at the broker later come while earlier ones wait for their acknowledgement.
async fn while_waiting(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("inflight", "waiting", "events");
    let mut reader = run.session("inflight-waiting").await?;
    reader.subscribe(&topic).await?;
    publish(run, "waiting-writer", &topic, 1, 64).await?;
    let first = reader.collect(1, SILENCE).await?;
    publish(run, "waiting-writer", &topic, LATER, 64).await?;
    let later = reader.look(LATER as usize, SILENCE).await?;
    findings.judge(
        "inflight.while_waiting",
        first.len() == 1 && later.len() == LATER as usize,
        format!(
            "{} of {LATER} came while an earlier one was not acknowledged",
            later.len()
        ),
    );
    reader.disconnect().await
}

/// One reader takes nothing out of its socket while another takes all.
pub(super) async fn slow(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("slow", "bench", "events");
    let (mut still, _) = Raw::connect(&run.target, &run.id("standing-still"), 60, None).await?;
    let mut subscribe = Subscribe::new(Filter::new(&topic, QoS::AtLeastOnce), None);
    subscribe.pkid = 1;
    still.send(&Packet::Subscribe(subscribe)).await?;
    let Ok(Packet::SubAck(_)) = still.receive(ANSWER_WITHIN).await else {
        return Err(Fault::Timeout {
            what: "answer to a subscription".to_owned(),
            within: ANSWER_WITHIN,
        });
    };
    let mut reader = run.session("keeping-up").await?;
    reader.subscribe(&topic).await?;
    let started = Instant::now();
    let writing = publish(run, "slow-writer", &topic, FLOOD, FLOOD_BYTES);
    let reading = reader.drain(FLOOD as usize, SOON);
    let (written, read) = futures::future::join(writing, reading).await;
    let messages = read?;
    let took = started.elapsed();
    let widest = messages
        .windows(2)
        .filter_map(|pair| {
            matches!(pair, [_, _]).then(|| pair.last()?.at.checked_duration_since(pair.first()?.at))?
        })
        .max()
        .unwrap_or(Duration::ZERO);
    let complete = numbers(&messages) == (0..FLOOD).collect::<Vec<_>>();
    let stalled = match &written {
        Ok(_) => String::new(),
        Err(fault) => format!("; the publisher got stuck: {fault}"),
    };
    let verdict = if complete && written.is_ok() {
        Verdict::Ok
    } else {
        Verdict::NotMet
    };
    findings.note(
        "slow.others",
        verdict,
        format!(
            "{} of {FLOOD} messages of {FLOOD_BYTES} bytes reached the other reader in {:.1} s, longest pause {} ms{stalled}",
            messages.len(),
            took.as_secs_f32(),
            widest.as_millis()
        ),
    );
    drop(still);
    reader.disconnect().await
}
