//! Servers on a plant's parts, and what `/readyz` says of them.

use std::path::Path;
use std::time::Duration;

use fleet_server::config::{Config, Database, ExternalBroker};
use fleet_settings::{Credentials, HostPort, Secret};
use fleet_testkit::services::{Mosquitto, MosquittoOptions, Postgres};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::Server;

/// Within this a fault must have its named state, and a slot its next owner.
pub(super) const TEN_SECONDS: Duration = Duration::from_secs(10);

/// A Mosquitto with its folder.
pub(super) struct Mqtt {
    pub(super) broker: Mosquitto,
    _folder: TempDir,
}

impl Mqtt {
    pub(super) async fn start() -> Self {
        Self::start_with(MosquittoOptions::default()).await
    }

    pub(super) async fn start_with(options: MosquittoOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = Mosquitto::start(folder.path(), options)
            .await
            .expect("Mosquitto starts");
        Self {
            broker,
            _folder: folder,
        }
    }

    /// `mqtt.url` and its credentials.
    pub(super) fn external(&self, credentials: Option<(&str, &str)>) -> ExternalBroker {
        let address = self.broker.address();
        ExternalBroker {
            address: HostPort {
                host: address.ip().to_string(),
                port: address.port(),
            },
            credentials: credentials.map(|(username, password)| Credentials {
                username: username.to_owned(),
                password: Secret::new(password.to_owned()),
                mechanism: None,
            }),
        }
    }
}

/// A new database in the server that the tests share.
pub(super) async fn new_database() -> String {
    let name = format!("db_{}", fleet_clock::new_uuid().simple());
    let server = Postgres::shared().await.expect("PostgreSQL starts");
    server.create_database(&name).await.expect("a database")
}

/// Lets a server use a PostgreSQL database.
pub(super) fn on_postgres(config: &mut Config, url: &str) {
    config.store.database = Database::Postgres {
        url: url.to_owned(),
        password: None,
    };
}

/// A replica: its own data folder, the plant's database, broker and files.
pub(super) async fn replica(name: &str, database: &str, mqtt: &Mqtt, files: &Path) -> Server {
    Server::start_with(|config| as_replica(config, name, database, mqtt, files)).await
}

/// The settings of a replica.
pub(super) fn as_replica(config: &mut Config, name: &str, database: &str, mqtt: &Mqtt, files: &Path) {
    on_postgres(config, database);
    config.mqtt.external = Some(mqtt.external(None));
    config.replica = Some(name.to_owned());
    config.artifacts = Some(files.to_owned());
}

/// One check of `/readyz`, whatever its status.
pub(super) async fn check(server: &Server, name: &str) -> Value {
    let ready = server.get("/readyz").await.json();
    let checks = ready["checks"].as_array().expect("checks").clone();
    checks
        .into_iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {ready}"))
}

/// Waits until a part is in a state, at most ten seconds; gives its check.
pub(super) async fn until_state(server: &Server, name: &str, state: &str) -> Value {
    let end = Instant::now() + TEN_SECONDS;
    loop {
        let check = check(server, name).await;
        if check["state"] == state {
            let help = check["help"].as_str().unwrap_or_default();
            assert!(state == "ok" || !help.is_empty(), "it says what to do: {check}");
            return check;
        }
        assert!(Instant::now() < end, "{name} is not {state} after 10 s: {check}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a server is ready.
pub(super) async fn until_ready(server: &Server) {
    server.until("/readyz", |ready| ready["ready"] == true).await;
}

/// How many slots each replica owns, by the part of its owner before the id of its start.
pub(super) async fn shares(server: &Server) -> Vec<(String, usize)> {
    let answer = server.get("/api/v1/replicas").await;
    if answer.status != 200 {
        answer.problem(503, "store_unavailable", "a server that has just started");
        return Vec::new();
    }
    let replicas = answer.json();
    let items = replicas["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| {
            let owner = item["owner"].as_str().expect("an owner");
            let name = owner.rsplit_once('-').map_or(owner, |(name, _)| name);
            (name.to_owned(), item["slots"].as_array().expect("slots").len())
        })
        .collect()
}

/// Waits until the replicas have these shares; gives the time that took.
pub(super) async fn until_shares(server: &Server, wanted: &[(&str, usize)], within: Duration) -> Duration {
    let began = Instant::now();
    loop {
        let mut found = shares(server).await;
        found.sort();
        if found
            .iter()
            .map(|(name, slots)| (name.as_str(), *slots))
            .eq(wanted.iter().copied())
        {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < within,
            "{found:?} are not {wanted:?} after {within:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
