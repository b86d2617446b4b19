//! The relay's decisions, without I/O: it says one step, is told the step's outcome and the time, and says the
//! next one.
//!
//! What it keeps to (delivery rules 19, 20, 23):
//! - It asks Kafka for nothing before it holds the lease, and reads the cursor only after `Init`: a transaction
//!   that was begun before is then ended, and its records are seen or gone.
//! - Rows and cursor are in one transaction. A place is told to the database after the commit.
//! - A cursor that names no row of the database, that lies behind the database's own copy, or that was written
//!   with another knowledge of what Kafka has already, stops it.
//! - A row that Kafka will never take is flagged in the database before the transaction that passes it over.
//! - After an abort before the commit it goes on from the place that it knows to be committed. After a doubtful
//!   commit, or a fatal error, only a new producer, initialised, can tell: a commit is answered before its
//!   markers are written, so a cursor read without `Init` may be the one before.
//!
//! Times are those of a clock that never goes back (since boot).

mod batch;
mod machine;
mod outcome;
mod pace;

use std::time::Duration;

use fleet_domain::StoreGeneration;
use fleet_store::{
    Advanced, KafkaHigh, NewAlarm, OutboxAdvance, OutboxCursor, OutboxRead, RelayRow, RelayTerm,
};

use crate::KafkaCursor;

pub use batch::Batch;
pub use machine::Core;

/// What the core must know of the settings.
#[derive(Debug, Clone)]
pub struct CoreSettings {
    /// Most rows in one transaction.
    pub batch_rows: u32,
    /// Most bytes of events in one transaction; one event may have more.
    pub batch_bytes: usize,
    /// Length of the lease.
    pub lease: Duration,
    /// `transaction.timeout.ms`
    pub transaction_timeout: Duration,
    /// Topics may be made while nothing was ever relayed.
    pub create_topics: bool,
    /// How often the outbox is looked at without another cause.
    pub poll: Duration,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, for this long, or until somebody says that there are rows or that it is to stop.
    Wait(Duration),
    /// Store: take the lease.
    Claim,
    /// Store: prolong the lease.
    Renew(RelayTerm),
    /// Store: give the lease back.
    Release(RelayTerm),
    /// Store: how far it knows the outbox to be relayed, what Kafka has already, the generation.
    LookUp,
    /// Store: how much waits.
    Measure,
    /// Store: rows behind a place.
    Read {
        /// The place.
        after: OutboxCursor,
        /// Most rows.
        limit: u32,
    },
    /// Store: Kafka will never take this row.
    Refuse {
        /// The lease.
        term: RelayTerm,
        /// The row.
        row: OutboxCursor,
        /// Stable word: why.
        code: &'static str,
        /// For people.
        reason: String,
    },
    /// Store: a transaction is committed.
    Advance(OutboxAdvance),
    /// Store: the cursor names no row.
    ReportCursorLost {
        /// The lease.
        term: RelayTerm,
        /// For people.
        detail: String,
        /// Generation in which the cursor was written.
        generation: StoreGeneration,
    },
    /// Store: raise an alarm.
    Alarm(NewAlarm),
    /// Kafka: make a producer; one that was there is gone.
    Connect,
    /// Kafka: look at the topics.
    CheckTopics {
        /// Make those that are missing.
        create: bool,
    },
    /// Kafka: `init_transactions`.
    Init,
    /// Kafka: read the cursor with `read_committed`.
    ReadCursor,
    /// Kafka: begin a transaction.
    Begin,
    /// Kafka: give it the records of [`Core::batch`] and the cursor.
    Send,
    /// Kafka: wait until all of them are acknowledged.
    Drain,
    /// Kafka: commit the transaction.
    Commit,
    /// Kafka: abort the transaction.
    Abort,
    /// Kafka: is it there, and are the topics?
    Probe,
    /// Kafka: drop the producer.
    Disconnect,
    /// The end.
    End,
}

/// What the database knew when the lease was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The relay's row.
    pub row: RelayRow,
    /// What Kafka has already, after a restore.
    pub highs: Vec<KafkaHigh>,
    /// The current generation.
    pub generation: StoreGeneration,
}

/// What a look at the topics found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicsFound {
    /// All as they must be.
    Good,
    /// These are missing.
    Missing(Vec<String>),
    /// This one has another number of partitions.
    Partitions {
        /// Its name.
        topic: String,
        /// How many it has.
        found: usize,
        /// How many it must have.
        wanted: i32,
    },
    /// This one is not compacted.
    NotCompacted {
        /// Its name.
        topic: String,
        /// Its `cleanup.policy`.
        policy: String,
    },
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// Of [`Step::Claim`].
    Claimed(Option<RelayTerm>),
    /// Of [`Step::Renew`].
    Renewed(bool),
    /// Of [`Step::LookUp`].
    LookedUp(Box<Look>),
    /// Of [`Step::Measure`].
    Measured(crate::RelayLag),
    /// Of [`Step::CheckTopics`] and [`Step::Probe`].
    Topics(TopicsFound),
    /// Of [`Step::ReadCursor`].
    Cursor(Option<KafkaCursor>),
    /// Of [`Step::Read`].
    Rows(OutboxRead),
    /// Of [`Step::Advance`] and [`Step::Refuse`].
    Advanced(Advanced),
    /// Of [`Step::ReportCursorLost`]: the generation that is current now.
    Generation(StoreGeneration),
    /// Kafka did not answer within a second or so: the same step again goes on waiting.
    Pending(Option<Trouble>),
    /// Kafka said no.
    Kafka(KafkaFault),
    /// The database said no.
    Store(StoreFault),
}

/// What the client of Kafka said while a call was waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What it looks like.
    pub kind: TroubleKind,
    /// For people.
    pub detail: String,
}

/// What it looks like while Kafka does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// No connection comes about.
    Unreachable,
    /// Connections come about and nothing is answered.
    Silent,
    /// Credentials or certificate are refused.
    Refused,
}

/// Why Kafka said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KafkaFault {
    /// The same call again may succeed.
    Retry(String),
    /// The transaction must be aborted; the producer is well.
    Abort(String),
    /// The producer is no longer of use: fenced, or its transaction timed out.
    Fatal(String),
    /// A right, the credentials or the certificate.
    Refused(String),
    /// A topic is not there, or not as it was.
    Topic(String),
    /// A record will never be taken.
    Data {
        /// Stable word: why.
        code: &'static str,
        /// For people.
        reason: String,
    },
    /// The newest cursor can't be read: nobody knows where to go on.
    BadCursor(String),
}

/// Why the database said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFault {
    /// Another owner has the lease.
    pub term_lost: bool,
    /// For people.
    pub detail: String,
}
