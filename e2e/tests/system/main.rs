//! The whole system as real processes: agents, server with its broker, simulated vehicles, and faults.
//!
//! Every walk ends with [`books`]: what the benches' disks hold against what the server would hand to Kafka, and
//! the server's verdicts against what the simulator itself holds.

mod books;
mod kills;
mod links;
mod plant;
mod restores;
mod traces;
