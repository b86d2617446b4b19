//! How long the server takes to give a receipt, as TCP estimates its round-trip time (RFC 6298).
//!
//! A server that catches up after an outage is slow without having lost anything: with a fixed timer every bench
//! sends its oldest event again in each round, which makes the server slower still (measured in
//! `tests/link/traffic.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use fleet_domain::{Seq, SpoolId};

/// Events whose time of publishing is remembered; above the largest window.
const MOST_SENT: usize = 64;

/// An event that was published on this connection and has no receipt.
#[derive(Debug, Clone, Copy)]
struct Sent {
    spool: SpoolId,
    seq: Seq,
    at: Duration,
    /// Its receipt may belong to either publish: it says nothing of the time (Karn's rule).
    again: bool,
}

/// The estimate.
#[derive(Debug, Default)]
pub(crate) struct Rtt {
    sent: VecDeque<Sent>,
    /// Smoothed time and its variation.
    estimate: Option<(Duration, Duration)>,
}

impl Rtt {
    pub(crate) fn published(&mut self, spool: SpoolId, seq: Seq, now: Duration) {
        if let Some(known) = self
            .sent
            .iter_mut()
            .find(|sent| sent.spool == spool && sent.seq >= seq)
        {
            known.again = true;
            return;
        }
        if self.sent.len() >= MOST_SENT {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent {
            spool,
            seq,
            at: now,
            again: false,
        });
    }

    /// A receipt has advanced: the last event in it that was published once tells the time.
    pub(crate) fn receipted(&mut self, spool: SpoolId, through: Seq, now: Duration) {
        let mut last = None;
        self.sent.retain(|sent| {
            let done = sent.spool == spool && sent.seq <= through;
            if done && !sent.again {
                last = Some(sent.at);
            }
            !done
        });
        if let Some(at) = last {
            self.sample(now.saturating_sub(at));
        }
    }

    /// The connection is another one: what was published before may come in any way.
    pub(crate) fn forget_sent(&mut self) {
        self.sent.clear();
    }

    /// RFC 6298, 2.2 and 2.3.
    fn sample(&mut self, time: Duration) {
        self.estimate = Some(match self.estimate {
            None => (time, time / 2),
            Some((smoothed, variation)) => (
                smoothed * 7 / 8 + time / 8,
                variation * 3 / 4 + smoothed.abs_diff(time) / 4,
            ),
        });
    }

    /// How long to wait for a receipt before it is missed; zero as long as none came.
    pub(crate) fn patience(&self) -> Duration {
        self.estimate
            .map_or(Duration::ZERO, |(smoothed, variation)| smoothed + variation * 4)
    }
}

#[cfg(test)]
mod tests {
    use fleet_domain::SpoolId;
    use uuid::Uuid;

    use super::*;

    const SPOOL: SpoolId = SpoolId(Uuid::nil());

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn patience_follows_the_server_up_and_down() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.patience(), Duration::ZERO);
        let mut round = |took: u64, seq: Seq| {
            rtt.published(SPOOL, seq, secs(seq * 100));
            rtt.receipted(SPOOL, seq, secs(seq * 100 + took));
            rtt.patience()
        };
        assert_eq!(round(20, 1), secs(60), "twice its half, four times, on top of it");
        let steady = (2..40).map(|seq| round(20, seq)).last().unwrap_or_default();
        assert!(steady >= secs(20) && steady < secs(21), "{steady:?}");
        let fast = (40..80).map(|seq| round(0, seq)).last().unwrap_or_default();
        assert!(fast < secs(1), "{fast:?}");
    }

    #[test]
    fn the_receipt_of_an_event_that_was_sent_twice_says_nothing() {
        let mut rtt = Rtt::default();
        rtt.published(SPOOL, 1, secs(0));
        rtt.published(SPOOL, 1, secs(50));
        rtt.receipted(SPOOL, 1, secs(51));
        assert_eq!(rtt.patience(), Duration::ZERO);
        // What was sent once beside it does.
        rtt.published(SPOOL, 2, secs(60));
        rtt.published(SPOOL, 3, secs(60));
        rtt.published(SPOOL, 2, secs(70));
        rtt.receipted(SPOOL, 3, secs(80));
        assert_eq!(rtt.patience(), secs(60));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut rtt = Rtt::default();
        for seq in 1..10_000 {
            rtt.published(SPOOL, seq, secs(seq));
        }
        assert_eq!(rtt.sent.len(), MOST_SENT);
        rtt.forget_sent();
        assert_eq!(rtt.sent.len(), 0);
    }
}
