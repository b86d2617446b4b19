//! A server: the slots that it believes to own, what it has received, and the transaction that it waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_domain::Slot;
use fleet_store_memory::Transaction;

use crate::message::Message;
use crate::world::Action;

/// How long a slot's lease lasts.
pub(crate) const LEASE: Duration = Duration::from_secs(6);

/// A message with what it was received under.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) slot: Slot,
    pub(crate) connection: u64,
    pub(crate) term: u64,
    pub(crate) message: Message,
}

/// A slot that the replica owns, as far as it knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owned {
    pub(crate) term: u64,
    /// When the lease was last found to be ours.
    pub(crate) since: Duration,
    /// Its connection to the slot's session.
    pub(crate) connection: Option<u64>,
}

/// A transaction on its way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) number: u64,
    /// None: the database has given it up.
    pub(crate) transaction: Option<Transaction>,
    pub(crate) arrivals: Vec<Arrival>,
}

#[derive(Debug, Default)]
pub(crate) struct Replica {
    /// Counts its starts.
    pub(crate) process: u64,
    pub(crate) up: bool,
    /// It stands still: what happens to it, happens when it goes on.
    pub(crate) frozen: bool,
    pub(crate) deferred: Vec<Action>,
    pub(crate) owned: BTreeMap<Slot, Owned>,
    /// Takes no slot before: it has just given some back.
    pub(crate) modest_until: Duration,
    pub(crate) batch: Vec<Arrival>,
    pub(crate) commit_due: bool,
    pub(crate) running: Option<Running>,
}

impl Replica {
    /// Its name in leases: another one for each start.
    pub(crate) fn owner(&self, index: usize) -> String {
        format!("replica-{index}-{}", self.process)
    }

    /// Whether a message of this term may still be recorded, as far as the replica knows.
    pub(crate) fn is_current(&self, slot: Slot, term: u64, now: Duration) -> bool {
        self.owned
            .get(&slot)
            .is_some_and(|owned| owned.term == term && now < owned.since + LEASE)
    }

    /// The process ends. What it held in memory is gone.
    pub(crate) fn end(&mut self) {
        *self = Self {
            process: self.process + 1,
            ..Self::default()
        };
    }
}
