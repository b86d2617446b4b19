//! Runner and simulator together, over real sockets: every verdict is compared with what the simulated control unit
//! itself keeps.

mod faults;
mod recovery;
mod sequences;
mod stand;
