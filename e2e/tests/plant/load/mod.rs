//! A load of simulated benches in this process.
//!
//! Each bench is the product's own spool, sender and MQTT link; simulated are its disk, which loses power, and what
//! it tells. What it made durable stands on its disk in the end, and the books read it from there.
//!
//! Seeded: content, pauses and restarts follow from the seed. Identifiers and times don't, and what the network and
//! the services make of it doesn't either.

mod bench;
mod work;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fleet_domain::{PlantId, StoreGeneration};
use fleet_testkit::eventually;
use spool::sim::SimDisk;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::bench::Bench;
use self::work::Work;
use crate::WITHIN;
use crate::history::Made;
use crate::rng::Rng;

/// Vehicles that the benches share, so that a key has events of several benches.
const VINS: u64 = 12;
const VINS_OF_A_BENCH: u64 = 4;

/// What the benches do from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Mean time between two events of a bench; none: quiet.
    pub(crate) every: Option<Duration>,
    /// Chance of a restart with a new spool, in thousandths per event.
    pub(crate) restart_permille: u64,
    over: bool,
}

/// How a bench stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Standing {
    durable: u64,
    /// Of these, so many had their receipt in the life of the process that wrote them; never falls.
    acknowledged: u64,
    outstanding: u64,
    connected: bool,
    generation: Option<StoreGeneration>,
    /// Longest time from fsync to receipt so far.
    slowest: Duration,
}

/// How large the load is.
#[derive(Debug, Clone)]
pub(crate) struct LoadOptions {
    /// Part of the benches' names: PLANT-NAME-NUMBER.
    pub(crate) name: String,
    pub(crate) benches: usize,
    pub(crate) every: Duration,
    pub(crate) restart_permille: u64,
    /// One of so many events is one that the server has to reject; 0: none.
    pub(crate) refused_one_in: u64,
    /// The first bench's second result is so large, bytes.
    pub(crate) one_large: Option<usize>,
    pub(crate) seed: u64,
}

impl LoadOptions {
    /// The gate's size, or what the environment says (see the head of this test program).
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        Ok(Self {
            name: "load".to_owned(),
            benches: crate::env_number("BENCHES", 16)?,
            every: Duration::from_millis(crate::env_number("EVERY_MS", 500)?),
            restart_permille: 15,
            refused_one_in: 97,
            one_large: None,
            seed: crate::env_number("SEED", 1)?,
        })
    }
}

/// A bench at work: what it made when it ends, and how it stands.
type Running = (JoinHandle<anyhow::Result<Vec<Made>>>, watch::Receiver<Standing>);

/// A running load. Dropping it ends its benches at once.
#[derive(Debug)]
pub(crate) struct Load {
    pace: watch::Sender<Pace>,
    busy: Pace,
    benches: Vec<Running>,
}

impl Load {
    /// Starts the benches against a broker, `mqtt://HOST:PORT`.
    pub(crate) fn start(plant: &PlantId, broker: &str, options: &LoadOptions) -> anyhow::Result<Self> {
        let address = broker.strip_prefix("mqtt://").context("a broker's URL")?;
        let (host, port) = address.rsplit_once(':').context("a broker's port")?;
        let port = port.parse().context("a port")?;
        let busy = Pace {
            every: Some(options.every),
            restart_permille: options.restart_permille,
            over: false,
        };
        let (pace, _) = watch::channel(busy.clone());
        let mut seeds = Rng::new(options.seed);
        let mut benches = Vec::new();
        for index in 0..options.benches {
            let mut rng = Rng::new(seeds.next());
            let vins = (0..VINS_OF_A_BENCH).map(|_| vin(rng.below(VINS))).collect();
            let (standing, told) = watch::channel(Standing::default());
            let bench = Bench {
                plant: plant.clone(),
                // Unique over all plants of a broker: it is the client id.
                device: format!("{plant}-{}-{index:03}", options.name).parse()?,
                host: host.to_owned(),
                port,
                work: Work::new(
                    vins,
                    options.refused_one_in,
                    options.one_large.filter(|_| index == 0),
                ),
                pace: pace.subscribe(),
                standing,
                disk: SimDisk::new(rng.next()),
                rng,
                noted: Vec::new(),
                acknowledged: 0,
                list: None,
            };
            benches.push((tokio::spawn(bench.run()), told));
        }
        Ok(Self { pace, busy, benches })
    }

