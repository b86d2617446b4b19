//! The cursor as it stands in Kafka: a record of `vds.relay-cursor.v1`, keyed by plant and shard.

use fleet_domain::{PlantId, StoreGeneration};
use fleet_store::{KafkaHigh, OutboxCursor};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// How far a plant's outbox was relayed, written in the transaction of the rows before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaCursor {
    /// Sequence of the last row; 0 before the first.
    pub seq: u64,
    /// Its token.
    pub token: Uuid,
    /// Life of the database in which it was written.
    pub store_generation: StoreGeneration,
    /// Term of the relay that wrote it.
    pub relay_term: u64,
    /// When.
    pub at: Timestamp,
    /// What the database knew Kafka to have already, in short: see [`highs_digest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highs: Option<String>,
}

/// Both findings together: of each spool the higher position, as the store keeps them.
pub(crate) fn merged_highs(known: Vec<KafkaHigh>, found: &[KafkaHigh]) -> Vec<KafkaHigh> {
    let mut highs = std::collections::BTreeMap::new();
    for high in known.into_iter().chain(found.iter().cloned()) {
        let seq = highs.entry((high.device, high.spool)).or_insert(0);
        *seq = high.seq.max(*seq);
    }
    let merged = highs.into_iter();
    merged
        .map(|((device, spool), seq)| KafkaHigh { device, spool, seq })
        .collect()
}

/// What Kafka was found to have, in short; `None` for nothing.
///
/// After a reconciliation Kafka has more than its cursor says, and only the database knows what. A database that
/// is then restored a second time may have the cursor's row and no longer that knowledge: this shows it.
pub fn highs_digest(highs: &[KafkaHigh]) -> Option<String> {
    if highs.is_empty() {
        return None;
    }
    let mut sorted: Vec<_> = highs.iter().collect();
    sorted.sort_unstable();
    let mut hash = Sha256::new();
    for high in sorted {
        hash.update(format!("{} {} {}\n", high.device, high.spool, high.seq));
    }
    let digest = hash.finalize();
    Some(hex::encode(digest.get(..8)?))
}

/// A record with our key that is no cursor.
#[derive(Debug, thiserror::Error)]
#[error("the cursor record at offset {offset} can't be read")]
pub struct BadCursor {
    /// Where it stands in partition 0.
    pub offset: i64,
    /// What is wrong with it.
    #[source]
    pub source: serde_json::Error,
}

impl KafkaCursor {
    /// The place in the outbox.
    pub fn place(&self) -> OutboxCursor {
        OutboxCursor {
            seq: self.seq,
            token: self.token,
        }
    }

    /// Key of a plant's cursor. There is one relay, so one shard, for each plant.
    pub fn key(plant: &PlantId) -> String {
        format!("{plant}/0")
    }

    /// The record's value.
    ///
    /// # Panics
    /// Never: numbers and texts are always JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts are JSON")
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// When it is no cursor.
    pub fn from_bytes(bytes: &[u8], offset: i64) -> Result<Self, BadCursor> {
        serde_json::from_slice(bytes).map_err(|source| BadCursor { offset, source })
    }
}
