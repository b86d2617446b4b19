//! A run of a scenario against a plant: load, faults, drain, books, report.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleet_domain::{IdError, PlantId};
use fleet_testkit::{Api, ApiError};

use crate::config_file::ConfigError;
use crate::figures::Latency;
use crate::history::HistoryError;
use crate::limits::{self, LimitError};
use crate::population::{Broker, BrokerError, Population, PopulationError, PopulationOptions};
use crate::report::{FaultReport, Report, ToolReport};
use crate::scenario::{FaultKind, Scenario};
use facts::Facts;
use faults::{Faults, Hooks};
use targets::Disks;

mod facts;
pub mod faults;
mod judging;
mod targets;

pub use facts::validity;

/// How often it is looked whether the relay is done.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Beyond the time that the starts take.
const CONNECTED_WITHIN: Duration = Duration::from_mins(2);

/// Where the benches' disks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// One group-commit log for all.
    SharedLog,
    /// A folder for each.
    Folders,
}

/// How the latency to Kafka is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaLatency {
    /// Until a `read_committed` consumer has the record, which runs beside the load.
    Arrival,
    /// Until the producer's time in the record; Kafka is read after the load, which costs the load nothing.
    Record,
}

impl KafkaLatency {
    /// As in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Record => "record",
        }
    }
}

/// Where a run goes and what it leaves.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The server, `http://HOST:PORT`.
    pub server: String,
    /// The broker of the benches, `mqtt://HOST:PORT`.
    pub broker: String,
    /// Bootstrap servers of Kafka; none: Kafka is not read.
    pub kafka: Option<String>,
    /// How the latency to Kafka is measured.
    pub kafka_latency: KafkaLatency,
    /// Wait until the server's relay has taken everything, also where Kafka is not read.
    pub relayed: bool,
    /// The benches are NAME-00000 and so on; none: `load-` and a random part, so that each run has benches of its
    /// own.
    pub name: Option<String>,
    /// The benches' disks.
    pub disks: DiskKind,
    /// Folder for them; made when it is not there.
    pub folder: PathBuf,
    /// Keep the disks after the run.
    pub keep: bool,
    /// Folder in which the history is saved for `history-checker`; none: it is not.
    pub history: Option<PathBuf>,
    /// Commands at the begin and end of faults.
    pub hooks: Hooks,
}

