//! Server processes that share a plant, and the slots that each of them owns (delivery rule 9).

use fleet_domain::Slot;
use jiff::Timestamp;

/// What a replica says of itself, every third of its leases' length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaNotice {
    /// The process: name of the replica and an id of its start. The owner of its leases.
    pub owner: String,
    /// Identity of its broker: the URL without a user, or `embedded:{owner}`. Replicas of two brokers must not
    /// share slots: the messages of a slot would lie in a session that nobody reads.
    pub broker: String,
    /// Where its page and its API are.
    pub http: String,
    /// Version of the program.
    pub version: String,
    /// Its slots whose session is connected.
    pub slots_ready: u32,
}

/// A replica that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRow {
    /// The process, as in its leases.
    pub owner: String,
    /// Identity of its broker.
    pub broker: String,
    /// Where its page and its API are.
    pub http: String,
    /// Version of the program.
    pub version: String,
    /// Its slots whose session is connected, as it said last.
    pub slots_ready: u32,
    /// First announced.
    pub started_at: Timestamp,
    /// Last announced.
    pub seen_at: Timestamp,
    /// Counted as dead from then on, if it does not announce itself again.
    pub expires_at: Timestamp,
    /// Slots whose lease it holds.
    pub slots_owned: u32,
    /// It holds the relay's lease.
    pub relay: bool,
}

/// The lease of a slot as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotLease {
    /// The slot.
    pub slot: Slot,
    /// Who holds it, or held it until it expired; `None` when it was given back or never claimed.
    pub owner: Option<String>,
    /// Its last term; 0 when it was never claimed.
    pub term: u64,
    /// Free from then on.
    pub expires_at: Timestamp,
}
