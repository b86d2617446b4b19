//! Receipts and answers to sync, on the channel `receipts`.

use fleet_domain::{Seq, SpoolId, StoreGeneration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{self, ControlError};
use crate::limits::{MAX_ANSWER_REJECTIONS, MAX_REJECTIONS, MAX_SPOOLS};

/// Why an event was refused for good. Rejected stays rejected; `through` passes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectCode {
    /// The payload is no CloudEvents document that can be read.
    Malformed,
    /// The payload is larger than the limit.
    TooLarge,
    /// `specversion` is not 1.0.
    SpecVersion,
    /// Payload and user properties or topic name different spools, positions or devices.
    Disagrees,
    /// The same position came with other content before.
    Conflict,
    /// A code of a newer server.
    #[serde(other)]
    Other,
}

/// One refused event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// Its position.
    #[schemars(range(min = 1))]
    pub seq: Seq,
    /// Why.
    pub code: RejectCode,
}

/// What the server has committed of one spool. Cumulative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The life of the server's database that this receipt speaks of.
    pub store_generation: StoreGeneration,
    /// The spool. The nil UUID where only `unattributed` is to be said and the server has not yet heard of
    /// any spool of this bench.
    pub spool_id: SpoolId,
    /// Every position up to this one is committed, rejected or known as a hole. 0: none.
    pub through: Seq,
    /// Every rejection above the `rejections_known` of the last sync, at most 100, lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_REJECTIONS))]
    pub rejected: Vec<Rejection>,
    /// An event arrived above `through + 1`: resend from there once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gap: bool,
    /// A message of this bench had no usable user properties. The bench replaces its oldest event without
    /// receipt by a hole, once per value of `through` and only where `through` is the one it holds.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unattributed: bool,
}

/// State of one spool in a sync answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpoolAnswer {
    /// The spool as named in the sync.
    pub spool_id: SpoolId,
    /// Every position up to this one is committed; 0 for a spool the server does not know.
    pub through: Seq,
    /// Rejections above the sync's `rejections_known`, at most 100, lowest first; none for a former spool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_REJECTIONS))]
    pub rejected: Vec<Rejection>,
}

/// Answer to a sync. Obeyed even where its `through` is lower than a receipt's was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncAnswer {
    /// The number of the sync that this answers.
    pub number: u64,
    /// The current life of the server's database.
    pub store_generation: StoreGeneration,
    /// Every spool held, in the sync's order; then those former ones that the server lacks events of, if it
    /// wants to be told a hole. At most 1000 rejections in all; the bench hears the others once it states
    /// these as known.
    #[serde(default)]
    pub spools: Vec<SpoolAnswer>,
    /// The bench's disk is older than what was heard from it: the open jobs that it had when this run began
    /// are in doubt. It may be said to every sync of the run; the bench obeys it once in a run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bench_restored: bool,
}

/// What the channel `receipts` carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptMessage {
    /// `vds.receipt.v1`
    Receipt(Receipt),
    /// `vds.sync.answer.v1`
    SyncAnswer(SyncAnswer),
}

/// `type` of a receipt.
pub const RECEIPT_TYPE: &str = "vds.receipt.v1";
/// `type` of a sync answer.
pub const SYNC_ANSWER_TYPE: &str = "vds.sync.answer.v1";

impl ReceiptMessage {
    /// The document's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Receipt(receipt) => control::encode(receipt, RECEIPT_TYPE),
            Self::SyncAnswer(answer) => control::encode(answer, SYNC_ANSWER_TYPE),
        }
    }

    /// Reads a document of the channel `receipts`.
    ///
    /// # Errors
    /// Names what is wrong with the document; the bench ignores it and waits for the next.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        if control::type_of(bytes, RECEIPT_TYPE)? == SYNC_ANSWER_TYPE {
            let answer: SyncAnswer = control::decode(bytes, SYNC_ANSWER_TYPE)?;
            control::at_most(&answer.spools, "spools", 2 * MAX_SPOOLS)?;
            for spool in &answer.spools {
                control::in_range(spool.through, "through", 0)?;
                rejections(&spool.rejected)?;
            }
            let all: Vec<_> = answer.spools.iter().flat_map(|spool| &spool.rejected).collect();
            control::at_most(&all, "rejected", MAX_ANSWER_REJECTIONS)?;
            return Ok(Self::SyncAnswer(answer));
        }
        let receipt: Receipt = control::decode(bytes, RECEIPT_TYPE)?;
        control::in_range(receipt.through, "through", 0)?;
        rejections(&receipt.rejected)?;
        Ok(Self::Receipt(receipt))
    }
}

fn rejections(list: &[Rejection]) -> Result<(), ControlError> {
    control::at_most(list, "rejected", MAX_REJECTIONS)?;
    list.iter()
        .try_for_each(|rejection| control::in_range(rejection.seq, "rejected.seq", 1))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}
