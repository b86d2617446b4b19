//! The broker: persistent sessions on both sides, order per publisher inside a connection, and its vices.

use std::collections::VecDeque;
use std::time::Duration;

use crate::server::{Down, Message};

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

#[derive(Debug, Default)]
pub(crate) struct Broker {
    pub(crate) up: bool,
    pub(crate) sessions: Vec<Session>,
    /// For the server's session, oldest first.
    pub(crate) waiting: VecDeque<Message>,
    /// Delivered to the server and not acknowledged, oldest first.
    pub(crate) unacknowledged: VecDeque<Message>,
    /// Counts the server's connections.
    pub(crate) server_connection: u64,
    pub(crate) last_to_server: Duration,
}

impl Broker {
    pub(crate) fn new(benches: usize) -> Self {
        Self {
            up: true,
            sessions: (0..benches).map(|_| Session::default()).collect(),
            ..Self::default()
        }
    }

    /// The server's connection ends: what it did not acknowledge comes first on the next one.
    pub(crate) fn server_gone(&mut self) {
        self.server_connection += 1;
        while let Some(message) = self.unacknowledged.pop_back() {
            self.waiting.push_front(message);
        }
    }

    /// An acknowledgement of the server.
    pub(crate) fn acknowledged(&mut self, connection: u64, id: u64) {
        if connection == self.server_connection {
            self.unacknowledged.retain(|message| message.id != id);
        }
    }

    /// Killed, and its data lost.
    pub(crate) fn crash(&mut self) {
        let benches = self.sessions.len();
        let server_connection = self.server_connection + 1;
        *self = Self {
            server_connection,
            ..Self::new(benches)
        };
        self.up = false;
    }
}
