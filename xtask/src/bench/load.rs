//! A run of the load test against a stand, with what everything took meanwhile.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::figures::{self, Metrics};
use super::processes::{Usage, Watched};
use super::stand::{Kind, Stand};
use super::{number, program};

/// The database that the testkit makes for the product.
const DATABASE: &str = "fleet";
/// Vehicles that the events speak of.
const VINS: u32 = 2000;
/// The exit code of a run whose schedule was not kept; the report is there all the same.
const INVALID: i32 = 3;
/// Beyond the schedule: connecting, draining, closing the books.
const BESIDE: Duration = Duration::from_mins(4);

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) name: &'a str,
    pub(super) benches: u32,
    pub(super) rate: u32,
    pub(super) warm_up_s: u64,
    pub(super) seconds: u64,
    /// Latencies to Kafka until a consumer has the records, which then runs beside the load; otherwise until the
    /// producer's time in the record, and Kafka is read afterwards.
    pub(super) consumer_beside: bool,
    /// Kafka is read and judged.
    pub(super) judge_kafka: bool,
    /// How long everything may take to be receipted and relayed after the schedule.
    pub(super) drained_within_s: u64,
}

impl Plan<'_> {
    fn scenario(&self) -> String {
        let phase = |name: &str, seconds: u64, measured: bool| {
            let rate = self.rate;
            format!(
                "\n[[phase]]\nname = \"{name}\"\nlasts = \"{seconds}s\"\nrate = {rate}.0\nmeasured = {measured}\n"
            )
        };
        let warm_up = if self.warm_up_s > 0 {
            phase("warm-up", self.warm_up_s, false)
        } else {
            String::new()
        };
        format!(
            "name = \"{}\"\nabout = \"cargo xtask bench\"\nbenches = {}\nvins = {VINS}\n{warm_up}{}\n[passes]\ndrained_within = \"{}s\"\n",
            self.name,
            self.benches,
            phase("measured", self.seconds, true),
            self.drained_within_s
        )
    }
}

/// A line that the load test says of its progress, and when it was read.
enum Said {
    Line(String),
    Over,
}

/// What the processes had used when the load test said something.
#[derive(Default)]
struct Moments {
    begun: Option<(Instant, Usage, Metrics)>,
    drained: Option<(Instant, Usage, Metrics)>,
    statements: Value,
}

/// Runs the load; gives the load test's own report together with CPU, memory and stages.
///
/// # Errors
/// When the run could not be made. A failed or invalid one is a result.
pub(super) async fn run(
    stand: &mut Stand,
    kind: Kind,
    plan: Plan<'_>,
    folder: &Path,
) -> anyhow::Result<Value> {
    println!(
        "{} {}: {} benches, {}/s for {} s",
        kind.name(),
        plan.name,
        plan.benches,
        plan.rate,
        plan.seconds
    );
    let (scenario, file) = (
        folder.join(format!("{}.toml", plan.name)),
        folder.join(format!("{}.json", plan.name)),
    );
    std::fs::write(&scenario, plan.scenario()).context("cannot write a scenario")?;
    let mut command = Command::new(program("loadtest"));
    command
        .arg("run")
        .arg(&scenario)
        .args(["--server", &stand.server.http, "--broker", &stand.broker()])
        .arg("--folder")
        .arg(folder.join("benches"))
        .arg("--report")
        .arg(&file);
    if let Some(kafka) = stand.kafka.as_ref().filter(|_| plan.judge_kafka) {
        let how = if plan.consumer_beside { "arrival" } else { "record" };
        command.args(["--kafka", &kafka.bootstrap(), "--kafka-latency", how]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start loadtest")?;
    let mut watched = stand.watched();
    watched.add("loadtest", Some(child.id()));
    let waits_for_relay = stand.kafka.is_some() && plan.judge_kafka;
    let followed = follow(&mut child, stand, &watched, waits_for_relay);
    let limit = BESIDE + Duration::from_secs(plan.warm_up_s + plan.seconds + plan.drained_within_s);
    let Ok(moments) = tokio::time::timeout(limit, followed).await else {
        let _ = child.kill();
        bail!("the load test did not end within {} s", limit.as_secs());
    };
    let moments = moments?;
    let status = child.wait().context("cannot wait for loadtest")?;
    if !status.success() && ![Some(1), Some(INVALID)].contains(&status.code()) {
        bail!("loadtest ended with {status}");
    }
    let report = std::fs::read(&file).with_context(|| format!("no report {}", file.display()))?;
    let report: Value = serde_json::from_slice(&report).context("the load test's report is JSON")?;
    let mut result = summary(&report, &moments);
    result["statements"] = moments.statements;
    result["name"] = json!(plan.name);
    result["rate_wanted"] = json!(plan.rate);
    result["seconds"] = json!(plan.seconds);
    result["loadtest"] = report;
    Ok(result)
}

/// Reads what the load test says until it ends.
async fn follow(
    child: &mut Child,
    stand: &Stand,
    watched: &Watched,
    waits_for_relay: bool,
) -> anyhow::Result<Moments> {
    let stderr = child.stderr.take().context("it is piped")?;
    let (says, mut said) = mpsc::unbounded_channel();
    // Ends with the pipe, and so with the child.
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = says.send(Said::Line(line));
        }
        let _ = says.send(Said::Over);
    });
    let api = stand.server.api();
    let last = if waits_for_relay {
        "the relay has taken every event"
    } else {
        "the books are closed"
    };
    let mut moments = Moments::default();
    while let Some(Said::Line(line)) = said.recv().await {
        println!("  {line}");
        if line.starts_with("connected;") {
            if let Some(postgres) = &stand.postgres {
                figures::count_statements(postgres, DATABASE).await?;
            }
            moments.begun = Some((Instant::now(), watched.usage(), Metrics::read(&api).await));
        }
        if line.starts_with(last) {
            moments.drained = Some((Instant::now(), watched.usage(), Metrics::read(&api).await));
            if let Some(postgres) = &stand.postgres {
                moments.statements = figures::statements(postgres, DATABASE).await?;
            }
        }
    }
    Ok(moments)
}

