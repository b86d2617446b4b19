//! The wire contract as tests: frozen bytes, refusals by name, schemas that match.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod control_documents;
mod events;
mod golden;
mod properties;
mod protocol_page;
mod samples;
mod schemas;
mod topics;
