//! The durable log of a bench's events.
//!
//! An event counts once [`Spools::sync`] has returned after it was appended. Every start of the agent
//! begins a new spool; an earlier one is sent but never appended to, so a restored disk or a trimmed tail
//! can't put other content under an old number (delivery contract, rules 1 to 4).
//!
//! What is durable, and why: a record counts when its segment was synced (and its folder, for a new file)
//! and after that a mark with its number was written and synced. So damage up to the last mark is a loss and
//! becomes a hole, and only what lies above it may be the remains of a write that was cut short.

pub mod disk;
mod error;
mod files;
mod format;
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
