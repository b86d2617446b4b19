//! `cargo xtask chaos`: the real processes of a plant behind fault proxies, a plan of faults by seed, and the judge.

mod collect;
mod faults;
mod jobs;
mod plan;
mod report;
mod restore;
mod settle;
mod stand;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fleet_testkit::Workload;
use fleet_testkit::eventually;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::doctor::{FOR_DEMO, FOR_PLANT, provide};
use crate::page;
use crate::workspace::{cargo, root, target_dir};
use faults::Chaos;
use jobs::Jobs;
use plan::{Crowd, Mode};
use report::Report;
use settle::Standing;
use stand::{Size, Stand};

const INTERRUPTED: u8 = 130;
/// Processes with benches.
const BENCHES: usize = 3;
const AGENTS: usize = 3;
/// Everybody is connected and has a receipt before the faults begin.
const WARM_WITHIN: Duration = Duration::from_mins(2);
/// The load goes on so long for the least number of events.
const ENOUGH_WITHIN: Duration = Duration::from_mins(15);
/// Programs of a run, by package.
const PACKAGES: [&str; 7] = [
    "fleet-server",
    "device-agent",
    "ecu-sim",
    "loadtest",
    "history-checker",
    "fleet-testkit",
    "fleet-store-sqlite",
];

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct Options {
    /// The plan of faults follows from seed, kills and seconds
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How often something is killed (SIGKILL); other faults come beside
    #[arg(long, default_value_t = 50, value_name = "N")]
    kills: u32,
    /// Over how long the faults are spread [default: 6 for each kill]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// One server with its own broker and SQLite, instead of a plant's services and two servers
    #[arg(long)]
    embedded: bool,
    /// Events per second of all benches
    #[arg(long, default_value_t = 600.0, value_name = "N")]
    rate: f64,
    /// Benches in each of the three processes
    #[arg(long, default_value_t = 20, value_name = "N")]
    benches: usize,
    /// The load goes on until so many events were written [default: 340 for each second]
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep everything in this new folder: logs, disks, and the history to be judged again
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Programs of the release profile
    #[arg(long)]
    release: bool,
    /// Take the programs as they were built last
    #[arg(long)]
    built: bool,
    /// Only print the plan
    #[arg(long)]
    plan: bool,
}

impl Options {
    fn mode(&self) -> Mode {
        if self.embedded {
            Mode::Embedded
        } else {
            Mode::Plant
        }
    }

    fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(u64::from(self.kills) * 6)
    }

    fn events(&self) -> u64 {
        self.events.unwrap_or(self.seconds() * 340)
    }

    fn crowd(&self) -> Crowd {
        Crowd {
            benches: BENCHES,
            agents: AGENTS,
            servers: if self.embedded { 1 } else { 2 },
        }
    }

    fn steps(&self) -> Vec<plan::Step> {
        plan::plan(self.seed, self.kills, self.seconds(), self.mode(), self.crowd())
    }
}

