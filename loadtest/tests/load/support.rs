//! A server in this process.

use std::path::Path;

use fleet_server::App;
use fleet_server::config::Config;
use loadtest::run::faults::Hooks;
use loadtest::run::{DiskKind, KafkaLatency, RunOptions};
use tempfile::TempDir;

/// A running server with a folder of its own.
pub(crate) struct Server {
    app: App,
    pub(crate) folder: TempDir,
    pub(crate) http: String,
    pub(crate) mqtt: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config::for_folder("plant-1".parse().expect("a plant"), folder.path().join("data"));
        let app = App::start(config).await.expect("the server starts");
        let endpoints = app.endpoints().clone();
        Self {
            app,
            folder,
            http: endpoints.http,
            mqtt: endpoints.mqtt,
        }
    }

    pub(crate) async fn stop(self) {
        self.app.stop().await;
    }

    /// A run against this server.
    pub(crate) fn options(&self, disks: DiskKind) -> RunOptions {
        RunOptions {
            server: self.http.clone(),
            broker: self.mqtt.clone(),
            kafka: None,
            kafka_latency: KafkaLatency::Record,
            relayed: false,
            name: None,
            disks,
            folder: folder(self.folder.path(), "disks"),
            keep: false,
            history: None,
            hooks: Hooks::default(),
        }
    }
}

pub(crate) fn folder(root: &Path, name: &str) -> std::path::PathBuf {
    root.join(name)
}
