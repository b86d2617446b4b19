//! The pure core of an agent: which jobs a bench takes, starts, stops and reports.
//!
//! Input is an [`Event`] with the time, output a list of [`Effect`]s that the caller carries out in order.
//! No I/O, no clock, no randomness: a simulation can own all three. The rules are those of
//! `docs/protocol.md`, section "Commands"; in short:
//!
//! - A list of jobs is ordered by `(store_generation, desired_version)`. Older lists are ignored, and the
//!   pair is on disk before it is stated in a sync.
//! - Only an entry in state `offered` can start anything. Absence never stops an accepted job; `fenced`
//!   does, before the point of no return only.
//! - An offer is prepared (procedure and files fetched and checked), then accepted durably, then started,
//!   one attempt at a time. Each of the three is on disk before the next begins.
//! - A job that was open when the process ended is decided after the first answered sync only: until then
//!   nobody knows whether this disk is older than what the server heard.
//!
//! Every final event is written exactly once: it lies in the saved state until it is known to lie in a
//! spool, and [`Saved::unconfirmed`] names what to look for there after a crash.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod core;
mod event;
mod jobs;
mod list;
mod state;

pub use crate::core::{AgentCore, Boot, presence};
pub use event::{Append, AttemptKey, Effect, Event, JobResult, SyncParts, Times};
pub use state::{JobView, MAX_EXECUTED, RestoreError, Saved};
