//! `cargo xtask bench`: how fast the path is, with release programs on real services. Never a timed test.
//!
//! Every run ends by itself. Its figures mean something together with the machine's only, so each report names
//! cores, kernel, versions and the disk's own time for an fdatasync.

mod figures;
mod load;
mod machine;
mod memory;
mod path;
mod peer;
mod processes;
mod report;
mod spool;
mod stand;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::workspace::{cargo, run_logged, target_dir};

/// Which benchmark.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Benches to Kafka: the highest rate, then latencies at half of it; on the services of a plant and embedded.
    Path(Common),
    /// Kafka is away for a million events: memory, ingest meanwhile, the relay afterwards.
    Memory(Common),
    /// Appends of the benches' spool against a bare write and fdatasync.
    Spool(Common),
    /// Mosquitto, Telegraf, PostgreSQL and Kafka under the same load, and what that chain loses or doubles.
    Peer(Common),
}

/// Options of all benchmarks.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Length of the main measurement.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Events per second, instead of searching for the highest rate.
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Number of benches.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    benches: u32,
    /// Only this part: of path `plant`, `embedded` or `embedded-kafka`; of peer `cost` or `faults`.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep the folder with the services' data and logs.
    #[arg(long)]
    keep: bool,
}

impl Common {
    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

/// Runs a benchmark.
///
/// # Errors
/// When it could not be run. A figure that misses its goal is no error; a lost or doubled event is.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // What measures must not take much of what is measured.
        .worker_threads(1)
        .enable_all()
        .build()
        .context("no runtime")?;
    let (common, report) = match bench {
        Bench::Path(common) => (common, runtime.block_on(path::run(common))?),
        Bench::Memory(common) => (common, runtime.block_on(memory::run(common))?),
        Bench::Spool(common) => (common, spool::run()?),
        Bench::Peer(common) => (common, runtime.block_on(peer::run(common))?),
    };
    if let Some(file) = &common.report {
        let json = serde_json::to_vec_pretty(&report).context("a report is JSON")?;
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
        println!("report: {}", file.display());
    }
    let sound = report["sound"].as_bool().unwrap_or(true);
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A program built in the release profile.
fn program(name: &str) -> PathBuf {
    target_dir().join("release").join(name)
}

/// Builds programs in the release profile.
fn build(arguments: &[&str]) -> anyhow::Result<()> {
    println!("building the release programs (minutes, the first time)");
    let log = target_dir().join("bench").join("build.log");
    run_logged(cargo().args(["build", "--release"]).args(arguments), &log).map(drop)
}

/// A folder of its own on the disk of the target folder; removed when dropped unless it is to be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(name: &str, keep: bool) -> anyhow::Result<Self> {
        let path = target_dir()
            .join("bench")
            .join(format!("{name}-{}", std::process::id()));
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, keep })
    }

    fn below(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            println!("kept: {}", self.path.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// A number of a report, for tables.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}
