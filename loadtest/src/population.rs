//! Many simulated benches in this process.
//!
//! Each bench is the product's own spool, sender, link and core; simulated are its disk and what it tells. The benches
//! of a thread share one runtime and one round of work: every few milliseconds the events that are due are appended,
//! made durable together and sent. There is no timer per bench or event.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_link::link::Credentials;
use fleet_domain::{DeviceId, IdError, PlantId, StoreGeneration};
use tokio::sync::{mpsc, oneshot};

use crate::bench::{BenchError, Ended, Setup, SpoolTimes};
use crate::client_log::ClientLog;
use crate::disks::BenchDisk;
use crate::figures::{BenchStanding, Counts, Figures, Standing, Totals};
use crate::history::{self, HistoryError, Made};
use crate::rng::Rng;
use crate::schedule::Curve;
use crate::work::{Work, WorkOptions, vin};
use shard::{Order, Seat, Shard};

mod shard;

/// How often it is looked whether a population has reached something.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why an address is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a broker; write mqtt://HOST:PORT")]
pub struct BrokerError(pub String);

impl std::str::FromStr for Broker {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let refused = || BrokerError(text.to_owned());
        let address = text
            .strip_prefix("mqtt://")
            .ok_or_else(refused)?
            .trim_end_matches('/');
        let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().map_err(|_| refused())?;
        if host.is_empty() || host.contains(['/', '@']) || port == 0 {
            return Err(refused());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            return write!(f, "mqtt://[{}]:{}", self.host, self.port);
        }
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

/// How large a population is and what it does.
#[derive(Debug, Clone)]
pub struct PopulationOptions {
    /// The plant.
    pub plant: PlantId,
    /// Where the benches connect.
    pub broker: Broker,
    /// Whose name they use there; none: anonymous.
    pub credentials: Option<Credentials>,
    /// Their names are NAME-00000, NAME-00001 and so on. Unique over all plants of a broker: they are client ids.
    pub name: String,
    /// How many.
    pub benches: usize,
    /// Vehicles that they share.
    pub vins: u64,
    /// Of these, so many stand at each bench in turn.
    pub vins_of_a_bench: u64,
    /// What they tell beside the usual; a large event is the first bench's.
    pub work: WorkOptions,
    /// Chance of a restart with a new spool, in thousandths per event.
    pub restart_permille: u64,
    /// Content and schedule.
    pub seed: u64,
    /// Benches that are started and connect in a second; none: all at once.
    pub starts_per_second: Option<f64>,
    /// Time between two rounds of work: events that are due within it are made durable together.
    pub round: Duration,
    /// Longest wait between two attempts to connect.
    pub reconnect_at_most: Duration,
    /// How long the broker keeps their sessions after the end.
    pub session_expiry: Duration,
    /// Threads; each has its part of the benches. One is enough unless `sync` of their disks waits.
    pub threads: usize,
    /// Note each event that counts, so that [`EndedBench::made`] checks that the disk still has it.
    pub notes: bool,
    /// Disks may be put back to an earlier state; else a server that says so is wrong and ends the bench.
    pub disks_are_restored: bool,
    /// Where the benches write down what they do.
    pub client_log: Option<Arc<ClientLog>>,
}

impl PopulationOptions {
    /// The usual figures for so many benches.
    pub fn new(plant: PlantId, broker: Broker, name: &str, benches: usize) -> Self {
        Self {
            plant,
            broker,
            credentials: None,
            name: name.to_owned(),
            benches,
            vins: 2000,
            vins_of_a_bench: 4,
            work: WorkOptions::default(),
            restart_permille: 0,
            seed: 1,
            starts_per_second: Some(500.0),
            round: Duration::from_millis(5),
            reconnect_at_most: Duration::from_secs(10),
            session_expiry: Duration::from_hours(1),
            threads: 1,
            notes: false,
            disks_are_restored: false,
            client_log: None,
        }
    }

