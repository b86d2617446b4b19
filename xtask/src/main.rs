//! The developer's commands: `cargo xtask demo`, `test`, `doctor`, `generate`.

mod bench;
mod chaos;
mod demo;
mod doctor;
mod fuzz;
mod gate;
mod generate;
mod mutants;
mod page;
mod queries;
mod sim;
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
    /// Measure how fast the path is, on release programs and real services.
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Search for inputs that break a decoder, guided by coverage; what is found is made smaller and kept.
    Fuzz {
        /// Only this one [default: all, one after the other].
        target: Option<String>,
        /// How long for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only list the targets.
        #[arg(long)]
        list: bool,
        /// Keep small inputs that reach new code in the committed corpus.
        #[arg(long)]
        keep: bool,
    },
    /// Break rules of delivery in a copy of the tree; each must be noticed by its proof.
    Mutants {
        /// Only these [default: all].
        names: Vec<String>,
        /// Only list them.
        #[arg(long)]
        list: bool,
        /// Only check that every patch fits the code.
        #[arg(long)]
        check: bool,
        /// Write the results there, as JSON.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Break everything by a plan while benches work, and judge what came of their events.
    Chaos(chaos::Options),
    /// Run the delivery contract in simulated time, by seed.
    Sim(sim::Options),
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
        Command::Bench { bench } => bench::run(&bench),
        Command::Fuzz {
            target,
            seconds,
            list,
            keep,
        } => fuzz::run(&fuzz::Options {
            target: target.as_deref(),
            seconds,
            list,
            keep,
        }),
        Command::Mutants {
            names,
            list,
            check,
            report,
        } => mutants::run(&mutants::Options {
            names: &names,
            list,
            check,
            report: report.as_deref(),
        }),
        Command::Chaos(options) => chaos::run(&options),
        Command::Sim(options) => sim::run(&options),
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
