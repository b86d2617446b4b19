//! What benches sent and what became of it.

use fleet_store::AlarmKind;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::labels::{ChannelLabel, Count, KindLabel, Level, OutcomeLabel};

/// Outcomes that exist from the start.
const OUTCOMES: [&str; 14] = [
    "stored",
    "duplicate",
    "gap",
    "conflict",
    "rejected",
    "dead",
    "hole",
    "unprojected",
    "fenced",
    "sync",
    "presence",
    "clock_off",
    "flooded",
    "too_many_devices",
];

/// Metrics of ingest and of what goes back to benches.
#[derive(Debug, Clone)]
pub(crate) struct IngestMetrics {
    /// `vds_ingest_events_total{outcome}`
    events: Family<OutcomeLabel, Count>,
    /// `vds_ingest_batch_seconds`
    pub(crate) batch_seconds: Histogram,
    /// `vds_ingest_buffered_bytes`
    pub(crate) buffered_bytes: Level,
    /// `vds_ingest_batch_retries_total`
    pub(crate) batch_retries: Count,
    /// `vds_ingest_undecodable_total{channel}`
    undecodable: Family<ChannelLabel, Count>,
    /// `vds_dead_letters_total`
    pub(crate) dead_letters: Count,
    /// `vds_alarms_total{kind}`
    alarms: Family<KindLabel, Count>,
    /// `vds_receipts_total`
    pub(crate) receipts: Count,
    /// `vds_lists_published_total`
    pub(crate) lists: Count,
}

impl IngestMetrics {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let metrics = Self {
            events: Family::default(),
            batch_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            buffered_bytes: Level::default(),
            batch_retries: Count::default(),
            undecodable: Family::default(),
            dead_letters: Count::default(),
            alarms: Family::default(),
            receipts: Count::default(),
            lists: Count::default(),
        };
        for outcome in OUTCOMES {
            metrics.count(outcome, 0);
        }
        metrics.undecodable("live", 0);
        for kind in AlarmKind::ALL {
            metrics.alarms(kind, 0);
        }
        // The format adds `_total` to counters by itself.
        registry.register(
            "vds_ingest_events",
            "Messages of benches by what became of them",
            metrics.events.clone(),
        );
        registry.register(
            "vds_ingest_batch_seconds",
            "Duration of a transaction with its retries",
            metrics.batch_seconds.clone(),
        );
        registry.register(
            "vds_ingest_buffered_bytes",
            "Bytes of messages that wait for their commit",
            metrics.buffered_bytes.clone(),
        );
        registry.register(
            "vds_ingest_batch_retries",
            "Transactions that had to be tried again",
            metrics.batch_retries.clone(),
        );
        registry.register(
            "vds_ingest_undecodable",
            "Messages beside events that could not be read",
            metrics.undecodable.clone(),
        );
        registry.register(
            "vds_dead_letters",
            "Messages put into the dead letters",
            metrics.dead_letters.clone(),
        );
        registry.register(
            "vds_alarms",
            "Alarms that the ingest raised or raised again, by kind",
            metrics.alarms.clone(),
        );
        registry.register("vds_receipts", "Receipts published", metrics.receipts.clone());
        registry.register(
            "vds_lists_published",
            "Lists of jobs published",
            metrics.lists.clone(),
        );
        metrics
    }

    /// Counts messages.
    pub(crate) fn count(&self, outcome: &'static str, messages: u64) {
        self.events
            .get_or_create(&OutcomeLabel { outcome })
            .inc_by(messages);
    }

    /// Counts messages beside events that could not be read.
    pub(crate) fn undecodable(&self, channel: &'static str, messages: u64) {
        self.undecodable
            .get_or_create(&ChannelLabel { channel })
            .inc_by(messages);
    }

    /// Counts alarms.
    pub(crate) fn alarms(&self, kind: AlarmKind, times: u64) {
        self.alarms
            .get_or_create(&KindLabel { kind: kind.as_str() })
            .inc_by(times);
    }
}
