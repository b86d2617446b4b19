//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fleet_settings::{ConfigCommand, EXIT_HELD, EXIT_OTHER, EXIT_SETTINGS, LockError, Settings as _, print};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::agent::{self, AgentError};
use crate::config::Config;
use crate::{spool_view, status};

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
    /// Show what lies in the bench's spool, without changing it; safe beside a running agent.
    Spool {
        #[command(subcommand)]
        command: SpoolCommand,
    },
    /// Show or check the settings.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum SpoolCommand {
    /// Spools, files, holes, and damage with file and offset.
    Inspect {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// The folder `spool`, such as one of a disk taken from a bench; without it the one of the settings.
        folder: Option<PathBuf>,
    },
    /// Every event that is kept, as JSON lines; then the damage.
    Export {
        /// As for `inspect`.
        folder: Option<PathBuf>,
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
    if let Command::Spool {
        command: SpoolCommand::Inspect { folder: Some(_), .. } | SpoolCommand::Export { folder: Some(_) },
    } = &command
    {
        // A folder that is named needs no settings.
        return show_spool(command, PathBuf::new());
    }
    let config: Config = match fleet_settings::load(file) {
        Ok(config) => config,
        Err(error) => return Config::PROGRAM.fails(&error, EXIT_SETTINGS),
    };
    match command {
        Command::Status { json } => show_status(&config, json),
        Command::Spool { .. } => show_spool(command, config.data_dir.join("spool")),
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
            Box::pin(agent::run(config, stop)).await
        }
        (terminate, interrupt) => {
            for error in [terminate.err(), interrupt.err()].into_iter().flatten() {
                tracing::warn!(%error, "signals can't be heard: an end is not an orderly one");
            }
            let ended = Box::pin(agent::run(config, stop)).await;
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

fn show_spool(command: Command, of_settings: PathBuf) -> ExitCode {
    let Command::Spool { command } = command else {
        return ExitCode::SUCCESS;
    };
    let shown = match command {
        SpoolCommand::Inspect { json, folder } => {
            spool_view::describe(&folder.unwrap_or(of_settings), json).map(|text| print(&text))
        }
        SpoolCommand::Export { folder } => {
            spool_view::export(&folder.unwrap_or(of_settings), std::io::stdout().lock())
        }
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Config::PROGRAM.fails(&error, EXIT_OTHER),
    }
}
