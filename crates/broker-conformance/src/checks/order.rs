//! Order of each publisher through a slot's subscription.

use std::collections::BTreeMap;

use super::{PAUSE, SILENCE};
use crate::client::Message;
use crate::fault::Fault;
use crate::number::{numbered, numbers, runs};
use crate::report::Findings;
use crate::runner::Run;

const PUBLISHERS: u32 = 4;
const EACH: u32 = 120;
/// Messages that a connection takes before it is cut, and how many of them it acknowledges.
const TAKEN: usize = 90;
const ACKNOWLEDGED: usize = 50;
/// Twice what it needs when every other connection gets on.
const MOST_CONNECTIONS: usize = 80;

pub(super) async fn order(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    plain(run, findings).await?;
    over_lost_connections(run, findings).await
}

fn device(publisher: u32) -> String {
    format!("bench-{publisher}")
}

/// The numbers of each topic, in the order of their arrival.
fn by_topic(messages: &[Message]) -> BTreeMap<&str, Vec<u32>> {
    let mut topics: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in messages {
        topics.entry(&message.topic).or_default().push(message);
    }
    topics
        .into_iter()
        .map(|(topic, messages)| (topic, numbers(messages)))
        .collect()
}

async fn publish(run: &Run, slot: &str, publisher: u32) -> Result<(), Fault> {
    let mut writer = run.passing(&format!("{slot}-writer-{publisher}")).await?;
    let topic = run.topic(slot, &device(publisher), "events");
    for n in 0..EACH {
        writer.publish(&topic, numbered(n, 600)).await?;
    }
    writer.settled().await?;
    writer.disconnect().await
}

async fn plain(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let mut reader = run.session("order-reader").await?;
    reader.subscribe(&run.topic("order", "+", "events")).await?;
    let writers = futures::future::try_join_all((0..PUBLISHERS).map(|p| publish(run, "order", p)));
    let wanted = (PUBLISHERS * EACH) as usize;
    let (_, messages) = futures::future::try_join(writers, reader.drain(wanted, PAUSE)).await?;
    let all: Vec<_> = (0..EACH).collect();
    let topics = by_topic(&messages);
    let bad = topics.iter().find(|(_, numbers)| **numbers != all);
    let measured = match bad {
        Some((topic, numbers)) => format!("{topic} came as {}", runs(numbers)),
        None => format!(
            "{} messages of {} publishers came in order",
            messages.len(),
            topics.len()
        ),
    };
    findings.judge(
        "order.publisher",
        bad.is_none() && topics.len() == PUBLISHERS as usize,
        measured,
    );
    reader.disconnect().await
}

/// What was found over all connections.
#[derive(Default)]
struct Seen {
    /// First number of each topic that was not acknowledged yet.
    open: BTreeMap<String, u32>,
    connections: usize,
    again: usize,
    fault: Option<String>,
}

impl Seen {
    /// Judges what one connection brought, and notes what of it was acknowledged.
    fn take(&mut self, messages: &[Message], acknowledged: usize) {
        self.connections += 1;
        for (topic, numbers) in by_topic(messages) {
            let open = self.open.get(topic).copied().unwrap_or(0);
            let first = numbers.first().copied().unwrap_or(open);
            let contiguous = numbers
                .windows(2)
                .all(|pair| matches!(pair, [a, b] if a.checked_add(1) == Some(*b)));
            // An acknowledgement that did not reach the broker brings its message again: that is allowed.
            if first > open || !contiguous {
                self.fault.get_or_insert_with(|| {
                    format!(
                        "connection {}: {topic} came as {}, {open} was next",
                        self.connections,
                        runs(&numbers)
                    )
                });
            }
        }
        for message in messages.get(..acknowledged).unwrap_or(messages) {
            let next = crate::number::number(message).unwrap_or(0).saturating_add(1);
            let open = self.open.entry(message.topic.clone()).or_insert(0);
            *open = next.max(*open);
        }
        self.again += messages.iter().filter(|message| message.dup).count();
    }

    fn is_complete(&self) -> bool {
        self.open.len() == PUBLISHERS as usize && self.open.values().all(|open| *open == EACH)
    }
}

async fn over_lost_connections(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let mut reader = run.session("lossy-reader").await?;
    reader.subscribe(&run.topic("lossy", "+", "events")).await?;
    let writers = futures::future::try_join_all((0..PUBLISHERS).map(|p| publish(run, "lossy", p)));
    let reading = async {
        let mut seen = Seen::default();
        while !seen.is_complete() && seen.connections < MOST_CONNECTIONS && seen.fault.is_none() {
            let messages = reader.collect(TAKEN, SILENCE).await?;
            let acknowledged = if messages.len() < TAKEN {
                messages.len()
            } else {
                ACKNOWLEDGED
            };
            for message in messages.iter().take(acknowledged) {
                reader.acknowledge(message).await?;
            }
            reader.acks_sent().await?;
            seen.take(&messages, acknowledged);
            if messages.is_empty() {
                // What is missing was lost: it has had its time to come.
                break;
            }
            // Acknowledgements on their way die with a connection that is cut. Every other one lets them through,
            // so that it goes on: the broker takes packets in their order, and this one is answered.
            if seen.connections % 2 == 0 {
                reader
                    .publish(&run.topic("lossy", "reader", "sync"), "through")
                    .await?;
                reader.settled().await?;
            }
            reader.cut().await;
            reader = run.session("lossy-reader").await?;
        }
        reader.disconnect().await?;
        Ok(seen)
    };
    let (_, seen) = futures::future::try_join(writers, reading).await?;
    let complete = seen.is_complete() && seen.fault.is_none();
    let measured = match seen.fault {
        Some(fault) => fault,
        None if !complete => format!(
            "of {EACH} messages each these were next at the end: {:?}",
            seen.open
        ),
        None => format!(
            "{} connections cut, {} messages came again, each publisher in order",
            seen.connections, seen.again
        ),
    };
    findings.judge("order.reconnect", complete, measured);
    Ok(())
}