    /// The name of a bench.
    ///
    /// # Errors
    /// When it is none: too long, or with other characters than A-Z, a-z, 0-9, `_` and `-`.
    pub fn device(&self, index: usize) -> Result<DeviceId, IdError> {
        format!("{}-{index:05}", self.name).parse()
    }
}

/// Why a population can't go on.
#[derive(Debug, thiserror::Error)]
pub enum PopulationError {
    /// The benches' name is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A bench's disk can't be had.
    #[error("the disk of {device} can't be had")]
    Disk {
        /// The bench.
        device: DeviceId,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A thread can't be started.
    #[error("a thread can't be started")]
    Thread(#[source] io::Error),
    /// A bench has failed.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A thread has panicked.
    #[error("a thread of benches has ended by itself")]
    Gone,
    /// Something was not reached in time.
    #[error("{what}: not within {} s; {state}", within.as_secs())]
    NotReached {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// How the population stands, with the first benches that wait.
        state: String,
    },
}

/// A running population. Dropping it ends its benches at once.
#[derive(Debug)]
pub struct Population {
    begun: Instant,
    names: Vec<DeviceId>,
    standings: Vec<Arc<Standing>>,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    failure: Arc<Mutex<Option<BenchError>>>,
}

impl Population {
    /// Starts the benches; `disk` gives each its own. They connect and tell nothing before [`Population::begin`].
    ///
    /// # Errors
    /// When a disk or a thread can't be had.
    pub fn start<B: BenchDisk + Send + 'static>(
        options: &PopulationOptions,
        mut disk: impl FnMut(usize, &DeviceId) -> io::Result<B>,
    ) -> Result<Self, PopulationError> {
        let begun = Instant::now();
        let setup = Arc::new(setup(options, begun));
        let failure = Arc::new(Mutex::new(None));
        let threads = options.threads.clamp(1, options.benches.max(1));
        let mut seats: Vec<Vec<Seat<B>>> = (0..threads).map(|_| Vec::new()).collect();
        let (mut names, mut standings) = (Vec::new(), Vec::new());
        let mut seeds = Rng::new(options.seed);
        for index in 0..options.benches {
            let device = options.device(index)?;
            let standing = Arc::new(Standing::default());
            let disk = disk(index, &device).map_err(|source| PopulationError::Disk {
                device: device.clone(),
                source,
            })?;
            names.push(device.clone());
            standings.push(Arc::clone(&standing));
            let seed = seeds.draw();
            if let Some(seats) = seats.get_mut(index % threads) {
                seats.push(Seat {
                    device,
                    disk,
                    work: work(options, index, seed),
                    seed,
                    standing,
                });
            }
        }
        let mut orders = Vec::new();
        for (number, seats) in seats.into_iter().enumerate() {
            let (send, receive) = mpsc::unbounded_channel();
            orders.push(send);
            let (setup, options, failure) = (Arc::clone(&setup), options.clone(), Arc::clone(&failure));
            let run = move || Shard::run(number, seats, &setup, &options, receive, &failure);
            std::thread::Builder::new()
                .name(format!("benches-{number}"))
                .spawn(run)
                .map_err(PopulationError::Thread)?;
        }
        Ok(Self {
            begun,
            names,
            standings,
            orders,
            failure,
        })
    }

    fn order(&self, order: impl Fn() -> Order) {
        for to in &self.orders {
            // A thread that has ended has said why, or panicked; who waits for something sees it.
            let _ = to.send(order());
        }
    }

    /// Begins a schedule now, instead of the one before. `phases` are the ends of its phases since now; latencies
    /// are kept by phase, and begin anew. Gives the begin.
    pub fn begin(&self, curve: &Curve, phases: &[Duration]) -> Instant {
        let begin = Instant::now();
        let share = curve.share(self.orders.len());
        self.order(|| Order::Begin {
            at: begin,
            curve: share.clone(),
            phases: phases.to_vec(),
        });
        begin
    }

    /// No new events; what is there is still sent.
    pub fn quiet(&self) {
        self.order(|| Order::Quiet);
    }

    /// Every bench drops its connection now and makes a new one.
    pub fn reconnect_all(&self) {
        self.order(|| Order::ReconnectAll);
    }

    /// Sums over all benches.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            benches: self.standings.len() as u64,
            ..Totals::default()
        };
        for standing in &self.standings {
            totals.connected += u64::from(standing.connected.load(Ordering::Relaxed));
            totals.durable += standing.durable.load(Ordering::Relaxed);
            totals.receipted += standing.receipted.load(Ordering::Relaxed);
            totals.outstanding += standing.outstanding.load(Ordering::Relaxed);
        }
        totals
    }

