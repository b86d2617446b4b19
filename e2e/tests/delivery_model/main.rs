//! The delivery contract as a property: the shipped sender and spool against the shipped ingest planner,
//! over a broker, disks and processes that fail in every way the contract speaks of.
//!
//! `SEEDS=10000 cargo test -p e2e --test delivery_model` runs so many seeds, `SEED=7` that one alone. A
//! failure prints the seed; the same seed fails again.

use std::time::{Duration, Instant};

use plan::{Mutant, Plan};
use rng::Rng;
use world::{Figures, World};

mod bench;
mod broker;
mod plan;
mod rng;
mod server;
mod world;

/// Seeds of a run of the gate.
const GATE_SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn run(seed: u64, mutant: Option<Mutant>) -> Result<Figures, String> {
    let mut rng = Rng::new(seed);
    let plan = Plan::of(&mut rng, mutant);
    World::new(rng, plan).run()
}

fn seeds() -> Box<dyn Iterator<Item = u64>> {
    match number("SEED") {
        Some(seed) => Box::new(std::iter::once(seed)),
        None => Box::new(0..number("SEEDS").unwrap_or(GATE_SEEDS)),
    }
}

#[test]
fn nothing_is_lost_doubled_reordered_or_stuck() {
    let begun = Instant::now();
    let (mut count, mut total, mut longest) = (0_u64, Figures::default(), Duration::ZERO);
    let mut failures = Vec::new();
    for seed in seeds() {
        count += 1;
        match run(seed, None) {
            Ok(figures) => {
                longest = longest.max(figures.settled_after);
                total.events += figures.events;
                total.published += figures.published;
                total.stored += figures.stored;
                total.holes += figures.holes;
                total.restarts += figures.restarts;
                total.power_losses += figures.power_losses;
                total.server_crashes += figures.server_crashes;
                total.database_restores += figures.database_restores;
                total.disk_restores += figures.disk_restores;
                total.connects += figures.connects;
            }
            Err(complaint) => {
                failures.push(format!("SEED={seed}: {complaint}"));
                if failures.len() >= 10 {
                    break;
                }
            }
        }
    }
    println!(
        "{count} seeds in {:?}: {} events counted, {} published, {} stored; {} starts, {} power losses, \
         {} server crashes, {} restored databases, {} restored disks, {} connects, {} holes; settled at most \
         {longest:?} after the last fault",
        begun.elapsed(),
        total.events,
        total.published,
        total.stored,
        total.restarts,
        total.power_losses,
        total.server_crashes,
        total.database_restores,
        total.disk_restores,
        total.connects,
        total.holes,
    );
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn without_faults_nothing_is_sent_twice() {
    for seed in 0..10 {
        let mut rng = Rng::new(seed);
        let plan = Plan::quiet(&mut rng);
        if let Err(complaint) = World::new(rng, plan).run() {
            panic!("quiet seed {seed}: {complaint}");
        }
    }
}

#[test]
fn a_broken_rule_is_noticed() {
    for mutant in [
        Mutant::DeleteOnPuback,
        Mutant::ReceiptBeforeCommit,
        Mutant::TakeGaps,
        Mutant::IgnoreLowerThrough,
        Mutant::NoPredecessor,
        Mutant::StoreDuplicates,
    ] {
        let noticed =
            (0..200).find_map(|seed| run(seed, Some(mutant)).err().map(|complaint| (seed, complaint)));
        let (seed, complaint) = noticed.unwrap_or_else(|| panic!("{mutant:?} went unnoticed in 200 seeds"));
        println!(
            "{mutant:?} at seed {seed}: {}",
            complaint.chars().take(160).collect::<String>()
        );
    }
}
