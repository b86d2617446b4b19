//! The developer's commands: `cargo xtask demo`, `test`, `doctor`, `generate`.

mod demo;
mod doctor;
mod gate;
mod generate;
mod page;
mod queries;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The developer's commands of VDS Fleet"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set everything up, start server, simulated vehicles and benches, and run three jobs to watch.
    Demo {
        /// End when the three jobs are finished: 0 only when all passed and the simulator confirms the software.
        #[arg(long)]
        once: bool,
        /// On the services of a plant: PostgreSQL, Mosquitto, Apache Kafka and two servers; shows what is in Kafka.
        #[arg(long)]
        plant: bool,
        /// Where everything is kept, and a second start goes on from there [default: data/demo; with --plant a
        /// temporary folder].
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Run all checks and tests; ends with one line `N passed, N failed`.
    Test,
    /// Say what this machine has and lacks.
    Doctor {
        /// Install what can be installed with the rights at hand.
        #[arg(long)]
        install: bool,
    },
    /// Write all generated files.
    Generate {
        /// Write nothing; say which file is stale.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo { once, plant, data } => demo::run(demo::Options {
            once,
            plant,
            data: data.as_deref(),
        }),
        Command::Test => gate::run(),
        Command::Doctor { install } => doctor::run(install),
        Command::Generate { check } => generate::run(check),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
