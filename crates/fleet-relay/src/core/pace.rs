//! Waiting times: longer after each failure, never the same on two replicas.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// Back-off with 20 % jitter.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    next: Duration,
    random: u64,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            next: FIRST,
            random: seed,
        }
    }

    /// How long to wait after a failure.
    pub(super) fn failed(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        self.jittered(wait)
    }

    pub(super) fn succeeded(&mut self) {
        self.next = FIRST;
    }

    /// Between 80 % and 120 %.
    pub(super) fn jittered(&mut self, wait: Duration) -> Duration {
        // SplitMix64: good enough to keep two replicas apart.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let percent = 80 + u32::try_from(mixed % 41).unwrap_or(20);
        wait * percent / 100
    }
}
