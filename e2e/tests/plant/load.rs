//! The load of a walk: the load test's benches on simulated disks that lose power when a bench restarts.
//!
//! Seeded: content, pauses and restarts follow from the seed. Identifiers and times don't, and what the network and
//! the services make of it doesn't either.

use std::time::Duration;

use anyhow::ensure;
use fleet_domain::{PlantId, StoreGeneration};
use loadtest::disks::SimBench;
use loadtest::schedule::Curve;
use loadtest::work::WorkOptions;
use loadtest::{Population, PopulationOptions};

use crate::WITHIN;
use crate::history::Made;

/// Vehicles that the benches share, so that a key has events of several benches.
const VINS: u64 = 12;
/// The product's wait between two attempts to connect grows to 10 s; a test has less time.
const RECONNECT_AT_MOST: Duration = Duration::from_secs(1);

/// How large the load is.
#[derive(Debug, Clone)]
pub(crate) struct LoadOptions {
    /// Part of the benches' names: PLANT-NAME-NUMBER.
    pub(crate) name: String,
    pub(crate) benches: usize,
    /// Mean time between two events of a bench.
    pub(crate) every: Duration,
    /// Chance of a restart with a new spool, in thousandths per event.
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

/// A running load. Dropping it ends its benches at once.
#[derive(Debug)]
pub(crate) struct Load {
    population: Population,
    options: LoadOptions,
}

impl Load {
    /// Starts the benches against a broker, `mqtt://HOST:PORT`.
    pub(crate) fn start(plant: &PlantId, broker: &str, options: &LoadOptions) -> anyhow::Result<Self> {
        // Unique over all plants of a broker: it is the client id.
        let name = format!("{plant}-{}", options.name);
        let mut of = PopulationOptions::new(plant.clone(), broker.parse()?, &name, options.benches);
        of.vins = VINS;
        of.work = WorkOptions {
            refused_one_in: options.refused_one_in,
            large: options.one_large,
        };
        of.restart_permille = options.restart_permille;
        of.seed = options.seed;
        of.starts_per_second = None;
        of.reconnect_at_most = RECONNECT_AT_MOST;
        of.notes = true;
        let mut seed = options.seed;
        let population = Population::start(&of, |_, _| {
            seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
            Ok(SimBench::new(seed))
        })?;
        #[expect(clippy::cast_precision_loss, reason = "a rate of a few benches")]
        let rate = options.benches as f64 / options.every.as_secs_f64();
        population.begin(&Curve::steady(rate), &[]);
        Ok(Self {
            population,
            options: options.clone(),
        })
    }

    /// No new events; what is there is still sent.
    pub(crate) fn quiet(&self) {
        self.population.quiet();
    }

    /// Receipts so far, one per event; never falls.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.population.totals().receipted
    }

    /// Events that count so far.
    pub(crate) fn durable(&self) -> u64 {
        self.population.totals().durable
    }

    /// Longest time from fsync to receipt so far.
    pub(crate) fn slowest(&self) -> Duration {
        self.population.slowest()
    }

    /// Number of the benches that don't know this generation.
    pub(crate) fn not_in(&self, generation: StoreGeneration) -> usize {
        self.population.not_in(generation)
    }

    /// Waits until so many more events have their receipt: the plant works.
    pub(crate) async fn advances(&self, by: u64, within: Duration) -> anyhow::Result<()> {
        let wanted = self.acknowledged() + by;
        let what = format!("{by} more receipts");
        let reached = |population: &Population| population.totals().receipted >= wanted;
        Ok(self.population.until(&what, within, reached).await?)
    }

    /// Waits until the load has done so much work as it does in this time when nothing is in the way.
    pub(crate) async fn works(&self, time: Duration) -> anyhow::Result<()> {
        let every = self.options.every.as_millis().max(1);
        let events = self.options.benches as u128 * time.as_millis() / every;
        let within = WITHIN.saturating_add(4 * time);
        self.advances(u64::try_from(events)?.max(1), within).await
    }

    /// Waits until so many more events are durable on the benches, receipted or not.
    pub(crate) async fn writes(&self, by: u64, within: Duration) -> anyhow::Result<()> {
        let wanted = self.durable() + by;
        let what = format!("{by} more events");
        let reached = |population: &Population| population.totals().durable >= wanted;
        Ok(self.population.until(&what, within, reached).await?)
    }

    /// Waits until every bench has a receipt for all its events. Call [`Load::quiet`] before.
    pub(crate) async fn settles(&self, within: Duration) -> anyhow::Result<()> {
        Ok(self.population.settles(within).await?)
    }

    /// Ends the benches and gives everything that counts, as it lies on their disks.
    pub(crate) async fn end(self) -> anyhow::Result<Vec<Made>> {
        let made = self.population.end().await?.made()?;
        ensure!(!made.is_empty(), "benches without any event prove nothing");
        Ok(made)
    }
}
