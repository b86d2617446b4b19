//! What is known beside the events: receipts, holes, former spools, the server's generation.
//!
//! One file, replaced as a whole: written anew, synced, renamed. Losing it costs no event.

use fleet_domain::{Seq, SpoolId, StoreGeneration};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::format::MAX_SEQ;
use crate::types::{HoleReason, Predecessor};

/// Positions that have no event any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hole {
    pub(crate) from: Seq,
    pub(crate) to: Seq,
    pub(crate) reason: HoleReason,
}

/// What is known of one spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpoolState {
    pub(crate) id: SpoolId,
    pub(crate) ordinal: u64,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) last_seq: Seq,
    pub(crate) receipted: Seq,
    pub(crate) receipted_at: Option<Timestamp>,
    pub(crate) rejections_known: Seq,
    pub(crate) holes: Vec<Hole>,
    /// All events are receipted and removed.
    pub(crate) gone: bool,
}

impl SpoolState {
    /// A spool of which nothing is durable yet.
    pub(crate) fn new(id: SpoolId, ordinal: u64, predecessor: Option<Predecessor>) -> Self {
        Self {
            id,
            ordinal,
            predecessor,
            last_seq: 0,
            receipted: 0,
            receipted_at: None,
            rejections_known: 0,
            holes: Vec::new(),
            gone: false,
        }
    }

    /// Whether its numbers can be those of a spool.
    fn is_sound(&self) -> bool {
        let positions = [
            self.ordinal,
            self.last_seq,
            self.receipted,
            self.rejections_known,
            self.predecessor.map_or(0, |before| before.last_seq),
        ];
        let holes = self
            .holes
            .iter()
            .all(|hole| 1 <= hole.from && hole.from <= hole.to && hole.to <= MAX_SEQ);
        holes && positions.iter().all(|seq| *seq <= MAX_SEQ)
    }
}

/// Content of the state file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) generation: Option<StoreGeneration>,
    pub(crate) spools: Vec<SpoolState>,
}

/// First word of the file, with its version.
const HEAD: &str = "vds-spool-state-1";

impl State {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{HEAD} {:08x}\n{json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
    }

    /// The content, when it is whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, json) = text.strip_suffix('\n')?.split_once('\n')?;
        let crc = u32::from_str_radix(head.strip_prefix(HEAD)?.strip_prefix(' ')?, 16).ok()?;
        if crc32c::crc32c(json.as_bytes()) != crc {
            return None;
        }
        let state: Self = serde_json::from_str(json).ok()?;
        state.spools.iter().all(SpoolState::is_sound).then_some(state)
    }
}
