//! The load test against a real server with its own broker, in this process; the killable program as a process.

mod benches;
mod run;
mod scenario;
mod shared_log;
mod slow_disk;
mod support;
