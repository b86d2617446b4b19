//! Spools and sender under one roof: the durable half of a bench's link.

use std::time::Duration;

use fleet_domain::{DeviceId, EventId, PlantId, Seq, SpoolId, StoreGeneration};
use fleet_wire::EventProperties;
use fleet_wire::event::EventBody;
use fleet_wire::receipt::{Receipt, RejectCode, SyncAnswer};
use fleet_wire::sync::{FormerSpool, HeldSpool};
use jiff::Timestamp;
use spool::{Disk, Position, Room, SpoolError, Spools};

use crate::sender::SenderConfig;

/// Who the bench is, and the sender's figures.
#[derive(Debug, Clone)]
pub struct UplinkConfig {
    /// The plant.
    pub plant: PlantId,
    /// The bench.
    pub device: DeviceId,
    /// The sender's figures.
    pub sender: SenderConfig,
}

/// What an event needs beside body and place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// Its id, a fresh `UUIDv7`.
    pub id: EventId,
    /// The VIN, where the event speaks of a vehicle.
    pub vin: Option<String>,
    /// The bench's clock.
    pub time: Timestamp,
    /// W3C trace context of the work that the event tells of.
    pub traceparent: Option<String>,
}

/// Why an event was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The spool refused.
    #[error("the event could not be written down")]
    Spool(#[from] SpoolError),
    /// The event has no JSON form, such as a number that is not finite.
    #[error("the event has no JSON form")]
    Encode(#[from] serde_json::Error),
    /// Larger than the wire's or the broker's limit: it could never be sent.
    #[error("the event has {bytes} bytes, {most} can be sent")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
}

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

/// Spools and sender of a bench.
#[derive(Debug)]
pub struct Uplink<D: Disk> {
    spools: Spools<D>,
    config: UplinkConfig,
}

#[expect(unused_variables, clippy::todo, reason = "signatures first")]
impl<D: Disk> Uplink<D> {
    /// An uplink without a connection. `seed` drives the jitter.
    pub fn new(spools: Spools<D>, config: UplinkConfig, seed: u64) -> Self {
        todo!()
    }
    /// Begins the spool of this start of the agent. Its first event must be `AgentStarted`.
    ///
    /// # Errors
    /// When a spool of that id is known.
    pub fn begin(&mut self, id: SpoolId) -> Result<(), SpoolError> {
        todo!()
    }
    /// Writes an event down. It does not count, and is not sent, before [`Uplink::sync`].
    ///
    /// # Errors
    /// When it can't be written, or could never be sent.
    pub fn append(&mut self, draft: &EventDraft, body: &EventBody) -> Result<Position, AppendError> {
        todo!()
    }
    /// Makes everything appended durable: from now on it counts. Then hand in [`LinkInput::Tick`].
    ///
    /// # Errors
    /// After a failed sync nothing counts any more: end the process.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        todo!()
    }
    /// Takes what happened, gives what is to be done. `now` is time since boot, `wall` only ages receipts.
    pub fn handle(&mut self, input: LinkInput, now: Duration, wall: Timestamp) -> Vec<LinkEffect> {
        todo!()
    }
    /// When [`LinkInput::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        todo!()
    }
    /// What the sync of this number says about spools; its answer will be obeyed.
    pub fn sync_spools(&mut self, number: u64) -> (Vec<HeldSpool>, Vec<FormerSpool>) {
        todo!()
    }
    /// The life of the server's database that this bench knows, durably.
    pub fn generation(&self) -> Option<StoreGeneration> {
        todo!()
    }
    /// Whether the server has committed this event.
    pub fn settled(&self, position: Position) -> bool {
        todo!()
    }
    /// Events without receipt.
    pub fn outstanding(&self) -> u64 {
        todo!()
    }
    /// Room left, and whether new jobs may be taken.
    ///
    /// # Errors
    /// When the disk does not say what is free.
    pub fn room(&mut self) -> Result<Room, SpoolError> {
        todo!()
    }
    /// Removes old receipted events and writes receipts down. Call it about each minute and at the end.
    ///
    /// # Errors
    /// When the disk refuses; nothing is lost by that.
    pub fn compact(&mut self, wall: Timestamp) -> Result<(), SpoolError> {
        todo!()
    }
    /// The spools, for a status display.
    pub fn spools(&self) -> &Spools<D> {
        &self.spools
    }
}
