//! Receipts at most so often per bench, the latest state always in the end.
//!
//! Pure: what is due is asked with the time as an argument.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleet_domain::{DeviceId, SpoolId};
use fleet_wire::receipt::Receipt;

/// Receipts of commits in a second from which on each bench gets fewer: a receipt costs the broker as much as an event.
const CALM: f64 = 5000.0;
/// With fewer benches there are never many receipts.
const MANY_BENCHES: usize = 300;
/// The interval under load is at most so many times the one that is set: a bench's window must not run dry.
const SLOWEST: f64 = 4.0;
/// How often the load is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Bench {
    last_sent: Option<Duration>,
    /// Newest receipt of each spool that was not sent yet.
    waiting: BTreeMap<SpoolId, Receipt>,
}

/// What waits to be sent, by bench.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// As it is set.
    least: Duration,
    /// As it is now: longer under load.
    interval: Duration,
    /// Since when receipts are counted, and how many came.
    measured: (Duration, u32),
    benches: HashMap<DeviceId, Bench>,
}

impl Pacer {
    /// `interval`: least time between two receipts to one bench.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            least: interval,
            interval,
            measured: (Duration::ZERO, 0),
            benches: HashMap::new(),
        }
    }

    /// Takes a receipt. It replaces an older one of the same spool: receipts are cumulative.
    pub(crate) fn add(&mut self, device: DeviceId, mut receipt: Receipt) {
        self.measured.1 = self.measured.1.saturating_add(1);
        let bench = self.benches.entry(device).or_default();
        if let Some(older) = bench.waiting.get(&receipt.spool_id)
            && older.store_generation == receipt.store_generation
        {
            receipt.unattributed |= older.unattributed;
            // A gap that was closed meanwhile must not cause a resend.
            receipt.gap |= older.gap && older.through == receipt.through;
        }
        bench.waiting.insert(receipt.spool_id, receipt);
    }

    /// Receipts that may go now. `now` is any clock that does not run backwards.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<(DeviceId, Receipt)> {
        self.measure(now);
        let mut due = Vec::new();
        for (device, bench) in &mut self.benches {
            let ready = bench.last_sent.is_none_or(|sent| now >= sent + self.interval);
            if ready && !bench.waiting.is_empty() {
                bench.last_sent = Some(now);
                due.extend(
                    std::mem::take(&mut bench.waiting)
                        .into_values()
                        .map(|r| (device.clone(), r)),
                );
            }
        }
        // Benches that were quiet for a while are forgotten.
        let idle = self.interval * 100;
        self.benches.retain(|_, bench| {
            !bench.waiting.is_empty() || bench.last_sent.is_some_and(|sent| now < sent + idle)
        });
        due
    }

    /// With many benches and many receipts the interval grows with the load.
    fn measure(&mut self, now: Duration) {
        let (since, came) = self.measured;
        let passed = now.saturating_sub(since);
        if passed < MEASURE_EVERY {
            return;
        }
        self.measured = (now, 0);
        let load = if self.benches.len() < MANY_BENCHES {
            1.0
        } else {
            (f64::from(came) / passed.as_secs_f64() / CALM).clamp(1.0, SLOWEST)
        };
        self.interval = self.least.mul_f64(load);
    }

    /// When [`Pacer::due`] has something next; `None` while nothing waits.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.benches
            .values()
            .filter(|bench| !bench.waiting.is_empty())
            .map(|bench| {
                bench
                    .last_sent
                    .map_or(Duration::ZERO, |sent| sent + self.interval)
            })
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_domain::StoreGeneration;

    const MS: Duration = Duration::from_millis(1);

    fn receipt(through: u64, gap: bool) -> Receipt {
        Receipt {
            store_generation: StoreGeneration("01890000-0000-7000-8000-000000000001".parse().unwrap()),
            spool_id: SpoolId("01890000-0000-7000-8000-000000000002".parse().unwrap()),
            through,
            rejected: Vec::new(),
            gap,
            unattributed: false,
        }
    }

    fn bench() -> DeviceId {
        "bench-1".parse().unwrap()
    }

    #[test]
    fn the_first_receipt_goes_at_once_and_the_latest_state_always_goes_in_the_end() {
        let mut pacer = Pacer::new(100 * MS);
        pacer.add(bench(), receipt(1, false));
        assert_eq!(pacer.due(Duration::ZERO).len(), 1);
        for through in 2_u32..50 {
            pacer.add(bench(), receipt(through.into(), false));
            assert!(pacer.due(through * MS).is_empty());
        }
        assert_eq!(pacer.next(), Some(100 * MS));
        assert_eq!(pacer.due(100 * MS), vec![(bench(), receipt(49, false))]);
        assert_eq!(pacer.next(), None);
    }

    #[test]
    fn a_gap_that_was_closed_meanwhile_is_not_reported() {
        let mut pacer = Pacer::new(100 * MS);
        pacer.add(bench(), receipt(1, false));
        pacer.due(Duration::ZERO);
        pacer.add(bench(), receipt(3, true));
        pacer.add(bench(), receipt(3, false));
        assert!(pacer.due(100 * MS)[0].1.gap, "the same place: still a gap");
        pacer.add(bench(), receipt(3, true));
        pacer.add(bench(), receipt(9, false));
        assert!(!pacer.due(200 * MS)[0].1.gap);
    }

    /// Receipts that go in a second, when each of so many benches has a commit every 20 ms in this share of the ticks.
    fn sent(benches: u32, every: u32) -> usize {
        let mut pacer = Pacer::new(100 * MS);
        let mut sent = 0;
        for tick in 0..150_u32 {
            for n in 0..benches {
                if (tick + n) % every == 0 {
                    pacer.add(format!("bench-{n}").parse().unwrap(), receipt(tick.into(), false));
                }
            }
            let due = pacer.due(tick * 20 * MS).len();
            sent += if tick >= 100 { due } else { 0 };
        }
        sent
    }

    #[test]
    fn many_benches_under_load_get_fewer_receipts_and_few_benches_all() {
        assert_eq!(sent(100, 1), 1000, "ten a second for each");
        // 1000 benches with 5 events a second each: each event at once.
        assert_eq!(sent(1000, 10), 5000);
        let busy = sent(1000, 3);
        assert!((2_000..4_000).contains(&busy), "16,667 receipts became {busy}");
        let most = sent(1000, 1);
        assert!(
            (2_000..=3_000).contains(&most),
            "50,000 receipts became {most}: at least 2.5 for each bench"
        );
    }

    #[test]
    fn one_busy_bench_does_not_hold_another_back() {
        let mut pacer = Pacer::new(100 * MS);
        pacer.add(bench(), receipt(1, false));
        pacer.due(Duration::ZERO);
        pacer.add(bench(), receipt(2, false));
        pacer.add("bench-2".parse().unwrap(), receipt(1, false));
        let due = pacer.due(10 * MS);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].0.as_str(), "bench-2");
    }
}
