//! The readers of outside bytes that this program has of its own, as plain functions for the fuzz targets (`fuzz/`).

use bytes::Bytes;
use fleet_domain::Slot;
use fleet_store::InboundMessage;

use crate::http::runs;
use crate::ingest::Arrival;
use crate::ingest::decode::Decoded;
use crate::stream::Cursor;

/// What became of one message of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Things that it became; 0 only for a presence that was cleared.
    pub outcomes: usize,
    /// The payload where it is kept as it came.
    pub bytes: Option<Vec<u8>>,
    /// Why it could not be read, as it will stand in a column.
    pub reasons: Vec<String>,
}

/// Reads a message as ingest does.
///
/// # Panics
/// Never: there are 16 slots.
pub fn message(topic: &str, properties: Vec<(String, String)>, payload: &[u8]) -> Reading {
    let arrival = Arrival {
        slot: Slot::all().next().expect("there are 16 slots"),
        connection: 1,
        term: 1,
        packet: 1,
        topic: topic.to_owned(),
        properties,
        payload: Bytes::copy_from_slice(payload),
        refused: false,
    };
    let mut decoded = Decoded::default();
    decoded.add(&arrival);
    let outcomes = decoded.items.len() + decoded.misplaced.len();
    let (mut bytes, mut reasons) = (None, Vec::new());
    for item in decoded.items {
        let (kept, reason) = match item.message {
            InboundMessage::Event(event) => (Some(event.bytes), None),
            InboundMessage::Rejected(rejected) => (Some(rejected.bytes), Some(rejected.reason)),
            InboundMessage::Unattributed { bytes, reason, .. }
            | InboundMessage::Undecodable { bytes, reason, .. } => (Some(bytes), Some(reason)),
            InboundMessage::Sync(_) | InboundMessage::Presence(_) | InboundMessage::Assumed(_) => {
                (None, None)
            }
        };
        bytes = bytes.or(kept);
        reasons.extend(reason);
    }
    for message in decoded.misplaced {
        bytes = bytes.or(Some(message.bytes));
        reasons.push(message.reason);
    }
    Reading {
        outcomes,
        bytes: bytes.map(|bytes| bytes.to_vec()),
        reasons,
    }
}

/// Reads a position in the live stream and gives it as this server writes it; `None` for what it never wrote.
pub fn stream_cursor(text: &str) -> Option<String> {
    Cursor::parse(text).map(|cursor| cursor.to_string())
}

/// Whether a JWS in compact form (RFC 7515) is signed with EdDSA (RFC 8037) by `key` (base64url).
pub fn is_signed_by(jws: &str, key: &str) -> bool {
    runs::is_signed_by(jws, key)
}
