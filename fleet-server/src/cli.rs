//! Command line.
//!
//! Exit codes: 0 a clean end, 2 wrong configuration or command line, 3 the data folder or a port is held
//! by somebody else, 1 anything else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fleet_settings::{ConfigCommand, EXIT_HELD, EXIT_OTHER, EXIT_SETTINGS, Settings as _, print};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::config::Config;
use crate::relay::RelayCommand;
use crate::restore;

#[derive(Debug, Parser)]
#[command(
    name = "fleet-server",
    version,
    about = "Broker, ingest, dispatch, API and page of one plant"
)]
struct Cli {
    /// TOML file with settings; environment variables `FLEET_SERVER__SECTION__KEY` go before it.
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default).
    Run,
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Bring the tables of the database up to date, and end.
    ///
    /// Forward only; a database that is newer than this version is refused. With SQLite only while no server runs.
    Migrate,
    /// Look at the relay into Kafka, or let it go on after a restore.
    Relay {
        #[command(subcommand)]
        command: RelayCommand,
    },
    /// Say that the database was put back from a backup; with SQLite only while no server runs on the data folder.
    ///
    /// Begins a new generation: every bench states again what it holds, and no job is offered until each has.
    DeclareRestored,
}

/// Runs the program.
pub fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => match read(cli.config.as_deref()) {
            Ok(config) => run(config),
            Err(code) => code,
        },
        Command::Config { command } => command.run::<Config>(cli.config.as_deref()),
        Command::Openapi => {
            print(&crate::http::openapi_text());
            ExitCode::SUCCESS
        }
        Command::Migrate => match read(cli.config.as_deref()) {
            Ok(config) => migrate(&config),
            Err(code) => code,
        },
        Command::Relay { command } => match read(cli.config.as_deref()) {
            Ok(config) => command.run(&config),
            Err(code) => code,
        },
        Command::DeclareRestored => match read(cli.config.as_deref()) {
            Ok(config) => declare_restored(&config),
            Err(code) => code,
        },
    }
}

fn read(file: Option<&Path>) -> Result<Config, ExitCode> {
    fleet_settings::load(file).map_err(|error| Config::PROGRAM.fails(&error, EXIT_SETTINGS))
}

fn exit_code(held: bool) -> u8 {
    if held { EXIT_HELD } else { EXIT_OTHER }
}

fn run(config: Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Config::PROGRAM.complain(&format!("no threads can be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        // Inside the runtime: the exporter needs one.
        let guard = match fleet_telemetry::init("fleet-server", &config.telemetry) {
            Ok(guard) => guard,
            Err(error) => return Config::PROGRAM.fails(&error, EXIT_SETTINGS),
        };
        let code = serve(config).await;
        // The last flush blocks its thread.
        let _ = tokio::task::spawn_blocking(move || drop(guard)).await;
        code
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

/// Runs a command that ends by itself.
fn once<T>(command: impl Future<Output = T>) -> Result<T, ExitCode> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => Ok(runtime.block_on(command)),
        Err(error) => {
            Config::PROGRAM.complain(&format!("no runtime can be started: {error}"));
            Err(ExitCode::FAILURE)
        }
    }
}

fn migrate(config: &Config) -> ExitCode {
    match once(crate::migrate::migrate(config)) {
        Ok(Ok((from, to))) if from == to => {
            print(&format!("the database has schema {to} already\n"));
            ExitCode::SUCCESS
        }
        Ok(Ok((from, to))) => {
            print(&format!("the database went from schema {from} to {to}\n"));
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => Config::PROGRAM.fails(&error, exit_code(error.is_held())),
        Err(code) => code,
    }
}

fn declare_restored(config: &Config) -> ExitCode {
    match once(restore::declare(config)) {
        Ok(Ok(generation)) => {
            print(&format!(
                "generation {generation} has begun; start the server, and release benches that can't be waited for\n"
            ));
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => Config::PROGRAM.fails(&error, exit_code(error.is_held())),
        Err(code) => code,
    }
}

async fn serve(config: Config) -> ExitCode {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                Config::PROGRAM.complain(&format!("signals can't be handled: {error}"));
                return ExitCode::FAILURE;
            }
        };
    let started = tokio::select! {
        started = App::start(config) => started,
        _ = terminate.recv() => return ExitCode::SUCCESS,
        _ = interrupt.recv() => return ExitCode::SUCCESS,
    };
    let mut app = match started {
        Ok(app) => app,
        Err(error) => return Config::PROGRAM.fails(&error, exit_code(error.is_held())),
    };
    let endpoints = app.endpoints();
    tracing::info!(http = endpoints.http, mqtt = endpoints.mqtt, plant = %endpoints.plant, "started");
    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::SUCCESS,
        () = app.failed() => ExitCode::FAILURE,
    };
    tracing::info!("stopping");
    app.stop().await;
    code
}
