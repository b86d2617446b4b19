//! The server itself, and problems.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// State of the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The plant.
    pub plant: String,
    /// Version of the server.
    pub version: String,
    /// The life of its database.
    pub store_generation: Uuid,
    /// Whether it can do its work.
    pub ready: bool,
    /// Its parts.
    pub checks: Vec<Check>,
    /// Benches that are online.
    pub benches_online: u64,
    /// Benches that are offline.
    pub benches_offline: u64,
    /// Jobs that are open, by state.
    pub jobs: BTreeMap<String, u64>,
    /// After a restore no job is offered until these benches have synced or are released.
    pub waiting_for_benches: Vec<String>,
    /// The server's clock.
    pub time: Timestamp,
    /// IANA name of the plant's time zone.
    pub time_zone: String,
}

/// A part of the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// It works.
    pub ok: bool,
    /// What is wrong, or how it stands.
    pub detail: String,
}

/// Readiness.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Every part works.
    pub ready: bool,
    /// The parts.
    pub checks: Vec<Check>,
}

/// A problem (RFC 9457). `code` is stable, the rest is for people.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:vds:problem:` and the code.
    pub r#type: String,
    /// The kind of problem.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What was wrong with this request and what to do.
    pub detail: String,
    /// Stable name of the kind of problem.
    pub code: String,
    /// What is wrong with a procedure, by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

/// What is wrong at a place of a procedure.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// Where in the document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}
