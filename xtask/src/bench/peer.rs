//! `cargo xtask bench peer`: a chain of standard parts under the same load.
//!
//! Mosquitto, Telegraf with the outputs PostgreSQL and Kafka. Its publishers are plain MQTT clients: nothing tells
//! them more than a PUBACK. The chain writes one bare table; it does not deduplicate and keeps no state.

mod chain;
mod faults;

use std::time::Duration;

use serde_json::{Value, json};

use self::chain::Chain;
use super::{Common, Folder, build, machine};

const RATE: u32 = 15_000;
const SECONDS: u64 = 30;
const FAULT_RATE: u32 = 4000;

pub(super) async fn run(common: &Common) -> anyhow::Result<Value> {
    build(&["-p", "fleet-testkit", "--example", "publish"])?;
    chain::build_telegraf()?;
    let folder = Folder::new("peer", common.keep)?;
    let machine = machine::describe(&folder.path)?;
    machine::show(&machine);
    let mut report = json!({ "bench": "peer", "machine": machine });
    if common.wants("cost") {
        let below = folder.below("cost");
        let mut chain = Chain::start(&below, common.benches).await?;
        let rate = common.rate.unwrap_or(RATE);
        report["cost"] = cost(&mut chain, rate, common.seconds.unwrap_or(SECONDS)).await?;
    }
    if common.wants("faults") {
        report["faults"] = faults::run(&folder, common.benches, FAULT_RATE).await?;
    }
    Ok(report)
}

/// CPU of every process of the chain per million events that reached PostgreSQL.
async fn cost(chain: &mut Chain, rate: u32, seconds: u64) -> anyhow::Result<Value> {
    let mut publishing = chain.publish(rate, seconds)?;
    publishing.connected().await?;
    let mut watched = chain.watched();
    watched.add("publishers", Some(publishing.pid()));
    let before = watched.usage();
    let published = publishing.ended().await?;
    let settled = chain.settled(Duration::from_mins(1)).await?;
    let used = watched.usage().since(&before);
    #[expect(clippy::cast_precision_loss, reason = "seconds per million")]
    let per_million = |seconds: f64| seconds * 1e6 / settled.stored.max(1) as f64;
    println!(
        "\n{rate}/s for {seconds} s: {} published, {} acknowledged, latest {} ms behind the schedule; {} in PostgreSQL after {:.1} s more",
        published.given,
        published.acknowledged,
        published.latest_ms,
        settled.stored,
        settled.took.as_secs_f64()
    );
    let mut chain_all = 0.0;
    for (name, seconds) in &used {
        println!("  {name:<12} {:>6.1} CPU s per million", per_million(*seconds));
        if *name != "publishers" {
            chain_all += per_million(*seconds);
        }
    }
    println!(
        "  {:<12} {chain_all:>6.1} CPU s per million without the publishers",
        "chain"
    );
    let books = chain.books(published.given).await?;
    println!("  books: {books}");
    let cpu: serde_json::Map<_, _> = used
        .iter()
        .map(|(name, seconds)| ((*name).to_owned(), json!(per_million(*seconds))))
        .collect();
    Ok(json!({
        "rate": rate, "seconds": seconds, "given": published.given, "acknowledged": published.acknowledged,
        "latest_ms": published.latest_ms, "behind_s": settled.took.as_secs_f64(), "cpu_s_per_million": cpu,
        "cpu_s_per_million_chain": chain_all, "books": books,
    }))
}
