//! The wire contract as tests: frozen bytes, refusals by name, schemas that match.

mod control_documents;
mod events;
mod golden;
mod properties;
mod samples;
mod schemas;
mod topics;
