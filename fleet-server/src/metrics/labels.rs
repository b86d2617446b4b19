//! Labels and types that the metrics share.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// A whole number that only rises.
pub(crate) type Count = Counter<u64, AtomicU64>;
/// A whole number.
pub(crate) type Level = Gauge<i64, AtomicI64>;

/// No label: for a family whose one member can be taken away while nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Alone {}

/// One label `outcome`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    /// What became of it.
    pub(crate) outcome: &'static str,
}

/// One label `state`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StateLabel {
    /// The state.
    pub(crate) state: String,
}

/// One label `channel`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ChannelLabel {
    /// Last level of the topic.
    pub(crate) channel: &'static str,
}

/// One label `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    /// The kind.
    pub(crate) kind: &'static str,
}

/// One label `slot`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SlotLabel {
    /// The slot, one hex digit.
    pub(crate) slot: String,
}

/// One label `topic`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TopicLabel {
    /// Kafka's topic.
    pub(crate) topic: String,
}

/// Labels `component` and `state`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ComponentLabels {
    /// Name of the check in `/readyz`.
    pub(crate) component: String,
    /// Its named state.
    pub(crate) state: String,
}

/// A count of the database as a gauge.
pub(crate) fn level(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
