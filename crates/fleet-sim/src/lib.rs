//! The delivery contract in simulated time: the shipped sender and spool of benches against the shipped ingest planner,
//! over models of broker, database, disks and processes that fail in every way the contract speaks of.
//!
//! A run is a pure function of its seed: the same seed does the same and fails in the same way. `docs/simulation.md`
//! says what is shipped code, what is a model and what is not covered.

mod bench;
mod broker;
mod message;
mod plan;
mod replica;
mod rng;
mod trace;
mod world;

#[cfg(test)]
mod tests;

use spool::sim::Fault;

use plan::Plan;
use rng::Rng;
use world::World;

pub use world::Figures;

/// A run that broke the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// Which write of the first bench failed and how, in a run of [`write_points`].
    pub at: Option<(u64, &'static str)>,
    /// What was wrong.
    pub complaint: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SEED={}", self.seed)?;
        if let Some((write, fault)) = self.at {
            write!(f, " ({fault} at write {write})")?;
        }
        write!(f, ": {}", self.complaint)
    }
}

impl std::error::Error for Broken {}

/// Runs one seed.
///
/// # Errors
/// What of the contract it broke.
pub fn run(seed: u64) -> Result<Figures, Broken> {
    simulate(seed, false).0
}

/// Runs one seed and tells what happened, line by line.
pub fn replay(seed: u64) -> (Result<Figures, Broken>, Vec<String>) {
    simulate(seed, true)
}

fn simulate(seed: u64, traced: bool) -> (Result<Figures, Broken>, Vec<String>) {
    let mut rng = Rng::new(seed);
    let plan = Plan::of(&mut rng, None);
    let mut world = World::new(rng, plan, traced);
    let result = world.run().map_err(|complaint| Broken {
        seed,
        at: None,
        complaint,
    });
    (result, world.trace.take_lines())
}

/// The faults that each write of a bench meets once.
const WRITE_FAULTS: [(Fault, &str); 4] = [
    (Fault::PowerLoss, "power loss"),
    (Fault::NoSpace, "no space"),
    (Fault::Io, "I/O error"),
    (Fault::SyncFails, "failed fsync"),
];

/// Runs a short seed again and again without another fault: each time the next write of its bench loses the power,
/// then finds no space, fails, or is not synced. Returns how many points there were.
///
/// # Errors
/// The first point at which the contract was broken.
pub fn write_points(seed: u64) -> Result<u64, Broken> {
    let mut points = 0;
    for (fault, name) in WRITE_FAULTS {
        for write in 0.. {
            let mut rng = Rng::new(seed);
            let plan = Plan::short(&mut rng);
            let mut world = World::new(rng, plan, false).failing(write, fault);
            let result = world.run();
            if let Err(complaint) = result {
                let at = Some((write, name));
                return Err(Broken { seed, at, complaint });
            }
            if world.benches[0].disk.operations() <= write {
                break;
            }
            points += 1;
        }
    }
    Ok(points)
}
