//! The load test: a population of simulated benches, a schedule that nothing can slow down, and the books.
//!
//! A bench here is the agent's own core, spool, sender and link ([`population`]); simulated are its disk and what it
//! tells. The schedule is fixed before the load begins ([`schedule`]): latencies count from the time at which an event
//! was wanted, and a load that can't keep its schedule is invalid instead of kind. In the end the books are closed:
//! what the benches made, what they have receipts for, what the server stored, and what Kafka has.

mod bench;
pub mod benches;
pub mod books;
pub mod cli;
pub mod client_log;
pub mod config_file;
pub mod disks;
pub mod figures;
pub mod history;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod limits;
pub mod population;
pub mod records;
pub mod report;
mod rng;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod shared_log;
pub mod work;

pub use bench::{BenchError, SpoolTimes};
pub use population::{Broker, Population, PopulationOptions};
pub use rng::Rng;
pub use shared_log::SharedLog;
