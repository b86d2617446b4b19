//! What a population has done, in numbers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fleet_domain::StoreGeneration;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart, microseconds.
const LONGEST_US: u64 = 6 * 3600 * 1_000_000;
const DIGITS: u8 = 3;

/// Latencies of one kind.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// None yet.
    ///
    /// # Panics
    /// Never: the bounds are constants that the histogram takes.
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("constant bounds"))
    }

    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.clamp(1, LONGEST_US));
    }

    /// Adds all of another one.
    pub fn add(&mut self, other: &Self) {
        // The bounds are the same, so everything fits.
        let _ = self.0.add(&other.0);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that so many percent are not above; none without any.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let micros = self.0.value_at_percentile(percent);
        (!self.0.is_empty()).then(|| Duration::from_micros(micros))
    }

    /// The part of them above a bound, 0 to 1.
    pub fn part_above(&self, bound: Duration) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        let bound = u64::try_from(bound.as_micros())
            .unwrap_or(u64::MAX)
            .min(LONGEST_US);
        let up_to = self.0.count_between(0, bound);
        #[expect(clippy::cast_precision_loss, reason = "a part")]
        let part = (self.0.len() - up_to) as f64 / self.0.len() as f64;
        part
    }

    /// For a report.
    pub fn summary(&self) -> Summary {
        let ms = |percent| {
            self.percentile(percent)
                .map_or(0.0, |of| of.as_secs_f64() * 1000.0)
        };
        Summary {
            count: self.count(),
            p50_ms: ms(50.0),
            p90_ms: ms(90.0),
            p99_ms: ms(99.0),
            p999_ms: ms(99.9),
            max_ms: ms(100.0),
        }
    }
}

/// Latencies of one kind in a report, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 90 % are not above.
    pub p90_ms: f64,
    /// 99 % are not above.
    pub p99_ms: f64,
    /// 99.9 % are not above.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Latencies of the events that were due in one phase, all from the time at which the schedule wanted the event.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    /// To the append: what the load itself adds.
    pub lag: Latency,
    /// Until the event counts: it is durable on its bench.
    pub durable: Latency,
    /// Until its bench has the receipt.
    pub receipt: Latency,
}

impl Latencies {
    fn add(&mut self, other: &Self) {
        self.lag.add(&other.lag);
        self.durable.add(&other.durable);
        self.receipt.add(&other.receipt);
    }
}

/// Counts of a population.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events that the schedule wanted.
    pub due: u64,
    /// Of these, not told because the bench's disk took nothing for too long.
    pub not_told: u64,
    /// Publishes of events, each resend counted.
    pub publishes: u64,
    /// Distinct events and holes published.
    pub published: u64,
    /// Connections that came up.
    pub connects: u64,
    /// Connections that ended or could not be made.
    pub disconnects: u64,
    /// Events that the server refused for good.
    pub rejected: u64,
    /// Holes that a bench had to state.
    pub holes: u64,
    /// Publishes that the broker refused.
    pub refused_publishes: u64,
    /// Faults of disks, and spools that the server knew more of.
    pub faults: u64,
}

impl Counts {
    /// Adds another one's.
    pub fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.not_told += other.not_told;
        self.publishes += other.publishes;
        self.published += other.published;
        self.connects += other.connects;
        self.disconnects += other.disconnects;
        self.rejected += other.rejected;
        self.holes += other.holes;
        self.refused_publishes += other.refused_publishes;
        self.faults += other.faults;
    }

    /// Publishes for each distinct event; 1 when nothing was sent twice.
    pub fn resent_ratio(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = self.publishes as f64 / self.published.max(1) as f64;
        ratio
    }

    /// What has happened since an earlier look.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            due: self.due - before.due,
            not_told: self.not_told - before.not_told,
            publishes: self.publishes - before.publishes,
            published: self.published - before.published,
            connects: self.connects - before.connects,
            disconnects: self.disconnects - before.disconnects,
            rejected: self.rejected - before.rejected,
            holes: self.holes - before.holes,
            refused_publishes: self.refused_publishes - before.refused_publishes,
            faults: self.faults - before.faults,
        }
    }
}

/// Counts, and latencies by phase.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Counts.
    pub counts: Counts,
    /// By phase of the schedule.
    pub phases: Vec<Latencies>,
}

