//! Prometheus metrics. Counters are kept here; gauges that the store knows are read at the scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

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

/// Every metric of the server.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    /// `vds_ingest_events_total{outcome}`
    pub(crate) events: Family<OutcomeLabel, Counter<u64, AtomicU64>>,
    /// `vds_ingest_batch_seconds`
    pub(crate) batch_seconds: Histogram,
    /// `vds_ingest_batch_retries_total`
    pub(crate) batch_retries: Counter<u64, AtomicU64>,
    /// `vds_ingest_undecodable_total{channel}`
    pub(crate) undecodable: Family<ChannelLabel, Counter<u64, AtomicU64>>,
    /// `vds_dead_letters_total`
    pub(crate) dead_letters: Counter<u64, AtomicU64>,
    /// `vds_receipts_total`
    pub(crate) receipts: Counter<u64, AtomicU64>,
    /// `vds_lists_published_total`
    pub(crate) lists: Counter<u64, AtomicU64>,
    /// `vds_stream_readers`
    pub(crate) stream_readers: Gauge<i64, AtomicI64>,
    /// `vds_stream_resets_total`
    pub(crate) stream_resets: Counter<u64, AtomicU64>,
    /// `vds_slots_owned`
    pub(crate) slots_owned: Gauge<i64, AtomicI64>,
    /// `vds_ledger_outstanding`
    pub(crate) ledger_outstanding: Gauge<i64, AtomicI64>,
    /// `vds_outbox_waiting`
    pub(crate) outbox_waiting: Gauge<i64, AtomicI64>,
    /// `vds_jobs{state}`
    pub(crate) jobs: Family<StateLabel, Gauge<i64, AtomicI64>>,
    /// `vds_benches{state}`
    pub(crate) benches: Family<StateLabel, Gauge<i64, AtomicI64>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let mut metrics = Self {
            registry: Arc::new(Registry::default()),
            events: Family::default(),
            batch_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 12)),
            batch_retries: Counter::default(),
            undecodable: Family::default(),
            dead_letters: Counter::default(),
            receipts: Counter::default(),
            lists: Counter::default(),
            stream_readers: Gauge::default(),
            stream_resets: Counter::default(),
            slots_owned: Gauge::default(),
            ledger_outstanding: Gauge::default(),
            outbox_waiting: Gauge::default(),
            jobs: Family::default(),
            benches: Family::default(),
        };
        metrics.register(&mut registry);
        metrics.registry = Arc::new(registry);
        metrics
    }
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        // The format adds `_total` to counters by itself.
        registry.register(
            "vds_ingest_events",
            "Messages of benches by what became of them",
            self.events.clone(),
        );
        registry.register(
            "vds_ingest_batch_seconds",
            "Duration of a transaction",
            self.batch_seconds.clone(),
        );
        registry.register(
            "vds_ingest_batch_retries",
            "Transactions that had to be tried again",
            self.batch_retries.clone(),
        );
        registry.register(
            "vds_ingest_undecodable",
            "Messages beside events that could not be read",
            self.undecodable.clone(),
        );
        registry.register(
            "vds_dead_letters",
            "Messages put into the dead letters",
            self.dead_letters.clone(),
        );
        registry.register("vds_receipts", "Receipts published", self.receipts.clone());
        registry.register(
            "vds_lists_published",
            "Lists of jobs published",
            self.lists.clone(),
        );
        registry.register(
            "vds_stream_readers",
            "Readers of the live stream",
            self.stream_readers.clone(),
        );
        registry.register(
            "vds_stream_resets",
            "Readers that were told to begin anew",
            self.stream_resets.clone(),
        );
        registry.register(
            "vds_slots_owned",
            "Slots that are owned and connected",
            self.slots_owned.clone(),
        );
        registry.register(
            "vds_ledger_outstanding",
            "Events heard of and not settled",
            self.ledger_outstanding.clone(),
        );
        registry.register(
            "vds_outbox_waiting",
            "Events that wait for the relay",
            self.outbox_waiting.clone(),
        );
        registry.register("vds_jobs", "Jobs by state", self.jobs.clone());
        registry.register("vds_benches", "Benches by state", self.benches.clone());
    }

    /// Counts messages.
    pub(crate) fn count(&self, outcome: &'static str, messages: u64) {
        if messages > 0 {
            self.events
                .get_or_create(&OutcomeLabel { outcome })
                .inc_by(messages);
        }
    }

    /// The metrics as text in the format of `OpenMetrics`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
