//! `cargo xtask bench path`.

use serde_json::{Value, json};

use super::load::{self, Plan};
use super::stand::{Kind, Stand};
use super::{Common, Folder, build, machine, number, report};

/// More than two cores carry: what comes through tells the capacity.
const PROBE_RATE: u32 = 30_000;
const PROBE_S: u64 = 12;
/// Rates are multiples of this.
const GRID: f64 = 500.0;
const SECONDS: u64 = 60;
const LATENCY_S: u64 = 20;
/// The embedded server stands beside; its runs are shorter.
const EMBEDDED_S: u64 = 20;
/// Parts of the probed capacity that are tried, one after the other, until one is held.
const TRIED: [f64; 3] = [0.92, 0.82, 0.7];

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
    let folder = Folder::new("path", common.keep)?;
    let machine = machine::describe(&folder.path)?;
    machine::show(&machine);
    let (mut parts, mut sound) = (serde_json::Map::new(), true);
    for kind in Kind::ALL.into_iter().filter(|kind| common.wants(kind.name())) {
        let below = folder.below(kind.name());
        std::fs::create_dir_all(&below)?;
        let seconds = common.seconds.unwrap_or(match kind {
            Kind::Plant => SECONDS,
            Kind::Embedded | Kind::EmbeddedKafka => EMBEDDED_S,
        });
        let mut stand = Stand::start(&below, kind).await?;
        let part = measure(&mut stand, kind, common, seconds, &below).await?;
        drop(stand);
        for run in part["runs"].as_array().into_iter().flatten() {
            sound &= load::is_sound(run);
        }
        report::path(kind.name(), &part);
        parts.insert(kind.name().to_owned(), part);
    }
    println!("\nnothing lost, doubled, reordered or invented: {sound}");
    Ok(json!({ "bench": "path", "machine": machine, "sound": sound, "parts": parts }))
}

async fn measure(
    stand: &mut Stand,
    kind: Kind,
    common: &Common,
    seconds: u64,
    folder: &std::path::Path,
) -> anyhow::Result<Value> {
    let mut runs = Vec::new();
    let plan = |name, rate, seconds| Plan {
        name,
        benches: common.benches,
        rate,
        warm_up_s: 5,
        seconds,
        consumer_beside: false,
        judge_kafka: true,
        drained_within_s: 60,
    };
    let rates = if let Some(rate) = common.rate {
        vec![rate]
    } else {
        let probe = load::run(stand, kind, plan("probe", PROBE_RATE, PROBE_S), folder).await?;
        let capacity = number(&probe["receipts_per_second"]);
        println!("  about {capacity:.0}/s come through");
        runs.push(probe);
        TRIED.iter().map(|part| on_grid(capacity * part)).collect()
    };
    let mut highest = None;
    for (name, rate) in ["sustained", "sustained-2", "sustained-3"].into_iter().zip(rates) {
        let result = load::run(stand, kind, plan(name, rate, seconds), folder).await?;
        let held = result["held"] == true;
        println!(
            "  {rate}/s for {seconds} s: {}",
            if held { "held" } else { "not held" }
        );
        runs.push(result);
        highest = Some((rate, held));
        if held {
            break;
        }
    }
    let (rate, held) = highest.unwrap_or((0, false));
    let half = Plan {
        consumer_beside: true,
        ..plan("half", rate / 2, LATENCY_S)
    };
    runs.push(load::run(stand, kind, half, folder).await?);
    Ok(json!({ "sustained_rate": if held { rate } else { 0 }, "tried_rate": rate, "runs": runs }))
}

fn on_grid(rate: f64) -> u32 {
    let steps = (rate / GRID).floor().max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate of the grid, far below"
    )]
    let rate = (steps * GRID) as u32;
    rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_rounded_down_to_the_grid() {
        assert_eq!(on_grid(15_780.0), 15_500);
        assert_eq!(on_grid(120.0), 500);
    }
}
