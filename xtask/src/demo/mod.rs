//! `cargo xtask demo`: server, simulated vehicles and benches on this machine, and three jobs to watch. With
//! `--plant` on the services of a plant: PostgreSQL, Mosquitto, Kafka and two servers.

mod follow;
mod plan;
mod plant;
mod records;
mod stand;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use fleet_testkit::{Api, Workload};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::doctor::{FOR_DEMO, FOR_PLANT, provide};
use crate::page;
use crate::workspace::{PROGRAMS, cargo, root, target_dir};
use follow::{Finished, follow};
use plan::Plan;
use stand::Stand;

/// As the shell reports a program that was ended by SIGINT or SIGTERM.
const INTERRUPTED: u8 = 130;

/// What is to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// End when the jobs are finished.
    pub(crate) once: bool,
    /// On the services of a plant.
    pub(crate) plant: bool,
    /// Where everything is kept. None: `data/demo`, and for a plant a folder that is removed at the end.
    pub(crate) data: Option<&'a Path>,
}

/// Runs the demo.
pub(crate) fn run(options: Options<'_>) -> anyhow::Result<ExitCode> {
    let folder = Folder::of(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let shown = runtime.block_on(run_on(folder.path(), options));
    match shown {
        Ok(code) => Ok(code),
        Err(error) => {
            let data = folder.keep();
            Err(error.context(format!("the demo failed; all logs are below {}", data.display())))
        }
    }
}

async fn run_on(data: &Path, options: Options<'_>) -> anyhow::Result<ExitCode> {
    let plant = options.plant;
    let mut stop = Stop::new()?;
    // Dropping the future kills what it has started: a signal in the middle leaves nothing behind.
    tokio::select! {
        prepared = prepare(plant) => prepared?,
        () = stop.requested() => return Ok(ExitCode::from(INTERRUPTED)),
    }
    let workload = Workload::load(&root().join("demo"))?;
    let mut stand = tokio::select! {
        stand = Stand::start(data, &workload, plant) => stand?,
        () = stop.requested() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let shown = show(options, workload, &mut stand, &mut stop).await;
    let stopped = stand.stop().await;
    let code = shown?;
    stopped?;
    Ok(code)
}

/// The data folder.
enum Folder {
    Lasting(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn of(options: Options<'_>) -> anyhow::Result<Self> {
        match options.data {
            Some(data) => Ok(Self::Lasting(root().join(data))),
            None if options.plant => {
                let made = tempfile::Builder::new().prefix("vds-fleet-demo-").tempdir();
                Ok(Self::Temporary(made.context("cannot make a folder")?))
            }
            None => Ok(Self::Lasting(root().join("data/demo"))),
        }
    }

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

/// Tools, page and programs.
async fn prepare(plant: bool) -> anyhow::Result<()> {
    println!("set-up");
    let logs = target_dir().join("xtask/demo");
    tokio::task::spawn_blocking(move || {
        provide(&FOR_DEMO)?;
        if plant {
            provide(&FOR_PLANT)?;
        }
        page::install(&logs)?;
        page::build(&logs)
    })
    .await
    .context("the set-up was cut off")??;
    println!("  building the programs (cargo build)");
    let mut build = tokio::process::Command::from(cargo());
    build
        .arg("build")
        .args(PROGRAMS.iter().flat_map(|name| ["-p", name]))
        .stdin(Stdio::null());
    if plant {
        build.args(["-p", "fleet-testkit", "--features", "fleet-testkit/kafka"]);
    }
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

/// Queues the jobs, follows them, and stays until it is told to stop.
async fn show(
    options: Options<'_>,
    workload: Workload,
    stand: &mut Stand,
    stop: &mut Stop,
) -> anyhow::Result<ExitCode> {
    let once = options.once;
    let api = stand.api()?;
    let pages: Vec<_> = stand.servers.iter().map(|server| server.http.as_str()).collect();
    let pages = pages.join(" and ");
    println!("page: {pages}");
    let outcome = tokio::select! {
        outcome = three_jobs(&api, workload, stand) => outcome,
        () = stop.requested() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if once => return Err(error),
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    };
    if once {
        return Ok(code);
    }
    let data = if options.plant && options.data.is_none() {
        "its folder is removed then"
    } else {
        "the data stays"
    };
    println!("\nThe page is at {pages}. Ctrl-C ends everything; {data}.");
    tokio::select! {
        error = stand.broken() => Err(error),
        () = stop.requested() => Ok(code),
    }
}

async fn three_jobs(api: &Api, workload: Workload, stand: &mut Stand) -> anyhow::Result<()> {
    let earlier = api.get("/api/v1/jobs?limit=500").await?["items"]
        .as_array()
        .map_or(0, Vec::len);
    if earlier > 0 {
        println!("{earlier} earlier jobs are in this data folder; the page shows them");
    }
    let plan = Plan::new(workload, stand)?;
    let jobs = plan.queue(api).await?;
    let finished = tokio::select! {
        finished = follow(api, &jobs) => finished?,
        error = stand.broken() => return Err(error),
    };
    judge(&finished)?;
    plan.confirm(stand)?;
    match &stand.services {
        Some(services) => records::read_and_compare(api, &services.kafka).await,
        None => Ok(()),
    }
}

fn judge(finished: &[Finished]) -> anyhow::Result<()> {
    let others: Vec<_> = finished
        .iter()
        .filter(|job| !job.passed())
        .map(ToString::to_string)
        .collect();
    if others.is_empty() {
        Ok(())
    } else {
        bail!("not every job passed:\n{}", others.join("\n"))
    }
}

/// Ctrl-C, SIGTERM and SIGHUP.
struct Stop {
    signals: [tokio::signal::unix::Signal; 3],
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let signals = [
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ];
        Ok(Self { signals })
    }

    async fn requested(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// How long a program may take to end by itself: a bench finishes the flash that it has begun.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A path below the data folder.
fn below(data: &Path, name: &str) -> PathBuf {
    data.join(name)
}
