//! The agent of a test bench: takes jobs over MQTT, fetches what they need over HTTP, runs them on the vehicle over
//! `DoIP`, and writes down every result before anybody hears of it.
//!
//! [`owner`] has all state in one task; [`agent`] wires it up; [`runner`] works on the vehicle; [`journal`] survives
//! a power cut in the middle of it. The decisions are in the pure crates `agent-core`, `agent-link` and `procedure`.

pub mod agent;
mod attempt;
pub mod cli;
pub mod config;
pub mod crashsafe;
mod failpoints;
pub mod fetch;
pub mod journal;
pub mod key;
pub mod owner;
pub mod prepare;
pub mod record;
pub mod runner;
pub mod spool_view;
pub mod status;
mod vehicle;
