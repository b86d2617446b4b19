//! Real processes, the services of a plant, a fault proxy and an OTLP collector, for the tests of the whole system
//! and for `xtask`.
//!
//! No fixed ports: every program of ours binds port 0 and says in a file where it listens. Everything that is started
//! here is stopped when its handle is dropped, also when a test panics; then the end of its log is shown.

mod api;
mod fleet;
mod otlp;
mod process;
mod proxy;
pub mod services;
mod settings;
mod wait;
mod workload;

pub use api::{Api, ApiError};
pub use fleet::{Agent, EcuSim, Server};
pub use otlp::{Collector, ReceivedSpan};
pub use process::{Process, Program};
pub use proxy::{FaultProxy, Faults, Side};
pub use settings::Settings;
pub use wait::eventually;
pub use workload::{SoftwareImage, Workload, job_request, upload_artifact};
