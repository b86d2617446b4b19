//! Another connection takes the session by its client id.

use std::collections::BTreeSet;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use tokio::time::Instant;

use super::{SILENCE, SOON};
use crate::client::{Connection, Ended, Wanted, Will};
use crate::fault::Fault;
use crate::number::{number, numbered};
use crate::report::{Findings, Verdict};
use crate::runner::Run;

const ROUNDS: u32 = 5;
/// Messages that come meanwhile, one each [`PACE`].
const MESSAGES: u32 = 1000;
const PACE: Duration = Duration::from_millis(2);
/// A slot is handed over within this time.
const HANDED_OVER: Duration = Duration::from_secs(10);

pub(super) async fn takeover(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let (seen, sent) = futures::future::try_join(handovers(run), will(run)).await?;
    judge(&seen, findings);
    let text = sent.map(|after| {
        format!(
            "sent {} ms after the take-over; borne by rule 29",
            after.as_millis()
        )
    });
    findings.judge(
        "takeover.will",
        text.is_none(),
        text.unwrap_or_else(|| "not sent".to_owned()),
    );
    Ok(())
}

#[derive(Default)]
struct Seen {
    told: usize,
    silent: usize,
    alive: usize,
    first: Vec<Duration>,
    numbers: BTreeSet<u32>,
    back: Option<(u32, u32)>,
}

impl Seen {
    /// Reads until nothing comes for `silence` or `most` have come; acknowledges the first half.
    async fn read(&mut self, reader: &mut Connection, most: usize, silence: Duration) -> Result<(), Fault> {
        let messages = reader.collect(most, silence).await?;
        let mut last = None;
        for message in &messages {
            let n = number(message).unwrap_or(u32::MAX);
            if let Some(last) = last.filter(|last| *last >= n) {
                self.back.get_or_insert((last, n));
            }
            last = Some(n);
            self.numbers.insert(n);
        }
        for message in messages.iter().take(messages.len().div_ceil(2)) {
            reader.acknowledge(message).await?;
        }
        reader.acks_sent().await
    }
}

async fn handovers(run: &Run) -> Result<Seen, Fault> {
    let wanted = Wanted::session(run.id("owner"));
    let mut owner = run.open(&wanted).await?;
    owner.subscribe(&run.topic("takeover", "+", "events")).await?;
    let topic = run.topic("takeover", "bench", "events");
    let writing = async {
        let mut writer = run.passing("takeover-writer").await?;
        for n in 0..MESSAGES {
            writer.publish(&topic, numbered(n, 200)).await?;
            tokio::time::sleep(PACE).await;
        }
        writer.settled().await?;
        writer.disconnect().await
    };
    let mut seen = Seen::default();
    let reading = async {
        seen.read(&mut owner, 40, SILENCE).await?;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let mut next = run.open(&wanted).await?;
            match owner.ended(SOON).await {
                Some(Ended::Told(DisconnectReasonCode::SessionTakenOver)) => seen.told += 1,
                Some(_) => seen.silent += 1,
                None => {
                    seen.alive += 1;
                    return Ok(());
                }
            }
            let first = next.next(Duration::from_secs(30)).await?;
            seen.first.push(first.at - started);
            next.acknowledge(&first).await?;
            seen.numbers.insert(number(&first).unwrap_or(u32::MAX));
            seen.read(&mut next, 40, SILENCE).await?;
            owner = next;
        }
        // A last one, so that what is unacknowledged comes again, and all of it is acknowledged.
        let mut last = run.open(&wanted).await?;
        let rest = last.drain(usize::MAX, SILENCE).await?;
        seen.numbers.extend(rest.iter().filter_map(number));
        last.disconnect().await
    };
    futures::future::try_join(writing, reading).await?;
    Ok(seen)
}

fn judge(seen: &Seen, findings: &mut Findings) {
    findings.judge(
        "takeover.ends_old",
        seen.alive == 0,
        format!(
            "{} of {ROUNDS} with reason 0x8E, {} without a word, {} still alive after {} s",
            seen.told,
            seen.silent,
            seen.alive,
            SOON.as_secs()
        ),
    );
    if seen.alive > 0 {
        let text = "the first connection was not ended";
        findings.note("takeover.first_message", Verdict::NotMet, text);
        findings.note("takeover.complete", Verdict::NotMet, text);
    }
    let worst = seen.first.iter().max().copied().unwrap_or_default();
    let best = seen.first.iter().min().copied().unwrap_or_default();
    let text = format!(
        "first message {} to {} ms after the connect",
        best.as_millis(),
        worst.as_millis()
    );
    findings.judge("takeover.first_message", worst <= HANDED_OVER, text);
    let missing = MESSAGES as usize - seen.numbers.range(..MESSAGES).count();
    // The ledger takes only what is next; what came early is thrown away and sent again.
    let verdict = match (missing, seen.back) {
        (0, None) => Verdict::Ok,
        (0, Some(_)) => Verdict::Borne,
        _ => Verdict::NotMet,
    };
    let order = seen.back.map_or(String::new(), |(last, next)| {
        format!("; {next} came after {last}")
    });
    findings.note(
        "takeover.complete",
        verdict,
        format!("{missing} of {MESSAGES} lost over {ROUNDS} take-overs{order}"),
    );
}

/// How long after a take-over the will of the old connection was sent, if it was.
async fn will(run: &Run) -> Result<Option<Duration>, Fault> {
    let topic = run.topic("takeover-will", "bench", "presence");
    let mut observer = run.passing("takeover-observer").await?;
    observer.subscribe(&topic).await?;
    let delay = Duration::from_secs(2);
    let wanted = Wanted {
        will: Some(Will {
            topic,
            payload: b"will".to_vec(),
            delay,
        }),
        ..Wanted::session(run.id("twice"))
    };
    let mut first = run.open(&wanted).await?;
    let started = Instant::now();
    let second = run.open(&wanted).await?;
    first.ended(SOON).await;
    let sent = match observer.next(delay + SILENCE).await {
        Ok(message) => Some(message.at - started),
        Err(Fault::Timeout { .. }) => None,
        Err(fault) => return Err(fault),
    };
    second.disconnect().await?;
    observer.disconnect().await?;
    Ok(sent)
}
