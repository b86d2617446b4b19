//! The agent around its pure cores: settings, folder, key, files, record, status. Whole systems stand in `e2e`.

mod config;
mod fetch;
mod key_and_record;
mod process;
mod support;
