//! The envelope of an event: one CloudEvents 1.0 JSON document in structured mode.

use fleet_domain::{DeviceId, EventId, PlantId, Seq, SpoolId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{EventBody, EventType};
use crate::limits::{MAX_ATTRIBUTE_BYTES, MAX_NOTE_CHARS, MAX_PAYLOAD_BYTES};
use crate::properties::EventProperties;
use crate::receipt::RejectCode;
use crate::topic::Topic;

/// Digits of `sequence`: every `u64` fits, so text order is number order.
const SEQUENCE_DIGITS: usize = 20;

/// The envelope as it stands on the wire. Unknown attributes are ignored here and stay in the bytes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Always `1.0`.
    pub specversion: String,
    /// `UUIDv7`.
    pub id: EventId,
    /// `/vds/{plant}/{device}`.
    pub source: String,
    /// Such as `vds.step.finished.v1`.
    pub r#type: String,
    /// The VIN, where the event speaks of a vehicle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The bench's clock. It decides nothing.
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
    /// Always `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// Position in the spool as 20 decimal digits.
    pub sequence: String,
    /// The spool.
    pub spool: SpoolId,
    /// W3C trace context of the work that the event tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The event itself.
    #[schemars(with = "serde_json::Value")]
    pub data: Box<RawValue>,
}

/// What an event needs beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventContext {
    /// Its id, `UUIDv7`.
    pub id: EventId,
    /// The plant.
    pub plant: PlantId,
    /// The bench.
    pub device: DeviceId,
    /// The VIN, where the event speaks of a vehicle.
    pub vin: Option<String>,
    /// The bench's clock.
    pub time: Timestamp,
    /// Its spool.
    pub spool: SpoolId,
    /// Its position.
    pub seq: Seq,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// An event that could be read.
#[derive(Debug, Clone)]
pub struct DecodedEvent {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub r#type: EventType,
    /// The VIN as given.
    pub subject: Option<String>,
    /// The bench's clock.
    pub time: Timestamp,
    /// W3C trace context as given.
    pub traceparent: Option<String>,
    /// The body; the reason where a known type's `data` is not of its shape, `None` for an unknown type.
    /// Neither holds the event back: it is stored and marked `unprojected`.
    pub body: Result<Option<EventBody>, String>,
}

/// Why an event is refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Larger than the limit of the wire.
    #[error("event has {bytes} bytes, the limit is {MAX_PAYLOAD_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON or not an envelope.
    #[error("event is no CloudEvents document")]
    Malformed(#[source] serde_json::Error),
    /// An attribute that is stored in a column is longer than allowed.
    #[error("the event's {attribute} has {bytes} bytes, the limit is {MAX_ATTRIBUTE_BYTES}")]
    AttributeTooLong {
        /// Which attribute.
        attribute: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Another version of CloudEvents.
    #[error("specversion is {0:?}, 1.0 is understood")]
    SpecVersion(String),
    /// Envelope and topic or user properties disagree.
    #[error("the event's {attribute} is {found:?}, topic and user properties say {expected:?}")]
    Disagrees {
        /// Which attribute.
        attribute: &'static str,
        /// What the envelope says, cut to 80 characters.
        found: String,
        /// What topic or properties say.
        expected: String,
    },
}

impl DecodeError {
    /// The code that the receipt carries.
    pub fn code(&self) -> RejectCode {
        match self {
            Self::TooLarge { .. } => RejectCode::TooLarge,
            Self::Malformed(_) | Self::AttributeTooLong { .. } => RejectCode::Malformed,
            Self::SpecVersion(_) => RejectCode::SpecVersion,
            Self::Disagrees { .. } => RejectCode::Disagrees,
        }
    }
}

fn source(plant: &PlantId, device: &DeviceId) -> String {
    format!("/vds/{plant}/{device}")
}

fn sequence(seq: Seq) -> String {
    format!("{seq:0SEQUENCE_DIGITS$}")
}

/// The bytes of an event. Whether they fit into [`MAX_PAYLOAD_BYTES`] is judged where they are appended.
///
/// # Errors
/// When a number in the body is not finite: JSON has no word for it.
pub fn encode_event(context: &EventContext, body: &EventBody) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Envelope {
        specversion: "1.0".to_owned(),
        id: context.id,
        source: source(&context.plant, &context.device),
        r#type: body.event_type().as_str().to_owned(),
        subject: context.vin.clone(),
        time: context.time,
        datacontenttype: Some("application/json".to_owned()),
        sequence: sequence(context.seq),
        spool: context.spool,
        traceparent: context.traceparent.clone(),
        data: body.to_data()?,
    })
}

/// Reads an event that came on `topic` with `properties`.
///
/// # Errors
/// A typed reason, with the code for the receipt. A body that is not of its type's shape is no error:
/// see [`DecodedEvent::body`].
pub fn decode_event(
    topic: &Topic,
    properties: &EventProperties,
    bytes: &[u8],
) -> Result<DecodedEvent, DecodeError> {
    if bytes.len() > MAX_PAYLOAD_BYTES {
        return Err(DecodeError::TooLarge { bytes: bytes.len() });
    }
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
    if envelope.specversion != "1.0" {
        return Err(DecodeError::SpecVersion(
            envelope.specversion.chars().take(80).collect(),
        ));
    }
    short("type", &envelope.r#type)?;
    short("subject", envelope.subject.as_deref().unwrap_or_default())?;
    agree("source", &envelope.source, &source(&topic.plant, &topic.device))?;
    agree(
        "spool",
        &envelope.spool.to_string(),
        &properties.spool.to_string(),
    )?;
    agree("sequence", &envelope.sequence, &sequence(properties.seq))?;
    let r#type = EventType::of(&envelope.r#type);
    // The reader's words repeat the text they complain of: cut, a column and a log line hold them.
    let body = EventBody::from_data(&r#type, &envelope.data)
        .map_err(|error| error.to_string().chars().take(MAX_NOTE_CHARS).collect());
    hole_agrees(&body, &r#type, properties)?;
    Ok(DecodedEvent {
        id: envelope.id,
        r#type,
        subject: envelope.subject,
        time: envelope.time,
        // Trace context never decides anything: one that can't be real is left out.
        traceparent: envelope
            .traceparent
            .filter(|context| context.len() <= MAX_ATTRIBUTE_BYTES),
        body,
    })
}

fn short(attribute: &'static str, text: &str) -> Result<(), DecodeError> {
    if text.len() <= MAX_ATTRIBUTE_BYTES {
        return Ok(());
    }
    Err(DecodeError::AttributeTooLong {
        attribute,
        bytes: text.len(),
    })
}

fn agree(attribute: &'static str, found: &str, expected: &str) -> Result<(), DecodeError> {
    if found == expected {
        return Ok(());
    }
    Err(DecodeError::Disagrees {
        attribute,
        found: found.chars().take(80).collect(),
        expected: expected.to_owned(),
    })
}

/// A hole says its range twice; nothing else may claim to be one.
fn hole_agrees(
    body: &Result<Option<EventBody>, String>,
    r#type: &EventType,
    properties: &EventProperties,
) -> Result<(), DecodeError> {
    let said = match body {
        Ok(Some(EventBody::SpoolHole(hole))) => Some(hole.to),
        _ => None,
    };
    if *r#type == EventType::SpoolHole || properties.hole_to.is_some() {
        let shown = |to: Option<Seq>| to.map_or_else(|| "none".to_owned(), |to| to.to_string());
        agree("data.to", &shown(said), &shown(properties.hole_to))?;
        if said.is_none() {
            return agree("data.to", "none", "a position");
        }
    }
    Ok(())
}
