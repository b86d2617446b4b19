//! What is recorded of a batch of messages, decided in memory: no database, no clock, no runtime.
//!
//! A storage reads what the messages speak of ([`wants`] says what that is) into a [`Loaded`], calls [`record`],
//! and writes the rows of the [`Recorded`] in the same transaction. So every database decides alike: what is a
//! duplicate, what a sync proves, how a job moves, which alarms are raised, what a bench is told.

mod answer;
mod blame;
pub mod dispatch;
mod job;
mod loaded;
pub mod orders;
mod plan;
mod project;
mod raised;
mod recorded;
mod statement;
pub mod wants;

pub use blame::{Blame, Blamed};
pub use job::StoredJob;
pub use loaded::{DeviceRow, DeviceState, Digests, Equipment, Loaded, StepKey};
pub use plan::next_generation;
pub use raised::Raised;
pub use recorded::{
    Aside, AttemptWrite, DeadLetter, DeviceWrite, Messages, NewEvent, Recorded, RejectionRow, StepWrite,
    record,
};
