//! Runs the simulation: `cargo xtask sim`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use fleet_sim::{Broken, Figures};

/// Failures that are shown before a run ends early.
const MOST_FAILURES: usize = 10;
/// Pause between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);
/// Seeds whose every write fails once, for each thousand seeds.
const SYSTEMATIC: u64 = 4;

/// The delivery contract in simulated time, by seed.
#[derive(Debug, Parser)]
#[command(name = "fleet-sim", bin_name = "cargo xtask sim")]
struct Options {
    /// First seed. Alone it is replayed with everything that happened.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.runs == 1 {
        return replay(options.seed);
    }
    many(options.seed, options.runs)
}

fn replay(seed: u64) -> ExitCode {
    let (result, lines) = fleet_sim::replay(seed);
    for line in lines {
        println!("{line}");
    }
    match result {
        Ok(figures) => {
            println!(
                "seed {seed} keeps the contract, trace hash {:016x}",
                figures.trace_hash
            );
            println!("{figures:?}");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("FAILED {broken}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default)]
struct Done {
    figures: Figures,
    failures: Vec<Broken>,
    points: u64,
    longest: Duration,
}

fn many(first: u64, runs: u64) -> ExitCode {
    let began = fleet_clock::boot_now();
    let (next, count, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let done = Mutex::new(Done::default());
    let systematic = SYSTEMATIC * runs.div_ceil(1000);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= systematic + runs || stop.load(Ordering::Relaxed) {
                return;
            }
            let result = if index < systematic {
                fleet_sim::write_points(first + index).map(|points| (Figures::default(), points))
            } else {
                count.fetch_add(1, Ordering::Relaxed);
                fleet_sim::run(first + index - systematic).map(|figures| (figures, 0))
            };
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok((figures, points)) => {
                    done.longest = done.longest.max(figures.settled_after);
                    done.figures.add(&figures);
                    done.points += points;
                }
                Err(broken) => {
                    println!(
                        "FAILED {broken}\n  replay: cargo xtask sim --seed {}",
                        broken.seed
                    );
                    done.failures.push(broken);
                    stop.fetch_or(done.failures.len() >= MOST_FAILURES, Ordering::Relaxed);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut told = began;
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            let now = fleet_clock::boot_now();
            if now.saturating_sub(told) >= PROGRESS {
                told = now;
                let (seeds, failed) = (count.load(Ordering::Relaxed), failures(&done));
                println!(
                    "{seeds} of {runs} seeds, {} a minute, {failed} failed",
                    rate(seeds, now.saturating_sub(began))
                );
            }
        }
    });
    let took = fleet_clock::boot_now().saturating_sub(began);
    report(
        &done.into_inner().unwrap_or_else(PoisonError::into_inner),
        count.into_inner(),
        took,
    )
}

fn failures(done: &Mutex<Done>) -> usize {
    done.lock().unwrap_or_else(PoisonError::into_inner).failures.len()
}

/// Seeds a minute.
fn rate(seeds: u64, took: Duration) -> u128 {
    u128::from(seeds) * 60_000 / took.as_millis().max(1)
}

fn report(done: &Done, seeds: u64, took: Duration) -> ExitCode {
    let sum = &done.figures;
    println!(
        "{seeds} seeds in {:.1} s ({} a minute), {} failed; {} writes of a bench failed once each",
        took.as_secs_f64(),
        rate(seeds, took),
        done.failures.len(),
        done.points,
    );
    println!(
        "{} events counted, {} stored, {} published ({} for 1,000 events); {} starts of agents, {} connects",
        sum.events,
        sum.stored,
        sum.published,
        sum.published.saturating_mul(1_000) / sum.events.max(1),
        sum.restarts,
        sum.connects,
    );
    println!(
        "{} power losses, {} restored disks, {} servers killed, {} stood still, {} leases taken, {} slots fenced, \
         {} restored databases, {} dropped by the broker, {} holes; settled at most {:.0} s after the last fault",
        sum.power_losses,
        sum.disk_restores,
        sum.server_crashes,
        sum.freezes,
        sum.claims,
        sum.fenced,
        sum.database_restores,
        sum.dropped,
        sum.holes,
        done.longest.as_secs_f64(),
    );
    if done.failures.is_empty() {
        println!("lost 0, duplicates 0, reordered 0, phantoms 0");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}
