//! What is sent when (delivery contract, rules 5 and 6). Pure: time is an argument, the spools are asked by
//! the caller.
//!
//! A PUBACK proves nothing: only a receipt advances. Receipts never cause a resend, the timer does, with the
//! one exception of a reported gap. The timer is never shorter than the contract's 10 s, and longer where the
//! server has been seen to take longer ([`crate::rtt`]).

use std::collections::VecDeque;
use std::time::Duration;

use fleet_domain::{Seq, SpoolId};

use crate::rtt::Rtt;

/// Figures of the sender. The defaults are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderConfig {
    /// Most events without receipt on their way.
    pub max_window: u16,
    /// Time without an advance after which is sent again, at least; longer after receipts that took longer.
    pub resend_after: Duration,
    /// Longest such time, after doubling too.
    pub resend_at_most: Duration,
    /// No PUBACK for so long: reconnect.
    pub puback_within: Duration,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            max_window: fleet_wire::limits::MAX_WINDOW,
            resend_after: Duration::from_secs(10),
            resend_at_most: Duration::from_mins(1),
            puback_within: Duration::from_secs(30),
        }
    }
}

/// An event or a hole on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    spool: SpoolId,
    from: Seq,
    to: Seq,
}

/// A publish whose PUBACK has not come on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    spool: SpoolId,
    seq: Seq,
    since: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    number: u64,
    window_limit: usize,
}

/// What the time has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// No PUBACK for too long on this connection.
    Reconnect(u64),
}

#[derive(Debug)]
pub(crate) struct Sender {
    config: SenderConfig,
    random: u64,
    connection: Option<Connection>,
    window: usize,
    /// Without receipt, in order, since the last time the sender went back.
    sent: VecDeque<Sent>,
    open: Vec<Open>,
    /// Time without an advance after which is sent again, now.
    wait: Duration,
    /// The timer has sent again since the last advance.
    stalled: bool,
    rtt: Rtt,
    resend_at: Option<Duration>,
    /// Nothing is published before; after an error.
    not_before: Option<Duration>,
    /// The gap that has caused its one immediate resend.
    gap_answered: Option<(SpoolId, Seq)>,
}

impl Sender {
    pub(crate) fn new(config: SenderConfig, seed: u64) -> Self {
        Self {
            config,
            random: seed,
            connection: None,
            window: 1,
            sent: VecDeque::new(),
            open: Vec::new(),
            wait: config.resend_after,
            stalled: false,
            rtt: Rtt::default(),
            resend_at: None,
            not_before: None,
            gap_answered: None,
        }
    }

    pub(crate) fn connected(&mut self, number: u64, receive_maximum: u16) {
        self.connection = Some(Connection {
            number,
            window_limit: usize::from(self.config.max_window.min(receive_maximum).max(1)),
        });
        self.open.clear();
        self.not_before = None;
        self.rtt.forget_sent();
        self.reset_wait();
        self.start_over();
    }

    /// The connection has ended, if it was this one.
    pub(crate) fn disconnected(&mut self, number: u64) {
        if self
            .connection
            .is_some_and(|connection| connection.number == number)
        {
            self.connection = None;
            self.open.clear();
            self.start_over();
        }
    }

    /// Go-back-N with a window of one.
    pub(crate) fn start_over(&mut self) {
        self.window = 1;
        self.sent.clear();
        self.resend_at = None;
    }

    /// A PUBACK came; says whether it belongs to an open publish of this connection.
    pub(crate) fn acknowledged(&mut self, number: u64, spool: SpoolId, seq: Seq) -> bool {
        let current = self
            .connection
            .is_some_and(|connection| connection.number == number);
        let place = self
            .open
            .iter()
            .position(|open| (open.spool, open.seq) == (spool, seq));
        match place.filter(|_| current) {
            Some(place) => {
                self.open.remove(place);
                true
            }
            None => false,
        }
    }

    /// Something refused: keep everything, wait, begin again. One refusal in a wait counts, not each.
    pub(crate) fn back_off(&mut self, now: Duration) {
        if self.not_before.is_some_and(|at| at > now) {
            return;
        }
        self.start_over();
        self.not_before = Some(now + self.jittered(self.wait));
        self.lengthen_wait();
    }

