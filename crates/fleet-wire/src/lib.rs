//! What travels between a bench and the server: topics, events, receipts, sync, commands, presence.
//!
//! `docs/protocol.md` says the same in words. The bytes are frozen: `tests/golden` holds a sample of
//! every document, and benches in the field never have to change. Rules of evolution: unknown fields
//! are ignored by a reader and kept in the stored bytes; an unknown event type is stored, receipted
//! and relayed; nothing is renamed.
//!
//! Decoding is total: any bytes give a value or a typed error, never a panic.

pub mod command;
pub mod documents;
pub mod envelope;
pub mod event;
pub mod limits;
pub mod live;
pub mod presence;
pub mod properties;
pub mod receipt;
pub mod sync;
pub mod topic;

mod control;
mod schema;

pub use control::ControlError;
pub use envelope::{DecodeError, DecodedEvent, Envelope, EventContext, decode_event, encode_event};
pub use event::{EventBody, EventType};
pub use properties::{EventProperties, Predecessor, PropertyError};
pub use topic::{Channel, Topic, TopicError};

/// MQTT content type of an event: one CloudEvents 1.0 document in structured mode.
pub const EVENT_CONTENT_TYPE: &str = "application/cloudevents+json";
/// MQTT content type of every other document.
pub const CONTROL_CONTENT_TYPE: &str = "application/json";
