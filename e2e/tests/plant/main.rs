//! A plant as a factory runs it: real Mosquitto, PostgreSQL and Apache Kafka, one or two replicas of the server as
//! processes, and a load of simulated benches in this process.
//!
//! Every walk breaks something and ends with the books ([`books`]): what lies on the benches' disks against the
//! database and against what a `read_committed` consumer of Kafka reads. Lost, double, out of order, changed and
//! invented events are named with ids. The ledger's equation (delivery rule 23) is asked by REST.
//!
//! The gate runs small loads. Longer runs, by environment:
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `BENCHES` | 16 | benches of the load, spread over the 16 slots |
//! | `EVERY_MS` | 500 | mean time between two events of a bench, milliseconds |
//! | `SECONDS` | 2 | how long each phase of a walk keeps the load going |
//! | `KILLS` | 1 | how often a walk repeats its kill |
//! | `SEED` | 1 | content, pauses and restarts of the load |
//!
//! For example `BENCHES=64 EVERY_MS=50 SECONDS=30 KILLS=20 SEED=7 cargo test -p e2e --test plant relay`.
//!
//! One PostgreSQL, one Kafka and one Mosquitto serve all walks; each walk has a plant, a database and headers of its
//! own. A walk that breaks a service has it for itself ([`services`]).

mod accounts;
mod books;
mod broker;
mod consumer;
mod history;
mod kafka;
mod load;
mod plant;
mod postgres;
mod relay;
mod replicas;
mod restore;
mod services;
mod slots;
mod sqlite;
mod traces;

use std::time::Duration;

use anyhow::Context as _;

/// Long enough for a back-off of a bench, a resend and a fault's end on a loaded machine.
pub(crate) const WITHIN: Duration = Duration::from_mins(2);
/// A fault has its name so soon.
pub(crate) const NAMED_WITHIN: Duration = Duration::from_secs(10);

/// A number from the environment.
pub(crate) fn env_number<T: std::str::FromStr>(name: &str, default: T) -> anyhow::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{name} is {text:?}, a number is wanted")),
        Err(_) => Ok(default),
    }
}

/// How long a phase of a walk keeps the load going.
pub(crate) fn phase() -> anyhow::Result<Duration> {
    Ok(Duration::from_secs(env_number("SECONDS", 2)?))
}

/// How often a walk repeats its kill.
pub(crate) fn kills() -> anyhow::Result<u32> {
    env_number("KILLS", 1)
}
