//! The relay: its core against a model, its adapter and its reconciliation against a real Kafka.

#![expect(
    clippy::unwrap_used,
    reason = "what these helpers unwrap was put there by the test itself"
)]

#[cfg(feature = "kafka")]
mod adapter;
#[cfg(feature = "kafka")]
mod consumers;
#[cfg(feature = "kafka")]
mod faults;
mod model;
#[cfg(feature = "kafka")]
mod plant;
#[cfg(feature = "kafka")]
mod restore;
#[cfg(feature = "kafka")]
mod topics;