    /// No new events; what is there is still sent.
    pub(crate) fn quiet(&self) {
        self.pace.send_modify(|pace| pace.every = None);
    }

    /// Receipts so far, one per event; never falls.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.benches
            .iter()
            .map(|(_, standing)| standing.borrow().acknowledged)
            .sum()
    }

    /// Events that count so far.
    pub(crate) fn durable(&self) -> u64 {
        self.benches
            .iter()
            .map(|(_, standing)| standing.borrow().durable)
            .sum()
    }

    /// Events without receipt.
    pub(crate) fn outstanding(&self) -> u64 {
        self.benches
            .iter()
            .map(|(_, standing)| standing.borrow().outstanding)
            .sum()
    }

    /// Longest time from fsync to receipt so far.
    pub(crate) fn slowest(&self) -> Duration {
        let slowest = self.benches.iter().map(|(_, standing)| standing.borrow().slowest);
        slowest.max().unwrap_or_default()
    }

    /// Names of the benches that don't know this generation.
    pub(crate) fn not_in(&self, generation: StoreGeneration) -> usize {
        let known = self
            .benches
            .iter()
            .map(|(_, standing)| standing.borrow().generation);
        known.filter(|known| *known != Some(generation)).count()
    }

    /// Waits until so many more events have their receipt: the plant works.
    pub(crate) async fn advances(&self, by: u64, within: Duration) -> anyhow::Result<()> {
        let begin = self.acknowledged();
        let what = format!("{by} more receipts");
        eventually(&what, within, async || {
            (self.acknowledged() >= begin + by).then_some(())
        })
        .await
    }

    /// Waits until the load has done so much work as it does in this time when nothing is in the way.
    pub(crate) async fn works(&self, time: Duration) -> anyhow::Result<()> {
        let every = self.busy.every.unwrap_or(time).as_millis().max(1);
        let events = self.benches.len() as u128 * time.as_millis() / every;
        let within = WITHIN.saturating_add(4 * time);
        self.advances(u64::try_from(events)?.max(1), within).await
    }

    /// Waits until so many more events are durable on the benches, receipted or not.
    pub(crate) async fn writes(&self, by: u64, within: Duration) -> anyhow::Result<()> {
        let begin = self.durable();
        let what = format!("{by} more events");
        eventually(&what, within, async || {
            (self.durable() >= begin + by).then_some(())
        })
        .await
    }

    /// Waits until every bench has a receipt for all its events. Call [`Load::quiet`] before.
    pub(crate) async fn settles(&self, within: Duration) -> anyhow::Result<()> {
        let settled = eventually("receipts for all events", within, async || {
            let mut standings = self.benches.iter().map(|(_, standing)| standing.borrow());
            let all = standings
                .all(|standing| standing.connected && standing.outstanding == 0 && standing.durable > 0);
            // A bench that has failed never will.
            let failed = self.benches.iter().any(|(task, _)| task.is_finished());
            (all || failed).then_some(())
        });
        let outcome = settled.await;
        ensure!(
            outcome.is_ok(),
            "{} of {} events have no receipt after {} s: {:?}",
            self.outstanding(),
            self.durable(),
            within.as_secs(),
            self.behind()
        );
        Ok(())
    }

    /// The first benches that wait for something.
    fn behind(&self) -> Vec<String> {
        let standings = self.benches.iter().enumerate();
        let behind = standings.filter_map(|(index, (_, standing))| {
            let standing = standing.borrow();
            let waits = standing.outstanding > 0 || !standing.connected;
            waits.then(|| format!("bench {index} {:?}", *standing))
        });
        behind.take(4).collect()
    }

    /// Ends the benches and gives everything that counts.
    pub(crate) async fn end(self) -> anyhow::Result<Vec<Made>> {
        self.pace.send_modify(|pace| pace.over = true);
        let mut made = Vec::new();
        for (task, _) in self.benches {
            made.extend(task.await.context("a bench panicked")??);
        }
        ensure!(!made.is_empty(), "benches without any event prove nothing");
        Ok(made)
    }
}

/// A VIN of the load.
fn vin(number: u64) -> String {
    format!("WVWZZZ1KZAW{number:06}")
}
