//! Regular clean-up.

use std::time::Duration;

/// How long events are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Events that were received longer ago go; `None`: none ever goes.
    pub keep: Option<Duration>,
    /// A relay is configured: an event that waits for it never goes, however old. Without one, the outbox ends
    /// with the retention, and the ledger counts such events as expired.
    pub relay: bool,
}

/// How long the same position of a bench may stay outstanding before a person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// While the bench is connected.
    pub online: Duration,
    /// While it is not.
    pub offline: Duration,
}

/// What a clean-up removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneOutcome {
    /// Day partitions dropped (PostgreSQL).
    pub partitions_dropped: u32,
    /// Events removed.
    pub events_removed: u64,
    /// Of these, events that no relay had taken: the ledger counts them as expired.
    pub events_expired: u64,
    /// Rows of the outbox removed.
    pub outbox_removed: u64,
    /// Rows of the change log removed.
    pub changes_removed: u64,
    /// Old events stay because they wait for the relay.
    pub held_by_relay: bool,
}
