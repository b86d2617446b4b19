//! Command line.
//!
//! Exit codes: 0 a clean end, 2 wrong configuration or command line, 3 the data folder or a port is held
//! by somebody else, 1 anything else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fleet_telemetry::{LogFormat, TelemetryConfig};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::config::{self, Config, defaults_toml};
use crate::http::error::chain;

const CONFIGURATION: u8 = 2;
const HELD: u8 = 3;

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
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the settings as they are.
    Print {
        /// Print every key with its default and meaning instead.
        #[arg(long)]
        defaults: bool,
    },
    /// Say what is wrong with the settings, all of it.
    Check,
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
        Command::Config {
            command: ConfigCommand::Print { defaults: true },
        } => print(&defaults_toml()),
        Command::Config {
            command: ConfigCommand::Print { defaults: false },
        } => match read(cli.config.as_deref()) {
            Ok(config) => print(&format!("{config:#?}\n")),
            Err(code) => code,
        },
        Command::Config {
            command: ConfigCommand::Check,
        } => match read(cli.config.as_deref()) {
            Ok(_) => print("the configuration is valid\n"),
            Err(code) => code,
        },
        Command::Openapi => print(&crate::http::openapi_text()),
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    // A reader that went away (`| head`) is no error of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "fleet-server: {text}");
}

fn read(file: Option<&Path>) -> Result<Config, ExitCode> {
    config::load(file).map_err(|error| {
        complain(&chain(&error));
        ExitCode::from(CONFIGURATION)
    })
}

fn run(config: Config) -> ExitCode {
    let telemetry = TelemetryConfig {
        log: config.telemetry.log.clone(),
        log_format: if config.telemetry.log_json {
            LogFormat::Json
        } else {
            LogFormat::Text
        },
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("no threads can be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        // Inside the runtime: the exporter needs one.
        let guard = match fleet_telemetry::init("fleet-server", &telemetry) {
            Ok(guard) => guard,
            Err(error) => {
                complain(&chain(&error));
                return ExitCode::from(CONFIGURATION);
            }
        };
        let code = serve(config).await;
        // The last flush blocks its thread.
        let _ = tokio::task::spawn_blocking(move || drop(guard)).await;
        code
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

async fn serve(config: Config) -> ExitCode {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                complain(&format!("signals can't be handled: {error}"));
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
        Err(error) => {
            complain(&chain(&error));
            return if error.is_held() {
                ExitCode::from(HELD)
            } else {
                ExitCode::FAILURE
            };
        }
    };
    let endpoints = app.endpoints();
    tracing::info!(http = endpoints.http, mqtt = endpoints.mqtt, plant = %endpoints.plant, "ready");
    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::SUCCESS,
        () = app.failed() => ExitCode::FAILURE,
    };
    tracing::info!("stopping");
    app.stop().await;
    code
}
