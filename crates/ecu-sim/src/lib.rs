//! Simulated vehicles over `DoIP`, for the demo and for tests.
//!
//! A [`Vehicle`] has several control units ([`Ecu`]), each a pure state machine that enforces what a real one does:
//! session, security, order, block counter, length, checksum, and that answers a wrong sequence with the negative
//! response of ISO 14229-1. [`serve`] puts it behind a `DoIP` entity on real sockets. What has to outlive a power
//! cut lies in one JSON file per vehicle, which tests read to see what really happened. Faults are given with the
//! vehicle or added while it runs ([`Fault`]).

pub mod cli;
mod ecu;
mod entity;
mod fault;
mod image;
mod key;
mod memory;
mod spec;
mod vehicle;

pub use ecu::{Ecu, Reaction, Reply};
pub use entity::{Entity, serve};
pub use fault::{Fault, FaultSpec, FaultSpecError};
pub use image::{Image, ImageError, build_image};
pub use key::key_of;
pub use memory::{Counters, EcuMemory, Flashed, VehicleMemory};
pub use spec::{EcuSpec, EntitySpec, SpecError, VehicleSpec, VehiclesFile, parse_vehicles};
pub use vehicle::{LoggedRequest, StateError, Vehicle};
