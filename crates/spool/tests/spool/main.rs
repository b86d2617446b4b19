//! The spool read as a specification: what counts is never lost silently.

mod errors;
mod identity;
mod mutations;
mod power;
mod real_disk;
mod workload;
