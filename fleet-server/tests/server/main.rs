//! The server as a whole: real router, real SQLite, real embedded broker, benches that speak MQTT.

mod bad_input;
mod bench;
mod files;
mod ingest;
mod jobs;
mod limits;
mod openapi;
mod plant;
mod problems;
mod restore;
mod start;
mod stream;
mod support;