/// Runs it.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.plan {
        for step in options.steps() {
            println!("{step}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let folder = if let Some(folder) = &options.keep {
        if folder.exists() && folder.read_dir().is_ok_and(|mut files| files.next().is_some()) {
            bail!("{} is not empty; name a new folder", folder.display());
        }
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Folder::Lasting(folder.canonicalize()?)
    } else {
        let made = tempfile::Builder::new().prefix("vds-fleet-chaos-").tempdir();
        Folder::Temporary(made.context("cannot make a folder")?)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let done = runtime.block_on(run_on(folder.path(), options));
    match done {
        Ok(Some(report)) => {
            if let Some(path) = &options.report {
                let text = serde_json::to_vec_pretty(&report.json())?;
                std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
            println!("{report}");
            if report.passed() {
                return Ok(ExitCode::SUCCESS);
            }
            println!("everything is kept in {}", folder.keep().display());
            Ok(ExitCode::FAILURE)
        }
        Ok(None) => Ok(ExitCode::from(INTERRUPTED)),
        Err(error) => Err(error.context(format!(
            "chaos could not be carried out; everything is kept in {}",
            folder.keep().display()
        ))),
    }
}

enum Folder {
    Lasting(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Lasting(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Lasting(path) => path,
            Self::Temporary(folder) => folder.keep(),
        }
    }
}

/// Gives no report when it was interrupted.
async fn run_on(folder: &Path, options: &Options) -> anyhow::Result<Option<Report>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    // Dropping the future kills what it has started.
    tokio::select! {
        report = chaos(folder, options) => report.map(Some),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

async fn build(release: bool) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(|| {
        provide(&FOR_DEMO)?;
        provide(&FOR_PLANT)?;
        if root().join("ui/dist/index.html").is_file() {
            return Ok(());
        }
        let logs = target_dir().join("xtask/chaos");
        page::install(&logs)?;
        page::build(&logs)
    })
    .await
    .context("the set-up was cut off")??;
    println!("building the programs (cargo build)");
    let mut build = tokio::process::Command::from(cargo());
    build
        .arg("build")
        .args(PACKAGES.iter().flat_map(|name| ["-p", name]))
        .args([
            "--features",
            "fleet-testkit/kafka",
            "--bins",
            "--example",
            "read_record",
        ])
        .args(release.then_some("--release"))
        .stdin(Stdio::null());
    let status = build
        .kill_on_drop(true)
        .status()
        .await
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the build failed, see above; next: `cargo xtask doctor` says what this machine lacks");
    }
    Ok(())
}

async fn chaos(folder: &Path, options: &Options) -> anyhow::Result<Report> {
    if !options.built {
        build(options.release).await?;
    }
    let plan = options.steps();
    let size = Size {
        mode: options.mode(),
        crowd: options.crowd(),
        benches: options.benches,
        rate: options.rate,
        seed: options.seed,
        release: options.release,
    };
    println!("starting on {}", folder.display());
    let workload = Workload::load(&root().join("demo"))?;
    let mut stand = Stand::start(folder, size, workload).await?;
    warm(&mut stand).await?;
    let workload = Arc::new(Workload::load(&root().join("demo"))?);
    let jobs = Jobs::start(&workload, stand.vins(), stand.urls());
    let begun = Instant::now();
    let mut chaos = Chaos::new(&mut stand, &jobs);
    chaos.carry_out(&plan).await?;
    chaos.heal().await?;
    let done = std::mem::take(&mut chaos.done);
    until_enough(&mut stand, options.events()).await?;
    let lasted = begun.elapsed();
    println!("all faults are over; waiting until nothing is outstanding");
    let open = settle::settle(&mut stand, &jobs).await?;
    stand.stop_clients().await?;
    let relayed = settle::relayed(&stand).await;
    let ledger = restore::ledger(&stand).await.unwrap_or_default();
    stand.stop_servers().await?;
    collect::collect(&stand).await?;
    let history = stand.history.clone();
    let judgement = tokio::task::spawn_blocking(move || history_checker::saved::judge(&history))
        .await
        .context("the judge was cut off")??;
    Ok(Report {
        seed: options.seed,
        seconds: options.seconds(),
        size,
        planned: plan,
        done,
        judgement,
        lasted,
        open: open.or_else(|| (!relayed).then(|| "the outbox is not empty".to_owned())),
        jobs: jobs.finished(),
        ledger,
        wanted: options.events(),
        kept: options.keep.as_ref().map(|_| folder.to_owned()),
    })
}

/// Waits until every bench is connected and has receipts.
async fn warm(stand: &mut Stand) -> anyhow::Result<()> {
    let all = (stand.size.benches * stand.size.crowd.benches) as u64;
    let mut ended = Ok(());
    let warm = eventually("benches with receipts", WARM_WITHIN, async || {
        ended = stand.check();
        if ended.is_err() {
            return Some(());
        }
        Standing::of(stand).is_warm(all).then_some(())
    })
    .await;
    ended?;
    warm.with_context(|| format!("they are: {}", Standing::of(stand)))
}

/// The load goes on until enough was written.
async fn until_enough(stand: &mut Stand, events: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    while settle::written(stand) < events && begun.elapsed() < ENOUGH_WITHIN {
        stand.check()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
