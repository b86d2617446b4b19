//! The format, the compiler and the engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod compile;
mod engine;
mod invariants;
mod schema;
