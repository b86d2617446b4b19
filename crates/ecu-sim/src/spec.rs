//! What vehicles there are.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::fault::Fault;

/// A file of vehicles.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehiclesFile {
    /// Version of this format.
    pub schema: Schema,
    /// The vehicles.
    pub vehicles: Vec<VehicleSpec>,
}

/// Version of the format.
#[derive(Debug, Clone, Copy, Deserialize)]
pub enum Schema {
    /// The first.
    #[serde(rename = "vehicles/1")]
    Vehicles1,
}

/// One vehicle.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehicleSpec {
    /// Vehicle identification number, 17 characters without I, O and Q.
    pub vin: String,
    /// Its `DoIP` entity.
    #[serde(default)]
    pub entity: EntitySpec,
    /// Seed of everything that looks random.
    #[serde(default)]
    pub seed: u64,
    /// Its control units.
    pub ecus: Vec<EcuSpec>,
}

/// The `DoIP` entity of a vehicle.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EntitySpec {
    /// Logical address.
    pub la: u16,
    /// Functional address: every control unit hears it.
    pub functional: u16,
    /// TCP and UDP port on the loopback interface; 0 takes a free one.
    pub port: u16,
    /// Most diagnostic sockets.
    pub sockets: usize,
}

impl Default for EntitySpec {
    fn default() -> Self {
        Self {
            la: 0x1000,
            functional: 0xE400,
            port: 0,
            sockets: 8,
        }
    }
}

/// One control unit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EcuSpec {
    /// Its name, such as `ESP`.
    pub name: String,
    /// Logical address.
    pub la: u16,
    /// Part number (F187).
    pub part: String,
    /// Hardware number (F191).
    pub hw: String,
    /// Serial number (F18C).
    pub serial: String,
    /// Version of the boot loader (F180).
    pub boot: String,
    /// Software version at first (F189).
    pub software: String,
    /// Secret for security access, hexadecimal.
    pub secret: String,
    /// Supply voltage in volts; 0x2110 tells it in units of 10 mV.
    #[serde(default = "supply_v")]
    pub supply_v: f64,
    /// Largest download in bytes; none: it cannot be programmed.
    #[serde(default)]
    pub memory_bytes: u32,
    /// `maxNumberOfBlockLength`, service identifier and counter included.
    #[serde(default = "block_length")]
    pub block_length: u16,
    /// How long erasing takes, milliseconds.
    #[serde(default = "erase_ms")]
    pub erase_ms: u64,
    /// How long one block takes, milliseconds.
    #[serde(default)]
    pub block_ms: u64,
    /// How long it starts after a reset, milliseconds.
    #[serde(default = "start_ms")]
    pub start_ms: u64,
    /// How long no seed is given after three wrong keys, milliseconds.
    #[serde(default = "security_delay_ms")]
    pub security_delay_ms: u64,
    /// Readable identifiers and their bytes, hexadecimal.
    #[serde(default)]
    pub values: BTreeMap<u16, String>,
    /// Identifiers that may be written with security level 01, and their length in bytes.
    #[serde(default)]
    pub writable: BTreeMap<u16, usize>,
    /// Routines besides those of programming.
    #[serde(default)]
    pub routines: Vec<RoutineSpec>,
    /// Outputs that may be actuated.
    #[serde(default)]
    pub outputs: Vec<OutputSpec>,
    /// Faults in its memory at first.
    #[serde(default)]
    pub dtcs: Vec<DtcSpec>,
    /// Faults of the simulation.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

const fn supply_v() -> f64 {
    13.2
}
const fn block_length() -> u16 {
    1026
}
const fn erase_ms() -> u64 {
    400
}
const fn start_ms() -> u64 {
    200
}
const fn security_delay_ms() -> u64 {
    10_000
}

/// A routine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutineSpec {
    /// Identifier.
    pub id: u16,
    /// Whether security level 01 is needed.
    #[serde(default)]
    pub secured: bool,
    /// How long it runs, milliseconds. Results say byte 0 = 01 until then.
    #[serde(default)]
    pub duration_ms: u64,
    /// Lowest supply voltage, below it the answer is 93.
    #[serde(default)]
    pub min_supply_v: f64,
    /// Status record at its end, hexadecimal.
    #[serde(default = "good_status")]
    pub status: String,
    /// Identifiers that have these bytes (hexadecimal) once it has ended.
    #[serde(default)]
    pub results: BTreeMap<u16, String>,
}

fn good_status() -> String {
    "00".to_owned()
}

/// An output.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// Identifier.
    pub did: u16,
    /// Identifiers that have these bytes (hexadecimal) as long as the output is held.
    #[serde(default)]
    pub effects: BTreeMap<u16, String>,
}

/// A fault in the memory of a control unit.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DtcSpec {
    /// Code, 24 bits.
    pub code: u32,
    /// Status bits.
    pub status: u8,
    /// There again after it was cleared.
    #[serde(default)]
    pub permanent: bool,
}

/// Why a file of vehicles is refused.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It is not of the format.
    #[error("the file of vehicles cannot be read: {0}")]
    Format(#[from] Box<serde_saphyr::Error>),
    /// A vehicle cannot be.
    #[error("vehicle {vin}: {what}")]
    Vehicle {
        /// The vehicle.
        vin: String,
        /// What cannot be, and what to do.
        what: String,
    },
}

/// Reads a file of vehicles.
///
/// # Errors
/// [`SpecError`].
pub fn parse_vehicles(yaml: &str) -> Result<VehiclesFile, SpecError> {
    let file: VehiclesFile = serde_saphyr::from_str(yaml).map_err(Box::new)?;
    for vehicle in &file.vehicles {
        check(vehicle).map_err(|what| SpecError::Vehicle {
            vin: vehicle.vin.clone(),
            what,
        })?;
    }
    Ok(file)
}

fn check(vehicle: &VehicleSpec) -> Result<(), String> {
    let is_vin = vehicle.vin.len() == 17
        && vehicle
            .vin
            .chars()
            .all(|c| c.is_ascii_digit() || (c.is_ascii_uppercase() && !matches!(c, 'I' | 'O' | 'Q')));
    if !is_vin {
        return Err("a VIN has 17 capital letters and digits without I, O and Q".to_owned());
    }
    let mut addresses = vec![vehicle.entity.la, vehicle.entity.functional];
    for ecu in &vehicle.ecus {
        if addresses.contains(&ecu.la) {
            return Err(format!("{}: the address {:04X} is there twice", ecu.name, ecu.la));
        }
        addresses.push(ecu.la);
        let routines = ecu
            .routines
            .iter()
            .flat_map(|routine| routine.results.values().chain([&routine.status]));
        let outputs = ecu.outputs.iter().flat_map(|output| output.effects.values());
        for text in ecu
            .values
            .values()
            .chain(routines)
            .chain(outputs)
            .chain([&ecu.secret])
        {
            if hex::decode(text).is_err() {
                return Err(format!("{}: `{text}` is not hexadecimal", ecu.name));
            }
        }
    }
    Ok(())
}

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    // Checked when the file was read.
    hex::decode(text).unwrap_or_default()
}