    /// How each bench stands.
    pub fn standings(&self) -> impl Iterator<Item = (&DeviceId, BenchStanding)> {
        self.names
            .iter()
            .zip(self.standings.iter().map(|standing| standing.get()))
    }

    /// Longest time from durable to receipt so far.
    pub fn slowest(&self) -> Duration {
        let slowest = self
            .standings
            .iter()
            .map(|standing| standing.slowest_us.load(Ordering::Relaxed));
        Duration::from_micros(slowest.max().unwrap_or_default())
    }

    /// Number of the benches that don't know this generation.
    pub fn not_in(&self, generation: StoreGeneration) -> usize {
        let known = self.standings.iter().map(|standing| standing.generation());
        known.filter(|known| *known != Some(generation)).count()
    }

    /// When the last connection came up.
    pub fn last_up(&self) -> Instant {
        let last = self
            .standings
            .iter()
            .map(|standing| standing.up_at_us.load(Ordering::Relaxed));
        self.begun + Duration::from_micros(last.max().unwrap_or_default())
    }

    /// Why a bench has failed, once; it takes no part any more.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<(), PopulationError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(error) => Err(error.into()),
            None if self.orders.iter().any(mpsc::UnboundedSender::is_closed) => Err(PopulationError::Gone),
            None => Ok(()),
        }
    }

    /// Waits until `reached` says so. Cancel safe.
    ///
    /// # Errors
    /// When it does not in time, or a bench has failed.
    pub async fn until(
        &self,
        what: &str,
        within: Duration,
        mut reached: impl FnMut(&Self) -> bool,
    ) -> Result<(), PopulationError> {
        let end = Instant::now() + within;
        loop {
            self.check()?;
            if reached(self) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(PopulationError::NotReached {
                    what: what.to_owned(),
                    within,
                    state: self.behind(),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every bench is connected. Cancel safe.
    ///
    /// # Errors
    /// As [`Population::until`].
    pub async fn connected(&self, within: Duration) -> Result<(), PopulationError> {
        let all = |this: &Self| {
            this.standings
                .iter()
                .all(|of| of.connected.load(Ordering::Relaxed))
        };
        self.until("all benches connected", within, all).await
    }

    /// Waits until every bench has a receipt for all its events. Call [`Population::quiet`] before. Cancel safe.
    ///
    /// # Errors
    /// As [`Population::until`].
    pub async fn settles(&self, within: Duration) -> Result<(), PopulationError> {
        let settled = |this: &Self| {
            this.standings.iter().all(|standing| {
                let of = standing.get();
                of.connected && of.outstanding == 0 && of.durable > 0
            })
        };
        self.until("receipts for all events", within, settled).await
    }

    /// The sums, and the first benches that wait for something.
    fn behind(&self) -> String {
        let totals = self.totals();
        let waits =
            |(_, standing): &(&DeviceId, BenchStanding)| standing.outstanding > 0 || !standing.connected;
        let first: Vec<_> = self.standings().filter(waits).take(4).collect();
        format!(
            "{} of {} benches connected, {} of {} events without receipt; first: {first:?}",
            totals.connected, totals.benches, totals.outstanding, totals.durable
        )
    }

    /// Counts and latencies so far.
    ///
    /// # Errors
    /// When a thread has ended by itself.
    pub async fn figures(&self) -> Result<Figures, PopulationError> {
        let mut figures = Figures::default();
        for to in &self.orders {
            let (reply, answer) = oneshot::channel();
            to.send(Order::Figures(reply))
                .map_err(|_| PopulationError::Gone)?;
            figures.add(&answer.await.map_err(|_| PopulationError::Gone)?);
        }
        Ok(figures)
    }

    /// Counts so far, without the latencies, which are large.
    ///
    /// # Errors
    /// When a thread has ended by itself.
    pub async fn counts(&self) -> Result<Counts, PopulationError> {
        let mut counts = Counts::default();
        for to in &self.orders {
            let (reply, answer) = oneshot::channel();
            to.send(Order::Counts(reply)).map_err(|_| PopulationError::Gone)?;
            counts.add(&answer.await.map_err(|_| PopulationError::Gone)?);
        }
        Ok(counts)
    }

    /// Ends the benches in order.
    ///
    /// # Errors
    /// When one has failed before.
    pub async fn end(self) -> Result<EndedPopulation, PopulationError> {
        let mut ended = EndedPopulation {
            figures: Figures::default(),
            totals: self.totals(),
            benches: Vec::new(),
        };
        let mut answers = Vec::new();
        for to in &self.orders {
            let (reply, answer) = oneshot::channel();
            to.send(Order::End(reply)).map_err(|_| PopulationError::Gone)?;
            answers.push(answer);
        }
        for answer in answers {
            let (figures, benches) = answer.await.map_err(|_| PopulationError::Gone)?;
            ended.figures.add(&figures);
            ended.benches.extend(benches);
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(ended),
        }
    }
}

/// What is left of a population.
#[derive(Debug)]
pub struct EndedPopulation {
    /// Counts and latencies.
    pub figures: Figures,
    /// Sums just before the end.
    pub totals: Totals,
    /// The benches.
    pub benches: Vec<EndedBench>,
}

impl EndedPopulation {
    /// Every event that counts, read from the benches' disks: whatever lies there was made.
    ///
    /// # Errors
    /// When a disk can't be read or lacks what its bench had noted.
    pub fn made(&self) -> Result<Vec<Made>, HistoryError> {
        let mut made = Vec::new();
        for bench in &self.benches {
            made.extend(bench.made()?);
        }
        Ok(made)
    }
}

type ReadDisk = Box<dyn Fn() -> Result<Vec<Made>, HistoryError> + Send + Sync>;

/// What is left of a bench.
pub struct EndedBench {
    /// Its name.
    pub device: DeviceId,
    /// When the schedule wanted each of its events, by spool.
    pub times: Vec<(fleet_domain::SpoolId, SpoolTimes)>,
    read: ReadDisk,
}

impl std::fmt::Debug for EndedBench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndedBench")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl EndedBench {
    fn new<B: BenchDisk + Send + 'static>(ended: Ended<B>) -> Self {
        let Ended {
            device,
            disk,
            noted,
            times,
        } = ended;
        let name = device.clone();
        // Disks are handles here, and some are not shared between threads.
        let disk = Mutex::new(disk);
        let read = move || {
            let disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
            history::read_disk(&name, &*disk, &noted)
        };
        Self {
            device,
            times,
            read: Box::new(read),
        }
    }

    /// Its events that count, as they lie on its disk.
    ///
    /// # Errors
    /// When the disk can't be read or lacks what the bench had noted.
    pub fn made(&self) -> Result<Vec<Made>, HistoryError> {
        (self.read)()
    }
}

fn setup(options: &PopulationOptions, begun: Instant) -> Setup {
    // Where the kernel does not say, every start counts as a reboot: that voids offers and starts nothing.
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    Setup {
        plant: options.plant.clone(),
        host: options.broker.host.clone(),
        port: options.broker.port,
        credentials: options.credentials.clone(),
        reconnect_at_most: options.reconnect_at_most,
        session_expiry: options.session_expiry,
        boot_id: boot_id.map_or_else(|_| fleet_clock::new_uuid().to_string(), |id| id.trim().to_owned()),
        notes: options.notes,
        disks_are_restored: options.disks_are_restored,
        begun,
    }
}

fn work(options: &PopulationOptions, index: usize, seed: u64) -> Work {
    let mut rng = Rng::new(seed ^ 0x5151);
    let vins = (0..options.vins_of_a_bench.max(1)).map(|_| vin(rng.below(options.vins)));
    let work = WorkOptions {
        large: options.work.large.filter(|_| index == 0),
        ..options.work.clone()
    };
    Work::new(vins.collect(), work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_address_is_scheme_host_and_port() {
        let broker: Broker = "mqtt://10.0.0.5:1883".parse().expect("an address");
        assert_eq!((broker.host.as_str(), broker.port), ("10.0.0.5", 1883));
        let broker: Broker = "mqtt://[::1]:1883".parse().expect("an address");
        assert_eq!(broker.host, "::1");
        assert_eq!(broker.to_string(), "mqtt://[::1]:1883");
        for wrong in [
            "10.0.0.5:1883",
            "mqtt://host",
            "mqtt://:1",
            "mqtt://h:0",
            "mqtt://h:x",
            "mqtts://h:1",
        ] {
            let error = wrong.parse::<Broker>().expect_err(wrong);
            assert!(error.to_string().contains("mqtt://HOST:PORT"), "{error}");
        }
    }
}
