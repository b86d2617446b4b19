//! The relay of this replica. How much waits is the database's to say: see `store`.

use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::labels::{Count, Level, OutcomeLabel, TopicLabel, level};

/// How a Kafka transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionOutcome {
    /// Committed.
    Committed,
    /// Aborted; its rows are sent again.
    Aborted,
    /// Not known or fatal: the producer begins anew and reads the cursor.
    Failed,
}

impl TransactionOutcome {
    const ALL: [Self; 3] = [Self::Committed, Self::Aborted, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }
}

/// Metrics of the relay.
#[derive(Debug, Clone)]
pub(crate) struct RelayMetrics {
    /// `vds_relay_leader`
    leader: Level,
    /// `vds_relay_transactions_total{outcome}`
    transactions: Family<OutcomeLabel, Count>,
    /// `vds_relay_transaction_seconds`
    transaction_seconds: Histogram,
    /// `vds_relay_records_total{topic}`
    records: Family<TopicLabel, Count>,
    /// `vds_relay_already_in_kafka_total`
    already: Count,
    /// `vds_relay_unrelayable_total`
    unrelayable: Count,
    /// `vds_relay_producer_starts_total`
    producer_starts: Count,
    /// `vds_relay_cursor_seq`
    cursor_seq: Level,
}

impl RelayMetrics {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let metrics = Self {
            leader: Level::default(),
            transactions: Family::default(),
            transaction_seconds: Histogram::new(exponential_buckets(0.002, 2.0, 14)),
            records: Family::default(),
            already: Count::default(),
            unrelayable: Count::default(),
            producer_starts: Count::default(),
            cursor_seq: Level::default(),
        };
        for outcome in TransactionOutcome::ALL {
            metrics
                .transactions
                .get_or_create(&OutcomeLabel {
                    outcome: outcome.as_str(),
                })
                .inc_by(0);
        }
        for topic in ["vds.results.v1", "vds.job-events.v1", "vds.device-state.v1"] {
            metrics.records(topic, 0);
        }
        registry.register(
            "vds_relay_leader",
            "1 where this replica holds the relay's lease",
            metrics.leader.clone(),
        );
        registry.register(
            "vds_relay_transactions",
            "Kafka transactions by how they ended",
            metrics.transactions.clone(),
        );
        registry.register(
            "vds_relay_transaction_seconds",
            "From the begin of a Kafka transaction to its commit",
            metrics.transaction_seconds.clone(),
        );
        registry.register(
            "vds_relay_records",
            "Records of committed Kafka transactions, without the cursor's",
            metrics.records.clone(),
        );
        registry.register(
            "vds_relay_already_in_kafka",
            "Events passed over because Kafka had them before a restore",
            metrics.already.clone(),
        );
        registry.register(
            "vds_relay_unrelayable",
            "Events that Kafka will never take, put into the dead letters",
            metrics.unrelayable.clone(),
        );
        registry.register(
            "vds_relay_producer_starts",
            "Times that a Kafka producer was begun",
            metrics.producer_starts.clone(),
        );
        registry.register(
            "vds_relay_cursor_seq",
            "Place in the outbox up to which this replica has relayed",
            metrics.cursor_seq.clone(),
        );
        metrics
    }

    /// Whether this replica holds the relay's lease.
    pub(crate) fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// Counts a transaction; `duration` from its begin to its end.
    pub(crate) fn transaction(&self, outcome: TransactionOutcome, duration: Duration) {
        self.transactions
            .get_or_create(&OutcomeLabel {
                outcome: outcome.as_str(),
            })
            .inc();
        if outcome == TransactionOutcome::Committed {
            self.transaction_seconds.observe(duration.as_secs_f64());
        }
    }

    /// Counts records of a committed transaction.
    pub(crate) fn records(&self, topic: &str, records: u64) {
        self.records
            .get_or_create(&TopicLabel {
                topic: topic.to_owned(),
            })
            .inc_by(records);
    }

    /// Counts events that Kafka had already.
    pub(crate) fn already_in_kafka(&self, events: u64) {
        self.already.inc_by(events);
    }

    /// Counts an event that Kafka will never take.
    pub(crate) fn unrelayable(&self) {
        self.unrelayable.inc();
    }

    /// Counts the start of a producer.
    pub(crate) fn producer_started(&self) {
        self.producer_starts.inc();
    }

    /// Sets the place up to which was relayed.
    pub(crate) fn set_cursor(&self, seq: u64) {
        self.cursor_seq.set(level(seq));
    }
}
