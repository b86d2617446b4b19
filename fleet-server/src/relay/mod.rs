//! The relay into Kafka beside the rest of the server: its settings, its metrics, its part of the readiness and the
//! points at which tests kill it. What it does is in `fleet-relay`.

mod command;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use fleet_domain::PlantId;
use fleet_relay::{Point, RelayHandle, RelayHealth, RelayObserver, RelayState, TransactionOutcome};
use fleet_store::Store;
use tokio::sync::watch;

use crate::config::KafkaConfig;
use crate::failpoints;
use crate::http::types::Check;
use crate::metrics::{self, RelayMetrics};

pub(crate) use command::RelayCommand;

/// How long the end of the relay is waited for. Its lease and its transaction end by themselves after that.
const STOP_WITHIN: Duration = Duration::from_secs(8);

/// What the relay needs of the server.
pub(crate) struct RelayParts<'a> {
    pub(crate) plant: &'a PlantId,
    /// Owner of its lease: this process.
    pub(crate) owner: &'a str,
    /// Without it nothing is relayed.
    pub(crate) config: Option<&'a KafkaConfig>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: RelayMetrics,
}

/// The relay of this process, if there is one.
#[derive(Debug)]
pub(crate) struct Relay {
    handle: Option<RelayHandle>,
    view: RelayView,
}

/// How the relay is. A clone shows the same.
#[derive(Debug, Clone)]
pub(crate) struct RelayView(watch::Receiver<RelayHealth>);

impl Relay {
    /// Starts the relay on a thread of its own; Kafka is not waited for. Inside a runtime.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(parts: RelayParts<'_>) -> std::io::Result<Self> {
        let Some(config) = parts.config else {
            let (_, off) = watch::channel(RelayHealth::off());
            return Ok(Self {
                handle: None,
                view: RelayView(off),
            });
        };
        let handle = fleet_relay::spawn(fleet_relay::RelayParts {
            plant: parts.plant.clone(),
            owner: parts.owner.to_owned(),
            config: settings::of(config),
            store: parts.store,
            runtime: tokio::runtime::Handle::current(),
            observer: Arc::new(Observer(parts.metrics)),
        })?;
        let view = RelayView(handle.watch());
        Ok(Self {
            handle: Some(handle),
            view,
        })
    }

    /// How it is.
    pub(crate) fn view(&self) -> RelayView {
        self.view.clone()
    }

    /// Ends it in order: another replica takes over at once. Safe to cancel: it ends all the same.
    pub(crate) async fn stop(self) {
        let Some(handle) = self.handle else {
            return;
        };
        if tokio::time::timeout(STOP_WITHIN, handle.stop()).await.is_err() {
            tracing::warn!("the relay waits for Kafka and is left behind");
        }
    }
}

impl RelayView {
    /// Its part of the readiness. The server does its work without Kafka: the outbox keeps the events.
    pub(crate) fn check(&self) -> Check {
        let health = self.0.borrow();
        Check {
            name: "kafka".to_owned(),
            state: health.state.as_str().to_owned(),
            ok: health.state.is_ok(),
            required: false,
            detail: match health.lag {
                Some(lag) if health.state == RelayState::Ok && lag.rows > 0 => {
                    format!("{}; {} events wait", health.detail, lag.rows)
                }
                _ => health.detail.clone(),
            },
            help: health.help.map(str::to_owned),
        }
    }
}

struct Observer(RelayMetrics);

impl RelayObserver for Observer {
    fn health(&self, health: &RelayHealth) {
        self.0.set_leader(health.term.is_some());
        self.0.set_cursor(health.cursor_seq);
    }

    fn transaction(&self, outcome: TransactionOutcome, took: Duration) {
        let outcome = match outcome {
            TransactionOutcome::Committed => metrics::TransactionOutcome::Committed,
            TransactionOutcome::Aborted => metrics::TransactionOutcome::Aborted,
            TransactionOutcome::Unknown => metrics::TransactionOutcome::Failed,
        };
        self.0.transaction(outcome, took);
    }

    fn records(&self, topic: &str, records: u64) {
        self.0.records(topic, records);
    }

    fn already(&self, events: u64) {
        self.0.already_in_kafka(events);
    }

    fn unrelayable(&self) {
        self.0.unrelayable();
    }

    fn producer_started(&self) {
        self.0.producer_started();
    }

    fn point(&self, point: Point) {
        match point {
            Point::Between => failpoints::relay_between(),
            Point::InTransaction => failpoints::relay_in_transaction(),
            Point::AfterCommit => failpoints::relay_after_commit(),
        }
    }
}
