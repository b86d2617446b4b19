//! The durable log of a bench's events.
//!
//! An event counts once [`Spools::sync`] has returned after it was appended. Every start of the agent
//! begins a new spool; an earlier one is sent but never appended to, so a restored disk or a trimmed tail
//! can't put other content under an old number (delivery contract, rules 1 to 4).

pub mod disk;
mod error;
mod spools;
mod types;

pub use disk::{Disk, RealDisk};
pub use error::SpoolError;
pub use spools::Spools;
pub use types::{
    Damage, DamageKind, Former, Held, HoleReason, Limits, Opened, Position, Predecessor, Read, Room,
};
