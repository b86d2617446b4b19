//! The parts of a plant: a real Mosquitto, a real PostgreSQL, several servers.

mod broker;
mod database;
mod load;
mod replicas;
mod stand;
