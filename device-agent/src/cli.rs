//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::agent::{self, AgentError};
use crate::config::{self, Config};
use crate::fetch::chain;
use crate::lock::LockError;
use crate::status;

/// The settings can't be used.
const EXIT_CONFIG: u8 = 2;
/// Another agent holds the data folder.
const EXIT_HELD: u8 = 3;

/// Runs jobs of VDS Fleet on the vehicle of one test bench.
#[derive(Debug, Parser)]
#[command(name = "device-agent", version)]
struct Arguments {
    /// TOML file with settings; `config print --defaults` lists every key.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent (the default).
    Run,
    /// Show what the bench is and does.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show or check the settings.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the settings as they are used.
    Print {
        /// Print every key with its default and meaning instead.
        #[arg(long)]
        defaults: bool,
    },
    /// Say whether the settings can be used.
    Check,
}

/// The program: reads the command line and runs it. Exit codes: 0 in order, 2 settings, 3 the data folder is held
/// by another agent, 1 anything else.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Config {
        command: ConfigCommand::Print { defaults: true },
    }) = &arguments.command
    {
        out(&config::defaults_toml());
        return ExitCode::SUCCESS;
    }
    let config = match config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run(config),
        Command::Status { json } => show_status(&config, json),
        Command::Config { command } => {
            match command {
                ConfigCommand::Print { .. } => out(&config.to_toml()),
                ConfigCommand::Check => out("the settings can be used\n"),
            }
            ExitCode::SUCCESS
        }
    }
}

fn run(config: Config) -> ExitCode {
    // Reads the environment variable FAILPOINTS; without it nothing is armed.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let guard = match fleet_telemetry::init("device-agent", &config.telemetry) {
        Ok(guard) => guard,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run_until_signal(config)),
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    drop(guard);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            match error {
                AgentError::Lock(LockError::Held { .. }) => ExitCode::from(EXIT_HELD),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The first SIGTERM or SIGINT asks the agent to end; it finishes what can't be stopped on the vehicle. The second
/// one ends the process at once: the journal has what a restart needs.
async fn run_until_signal(config: Config) -> Result<(), AgentError> {
    let (ask, stop) = watch::channel(false);
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::spawn(async move {
                either(&mut terminate, &mut interrupt).await;
                ask.send_replace(true);
                either(&mut terminate, &mut interrupt).await;
                tracing::warn!("asked to end twice: ending at once");
                std::process::exit(1);
            });
            agent::run(config, stop).await
        }
        (terminate, interrupt) => {
            for error in [terminate.err(), interrupt.err()].into_iter().flatten() {
                tracing::warn!(%error, "signals can't be heard: an end is not an orderly one");
            }
            let ended = agent::run(config, stop).await;
            drop(ask);
            ended
        }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn show_status(config: &Config, json: bool) -> ExitCode {
    match status::ask(&config.data_dir, config.plant.as_str(), config.device.as_str()) {
        Ok(status) if json => {
            out(&format!("{:#}\n", serde_json::json!(status)));
            ExitCode::SUCCESS
        }
        Ok(status) => {
            out(&status.to_table());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn out(text: &str) {
    use std::io::Write as _;
    // A reader that has closed its end needs nothing more.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn complain(error: &dyn std::error::Error) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "device-agent: {}", chain(error));
}
