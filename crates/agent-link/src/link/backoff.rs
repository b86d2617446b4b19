//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// First limit of the wait; doubles with each failure.
const FIRST_LIMIT: Duration = Duration::from_millis(500);
/// A connection that lived so long was good.
pub(super) const GOOD_AFTER: Duration = Duration::from_secs(10);
/// So many connections that end early in a row look like two agents with one identity.
const SUSPICIOUS: u32 = 3;
/// A fight for a session is slowed down by this factor.
const FIGHT_FACTOR: u32 = 3;

/// Doubling back-off with full jitter (drawn from zero up to the limit), and the slow lane for a fight.
#[derive(Debug)]
pub(super) struct Backoff {
    at_most: Duration,
    limit: Duration,
    random: u64,
    short_lives: u32,
}

impl Backoff {
    pub(super) fn new(at_most: Duration, seed: u64) -> Self {
        Self {
            at_most,
            limit: FIRST_LIMIT.min(at_most),
            random: seed,
            short_lives: 0,
        }
    }

    /// Notes how a connection ended: how long it was up (none: never), and whether the peer cut it. Says
    /// whether that looks like a take-over although the broker did not say so (Mosquitto 2.0.11 does not).
    pub(super) fn ended(&mut self, up_for: Option<Duration>, cut_by_peer: bool) -> bool {
        match up_for {
            Some(time) if time >= GOOD_AFTER => {
                self.limit = FIRST_LIMIT.min(self.at_most);
                self.short_lives = 0;
            }
            Some(_) if cut_by_peer => self.short_lives = self.short_lives.saturating_add(1),
            Some(_) => {}
            None => self.short_lives = 0,
        }
        self.short_lives >= SUSPICIOUS
    }

    /// The wait before the next attempt.
    pub(super) fn wait(&mut self, taken_over: bool) -> Duration {
        if taken_over {
            // At least half of it: two that draw near zero again and again would go on fighting.
            let longest = self.at_most * FIGHT_FACTOR;
            return longest / 2 + self.part_of(longest / 2);
        }
        let limit = self.limit;
        self.limit = (limit * 2).min(self.at_most);
        self.part_of(limit)
    }

    fn part_of(&mut self, limit: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        limit * u32::try_from((z ^ (z >> 31)) % 1001).unwrap_or(0) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_its_limit_and_a_good_connection_resets_it() {
        let mut backoff = Backoff::new(Duration::from_secs(10), 7);
        let mut limit = FIRST_LIMIT;
        for _ in 0..20 {
            assert!(backoff.wait(false) <= limit);
            limit = (limit * 2).min(Duration::from_secs(10));
        }
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            longest = longest.max(backoff.wait(false));
        }
        assert!(longest > Duration::from_secs(8), "{longest:?}");
        assert!(!backoff.ended(Some(GOOD_AFTER), true));
        assert!(backoff.wait(false) <= FIRST_LIMIT);
    }

    #[test]
    fn short_connections_in_a_row_are_a_suspected_take_over_and_slow_down() {
        let mut backoff = Backoff::new(Duration::from_secs(10), 7);
        let short = Some(Duration::from_millis(20));
        assert!(!backoff.ended(short, true));
        assert!(!backoff.ended(short, true));
        assert!(backoff.ended(short, true));
        for _ in 0..20 {
            assert!(backoff.wait(true) >= Duration::from_secs(15));
        }
        assert!(!backoff.ended(None, false), "a broker that is away is no fight");
    }
}