fn summary(report: &Value, moments: &Moments) -> Value {
    let (Some(begun), Some(drained)) = (&moments.begun, &moments.drained) else {
        // It failed before everything had its receipt: there is nothing to divide by.
        return json!({ "outcome": report["outcome"], "reasons": report["reasons"], "held": false });
    };
    let events = number(&report["counts"]["published"]).max(1.0);
    let per_million = |seconds: f64| seconds * 1e6 / events;
    let used = drained.1.since(&begun.1);
    let seconds = drained.0.duration_since(begun.0).as_secs_f64();
    let all: f64 = used.values().sum();
    let plant: f64 = used
        .iter()
        .filter(|(name, _)| **name != "loadtest")
        .map(|(_, seconds)| seconds)
        .sum();
    let cpu: serde_json::Map<_, _> = used
        .iter()
        .map(|(name, seconds)| ((*name).to_owned(), json!(per_million(*seconds))))
        .collect();
    let kafka = &report["books"]["kafka"];
    json!({
        "outcome": report["outcome"],
        "reasons": report["reasons"],
        "events": events,
        "receipts_per_second": report["receipts_per_second"],
        "drained_s": report["drained_s"],
        "relayed_s": report["relayed_s"],
        "receipt": report["measured"]["receipt"],
        "kafka": report["measured"]["kafka"],
        "kafka_latency": report["kafka_latency"],
        "resent_ratio": report["resent_ratio"],
        "judged": {
            "lost": kafka["lost"], "duplicates": kafka["duplicates"],
            "reordered": kafka["reordered"], "phantoms": kafka["phantoms"],
            "disagreements": report["books"]["disagreements"].as_array().map(Vec::len),
            "outstanding": report["books"]["outstanding"],
        },
        "cpu_s_per_million": cpu,
        "cpu_s_per_million_all": per_million(all),
        "cpu_s_per_million_without_load": per_million(plant),
        "cores_busy": all / seconds,
        "resident_mib": drained.1.resident_mib(),
        "stages": drained.2.stages(&begun.2, seconds),
        "held": held(report),
    })
}

/// The rate was sustained: the schedule was kept, the books agree, and no backlog was left.
fn held(report: &Value) -> bool {
    const BACKLOG_S: f64 = 3.0;
    const RECEIPT_P99_MS: f64 = 3000.0;
    let relayed = report["relayed_s"].as_f64().unwrap_or_default();
    report["outcome"] == "passed"
        && number(&report["drained_s"]) < BACKLOG_S
        && relayed < 2.0 * BACKLOG_S
        && number(&report["measured"]["receipt"]["p99_ms"]) < RECEIPT_P99_MS
}

/// Whether nothing was lost, doubled, reordered or invented.
pub(super) fn is_sound(result: &Value) -> bool {
    let judged = &result["judged"];
    [
        "lost",
        "duplicates",
        "reordered",
        "phantoms",
        "disagreements",
        "outstanding",
    ]
    .iter()
    .all(|count| judged[count].as_u64().unwrap_or_default() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_after_the_schedule_is_no_sustained_rate() {
        let report = |drained: f64, p99: f64| {
            json!({ "outcome": "passed", "drained_s": drained, "relayed_s": 0.5,
                "measured": { "receipt": { "p99_ms": p99 } } })
        };
        assert!(held(&report(0.4, 200.0)));
        assert!(!held(&report(8.0, 200.0)));
        assert!(!held(&report(0.4, 9000.0)));
    }

    #[test]
    fn one_lost_event_makes_a_run_unsound() {
        let judged = |lost: u64| json!({ "judged": { "lost": lost, "duplicates": 0 } });
        assert!(is_sound(&judged(0)));
        assert!(!is_sound(&judged(1)));
    }
}
