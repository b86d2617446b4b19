//! The broker: persistent sessions on both sides, order per publisher inside a connection, take-over, acknowledgements
//! by hand, and its vices.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fleet_domain::Slot;

use crate::message::{Down, Message};

/// How long a receipt or an answer waits for a bench that is away.
pub(crate) const EXPIRY: Duration = Duration::from_mins(1);

/// The session of a bench.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Connection that is served.
    pub(crate) connection: Option<u64>,
    /// Messages for the bench, with the time they expire.
    pub(crate) waiting: VecDeque<(Duration, Down)>,
    /// Nothing arrives earlier: order inside a connection.
    pub(crate) last_up: Duration,
    pub(crate) last_down: Duration,
}

/// The session of a slot: one client id, whoever uses it.
#[derive(Debug, Default)]
pub(crate) struct SlotSession {
    /// The replica that is connected, and the number of its connection.
    pub(crate) connection: Option<(usize, u64)>,
    /// Not delivered yet, oldest first.
    waiting: VecDeque<Message>,
    /// Delivered on this connection and not acknowledged, oldest first.
    unacknowledged: VecDeque<Message>,
    /// Nothing arrives earlier on this connection.
    pub(crate) last: Duration,
}

impl SlotSession {
    /// What is to be delivered now, in order, at most `window` unacknowledged.
    pub(crate) fn deliver(&mut self, window: usize) -> Option<Message> {
        if self.connection.is_none() || self.unacknowledged.len() >= window {
            return None;
        }
        let message = self.waiting.pop_front()?;
        self.unacknowledged.push_back(message.clone());
        Some(message)
    }

    /// The connection ends: what was not acknowledged comes first on the next one.
    pub(crate) fn disconnect(&mut self) -> Option<(usize, u64)> {
        while let Some(message) = self.unacknowledged.pop_back() {
            self.waiting.push_front(message);
        }
        self.last = Duration::ZERO;
        self.connection.take()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Broker {
    pub(crate) up: bool,
    pub(crate) sessions: Vec<Session>,
    pub(crate) slots: BTreeMap<Slot, SlotSession>,
    /// Above it a message is dropped, and was acknowledged all the same.
    pub(crate) queue_limit: usize,
}

impl Broker {
    pub(crate) fn new(benches: usize, queue_limit: usize) -> Self {
        Self {
            up: true,
            sessions: (0..benches).map(|_| Session::default()).collect(),
            slots: BTreeMap::new(),
            queue_limit,
        }
    }

    /// A message for a slot. False: it was dropped.
    pub(crate) fn enqueue(&mut self, slot: Slot, message: Message) -> bool {
        let session = self.slots.entry(slot).or_default();
        let room = session.waiting.len() < self.queue_limit;
        if room {
            session.waiting.push_back(message);
        }
        room
    }

    /// An acknowledgement of a replica; of a connection that is gone it says nothing.
    pub(crate) fn acknowledged(&mut self, slot: Slot, connection: u64, id: u64) {
        if let Some(session) = self.slots.get_mut(&slot)
            && session
                .connection
                .is_some_and(|(_, current)| current == connection)
        {
            session.unacknowledged.retain(|message| message.id != id);
        }
    }

    /// Killed, and its data lost.
    pub(crate) fn crash(&mut self) {
        *self = Self::new(self.sessions.len(), self.queue_limit);
        self.up = false;
    }
}
