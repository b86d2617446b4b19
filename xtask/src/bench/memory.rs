//! `cargo xtask bench memory`: Kafka is away for a million events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fleet_testkit::{Api, eventually};
use serde_json::{Value, json};

use super::load::{self, Plan};
use super::processes::Watched;
use super::stand::{Kind, Stand};
use super::{Common, Folder, build, machine, number};

const EVENTS: u64 = 1_000_000;
const RATE: u32 = 8000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(3);
/// A run of this length before, for comparison.
const BEFORE_S: u64 = 15;

pub(super) async fn run(common: &Common) -> anyhow::Result<Value> {
    build(&[
        "-p",
        "fleet-server",
        "-p",
        "loadtest",
        "--features",
        "loadtest/kafka",
        "--bins",
    ])?;
    let folder = Folder::new("memory", common.keep)?;
    let machine = machine::describe(&folder.path)?;
    machine::show(&machine);
    let rate = common.rate.unwrap_or(RATE);
    let seconds = common.seconds.unwrap_or(EVENTS / u64::from(rate) + 1);
    let mut stand = Stand::start(&folder.path, Kind::Plant).await?;
    let plan = |name, seconds| Plan {
        name,
        benches: common.benches,
        rate,
        warm_up_s: 5,
        seconds,
        consumer_beside: false,
        judge_kafka: false,
        drained_within_s: 60,
    };
    let before = load::run(
        &mut stand,
        Kind::Plant,
        plan("with-kafka", BEFORE_S),
        &folder.path,
    )
    .await?;
    let api = stand.server.api();
    relayed(&api).await?;
    stand.kafka.as_mut().context("a plant has Kafka")?.kill()?;
    println!("  Kafka is away");
    let mut watched = Watched::default();
    watched.add("fleet-server", Some(stand.server.process.pid()));
    let sampler = Sampler::start(watched, api.clone());
    let away = load::run(
        &mut stand,
        Kind::Plant,
        plan("without-kafka", seconds),
        &folder.path,
    )
    .await?;
    let memory = sampler.end().await?;
    let waiting = in_outbox(&api).await?;
    println!("  {waiting} events wait; Kafka comes back");
    let begin = Instant::now();
    stand
        .kafka
        .as_mut()
        .context("a plant has Kafka")?
        .restart()
        .await?;
    let restarted = begin.elapsed();
    // The relay's own back-off is part of what a plant sees, and not of the rate.
    eventually("the relay goes on", CAUGHT_UP_WITHIN, async || {
        (in_outbox(&api).await.ok()? < waiting).then_some(())
    })
    .await?;
    let (to_relay, started) = (in_outbox(&api).await?, Instant::now());
    relayed(&api).await?;
    let took = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let catch_up = to_relay as f64 / took;
    let (least, most, slope) = flatness(&memory);
    println!(
        "\nfleet-server while Kafka was away: {least} to {most} MiB, {slope:.2} MiB per 100,000 events after the first 200,000"
    );
    println!(
        "catch-up: {to_relay} events in {took:.1} s, {catch_up:.0}/s; Kafka took {:.1} s to start",
        restarted.as_secs_f64()
    );
    for (name, of) in [("with Kafka", &before), ("without", &away)] {
        println!(
            "ingest {name}: {:.0}/s, receipt p50 {:.0} ms, p99 {:.0} ms",
            number(&of["receipts_per_second"]),
            number(&of["receipt"]["p50_ms"]),
            number(&of["receipt"]["p99_ms"])
        );
    }
    Ok(json!({
        "bench": "memory", "machine": machine, "rate": rate, "waiting": waiting,
        "rss_mib": { "least": least, "most": most, "mib_per_100000_events": slope },
        "samples": memory.iter().map(|(stored, kib)| json!([stored, kib])).collect::<Vec<_>>(),
        "catch_up_per_second": catch_up, "with_kafka": before, "without_kafka": away,
        "sound": load::is_sound(&before) && load::is_sound(&away),
    }))
}

async fn in_outbox(api: &Api) -> anyhow::Result<u64> {
    let ledger = api.get("/api/v1/ledger").await?;
    ledger["in_outbox"].as_u64().context("the ledger says what waits")
}

async fn relayed(api: &Api) -> anyhow::Result<()> {
    let end = Instant::now() + CAUGHT_UP_WITHIN;
    while in_outbox(api).await? > 0 {
        if Instant::now() > end {
            bail!(
                "the relay has not caught up within {} s",
                CAUGHT_UP_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY / 5).await;
    }
    Ok(())
}

/// Memory of the server beside the number of events that wait, each second.
struct Sampler {
    task: tokio::task::JoinHandle<BTreeMap<u64, u64>>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Sampler {
    fn start(watched: Watched, api: Api) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move {
            let mut samples = BTreeMap::new();
            while !*stopped.borrow() {
                if let Ok(waiting) = in_outbox(&api).await {
                    samples.insert(waiting, watched.usage().resident_kib("fleet-server"));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            samples
        });
        Self { task, stop }
    }

    async fn end(self) -> anyhow::Result<BTreeMap<u64, u64>> {
        let _ = self.stop.send(true);
        self.task.await.context("the sampler failed")
    }
}

/// Least and most MiB after the first 200,000 events, and what the line through them says of 100,000 events more.
fn flatness(samples: &BTreeMap<u64, u64>) -> (u64, u64, f64) {
    const WARM: u64 = 200_000;
    let late: Vec<(f64, f64)> = samples
        .range(WARM..)
        .map(|(events, kib)| {
            #[expect(clippy::cast_precision_loss, reason = "a line through points")]
            let point = (*events as f64, *kib as f64);
            point
        })
        .collect();
    let mib = |kib: u64| kib / 1024;
    let least = samples
        .range(WARM..)
        .map(|(_, kib)| *kib)
        .min()
        .unwrap_or_default();
    let most = samples
        .range(WARM..)
        .map(|(_, kib)| *kib)
        .max()
        .unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let count = late.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| late.iter().map(of).sum::<f64>() / count;
    let (events, kib) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = late
        .iter()
        .map(|point| (point.0 - events) * (point.1 - kib))
        .sum();
    let below: f64 = late.iter().map(|point| (point.0 - events).powi(2)).sum();
    (mib(least), mib(most), above / below.max(1.0) * 100_000.0 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_with_the_outbox_shows_as_a_slope() {
        let grows: BTreeMap<u64, u64> = (2..12).map(|n| (n * 100_000, 50_000 + n * 10_240)).collect();
        assert!((flatness(&grows).2 - 10.0).abs() < 0.01);
        let flat: BTreeMap<u64, u64> = (2..12).map(|n| (n * 100_000, 50_000 + n % 2)).collect();
        assert!(flatness(&flat).2.abs() < 0.01);
    }
}
