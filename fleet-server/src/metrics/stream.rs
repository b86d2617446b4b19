//! The page's live stream.

use prometheus_client::registry::Registry;

use super::labels::{Count, Level};

/// Metrics of the stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamMetrics {
    /// `vds_stream_readers`
    pub(crate) readers: Level,
    /// `vds_stream_resets_total`
    pub(crate) resets: Count,
}

impl StreamMetrics {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let metrics = Self {
            readers: Level::default(),
            resets: Count::default(),
        };
        registry.register(
            "vds_stream_readers",
            "Readers of the live stream",
            metrics.readers.clone(),
        );
        registry.register(
            "vds_stream_resets",
            "Readers that were told to begin anew",
            metrics.resets.clone(),
        );
        metrics
    }
}
