//! What the spool takes and gives.

use std::fmt;
use std::time::Duration;

use fleet_domain::{Seq, SpoolId};
use serde::{Deserialize, Serialize};

/// The spool before a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its id.
    pub spool: SpoolId,
    /// Its last position; 0 when nothing of it could be read.
    pub last_seq: Seq,
}

/// The place of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Its spool.
    pub spool: SpoolId,
    /// Its position, from 1.
    pub seq: Seq,
    /// The spool before, on position 1 of every spool but a bench's first.
    pub predecessor: Option<Predecessor>,
}

/// Why a position has no event any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoleReason {
    /// The disk gave back other bytes than were written, or none.
    Unreadable,
    /// Removed after its receipt, and asked for again.
    Expired,
    /// Larger than the broker's packet limit, which fell after the event was written.
    TooLarge,
    /// The server could not attribute it.
    Unattributed,
}

impl HoleReason {
    /// The reason as it stands in the hole's event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Expired => "expired",
            Self::TooLarge => "too_large",
            Self::Unattributed => "unattributed",
        }
    }
}

impl fmt::Display for HoleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What stands at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The event's bytes as appended.
    Event(Vec<u8>),
    /// Nothing any more, from the position asked for up to `to`.
    Hole {
        /// Last position of the hole.
        to: Seq,
        /// Why.
        reason: HoleReason,
    },
    /// Not yet durable, or no such spool.
    Absent,
}

/// Limits of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A file is closed at this size, bytes.
    pub segment_bytes: u64,
    /// From this size on new jobs are refused and receipted events are removed early, bytes. Results of
    /// accepted jobs are still taken.
    pub max_bytes: u64,
    /// The same when the disk has less free than this, bytes.
    pub min_free_bytes: u64,
    /// Blocks set aside for results of accepted jobs, bytes: they are used when the disk is full, whoever
    /// filled it. No job is taken while they can't be had. 0: none.
    pub reserve_bytes: u64,
    /// How long events are kept after their receipt, space permitting.
    pub keep_receipted: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 4 * 1024 * 1024,
            max_bytes: 512 * 1024 * 1024,
            min_free_bytes: 256 * 1024 * 1024,
            reserve_bytes: 0,
            keep_receipted: Duration::from_hours(72),
        }
    }
}

/// Room left, and whether new jobs may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the log takes.
    pub used_bytes: u64,
    /// Bytes left until the nearer of both limits.
    pub left_bytes: u64,
    /// Events without receipt.
    pub outstanding: u64,
    /// Why no new job is taken; none while there is room.
    pub refusing: Option<String>,
}

/// What was wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DamageKind {
    /// Counted events can't be read; they became a hole.
    Lost {
        /// First position.
        from: Seq,
        /// Last position.
        to: Seq,
    },
    /// The end of a write that was cut short before it counted; left out.
    TrimmedTail {
        /// Bytes left out.
        bytes: u64,
    },
    /// Bytes that belong to no record, between records that are all there.
    Garbage {
        /// Their number.
        bytes: u64,
    },
    /// A file's header can't be read; its events were found by its name.
    Header,
    /// A file that belongs to nothing.
    Stray,
    /// The file of receipts, holes and former spools can't be read: it is rebuilt, the server tells the rest.
    State,
    /// The file of durable ends has damaged entries.
    Marks,
}

/// A fault found when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in the file, bytes.
    pub offset: u64,
    /// Spool of the file, where its name says it.
    pub spool: Option<SpoolId>,
    /// What is wrong.
    pub kind: DamageKind,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: ", self.file, self.offset)?;
        match self.kind {
            DamageKind::Lost { from, to } if from == to => write!(f, "event {from} can't be read"),
            DamageKind::Lost { from, to } => write!(f, "events {from} to {to} can't be read"),
            DamageKind::TrimmedTail { bytes } => write!(f, "{bytes} bytes of an unfinished write left out"),
            DamageKind::Garbage { bytes } => write!(f, "{bytes} bytes belong to no record"),
            DamageKind::Header => f.write_str("header can't be read"),
            DamageKind::Stray => f.write_str("file belongs to nothing"),
            DamageKind::State => f.write_str("state can't be read and is rebuilt"),
            DamageKind::Marks => f.write_str("entries can't be read"),
        }
    }
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// Every fault, with file and offset.
    pub damage: Vec<Damage>,
    /// Counted events without receipt.
    pub outstanding: u64,
}

/// A spool that is still held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its id.
    pub spool: SpoolId,
    /// The spool before.
    pub predecessor: Option<Predecessor>,
    /// Lowest position whose event is still there.
    pub first_kept: Seq,
    /// Position after the last durable one.
    pub next_seq: Seq,
    /// Highest position of which the server said that all up to it is committed.
    pub receipted: Seq,
    /// Highest rejected position heard; 0: none.
    pub rejections_known: Seq,
}

/// A spool whose events are all receipted and gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its id.
    pub spool: SpoolId,
    /// The spool before.
    pub predecessor: Option<Predecessor>,
    /// Its last position.
    pub last_seq: Seq,
    /// As for [`Held`]; lower than `last_seq` when a restored server asked for it again.
    pub receipted: Seq,
}
