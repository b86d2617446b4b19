//! The durable log of a bench's events.
//!
//! An event counts once [`Spools::sync`] has returned after it was appended. Every start of the agent
//! begins a new spool; an earlier one is sent but never appended to, so a restored disk or a trimmed tail
//! can't put other content under an old number (delivery contract, rules 1 to 4).
//!
//! What is durable, and why (ADR 0012): a record counts when its segment was synced (and its folder, for a new
//! file): one sync for a group of records. Each record says what was durable before it, and a mark with the
//! group's last number is written after the sync, itself synced by the upkeep only. So damage below the last mark
//! or the last proof is a loss and becomes a hole, and only what lies above both may be the remains of a write
//! that was cut short.
//!
//! How large: a bench that makes an event of 600 bytes each second writes 160 MB in 72 hours; the default limit
//! is 512 MB. In memory an event that is kept takes 16 bytes.

pub mod disk;
mod error;
mod files;
mod format;
pub mod inspect;
mod open;
#[cfg(feature = "sim")]
pub mod sim;
mod spools;
mod state;
mod types;

pub use disk::{Disk, RealDisk};
pub use error::SpoolError;
pub use spools::Spools;
pub use types::{
    Damage, DamageKind, Former, Held, HoleReason, Limits, Opened, Position, Predecessor, Read, Room,
};
