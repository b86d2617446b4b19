//! MQTT 5 user properties of an event. They alone drive the ledger, so that a payload that nobody can
//! read can still be rejected.

use fleet_domain::{Seq, SpoolId};

use crate::limits::MAX_SEQ;

/// Spool of the event, a UUID.
pub const SPOOL: &str = "spool";
/// Position in the spool, decimal, from 1.
pub const SEQ: &str = "seq";
/// Spool before this one; on a spool's first event only.
pub const PREV_SPOOL: &str = "prev-spool";
/// Last position of the spool before this one, decimal; 0 when nothing of it could be read.
pub const PREV_LAST_SEQ: &str = "prev-last-seq";
/// Last position that a hole stands for, decimal; on holes only.
pub const HOLE_TO: &str = "hole-to";

/// The spool before a spool.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Predecessor {
    /// Its id.
    pub spool: SpoolId,
    /// Its last position.
    pub last_seq: Seq,
}

/// The properties of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventProperties {
    /// Spool of the event.
    pub spool: SpoolId,
    /// Position in the spool, from 1.
    pub seq: Seq,
    /// The spool before this one, on position 1 of every spool but a bench's first.
    pub predecessor: Option<Predecessor>,
    /// For a hole: the last position that it stands for, at least `seq`.
    pub hole_to: Option<Seq>,
}

/// Why a message can't be attributed to a place in a spool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// A property that every event has is missing.
    #[error("user property {0:?} is missing")]
    Missing(&'static str),
    /// A property stands there twice.
    #[error("user property {0:?} stands there more than once")]
    Repeated(&'static str),
    /// A spool id is not a UUID.
    #[error("user property {0:?} is not a UUID")]
    NotAUuid(&'static str),
    /// A number is not a decimal number in range.
    #[error("user property {0:?} is not a decimal number from {1} to {MAX_SEQ}")]
    NotASeq(&'static str, u64),
    /// One of `prev-spool` and `prev-last-seq` without the other, or not on position 1, or naming itself.
    #[error("prev-spool and prev-last-seq stand together, on position 1 only, and name another spool")]
    Predecessor,
    /// `hole-to` lies before `seq`.
    #[error("hole-to lies before seq")]
    HoleRange,
}

fn one<'a>(pairs: &'a [(String, String)], name: &'static str) -> Result<Option<&'a str>, PropertyError> {
    let mut found = pairs.iter().filter(|(key, _)| key == name);
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => Ok(Some(value)),
        (Some(_), Some(_)) => Err(PropertyError::Repeated(name)),
    }
}

fn seq(text: &str, name: &'static str, least: u64) -> Result<Seq, PropertyError> {
    // No sign, no leading zero, no space: one number has one spelling.
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    match text.parse::<u64>() {
        Ok(value) if canonical && (least..=MAX_SEQ).contains(&value) => Ok(value),
        _ => Err(PropertyError::NotASeq(name, least)),
    }
}

fn spool(text: &str, name: &'static str) -> Result<SpoolId, PropertyError> {
    text.parse().map_err(|_| PropertyError::NotAUuid(name))
}

impl EventProperties {
    /// Reads the user properties of a message. Unknown ones are ignored.
    ///
    /// # Errors
    /// The first property that is missing, repeated or malformed: the message can't be attributed.
    pub fn decode(pairs: &[(String, String)]) -> Result<Self, PropertyError> {
        let id = spool(one(pairs, SPOOL)?.ok_or(PropertyError::Missing(SPOOL))?, SPOOL)?;
        let position = seq(one(pairs, SEQ)?.ok_or(PropertyError::Missing(SEQ))?, SEQ, 1)?;
        let predecessor = match (one(pairs, PREV_SPOOL)?, one(pairs, PREV_LAST_SEQ)?) {
            (None, None) => None,
            (Some(prev), Some(last)) => Some(Predecessor {
                spool: spool(prev, PREV_SPOOL)?,
                last_seq: seq(last, PREV_LAST_SEQ, 0)?,
            }),
            _ => return Err(PropertyError::Predecessor),
        };
        if predecessor.is_some_and(|prev| position != 1 || prev.spool == id) {
            return Err(PropertyError::Predecessor);
        }
        let hole_to = one(pairs, HOLE_TO)?
            .map(|text| seq(text, HOLE_TO, 1))
            .transpose()?;
        if hole_to.is_some_and(|to| to < position) {
            return Err(PropertyError::HoleRange);
        }
        Ok(Self {
            spool: id,
            seq: position,
            predecessor,
            hole_to,
        })
    }

    /// The user properties in their fixed order.
    pub fn encode(&self) -> Vec<(String, String)> {
        let mut pairs = vec![
            (SPOOL.to_owned(), self.spool.to_string()),
            (SEQ.to_owned(), self.seq.to_string()),
        ];
        if let Some(prev) = self.predecessor {
            pairs.push((PREV_SPOOL.to_owned(), prev.spool.to_string()));
            pairs.push((PREV_LAST_SEQ.to_owned(), prev.last_seq.to_string()));
        }
        if let Some(to) = self.hole_to {
            pairs.push((HOLE_TO.to_owned(), to.to_string()));
        }
        pairs
    }
}
