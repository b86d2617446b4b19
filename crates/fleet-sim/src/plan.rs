//! What a seed decides before the run: the environment, and which faults it has how often.

use std::time::Duration;

use crate::rng::Rng;

/// A rule that the world around the shipped code breaks on purpose, to see that the judgement notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The bench takes a PUBACK for a receipt.
    DeleteOnPuback,
    /// The server sends receipts before its commit.
    ReceiptBeforeCommit,
    /// The server acknowledges to the broker before its commit, and counts on it.
    AcknowledgeBeforeCommit,
    /// The bench ignores a `through` that is lower than what it heard.
    IgnoreLowerThrough,
    /// A spool's first event does not name its predecessor.
    NoPredecessor,
    /// A slot gets a new term while a transaction of the old one runs.
    TermWithoutLock,
    /// Messages of a slot that was lost are acknowledged.
    AcknowledgeLostSlots,
}

/// Chances are of a thousand.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each switches one kind of fault")]
pub(crate) struct Plan {
    pub(crate) quiet: bool,
    pub(crate) benches: usize,
    /// How long the run is disturbed.
    pub(crate) disturbed: Duration,
    /// Pause between two batches of events of a bench, milliseconds.
    pub(crate) pause_ms: u64,
    pub(crate) latency_ms: u64,
    pub(crate) receive_maximum: u16,
    pub(crate) segment_bytes: u64,
    pub(crate) keep_receipted: Duration,
    /// Time between two faults, milliseconds.
    pub(crate) fault_every_ms: u64,
    pub(crate) lost_after_puback: u64,
    pub(crate) puback_refused: u64,
    pub(crate) puback_missing: u64,
    pub(crate) stripped: u64,
    pub(crate) receipt_lost: u64,
    pub(crate) receipt_again: u64,
    pub(crate) late_from_old_connection: u64,
    pub(crate) crash_in_commit: u64,
    /// Messages that a slot's session has unacknowledged at once.
    pub(crate) window: usize,
    /// Messages that wait for a slot before the broker drops them.
    pub(crate) queue_limit: usize,
    /// Transactions that take long.
    pub(crate) slow_commit: u64,
    pub(crate) replicas: usize,
    pub(crate) freezes: bool,
    pub(crate) clock_jumps: bool,
    pub(crate) restores_database: bool,
    pub(crate) restores_disk: bool,
    pub(crate) disk_errors: bool,
    pub(crate) mutant: Option<Mutant>,
}

impl Plan {
    pub(crate) fn of(rng: &mut Rng, mutant: Option<Mutant>) -> Self {
        let mut often = |most: u64| if rng.chance(400) { 0 } else { rng.below(most) };
        let [lost, refused, missing, stripped] = [often(100), often(40), often(15), often(6)];
        let [receipt_lost, receipt_again, late, crash] = [often(200), often(100), often(300), often(60)];
        Self {
            quiet: false,
            benches: 1 + usize::try_from(rng.below(3)).unwrap_or(0),
            disturbed: Duration::from_secs(120 + rng.below(360)),
            pause_ms: [300, 1_000, 3_000, 8_000][usize::try_from(rng.below(4)).unwrap_or(0)],
            latency_ms: [2, 20, 80][usize::try_from(rng.below(3)).unwrap_or(0)],
            receive_maximum: [1, 5, 20, u16::MAX][usize::try_from(rng.below(4)).unwrap_or(0)],
            segment_bytes: [400, 2_000, 100_000][usize::try_from(rng.below(3)).unwrap_or(0)],
            keep_receipted: if rng.chance(300) {
                Duration::from_secs(rng.below(90))
            } else {
                Duration::from_hours(72)
            },
            fault_every_ms: [4_000, 12_000, 40_000][usize::try_from(rng.below(3)).unwrap_or(0)],
            lost_after_puback: lost,
            puback_refused: refused,
            puback_missing: missing,
            stripped,
            receipt_lost,
            receipt_again,
            late_from_old_connection: late,
            crash_in_commit: crash,
            window: [1, 10, 1_000][usize::try_from(rng.below(3)).unwrap_or(0)],
            queue_limit: [20, 200, usize::MAX][usize::try_from(rng.below(3)).unwrap_or(0)],
            slow_commit: if rng.chance(500) { 0 } else { rng.below(100) },
            replicas: 1 + usize::from(rng.chance(700)),
            freezes: rng.chance(600),
            clock_jumps: rng.chance(300),
            restores_database: rng.chance(500),
            restores_disk: rng.chance(300),
            disk_errors: rng.chance(400),
            mutant,
        }
    }

    /// The same environment without a fault.
    pub(crate) fn quiet(rng: &mut Rng) -> Self {
        Self {
            quiet: true,
            lost_after_puback: 0,
            puback_refused: 0,
            puback_missing: 0,
            stripped: 0,
            receipt_lost: 0,
            receipt_again: 0,
            late_from_old_connection: 0,
            crash_in_commit: 0,
            queue_limit: usize::MAX,
            slow_commit: 0,
            replicas: 1,
            freezes: false,
            clock_jumps: false,
            restores_database: false,
            restores_disk: false,
            disk_errors: false,
            ..Self::of(rng, None)
        }
    }
    /// One bench for half a minute: short enough to be run again for each of its writes.
    pub(crate) fn short(rng: &mut Rng) -> Self {
        Self {
            benches: 1,
            disturbed: Duration::from_secs(30),
            pause_ms: 1_000,
            segment_bytes: 2_000,
            keep_receipted: Duration::from_secs(5),
            ..Self::quiet(rng)
        }
    }
}
