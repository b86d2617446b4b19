//! Live progress: QoS 0, never stored, never in Kafka.

use fleet_domain::JobId;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{self, ControlError};

/// `type` of a live message.
pub const LIVE_TYPE: &str = "vds.live.v1";

/// Where a running job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Live {
    /// The job.
    pub job_id: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Id of the step that runs.
    pub step: String,
    /// Its place, from 0.
    pub step_index: u32,
    /// Number of steps.
    pub steps_total: u32,
    /// Bytes transferred in this step; 0 where nothing is transferred.
    pub bytes_done: u64,
    /// Bytes to transfer in this step; 0 where nothing is transferred.
    pub bytes_total: u64,
    /// The bench's clock.
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
}

impl Live {
    /// The document's bytes.
    pub fn encode(&self) -> Vec<u8> {
        control::encode(self, LIVE_TYPE)
    }

    /// Reads a live message.
    ///
    /// # Errors
    /// Names what is wrong with the document; it is dropped.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        control::decode(bytes, LIVE_TYPE)
    }
}
