//! The command line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

use crate::benches::{self, BenchesConfig};
use crate::report::Report;
use crate::run::faults::Hooks;
use crate::run::{self, DiskKind, KafkaLatency, RunOptions};
use crate::scenario::{BUILT_IN, Overrides, Scenario};

/// The run could not be made.
const NOT_RUN: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "loadtest",
    version,
    about = "Simulated benches on the agent's own core and link, an open-loop schedule, and the books",
    after_help = "Exit codes of run: 0 passed, 1 failed, 2 could not be run, 3 invalid (the load test itself was too slow)"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario against a plant and close the books
    Run(Box<RunArgs>),
    /// Run some benches on folders until SIGTERM; may be killed and started again
    Benches {
        /// Settings, TOML
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// List the built-in scenarios, or print one as a file to begin with
    Scenarios {
        /// Print this one
        name: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// A built-in scenario or a TOML file
    scenario: String,
    /// REST address of the server
    #[arg(long, value_name = "URL")]
    server: String,
    /// Address of the benches' broker
    #[arg(long, value_name = "mqtt://HOST:PORT")]
    broker: String,
    /// Bootstrap servers of Kafka: read the topics back and judge them
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// How the latency to Kafka is measured: beside the load, or by the records' times afterwards
    #[arg(long, value_enum, default_value_t = LatencyArg::Arrival)]
    kafka_latency: LatencyArg,
    /// Wait until the server's relay has taken everything, also without --kafka
    #[arg(long)]
    relayed: bool,
    /// Number of benches, instead of the scenario's
    #[arg(long, value_name = "N")]
    benches: Option<usize>,
    /// Length of the measured phases together; other times are scaled alike
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Events per second of the busiest phase; other phases are scaled alike
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Divide all times by this, at the same rates
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    compress: Option<f64>,
    /// Content and schedule
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The benches are NAME-00000 and so on; without it each run has benches of its own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What the benches write on
    #[arg(long, value_enum, default_value_t = DiskArg::SharedLog)]
    disks: DiskArg,
    /// Folder for the benches' disks; a real disk, not memory
    #[arg(long, value_name = "FOLDER", default_value = "loadtest-disks")]
    folder: PathBuf,
    /// Keep the benches' disks
    #[arg(long)]
    keep: bool,
    /// Save the history for history-checker in this folder
    #[arg(long, value_name = "FOLDER")]
    history: Option<PathBuf>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Run a command at the begin or end of a fault: NAME.begin='COMMAND'; repeatable
    #[arg(long = "on", value_name = "NAME.begin=COMMAND")]
    on: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LatencyArg {
    Arrival,
    Record,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DiskArg {
    SharedLog,
    Folders,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match act(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Who closed standard error reads nothing anyway.
            let _ = writeln!(std::io::stderr(), "loadtest: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}

fn act(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Run(args) => runtime()?.block_on(run_scenario(*args)),
        Command::Benches { config } => {
            let config = BenchesConfig::read(&config)?;
            runtime()?.block_on(benches::run(&config))?;
            Ok(0)
        }
        Command::Scenarios { name } => scenarios(name.as_deref()),
    }
}

/// The benches have threads of their own; this one waits most of the time.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.context("no runtime")
}

fn scenarios(name: Option<&str>) -> anyhow::Result<u8> {
    let mut out = std::io::stdout().lock();
    match name {
        Some(name) => {
            let found = BUILT_IN.iter().find(|(known, _)| *known == name);
            let names: Vec<_> = BUILT_IN.iter().map(|(known, _)| *known).collect();
            let (_, text) = found.with_context(|| format!("no scenario {name}; there are {names:?}"))?;
            out.write_all(text.as_bytes())?;
        }
        None => {
            for (name, _) in BUILT_IN {
                writeln!(out, "{name:<16} {}", Scenario::load(name)?.about)?;
            }
        }
    }
    Ok(0)
}

async fn run_scenario(args: RunArgs) -> anyhow::Result<u8> {
    let overrides = Overrides {
        benches: args.benches,
        seconds: args.seconds,
        rate: args.rate,
        seed: args.seed,
        compress: args.compress,
    };
    let scenario = Scenario::load(&args.scenario)?.with(&overrides)?;
    let options = RunOptions {
        server: args.server,
        broker: args.broker,
        kafka: args.kafka,
        kafka_latency: match args.kafka_latency {
            LatencyArg::Arrival => KafkaLatency::Arrival,
            LatencyArg::Record => KafkaLatency::Record,
        },
        relayed: args.relayed,
        name: args.name,
        disks: match args.disks {
            DiskArg::SharedLog => DiskKind::SharedLog,
            DiskArg::Folders => DiskKind::Folders,
        },
        folder: args.folder,
        keep: args.keep,
        history: args.history,
        hooks: Hooks::parse(&args.on)?,
    };
    let report = run::run(&scenario, &options, &mut |line| {
        // Who closed standard error wants no progress.
        let _ = writeln!(std::io::stderr(), "{line}");
    })
    .await?;
    if let Some(path) = &args.report {
        write_report(path, &report)?;
    }
    write!(std::io::stdout().lock(), "{report}")?;
    Ok(report.outcome.exit_code())
}

fn write_report(path: &std::path::Path, report: &Report) -> anyhow::Result<()> {
    let json = serde_json::to_vec_pretty(report)?;
    std::fs::write(path, json).with_context(|| format!("the report can't be written to {}", path.display()))
}
