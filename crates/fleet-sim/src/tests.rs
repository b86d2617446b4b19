//! A thin slice for the gate; `cargo xtask sim` runs more.

use super::*;
use crate::plan::Mutant;

/// Seeds of a run of the gate.
const SEEDS: u64 = 60;

fn broken(seed: u64, mutant: Mutant) -> Option<String> {
    let mut rng = Rng::new(seed);
    let plan = Plan::of(&mut rng, Some(mutant));
    World::new(rng, plan, false).run().err()
}

#[test]
fn nothing_is_lost_doubled_reordered_or_stuck() {
    let mut seen = Figures::default();
    for seed in 0..SEEDS {
        let figures = run(seed).unwrap_or_else(|broken| panic!("{broken}"));
        seen.add(&figures);
    }
    println!("{seen:?}");
    // The faults that this is about did happen.
    for (what, times) in [
        ("power losses", seen.power_losses),
        ("server crashes", seen.server_crashes),
        ("restored databases", seen.database_restores),
        ("restored disks", seen.disk_restores),
        ("servers that stood still", seen.freezes),
        ("slots left out", seen.fenced),
        ("messages dropped", seen.dropped),
    ] {
        assert!(times > 0, "no {what}");
    }
}

#[test]
fn every_write_of_a_bench_may_fail() {
    for seed in 0..3 {
        let points = write_points(seed).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(points > 100, "only {points} writes");
    }
}

#[test]
fn without_faults_nothing_is_sent_twice() {
    for seed in 0..10 {
        let mut rng = Rng::new(seed);
        let plan = Plan::quiet(&mut rng);
        if let Err(complaint) = World::new(rng, plan, false).run() {
            panic!("quiet seed {seed}: {complaint}");
        }
    }
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in 0..10 {
        let (first, lines) = replay(seed);
        let (second, again) = replay(seed);
        assert_eq!(lines, again);
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.trace_hash, second.trace_hash);
        assert_eq!(
            first.trace_hash,
            run(seed).unwrap().trace_hash,
            "the trace changes nothing"
        );
        assert_ne!(first.trace_hash, run(seed + 1).unwrap().trace_hash);
    }
}

#[test]
fn a_broken_rule_is_noticed() {
    let mut unnoticed = Vec::new();
    for mutant in [
        Mutant::DeleteOnPuback,
        Mutant::ReceiptBeforeCommit,
        Mutant::IgnoreLowerThrough,
    ] {
        let noticed = (0..60).find_map(|seed| broken(seed, mutant).map(|complaint| (seed, complaint)));
        match noticed {
            Some((seed, complaint)) => {
                println!(
                    "{mutant:?} at seed {seed}: {}",
                    complaint.chars().take(300).collect::<String>()
                );
            }
            None => unnoticed.push(mutant),
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?} went unnoticed");
}
