//! Receipts at most so often per bench, the latest state always in the end.
//!
//! Pure: what is due is asked with the time as an argument.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleet_domain::{DeviceId, SpoolId};
use fleet_wire::receipt::Receipt;

#[derive(Debug, Default)]
struct Bench {
    last_sent: Option<Duration>,
    /// Newest receipt of each spool that was not sent yet.
    waiting: BTreeMap<SpoolId, Receipt>,
}

/// What waits to be sent, by bench.
#[derive(Debug)]
pub(crate) struct Pacer {
    interval: Duration,
    benches: HashMap<DeviceId, Bench>,
}

impl Pacer {
    /// `interval`: least time between two receipts to one bench.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            benches: HashMap::new(),
        }
    }

    /// Takes a receipt. It replaces an older one of the same spool: receipts are cumulative.
    pub(crate) fn add(&mut self, device: DeviceId, mut receipt: Receipt) {
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
