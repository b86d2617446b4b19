//! The agent around its pure cores: settings, folder, key, files, record, status. Whole systems stand in `e2e`.

#![expect(clippy::unwrap_used, reason = "a test fails by it, in its helpers too")]

mod config;
mod fetch;
mod key_and_record;
mod process;
mod spool_view;
mod support;
