//! Runner and simulator together, over real sockets: every verdict is compared with what the simulated control unit
//! itself keeps.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod recovery;
mod sequences;
mod stand;