/// Why a run has no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The scenario can't be used.
    #[error(transparent)]
    Scenario(#[from] ConfigError),
    /// The broker's address is none.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A hook is missing or leads nowhere, or a fault could not be made.
    #[error(transparent)]
    Fault(#[from] faults::FaultError),
    /// The server does not answer as it should.
    #[error("the server at {server} does not answer as it should; is --server right?")]
    Server {
        /// Its address.
        server: String,
        /// What it said.
        #[source]
        source: Box<ApiError>,
    },
    /// The server's answer lacks something.
    #[error("the server at {server} does not say its {what}")]
    Answer {
        /// Its address.
        server: String,
        /// What is missing.
        what: &'static str,
    },
    /// The plant's name is none.
    #[error(transparent)]
    Plant(#[from] IdError),
    /// The machine does not allow so many benches.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The disks can't be had.
    #[error("{path} can't be used for the benches' disks")]
    Disks {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A bench can't go on, or the benches don't connect.
    #[error(transparent)]
    Population(#[from] PopulationError),
    /// A disk can't be read back.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The history can't be saved.
    #[error("the history can't be saved in {path}")]
    Save {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Kafka can't be read.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] crate::kafka::ReadError),
    /// Kafka was asked for.
    #[cfg(not(feature = "kafka"))]
    #[error("this loadtest was built without Kafka; build it with --features kafka, or leave out --kafka")]
    NoKafka,
}

impl RunError {
    fn server(server: &str, source: ApiError) -> Self {
        Self::Server {
            server: server.to_owned(),
            source: Box::new(source),
        }
    }
}

/// Runs a scenario. `say` gets a line now and then.
///
/// # Errors
/// When the run can't be made; a run that was made has a report, also when it failed.
pub async fn run(
    scenario: &Scenario,
    options: &RunOptions,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Report, RunError> {
    options.hooks.check(scenario)?;
    let target: Broker = options.broker.parse()?;
    let api = Api::new(&options.server);
    let plant = plant(&api, &options.server).await?;
    let name = options
        .name
        .clone()
        .unwrap_or_else(|| format!("load-{:06x}", fleet_clock::jitter_seed() & 0xFF_FFFF));
    let through_proxy = scenario
        .fault
        .iter()
        .any(|fault| fault.kind == FaultKind::BrokerAway);
    limits::raise_open_files(
        scenario.benches,
        through_proxy,
        options.disks == DiskKind::Folders,
    )?;
    let mut faults = Faults::new(&target, through_proxy).await?;
    let mut disks = Disks::open(options, &name, scenario)?;
    let before = limits::Usage::now();
    let mut of = PopulationOptions::new(plant.clone(), faults.broker(), &name, scenario.benches);
    (of.vins, of.seed) = (scenario.vins, scenario.seed);
    of.starts_per_second = Some(scenario.starts_per_second);
    of.threads = disks.threads();
    say(&format!(
        "{} benches {name}-00000 ... connect to {target}",
        scenario.benches
    ));
    let population = disks.start(&of)?;
    #[expect(clippy::cast_precision_loss, reason = "a time")]
    let starts = Duration::from_secs_f64(scenario.benches as f64 / scenario.starts_per_second);
    population.connected(CONNECTED_WITHIN + starts).await?;
    let connected = limits::Usage::now();
    say(&format!("connected; the schedule of {} begins", scenario.name));

    let mut kafka = judging::Kafka::begin(options, plant.as_str(), &name).await?;
    let began_at = fleet_clock::wall_now();
    let counts_before = population.counts().await?;
    let mut timeline = Timeline {
        scenario,
        population: &population,
        faults: &mut faults,
        hooks: &options.hooks,
        began: population.begin(&scenario.curve(), &scenario.phase_ends()),
        reports: Vec::new(),
    };
    timeline.run(say).await?;
    let (began, fault_reports) = (timeline.began, timeline.reports);
    population.quiet();
    let drain = Drain::wait(scenario, options, &api, &population, &mut kafka, say).await?;
    let used = limits::Usage::now();
    let ended = population.end().await?;
    say("the books are closed: disks, ledger, Kafka");
    let made = ended.made()?;
    let records = kafka.end().await?;
    let facts = Facts {
        scenario,
        options,
        plant: &plant,
        name: &name,
        began,
        began_at,
        counts: ended.figures.counts.since(&counts_before),
        ended: &ended,
        made: &made,
        records,
        faults: fault_reports,
        drain,
        disk: disks.report(),
        tool: tool(&before, &connected, &used, scenario.benches),
    };
    let report = facts.report(&api).await?;
    if let Some(folder) = &options.history {
        let saved = crate::records::save(folder, &name, &made, facts.records.0.as_deref());
        saved.map_err(|source| RunError::Save {
            path: folder.clone(),
            source,
        })?;
    }
    drop(facts);
    drop(ended);
    disks.close(options.keep);
    Ok(report)
}

async fn plant(api: &Api, server: &str) -> Result<PlantId, RunError> {
    let status = api
        .get("/api/v1/status")
        .await
        .map_err(|source| RunError::server(server, source))?;
    let plant = status["plant"].as_str().ok_or_else(|| RunError::Answer {
        server: server.to_owned(),
        what: "plant",
    })?;
    Ok(plant.parse()?)
}

fn tool(
    before: &limits::Usage,
    connected: &limits::Usage,
    used: &limits::Usage,
    benches: usize,
) -> ToolReport {
    ToolReport {
        cpu_s: used.cpu.saturating_sub(connected.cpu).as_secs_f64(),
        cpu_s_per_million: 0.0,
        bytes_per_bench: connected.resident_bytes.saturating_sub(before.resident_bytes)
            / benches.max(1) as u64,
        most_bytes: used.most_bytes,
    }
}

/// The phases as they pass.
struct Timeline<'a> {
    scenario: &'a Scenario,
    population: &'a Population,
    faults: &'a mut Faults,
    hooks: &'a Hooks,
    began: Instant,
    reports: Vec<FaultReport>,
}

/// What comes next in a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Ends(usize),
    Begins(usize),
    Over,
}

impl Timeline<'_> {
    async fn run(&mut self, say: &mut (dyn FnMut(&str) + Send)) -> Result<(), RunError> {
        let mut steps: Vec<(Duration, Step)> = Vec::new();
        for (index, fault) in self.scenario.fault.iter().enumerate() {
            steps.push((fault.begins, Step::Begins(index)));
            steps.push((fault.begins + fault.lasts, Step::Ends(index)));
        }
        // An end at the time of its begin comes after it: the sort keeps their order.
        steps.sort_by_key(|(at, _)| *at);
        let whole = self.scenario.phase.iter().map(|phase| phase.lasts).sum();
        steps.push((whole, Step::Over));
        let mut next_line = Instant::now();
        for (at, step) in steps {
            let at = self.began + at;
            while Instant::now() < at {
                self.population.check()?;
                if Instant::now() >= next_line {
                    next_line = Instant::now() + progress_every(whole);
                    say(&self.line().await?);
                }
                let left = at.saturating_duration_since(Instant::now());
                tokio::time::sleep(left.min(Duration::from_millis(500))).await;
            }
            self.step(step, say).await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: Step, say: &mut (dyn FnMut(&str) + Send)) -> Result<(), RunError> {
        let seconds = |at: Instant| at.saturating_duration_since(self.began).as_secs_f64();
        match step {
            Step::Begins(index) => {
                let Some(fault) = self.scenario.fault.get(index) else {
                    return Ok(());
                };
                say(&format!("{} begins", fault.name));
                let began = Instant::now();
                self.faults.begin(fault.kind, self.population);
                self.hooks.run(&fault.name, "begin").await?;
                self.reports.push(FaultReport {
                    name: fault.name.clone(),
                    began_s: seconds(began),
                    ended_s: seconds(began),
                    back_s: None,
                });
            }
            Step::Ends(index) => {
                let Some(fault) = self.scenario.fault.get(index) else {
                    return Ok(());
                };
                self.hooks.run(&fault.name, "end").await?;
                self.faults.end(fault.kind);
                let ended = Instant::now();
                let ended_s = seconds(ended);
                say(&format!("{} has ended", fault.name));
                let back_s = match fault.kind {
                    FaultKind::Command => None,
                    FaultKind::BrokerAway | FaultKind::Reconnect => self.back(ended).await?,
                };
                if let Some(report) = self.reports.iter_mut().find(|report| report.name == fault.name) {
                    report.ended_s = ended_s;
                    report.back_s = back_s;
                }
                if let Some(back) = back_s {
                    say(&format!("all benches are back after {back:.1} s"));
                }
            }
            Step::Over => say("the schedule is over; what is there is still sent"),
        }
        Ok(())
    }

    /// Waits until all benches are connected again; the time since the fault's end.
    async fn back(&self, ended: Instant) -> Result<Option<f64>, RunError> {
        // The links notice the cut before it is looked whether they are back.
        let noticed = |population: &Population| population.totals().connected < population.totals().benches;
        let _ = self
            .population
            .until("a cut", Duration::from_secs(1), noticed)
            .await;
        let within = self.scenario.passes.back_within.unwrap_or_default() + CONNECTED_WITHIN;
        self.population.connected(within).await?;
        Ok(Some(
            self.population
                .last_up()
                .saturating_duration_since(ended)
                .as_secs_f64(),
        ))
    }

    async fn line(&self) -> Result<String, RunError> {
        let (totals, figures) = (self.population.totals(), self.population.figures().await?);
        let latencies = figures.total();
        let ms = |of: &Latency| of.percentile(99.0).unwrap_or_default().as_secs_f64() * 1000.0;
        Ok(format!(
            "{:>5.0} s  {} of {} benches connected  {} events, {} without receipt  p99 to receipt {:.0} ms, lag {:.1} ms",
            self.began.elapsed().as_secs_f64(),
            totals.connected,
            totals.benches,
            totals.durable,
            totals.outstanding,
            ms(&latencies.receipt),
            ms(&latencies.lag),
        ))
    }
}

/// A line each second of a short run, fewer of a long one.
fn progress_every(whole: Duration) -> Duration {
    (whole / 60).clamp(Duration::from_secs(1), Duration::from_secs(30))
}

/// How the load was drained.
#[derive(Debug, Clone, Copy, Default)]
struct Drain {
    /// Every event had its receipt, after the schedule's end.
    receipts: Option<Duration>,
    /// Whether the relay has to take every event.
    to_relay: bool,
    /// It had, after the schedule's end.
    relayed: Option<Duration>,
}

impl Drain {
    async fn wait(
        scenario: &Scenario,
        options: &RunOptions,
        api: &Api,
        population: &Population,
        kafka: &mut judging::Kafka,
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, RunError> {
        let (begun, within) = (Instant::now(), scenario.passes.drained_within);
        let mut drain = Self::default();
        match population.settles(within).await {
            Ok(()) => drain.receipts = Some(begun.elapsed()),
            Err(error @ PopulationError::NotReached { .. }) => {
                say(&error.to_string());
                return Ok(drain);
            }
            Err(error) => return Err(error.into()),
        }
        if !options.relayed && options.kafka.is_none() {
            return Ok(drain);
        }
        drain.to_relay = true;
        say("every event has its receipt; waiting for the relay");
        while begun.elapsed() < within {
            let ledger = api
                .get("/api/v1/ledger")
                .await
                .map_err(|source| RunError::server(&options.server, source))?;
            if ledger["in_outbox"].as_u64() == Some(0) {
                drain.relayed = Some(begun.elapsed());
                say("the relay has taken every event");
                say("the relay has taken every event");
                kafka.catch_up(population.totals().durable).await?;
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(drain)
    }
}
