//! Presence: retained, and the will.

use fleet_domain::RunId;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{self, ControlError};

/// `type` of a presence.
pub const PRESENCE_TYPE: &str = "vds.presence.v1";

/// Whether a bench is connected. Ordered by counter within one run only; the last arrival of another
/// run wins; a will counts only when its run and counter are the current ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Presence {
    /// The agent's process.
    pub run_id: RunId,
    /// Connects of this process, from 1.
    pub connect_counter: u64,
    /// Connected. The will says `false`.
    pub online: bool,
    /// Published by the broker on the bench's behalf.
    pub will: bool,
    /// The bench's clock when it connected. It decides nothing.
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
}

impl Presence {
    /// The document's bytes.
    pub fn encode(&self) -> Vec<u8> {
        control::encode(self, PRESENCE_TYPE)
    }

    /// Reads a presence.
    ///
    /// # Errors
    /// Names what is wrong with the document; the server counts it and keeps what it knew.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let presence: Self = control::decode(bytes, PRESENCE_TYPE)?;
        control::in_range(presence.connect_counter, "connect_counter", 0)?;
        Ok(presence)
    }
}
