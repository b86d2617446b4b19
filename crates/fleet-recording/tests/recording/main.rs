//! What a batch leads to, without any database.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod batches;
mod memory;
mod projection;
