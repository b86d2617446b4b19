//! What the relay says of itself.

use std::time::Duration;

/// The relay's state, by the words of `/readyz`, the page and `vds_component_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelayState {
    /// No Kafka is configured.
    Off,
    /// It relays, or has nothing to relay.
    Ok,
    /// Another replica has the lease.
    Standby,
    /// It has the lease and begins.
    Starting,
    /// No connection to Kafka.
    Unreachable,
    /// Kafka takes connections and does not answer.
    Hanging,
    /// Kafka refuses the credentials, the certificate or the right.
    Refused,
    /// A topic is missing.
    TopicMissing,
    /// A topic has another number of partitions than configured.
    PartitionsDiffer,
    /// Kafka's cursor names no row of the database: it was restored.
    CursorLost,
    /// Kafka holds less than was relayed to it.
    LostData,
    /// Anything else: the detail says what.
    Failing,
}

impl RelayState {
    /// Every state.
    pub const ALL: [Self; 12] = [
        Self::Off,
        Self::Ok,
        Self::Standby,
        Self::Starting,
        Self::Unreachable,
        Self::Hanging,
        Self::Refused,
        Self::TopicMissing,
        Self::PartitionsDiffer,
        Self::CursorLost,
        Self::LostData,
        Self::Failing,
    ];

    /// Its stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ok => "ok",
            Self::Standby => "standby",
            Self::Starting => "starting",
            Self::Unreachable => "unreachable",
            Self::Hanging => "hanging",
            Self::Refused => "refused",
            Self::TopicMissing => "topic_missing",
            Self::PartitionsDiffer => "partitions_differ",
            Self::CursorLost => "cursor_lost",
            Self::LostData => "lost_data",
            Self::Failing => "failing",
        }
    }

    /// Nothing is wrong on this replica.
    pub fn is_ok(self) -> bool {
        matches!(self, Self::Off | Self::Ok | Self::Standby | Self::Starting)
    }

    /// What a person can do about it; `None` where nothing is to be done.
    pub fn help(self) -> Option<&'static str> {
        match self {
            Self::Off | Self::Ok | Self::Standby | Self::Starting => None,
            Self::Unreachable => {
                Some("start Kafka, or correct kafka.url; the outbox keeps the events meanwhile")
            }
            Self::Hanging => Some(
                "look at Kafka's brokers: they take connections but do not answer; the outbox keeps the events meanwhile",
            ),
            Self::Refused => Some(
                "correct kafka.credentials_file or kafka.ca_file and restart, or give the user the rights of docs/kafka.md",
            ),
            Self::TopicMissing => Some(
                "create the topic as docs/kafka.md says, or run `fleet-server relay reconcile` when its records are known to be lost",
            ),
            Self::PartitionsDiffer => Some(
                "set kafka.partitions to the number that the topics have; the number of a topic never changes",
            ),
            Self::CursorLost => Some(
                "the database was restored: run `fleet-server relay reconcile` (docs/kafka.md, After a restore)",
            ),
            Self::LostData => Some(
                "Kafka lost records: restore Kafka, or run `fleet-server relay reconcile` to go on from here without them",
            ),
            Self::Failing => Some("see the detail and the log; the relay tries again by itself"),
        }
    }
}

impl std::fmt::Display for RelayState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far the relay is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayLag {
    /// Rows that wait.
    pub rows: u64,
    /// Age of the oldest of them: since the server received its event.
    pub age: Duration,
}

/// The relay as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayHealth {
    /// The state.
    pub state: RelayState,
    /// For people: what is, or what is wrong.
    pub detail: String,
    /// For people: what to do; `None` where nothing is to be done.
    pub help: Option<&'static str>,
    /// Term of the lease that this process holds.
    pub term: Option<u64>,
    /// How far it is behind, as measured within the last seconds by the holder of the lease.
    pub lag: Option<RelayLag>,
    /// Place in the outbox up to which this process knows Kafka to be.
    pub cursor_seq: u64,
}

impl RelayHealth {
    /// No Kafka is configured.
    pub fn off() -> Self {
        Self {
            state: RelayState::Off,
            detail: "no kafka.url: events stay in the database".to_owned(),
            help: None,
            term: None,
            lag: None,
            cursor_seq: 0,
        }
    }
}
