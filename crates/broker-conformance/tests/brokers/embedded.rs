//! The broker inside fleet-server.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use broker_conformance::Ending;
use broker_conformance::catalog::{CHECKS, Check};
use fleet_server::App;
use fleet_server::config::Config;
use fleet_testkit::{Process, Program};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::expected::{Broker, assert_as_expected};
use crate::{Controlled, Service, check, no_control};

/// Folder and port of the server that this test program is to be.
const FOLDER: &str = "CONFORMANCE_SERVER_FOLDER";
const PORT: &str = "CONFORMANCE_SERVER_PORT";
const STARTS_WITHIN: Duration = Duration::from_mins(1);
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// The server of the tests below, when they start this program again with the variables; else nothing. A process
/// of its own can be killed.
#[tokio::test]
async fn serves_when_it_is_asked_to() {
    let (Ok(folder), Ok(port)) = (std::env::var(FOLDER), std::env::var(PORT)) else {
        return;
    };
    let mut config = Config::for_folder("plant-1".parse().expect("a plant"), folder.into());
    config.mqtt.listen.set_port(port.parse().expect("a port"));
    let app = App::start(config).await.expect("the server starts");
    let mut end = signal(SignalKind::terminate()).expect("signals");
    end.recv().await;
    app.stop().await;
}

struct Server {
    folder: TempDir,
    port: u16,
    process: Process,
}

async fn start(folder: &Path, port: u16) -> anyhow::Result<Process> {
    let this = std::env::current_exe()?;
    let data = folder.join("data");
    let mut process = Program::new("fleet-server", &this, &folder.join("server.log"))
        .args(["--exact", "embedded::serves_when_it_is_asked_to", "--nocapture"])
        .envs([
            (FOLDER, data.to_str().expect("a path")),
            (PORT, port.to_string().as_str()),
        ])
        .start()?;
    let (pid, file) = (process.pid().to_string(), data.join("endpoints.json"));
    process
        .until_ready("endpoints.json", STARTS_WITHIN, || {
            let text = std::fs::read_to_string(&file).ok()?;
            text.contains(&format!("\"pid\": {pid}"))
                .then_some(())
                .or_else(|| text.contains(&format!("\"pid\":{pid}")).then_some(()))
        })
        .await?;
    Ok(process)
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Free now, and asked for at once: the same port must serve after each restart.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let process = start(folder.path(), port).await.expect("the server starts");
        Self {
            folder,
            port,
            process,
        }
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

impl Service for Server {
    async fn restart(&mut self, ending: Ending) -> anyhow::Result<()> {
        match ending {
            Ending::Orderly => drop(self.process.terminate(ENDS_WITHIN).await?),
            Ending::Killed => self.process.kill()?,
        }
        self.process = start(self.folder.path(), self.port).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_broker_is_as_the_table_says() {
    let server = Server::start().await;
    let groups: BTreeSet<_> = CHECKS.iter().map(Check::group).collect();
    let others: Vec<_> = groups.into_iter().filter(|group| *group != "restart").collect();
    let mut report = check(&server.url(), no_control(), &others).await;
    // On a server of its own: an orderly end waits 5 s for the files of the broker's queues, also of those that other
    // checks left for deletion, and drops the rest.
    let server = Server::start().await;
    let restarts = check(&server.url(), Controlled::new(server), &["restart"]).await;
    report.checks.extend(restarts.checks);
    assert_as_expected(&report, Broker::Embedded);
    assert!(report.is_met());
}
