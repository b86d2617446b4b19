//! The services that a plant runs, real ones, on this machine: PostgreSQL, Mosquitto, Apache Kafka, HiveMQ CE.
//!
//! Each is started on a folder of its own and on a port that it keeps over a restart. It can be killed (`kill`,
//! SIGKILL of all its processes), ended in order (`stop`), started again on the same folder and port (`restart`),
//! frozen and thawed (SIGSTOP, SIGCONT of all its processes). Dropping it ends it; when the process that started
//! it dies without dropping it, a watchdog ends it. Its log is `{folder}/{name}.log`, and the end of it is part of
//! every error.
//!
//! Nothing is skipped: a program that this machine lacks is an error that names `cargo xtask doctor --install`.
//!
//! Many tests at once: start one server per test program and give each test its own database, topic or client id
//! (see [`Postgres::shared`]); what loads the machine takes the lock of [`alone`] first.

mod alone;
mod daemon;
mod hivemq;
mod jars;
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_reader;
mod lifecycle;
mod loop_disk;
mod mosquitto;
mod port;
mod postgres;
mod programs;
mod prometheus;
mod psql;
mod small_disk;

pub use alone::{Alone, alone};
pub use hivemq::{Hivemq, HivemqOptions};
pub use jars::{Jars, folder as services_folder};
pub use kafka::{Kafka, KafkaOptions, ServerCertificate};
#[cfg(feature = "kafka")]
pub use kafka_reader::{KafkaReader, KafkaRecord};
pub use loop_disk::LoopDisk;
pub use mosquitto::{Mosquitto, MosquittoOptions};
pub use postgres::{Postgres, PostgresOptions};
pub use programs::ServiceProgram;
pub use prometheus::{Prometheus, PrometheusOptions, promtool};

/// A user of a service, for the tests of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// Its password. A test's own, never a real one.
    pub password: String,
}

impl Credentials {
    /// A user and its password.
    pub fn new(username: &str, password: &str) -> Self {
        Self {
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    /// The file that the product's `*.credentials_file` keys name: TOML with `username` and `password`.
    pub fn toml(&self) -> String {
        let text = |value: &str| serde_json::Value::from(value).to_string();
        format!(
            "username = {}\npassword = {}\n",
            text(&self.username),
            text(&self.password)
        )
    }
}
