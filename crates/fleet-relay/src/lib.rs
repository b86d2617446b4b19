//! The relay: carries the rows of the store's outbox into Kafka, in their order, each in a Kafka transaction
//! that also holds the cursor (delivery rules 19 to 21 and 23).
//!
//! [`core`] decides and is pure: it takes outcomes and time, and says the next step. The feature `kafka` (on by
//! default) brings the adapter on librdkafka, the thread that carries the steps out, and the reconciliation
//! after a restore.

mod config;
pub mod core;
mod cursor;
mod health;
pub mod record;
pub mod topics;

#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kafka")]
mod reconcile;
#[cfg(feature = "kafka")]
mod thread;

pub use config::{KafkaConfig, KafkaCredentials, SaslMechanism};
pub use cursor::{BadCursor, KafkaCursor, highs_digest};
pub use health::{RelayHealth, RelayLag, RelayState};
#[cfg(feature = "kafka")]
pub use reconcile::{ReconcileError, ReconcileParts, ReconcileReport, TopicRead, reconcile};
#[cfg(feature = "kafka")]
pub use thread::{Point, RelayHandle, RelayObserver, RelayParts, TransactionOutcome, spawn};
