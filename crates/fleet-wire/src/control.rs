//! Control documents: plain JSON with a `type`, not spooled, never in Kafka.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::{MAX_PAYLOAD_BYTES, MAX_SEQ};

/// Why a control document can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Larger than the limit of the wire.
    #[error("document has {bytes} bytes, the limit is {MAX_PAYLOAD_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON, or not of the document's shape.
    #[error("document is not a {expected}")]
    Malformed {
        /// The type that belongs on this topic.
        expected: &'static str,
        /// What the reader said, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// JSON with another `type` than belongs here.
    #[error("document's type is {found:?}, {expected} belongs here")]
    WrongType {
        /// The type that belongs on this topic.
        expected: &'static str,
        /// The type found, cut to 80 characters.
        found: String,
    },
    /// A list is longer than allowed.
    #[error("{list} has {len} entries, at most {most} are allowed")]
    TooMany {
        /// Which list.
        list: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        most: usize,
    },
    /// A number that no document of ours can have.
    #[error("{field} is {value}, it must be {least} to {MAX_SEQ}")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The smallest value allowed.
        least: u64,
    },
}

#[derive(serde::Deserialize)]
struct TypeOf {
    r#type: String,
}

#[derive(serde::Serialize)]
struct Tagged<'a, T> {
    r#type: &'static str,
    #[serde(flatten)]
    document: &'a T,
}

pub(crate) fn type_of(bytes: &[u8], expected: &'static str) -> Result<String, ControlError> {
    if bytes.len() > MAX_PAYLOAD_BYTES {
        return Err(ControlError::TooLarge { bytes: bytes.len() });
    }
    let TypeOf { r#type } =
        serde_json::from_slice(bytes).map_err(|source| ControlError::Malformed { expected, source })?;
    Ok(r#type)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], expected: &'static str) -> Result<T, ControlError> {
    let found = type_of(bytes, expected)?;
    if found != expected {
        return Err(ControlError::WrongType {
            expected,
            found: found.chars().take(80).collect(),
        });
    }
    serde_json::from_slice(bytes).map_err(|source| ControlError::Malformed { expected, source })
}

/// The document's bytes. Our own types always have a JSON form, so this can't fail.
pub(crate) fn encode<T: Serialize>(document: &T, r#type: &'static str) -> Vec<u8> {
    serde_json::to_vec(&Tagged { r#type, document }).unwrap_or_default()
}

pub(crate) fn at_most<T>(list: &[T], name: &'static str, most: usize) -> Result<(), ControlError> {
    if list.len() > most {
        return Err(ControlError::TooMany {
            list: name,
            len: list.len(),
            most,
        });
    }
    Ok(())
}

/// Refuses a number that would overflow a signed 64-bit column or go below `least`.
pub(crate) fn in_range(value: u64, field: &'static str, least: u64) -> Result<(), ControlError> {
    if (least..=MAX_SEQ).contains(&value) {
        return Ok(());
    }
    Err(ControlError::OutOfRange { field, value, least })
}
