//! What happens to the uplink, and what it wants done.

use fleet_domain::{Seq, SpoolId, StoreGeneration};
use fleet_wire::EventProperties;
use fleet_wire::receipt::{Receipt, RejectCode, SyncAnswer};
use spool::Position;

/// What happens to the uplink.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkInput {
    /// A connection is up: CONNACK came and the subscriptions were made.
    Connected {
        /// Number of the connection, never used twice in a process.
        connection: u64,
        /// The broker's receive maximum.
        receive_maximum: u16,
        /// The broker's largest packet, bytes; none: no limit.
        maximum_packet_size: Option<u32>,
    },
    /// A connection has ended. Another than the current one is ignored.
    Disconnected {
        /// Its number.
        connection: u64,
    },
    /// The broker has acknowledged a publish. That proves nothing; a reason from 0x80 on is an error.
    PubAck {
        /// The connection it came on.
        connection: u64,
        /// The event.
        position: Position,
        /// MQTT reason code.
        reason: u8,
    },
    /// A receipt.
    Receipt(Receipt),
    /// An answer to sync. Only the answer to the number last given to [`Uplink::sync_spools`] is obeyed.
    SyncAnswer(SyncAnswer),
    /// Time has passed, or events were synced.
    Tick,
}

/// What the uplink wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkEffect {
    /// Publish an event, QoS 1, on this connection only.
    Publish {
        /// The connection.
        connection: u64,
        /// The event's place.
        position: Position,
        /// Its MQTT user properties.
        properties: EventProperties,
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// Drop the connection and make a new one.
    Reconnect {
        /// The connection.
        connection: u64,
        /// Why, for the log.
        reason: &'static str,
    },
    /// The server knows more of the spool being written than this bench wrote: cloned or resumed disk.
    /// [`Uplink::begin`] a new spool and append `AgentStarted` with reason `sealed` to it.
    SealSpool {
        /// Why, for the log.
        reason: &'static str,
    },
    /// The server's database has another life than was known.
    GenerationChanged {
        /// The life known before; none at the bench's first contact.
        from: Option<StoreGeneration>,
        /// The life from now on; durable already.
        to: StoreGeneration,
    },
    /// The server has heard more of this bench than its disk knows: open jobs are in doubt.
    BenchRestored,
    /// Something does not fit that only a sync can clear up: send one now.
    SyncWanted,
    /// A human should know.
    Alarm(AlarmKind),
}

/// What a human should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlarmKind {
    /// The server refused an event for good.
    Rejected {
        /// Its spool.
        spool: SpoolId,
        /// Its position.
        seq: Seq,
        /// Why.
        code: RejectCode,
    },
    /// An event was replaced by a hole.
    Hole {
        /// The spool.
        spool: SpoolId,
        /// First position.
        from: Seq,
        /// Last position.
        to: Seq,
        /// Why.
        reason: spool::HoleReason,
    },
    /// Two agents wrote under one spool id: a cloned or resumed disk.
    ClonedSpool {
        /// The spool, sealed now.
        spool: SpoolId,
        /// Position after the last one written here.
        next_seq: Seq,
        /// What the server has.
        through: Seq,
    },
    /// The broker refused an event; it is kept and tried again.
    PublishRefused {
        /// Its spool.
        spool: SpoolId,
        /// Its position.
        seq: Seq,
        /// MQTT reason code.
        reason: u8,
    },
    /// The spool's disk failed.
    Disk {
        /// The chain of errors as one text.
        error: String,
    },
}
