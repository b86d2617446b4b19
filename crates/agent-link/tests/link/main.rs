//! The link read as a specification: what is sent when, and how a connection behaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adapter;
mod bench;
mod broker;
mod hostile;
mod sending;
mod syncing;
mod traffic;
