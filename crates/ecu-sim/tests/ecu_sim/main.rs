//! The simulated control unit answers as a real one does, and the entity speaks `DoIP`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod entity;
mod good_sequences;
mod wrong_sequences;
