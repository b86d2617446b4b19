//! `cargo xtask sim`: the delivery contract in simulated time, and the relay's core against its model.

use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;

use crate::workspace;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// First seed. Alone it is replayed: everything that happened is printed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Only the benches and servers, not the relay.
    #[arg(long, conflicts_with = "relay")]
    delivery: bool,
    /// Only the relay.
    #[arg(long)]
    relay: bool,
}

/// Runs the seeds in both models.
///
/// # Errors
/// Cargo can't be run.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (seed, runs) = (options.seed.to_string(), options.runs.to_string());
    if !options.relay {
        let mut delivery = workspace::cargo();
        delivery.args([
            "run",
            "-q",
            "-p",
            "fleet-sim",
            "--",
            "--seed",
            &seed,
            "--runs",
            &runs,
        ]);
        if !passes(&mut delivery)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    if !options.delivery {
        println!("the relay against a model of Kafka:");
        let mut relay = workspace::cargo();
        relay.args(["test", "-q", "-p", "fleet-relay", "--test", "relay"]);
        relay.args(["a_reader_sees_each_event_once", "--", "--nocapture"]);
        if options.runs == 1 {
            relay.env("RELAY_SEED", &seed);
        } else {
            // Its seeds begin with 0.
            relay.env(
                "RELAY_SEEDS",
                options.seed.saturating_add(options.runs).to_string(),
            );
        }
        if !passes(&mut relay)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn passes(command: &mut Command) -> anyhow::Result<bool> {
    let status = command
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .status()
        .with_context(|| format!("{} can't be run", workspace::shown(command)))?;
    Ok(status.success())
}