impl Figures {
    /// For so many phases.
    pub fn new(phases: usize) -> Self {
        Self {
            counts: Counts::default(),
            phases: vec![Latencies::default(); phases.max(1)],
        }
    }

    /// Adds another one's.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        if self.phases.len() < other.phases.len() {
            self.phases.resize(other.phases.len(), Latencies::default());
        }
        for (to, from) in self.phases.iter_mut().zip(&other.phases) {
            to.add(from);
        }
    }

    /// All phases together.
    pub fn total(&self) -> Latencies {
        let mut total = Latencies::default();
        for phase in &self.phases {
            total.add(phase);
        }
        total
    }
}

/// How a bench stands, to be looked at from other threads.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) durable: AtomicU64,
    /// Of the durable ones, so many have had their receipt; never falls.
    pub(crate) receipted: AtomicU64,
    pub(crate) outstanding: AtomicU64,
    pub(crate) connected: AtomicBool,
    /// When it came up last, microseconds since the population's begin.
    pub(crate) up_at_us: AtomicU64,
    /// Longest time from durable to receipt, microseconds.
    pub(crate) slowest_us: AtomicU64,
    generation: Mutex<Option<StoreGeneration>>,
}

impl Standing {
    pub(crate) fn generation(&self) -> Option<StoreGeneration> {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_generation(&self, generation: Option<StoreGeneration>) {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) = generation;
    }

    pub(crate) fn get(&self) -> BenchStanding {
        BenchStanding {
            durable: self.durable.load(Ordering::Relaxed),
            receipted: self.receipted.load(Ordering::Relaxed),
            outstanding: self.outstanding.load(Ordering::Relaxed),
            connected: self.connected.load(Ordering::Relaxed),
            generation: self.generation(),
            slowest: Duration::from_micros(self.slowest_us.load(Ordering::Relaxed)),
        }
    }
}

/// How a bench stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BenchStanding {
    /// Events that count.
    pub durable: u64,
    /// Of these, so many have had their receipt; never falls.
    pub receipted: u64,
    /// Events without receipt, as the bench knows by now; a restored server raises it.
    pub outstanding: u64,
    /// Connected to the broker.
    pub connected: bool,
    /// The life of the server's database that it knows.
    pub generation: Option<StoreGeneration>,
    /// Longest time from durable to receipt so far.
    pub slowest: Duration,
}

/// How a population stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Benches.
    pub benches: u64,
    /// Of these, connected.
    pub connected: u64,
    /// Events that count.
    pub durable: u64,
    /// Receipts, one per event; never falls.
    pub receipted: u64,
    /// Events without receipt.
    pub outstanding: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(of: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::new();
        for ms in of {
            latency.record(Duration::from_millis(ms));
        }
        latency
    }

    fn near(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() <= wanted / 500.0
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let summary = millis(1..=1000).summary();
        assert_eq!(summary.count, 1000);
        assert!(near(summary.p50_ms, 500.0), "{summary:?}");
        assert!(
            near(summary.p99_ms, 990.0) && near(summary.max_ms, 1000.0),
            "{summary:?}"
        );
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let mut sum = millis(1..=500);
        sum.add(&millis(501..=1000));
        assert_eq!(sum.summary(), millis(1..=1000).summary());
    }

    #[test]
    fn the_part_above_a_bound_is_counted() {
        let latency = millis((1..=999).map(|_| 10).chain([2000]));
        assert!((latency.part_above(Duration::from_secs(1)) - 0.001).abs() < 1e-9);
        assert!((latency.part_above(Duration::from_secs(3))).abs() < 1e-9);
        assert!((Latency::new().part_above(Duration::ZERO)).abs() < 1e-9);
    }

    #[test]
    fn none_is_no_percentile_and_too_long_is_kept_as_the_longest() {
        assert_eq!(Latency::new().percentile(99.0), None);
        let mut latency = Latency::new();
        latency.record(Duration::MAX);
        latency.record(Duration::ZERO);
        assert_eq!(latency.count(), 2);
        assert!(latency.percentile(100.0) >= Some(Duration::from_mins(6 * 60 - 1)));
    }

    #[test]
    fn a_ratio_of_resends_is_publishes_by_events() {
        let counts = Counts {
            publishes: 120,
            published: 100,
            ..Counts::default()
        };
        assert!((counts.resent_ratio() - 1.2).abs() < 1e-9);
        assert!(Counts::default().resent_ratio().abs() < 1e-9);
    }
}
