//! The core of an agent: what it does with every state and event, and what no crash can make it do.

mod bench;
mod crashes;
mod faults;
mod list;
mod table;
