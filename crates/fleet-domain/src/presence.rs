//! Whether a bench is connected (delivery rule 29), as a fold over what arrives.

use crate::RunId;

/// What the server believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// The agent's process.
    pub run_id: RunId,
    /// Its connect counter.
    pub connect_counter: u64,
    /// Connected.
    pub online: bool,
}

/// What a presence, a will or a sync says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceFacts {
    /// The agent's process.
    pub run_id: RunId,
    /// Connects of this process, from 1.
    pub connect_counter: u64,
    /// Connected.
    pub online: bool,
    /// Published by the broker on the bench's behalf.
    pub will: bool,
}

impl Presence {
    /// The belief after `said`, or `None` where `said` counts for nothing.
    ///
    /// Counters order the connects of one run only; of different runs the last arrival wins; a will
    /// counts only when it is that of the current connect.
    pub fn fold(current: Option<Self>, said: PresenceFacts) -> Option<Self> {
        let new = Self {
            run_id: said.run_id,
            connect_counter: said.connect_counter,
            online: said.online,
        };
        match current {
            None => (!said.will).then_some(new),
            Some(now) if said.will => {
                (now.run_id == said.run_id && now.connect_counter == said.connect_counter).then_some(new)
            }
            Some(now) if now.run_id == said.run_id => {
                (said.connect_counter >= now.connect_counter).then_some(new)
            }
            Some(_) => Some(new),
        }
    }
}
