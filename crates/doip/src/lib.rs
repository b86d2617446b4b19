//! Diagnostics over IP (ISO 13400-2): a codec without input or output and, with the feature `client`, an
//! asynchronous tester.
//!
//! The codec is our own: the subset is small, and it has to say for every malformed header which negative
//! acknowledgement an entity owes. The tests compare its bytes with the crate `simple_doip`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod codes;
mod message;
mod stream;

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod connection;
#[cfg(feature = "client")]
mod discovery;

pub use codes::{ActivationCode, ActivationType, DiagnosticNackCode, HeaderNackCode};
pub use message::{DecodeError, HEADER_LENGTH, Message, PROTOCOL_VERSION, VehicleAnnouncement};
pub use stream::{DEFAULT_MAX_PAYLOAD, StreamDecoder};

#[cfg(feature = "client")]
pub use client::{Backoff, ConnectError, Connection, ConnectionConfig, LinkError, Target};
#[cfg(feature = "client")]
pub use discovery::{DiscoveredVehicle, DiscoveryError, Filter, discover, discover_at};
