//! The bench: takes jobs, runs procedures on control units, keeps results until the server has them.

pub mod journal;
pub mod runner;
