//! Prometheus metrics. Counters are kept here; gauges that the store knows are read at the scrape.
//!
//! One file for each purpose. `docs/metrics.md` describes every metric; a test compares it with a real answer.
//! Every label value that is known beforehand exists from the start: a counter that appears with its first
//! event has no increase that an alert could see.

mod components;
mod ingest;
mod labels;
mod relay;
mod slots;
mod store;
mod stream;

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub(crate) use components::ComponentMetrics;
pub(crate) use ingest::IngestMetrics;
pub(crate) use labels::Level;
pub(crate) use relay::{RelayMetrics, TransactionOutcome};
pub(crate) use slots::{HandOver, SlotMetrics};
pub(crate) use store::StoreMetrics;
pub(crate) use stream::StreamMetrics;

/// Every metric of the server. A clone counts into the same metrics.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    /// What benches sent and what became of it.
    pub(crate) ingest: IngestMetrics,
    /// The page's live stream.
    pub(crate) stream: StreamMetrics,
    /// Which slots this replica has.
    pub(crate) slots: SlotMetrics,
    /// The relay of this replica.
    pub(crate) relay: RelayMetrics,
    /// The named states of readiness.
    pub(crate) components: ComponentMetrics,
    /// What the database says at the scrape: the same on every replica.
    pub(crate) store: StoreMetrics,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let ingest = IngestMetrics::registered(&mut registry);
        let stream = StreamMetrics::registered(&mut registry);
        let slots = SlotMetrics::registered(&mut registry);
        let relay = RelayMetrics::registered(&mut registry);
        let components = ComponentMetrics::registered(&mut registry);
        let store = StoreMetrics::registered(&mut registry);
        Self {
            registry: Arc::new(registry),
            ingest,
            stream,
            slots,
            relay,
            components,
            store,
        }
    }
}

impl Metrics {
    /// The metrics as text in the format of `OpenMetrics`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
