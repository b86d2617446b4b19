//! Checks what we rely on against any MQTT 5 broker, and says what was measured.
//!
//! A run connects as a bench and as the server's slot sessions do (`rumqttc`, one event loop for each
//! connection, manual acknowledgements), under a topic prefix and client ids of its own, and takes away what
//! it left: sessions and retained messages. A plain MQTT client of the same codec stands in where `rumqttc`
//! would not do what is to be tried: a packet above the limit, a connection that goes silent.
//!
//! [`catalog::CHECKS`] is the list of what is checked, why, and which setting helps. [`run`] does it.

pub mod catalog;
mod checks;
mod client;
mod control;
mod fault;
mod number;
mod raw;
mod report;
mod runner;
mod table;
mod target;

pub use control::{BrokerControl, CommandControl, ControlError, Ending, NoControl};
pub use fault::Fault;
pub use report::{CheckReport, Report, Verdict};
pub use runner::{Options, Progress, RunError, run};
pub use table::render;
pub use target::{Credentials, Target, TargetError};
