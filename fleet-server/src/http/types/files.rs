//! Procedures, files and keys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A procedure on the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProcedureInfo {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// When it was put there.
    pub created_at: Timestamp,
}

/// Every procedure.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProcedureList {
    /// The procedures, by id and version.
    pub items: Vec<ProcedureInfo>,
}

/// A file on the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// When it was put there.
    pub created_at: Timestamp,
}

/// Every file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactList {
    /// The files, by name and version.
    pub items: Vec<ArtifactInfo>,
}

/// A bench asks for the key of a security access (ISO 14229-1, 0x27).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityAccessRequest {
    /// Name of the ECU.
    pub ecu: String,
    /// Security level: the odd sub-function of the seed request.
    pub level: u8,
    /// The seed, hexadecimal.
    pub seed: String,
    /// The vehicle.
    pub vin: String,
    /// The job that needs it.
    pub job_id: Uuid,
}

/// The key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecurityAccessKey {
    /// The key, hexadecimal.
    pub key: String,
}
