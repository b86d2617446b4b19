//! `broker-conformance`: checks a broker and prints a table.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use broker_conformance::catalog::CHECKS;
use broker_conformance::{
    CheckReport, CommandControl, Credentials, Options, Progress, Report, RunError, Target, Verdict, render,
    run,
};
use clap::Parser;

/// Checks what the VDS fleet relies on against an MQTT 5 broker.
///
/// Connects as benches and servers do, under topics and client ids of its own, and takes away what it left at the
/// end, also after Ctrl-C. Don't run it on a plant that is at work: it sends load.
///
/// Exit code: 0 when nothing that is required was found missing, 1 when something was or the broker can't be reached,
/// 2 for a wrong call.
#[derive(Debug, Parser)]
#[command(version)]
struct Call {
    /// The broker: mqtt://HOST:PORT
    #[arg(required_unless_present = "list")]
    broker: Option<String>,
    /// User name; needs --password-file
    #[arg(long, requires = "password_file")]
    username: Option<String>,
    /// File whose first line is the password; needs --username
    #[arg(long, requires = "username", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Shell command that restarts the broker in order, on the same address and data
    #[arg(long, value_name = "COMMAND")]
    restart_command: Option<String>,
    /// Shell command that kills the broker with SIGKILL and starts it again
    #[arg(long, value_name = "COMMAND")]
    kill_command: Option<String>,
    /// Only this check or group; may be given several times
    #[arg(long, value_name = "CHECK")]
    only: Vec<String>,
    /// Messages for the check of the queue
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// Topics lie below it; the user must be allowed to read and write there
    #[arg(long, default_value = "vds/v1", value_name = "PREFIX", value_parser = prefix)]
    topic_prefix: String,
    /// Writes the report as JSON, to a file or, with `-`, to the standard output instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Lists the checks and ends
    #[arg(long)]
    list: bool,
}

fn prefix(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with(['/', '$']) || text.ends_with('/') || text.contains(['+', '#']) {
        return Err("a prefix is one or more topic levels without wildcards, such as vds/v1".to_owned());
    }
    Ok(text.to_owned())
}

/// On a terminal one line that says which groups run; elsewhere a line for each group that has ended.
#[derive(Default)]
struct Lines {
    is_terminal: bool,
    groups: AtomicUsize,
    done: AtomicUsize,
    running: Mutex<Vec<String>>,
}

impl Lines {
    fn show(&self, running: &[String]) {
        if self.is_terminal {
            let (done, groups) = (
                self.done.load(Ordering::Relaxed),
                self.groups.load(Ordering::Relaxed),
            );
            eprint!(
                "\r\x1b[2K{done} of {groups} done; running: {}",
                running.join(", ")
            );
        }
    }

    fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[2K");
        }
    }
}

impl Progress for Lines {
    fn plans(&self, groups: usize) {
        self.groups.store(groups, Ordering::Relaxed);
    }

    fn begins(&self, group: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.push(group.to_owned());
        self.show(&running);
    }

    fn ends(&self, group: &str, reports: &[CheckReport]) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|name| name != group);
        self.show(&running);
        if !self.is_terminal {
            let took = reports.first().map_or(0.0, |report| report.took.as_secs_f32());
            let verdicts: Vec<_> = reports.iter().map(|report| report.verdict.to_string()).collect();
            let groups = self.groups.load(Ordering::Relaxed);
            eprintln!("[{done}/{groups}] {group}: {} ({took:.1} s)", verdicts.join(", "));
        }
    }
}

fn list() {
    for check in CHECKS {
        let required = if check.required { "required" } else { "borne" };
        println!("{:24} {required:9} {}", check.id, check.relies_on);
    }
}

fn columns() -> usize {
    let columns = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    columns.unwrap_or(110)
}

fn write(report: &Report, json: Option<&PathBuf>) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report).context("the report has no form as JSON")?;
    match json {
        Some(path) if path.as_os_str() == "-" => println!("{text}"),
        Some(path) => {
            std::fs::write(path, text + "\n").with_context(|| format!("can't write {}", path.display()))?;
            print!("{}", render(report, columns()));
        }
        None => print!("{}", render(report, columns())),
    }
    Ok(())
}

async fn check(call: Call, broker: &str) -> anyhow::Result<ExitCode> {
    // Not parsed by clap: it would repeat an address that holds a password.
    let mut target: Target = match broker.parse() {
        Ok(target) => target,
        Err(error) => return Ok(wrong_call(&anyhow::Error::from(error))),
    };
    if let (Some(username), Some(file)) = (call.username, &call.password_file) {
        target.credentials = match Credentials::from_file(username, file) {
            Ok(credentials) => Some(credentials),
            Err(error) => return Ok(wrong_call(&error.into())),
        };
    }
    let unique = format!("conformance-{:08x}", fleet_clock::jitter_seed() & 0xFFFF_FFFF);
    let options = Options {
        target,
        control: Arc::new(CommandControl {
            restart: call.restart_command,
            kill: call.kill_command,
        }),
        only: call.only,
        messages: call.messages,
        root: call.topic_prefix,
        unique,
    };
    let lines = Lines {
        is_terminal: std::io::stderr().is_terminal(),
        ..Lines::default()
    };
    let stop = async {
        if tokio::signal::ctrl_c().await.is_ok() {
            lines.clear();
            eprintln!("stopping: taking sessions and retained messages away");
        } else {
            std::future::pending::<()>().await;
        }
    };
    let result = run(options, &lines, stop).await;
    lines.clear();
    match result {
        Ok(report) => {
            write(&report, call.json.as_ref())?;
            let unsound = report.count(Verdict::NotMet) > 0;
            Ok(if unsound {
                ExitCode::from(1)
            } else {
                ExitCode::SUCCESS
            })
        }
        Err(error @ RunError::UnknownCheck { .. }) => Ok(wrong_call(&error.into())),
        Err(error) => Err(error.into()),
    }
}

fn wrong_call(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(2)
}

fn main() -> anyhow::Result<ExitCode> {
    let call = Call::parse();
    if call.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let broker = call.broker.clone().unwrap_or_default();
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    match runtime.block_on(check(call, &broker)) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(1))
        }
    }
}