    /// The server has advanced by so many positions.
    pub(crate) fn advanced(&mut self, spool: SpoolId, through: Seq, by: u64, now: Duration) {
        let limit = self.connection.map_or(1, |connection| connection.window_limit);
        let by = usize::try_from(by).unwrap_or(limit);
        self.window = self.window.saturating_add(by).min(limit);
        self.rtt.receipted(spool, through, now);
        self.reset_wait();
        self.sent.retain(|sent| sent.spool != spool || sent.to > through);
        self.resend_at = (!self.sent.is_empty()).then(|| now + self.wait);
    }

    /// The server misses `through + 1`. Once per value of `through` that is sent again at once.
    pub(crate) fn gap(&mut self, spool: SpoolId, through: Seq, now: Duration) {
        let was_sent = self
            .sent
            .front()
            .is_some_and(|sent| sent.spool == spool && sent.from <= through + 1);
        if was_sent && self.gap_answered != Some((spool, through)) {
            self.gap_answered = Some((spool, through));
            self.sent.clear();
            self.resend_at = Some(now + self.wait);
        }
    }

    /// Whether the oldest event without receipt is on its way in this round.
    pub(crate) fn has_sent(&self, spool: SpoolId, seq: Seq) -> bool {
        self.sent
            .iter()
            .any(|sent| sent.spool == spool && (sent.from..=sent.to).contains(&seq))
    }

    /// Whether the timer has sent again since the last advance.
    pub(crate) fn stalled(&self) -> bool {
        self.stalled
    }

    /// Judges the timers.
    pub(crate) fn tick(&mut self, now: Duration) -> Due {
        let Some(connection) = self.connection else {
            return Due::Nothing;
        };
        if self
            .open
            .iter()
            .any(|open| now >= open.since + self.config.puback_within)
        {
            self.disconnected(connection.number);
            return Due::Reconnect(connection.number);
        }
        self.not_before = self.not_before.filter(|at| *at > now);
        if self.resend_at.is_some_and(|at| now >= at) {
            self.start_over();
            self.lengthen_wait();
        }
        Due::Nothing
    }

    /// The connection and the next position to publish, given the oldest spool that is not settled.
    pub(crate) fn next(
        &mut self,
        spool: SpoolId,
        receipted: Seq,
        last: Seq,
        now: Duration,
    ) -> Option<(u64, Seq)> {
        let connection = self.connection?;
        if self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        self.not_before = None;
        self.sent
            .retain(|sent| sent.spool == spool && sent.to > receipted);
        let next = self.sent.back().map_or(receipted, |sent| sent.to) + 1;
        let awaits_puback = self
            .open
            .iter()
            .any(|open| (open.spool, open.seq) == (spool, next));
        let room = self.sent.len() < self.window.min(connection.window_limit);
        // The open ones count too: the broker's receive maximum is about them.
        let unacknowledged = self.open.len() < connection.window_limit;
        (next <= last && !awaits_puback && room && unacknowledged).then_some((connection.number, next))
    }

    pub(crate) fn published(&mut self, spool: SpoolId, from: Seq, to: Seq, now: Duration) {
        self.rtt.published(spool, to, now);
        self.sent.push_back(Sent { spool, from, to });
        self.open.push(Open {
            spool,
            seq: from,
            since: now,
        });
        if self.resend_at.is_none() {
            let wait = if self.stalled {
                self.jittered(self.wait)
            } else {
                self.wait
            };
            self.resend_at = Some(now + wait);
        }
    }

    /// When [`Sender::tick`] or [`Sender::next`] has something to do by time alone.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.connection?;
        let puback = self
            .open
            .iter()
            .map(|open| open.since + self.config.puback_within)
            .min();
        [puback, self.resend_at, self.not_before]
            .into_iter()
            .flatten()
            .min()
    }

    fn reset_wait(&mut self) {
        let least = self.config.resend_after;
        self.wait = self
            .rtt
            .patience()
            .max(least)
            .min(self.config.resend_at_most.max(least));
        self.stalled = false;
    }

    fn lengthen_wait(&mut self) {
        self.stalled = true;
        self.wait = (self.wait * 2).min(self.config.resend_at_most);
    }

    /// The time with up to 20 % more or less (splitmix64).
    fn jittered(&mut self, time: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let permille = u32::try_from((z ^ (z >> 31)) % 401).unwrap_or(0);
        time * (800 + permille) / 1000
    }
}
