//! What librdkafka says besides the answers to calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;

use super::fault;
use crate::core::{KafkaFault, Trouble};

#[derive(Debug, Default)]
struct Seen {
    trouble: Option<Trouble>,
    failed: Option<KafkaFault>,
}

/// Watches one client; a clone watches the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kafka has answered: older troubles are over.
    pub(super) fn answered(&self) {
        self.seen().trouble = None;
    }

    /// A transaction begins.
    pub(super) fn begin(&self) {
        self.seen().failed = None;
    }

    /// What was said since Kafka answered last.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.seen().trouble.clone()
    }

    /// A record of the transaction was not taken.
    pub(super) fn failed(&self) -> Option<KafkaFault> {
        self.seen().failed.clone()
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(facility, "{message}");
            }
            // Connections that come and go: the relay's state tells of them.
            _ => tracing::debug!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka's client");
        let Some(trouble) = error
            .rdkafka_error_code()
            .and_then(|code| fault::trouble(code, reason))
        else {
            return;
        };
        let mut seen = self.seen();
        // "All brokers are down" follows upon the error that says why.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) && seen.trouble.is_some() {
            return;
        }
        seen.trouble = Some(trouble);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Watch {}

impl ProducerContext for Watch {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, _)) = result else {
            return;
        };
        let fault = fault::of_delivery(error);
        let mut seen = self.seen();
        // The first one is the cause; the others are what follows, unless one can be told apart by its data.
        let better = !matches!(seen.failed, Some(KafkaFault::Data { .. }));
        if seen.failed.is_none() || (better && matches!(fault, KafkaFault::Data { .. })) {
            seen.failed = Some(fault);
        }
    }
}
