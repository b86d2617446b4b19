//! What outlives a power cut.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::EcuSpec;

/// The state file of a vehicle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VehicleMemory {
    /// The vehicle.
    pub vin: String,
    /// Its control units by name.
    pub ecus: BTreeMap<String, EcuMemory>,
}

/// What a control unit keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcuMemory {
    /// Whether its application may run.
    pub app_valid: bool,
    /// Version that it tells as F189; absent without a valid application.
    pub software: Option<String>,
    /// Whether the program memory is erased and holds nothing since.
    pub erased: bool,
    /// What was downloaded last and is complete.
    pub flashed: Option<Flashed>,
    /// F15A
    pub fingerprint: Option<String>,
    /// Written identifiers and results of routines, bytes as hexadecimal.
    pub values: BTreeMap<String, String>,
    /// Faults: code as six hexadecimal digits, and status.
    pub dtcs: BTreeMap<String, u8>,
    /// Wrong keys since the last right one.
    pub wrong_keys: u32,
    /// What was done to it.
    pub counters: Counters,
}

/// A download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flashed {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the bytes as stored.
    pub sha256: String,
    /// CRC-32 of the bytes as stored.
    pub crc32: u32,
    /// Part that the image is for; absent when the bytes are no image.
    pub part: Option<String>,
    /// Version of the image.
    pub version: Option<String>,
    /// Whether the check routine found it good.
    pub checked: bool,
}

/// What was done to a control unit since its first start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Programming sessions entered.
    pub programming_sessions: u64,
    /// Times its program memory was erased.
    pub erases: u64,
    /// Downloads completed.
    pub downloads: u64,
    /// Right keys.
    pub unlocks: u64,
    /// Resets and power losses.
    pub resets: u64,
    /// Writes by identifier, four hexadecimal digits.
    pub writes: BTreeMap<String, u64>,
    /// Starts of routines by identifier, four hexadecimal digits.
    pub routines: BTreeMap<String, u64>,
    /// Times faults were cleared.
    pub clears: u64,
    /// Outputs actuated.
    pub actuations: u64,
    /// Outputs given back, by request or by the end of a session.
    pub returns: u64,
}

impl EcuMemory {
    /// As it comes from the factory.
    pub(crate) fn new(spec: &EcuSpec) -> Self {
        Self {
            app_valid: true,
            software: Some(spec.software.clone()),
            dtcs: spec
                .dtcs
                .iter()
                .map(|dtc| (code_key(dtc.code), dtc.status))
                .collect(),
            ..Self::default()
        }
    }
}

pub(crate) fn code_key(code: u32) -> String {
    format!("{code:06x}")
}

pub(crate) fn did_key(did: u16) -> String {
    format!("{did:04x}")
}
