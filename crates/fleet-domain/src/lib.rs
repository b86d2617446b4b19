//! The pure core of VDS Fleet: identifiers, devices, jobs, verdicts and the delivery ledger.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time and identifiers come in
//! as arguments, so a simulation can own them.

pub mod ids;

pub use ids::{
    DeviceId, EventId, IdError, JobId, OfferId, PlantId, RunId, Seq, Slot, SpoolId, StoreGeneration, Vin,
};
