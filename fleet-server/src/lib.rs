//! The fleet server: broker, ingest, dispatch, API, live stream and page of one plant.
//!
//! `app` wires the parts; each part knows only the store and the channels it is given. The path of an
//! event: `broker` -> `ingest` -> store -> `stream`; of a job: `http` -> store -> `dispatch` -> `ingest`'s
//! sessions -> `broker`.

mod app;
pub mod artifacts;
pub mod broker;
pub mod cli;
pub mod config;
pub mod decoders;
mod dispatch;
pub mod endpoints;
mod failpoints;
mod health;
mod http;
mod ingest;
mod metrics;
mod migrate;
mod relay;
mod restore;
pub mod signer;
mod storage;
mod stream;

pub use app::{App, StartError};
pub use http::{openapi, openapi_text, types};
pub use storage::DatabaseError;
