//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fleet_settings::{ConfigCommand, EXIT_HELD, EXIT_OTHER, EXIT_SETTINGS, LockError, Settings as _, print};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::agent::{self, AgentError};
use crate::config::Config;
use crate::status;

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

/// The program: reads the command line and runs it. Exit codes: 0 in order, 2 settings, 3 the data folder is held
/// by another agent, 1 anything else.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let file = arguments.config.as_deref();
    let command = arguments.command.unwrap_or(Command::Run);
    if let Command::Config { command } = command {
        return command.run::<Config>(file);
    }
    let config = match fleet_settings::load(file) {
        Ok(config) => config,
        Err(error) => return Config::PROGRAM.fails(&error, EXIT_SETTINGS),
    };
    match command {
        Command::Status { json } => show_status(&config, json),
        _ => run(config),
    }
}

fn run(config: Config) -> ExitCode {
    // Reads the environment variable FAILPOINTS; without it nothing is armed.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let guard = match fleet_telemetry::init("device-agent", &config.telemetry) {
        Ok(guard) => guard,
        Err(error) => return Config::PROGRAM.fails(&error, EXIT_SETTINGS),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run_until_signal(config)),
        Err(error) => return Config::PROGRAM.fails(&error, EXIT_OTHER),
    };
    drop(guard);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ AgentError::Lock(LockError::Held { .. })) => Config::PROGRAM.fails(&error, EXIT_HELD),
        Err(error) => Config::PROGRAM.fails(&error, EXIT_OTHER),
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
            print(&format!("{:#}\n", serde_json::json!(status)));
            ExitCode::SUCCESS
        }
        Ok(status) => {
            print(&status.to_table());
            ExitCode::SUCCESS
        }
        Err(error) => Config::PROGRAM.fails(&error, EXIT_OTHER),
    }
}
