//! A HiveMQ CE broker of one's own, embedded in a small Java program.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;

use super::daemon::{Daemon, LastWill};
use super::jars::Jars;
use super::lifecycle::lifecycle;
use super::port::Port;
use super::programs::ServiceProgram;
use crate::Program;

const READY: &str = "the broker is ready";
const READY_WITHIN: Duration = Duration::from_mins(2);
const JVM: [&str; 7] = [
    "-Xms64m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
];

/// How a broker is started. The default is what `docs/brokers.md` asks of HiveMQ.
#[derive(Debug, Clone)]
pub struct HivemqOptions {
    /// Messages that wait for one client (`max-queue-size`; HiveMQ's own default is 1,000).
    pub max_queued: u32,
    /// Unacknowledged messages that it takes from one client (`server-receive-maximum`; HiveMQ's own default is 10).
    pub receive_maximum: u16,
    /// Messages on the way to one client at a time. HiveMQ's own default is 50, whatever the client can take, and
    /// only the program that embeds it can raise it.
    pub max_inflight: u32,
    /// The largest packet in bytes that is taken (`max-packet-size`).
    pub max_packet: u32,
}

impl Default for HivemqOptions {
    fn default() -> Self {
        Self {
            max_queued: 100_000,
            receive_maximum: 1_000,
            max_inflight: 2_000,
            max_packet: 268_435_460,
        }
    }
}

/// A running (or stopped) HiveMQ CE broker. Dropping it kills it.
#[derive(Debug)]
pub struct Hivemq {
    /// How it is started; a change holds from the next [`Hivemq::restart`].
    pub options: HivemqOptions,
    folder: PathBuf,
    jars: PathBuf,
    port: Port,
    daemon: Option<Daemon>,
}

lifecycle!(Hivemq, "HiveMQ", ends_by Signal::SIGTERM, taken "Address already in use");

impl Hivemq {
    /// Starts a broker that keeps sessions and messages in `{folder}/data`. Loads its jars when they are missing
    /// (Maven, 100 MB).
    ///
    /// # Errors
    /// When Java or the jars are missing, or it does not get ready; with the end of its log.
    pub async fn start(folder: &Path, options: HivemqOptions) -> anyhow::Result<Self> {
        let jars = tokio::task::spawn_blocking(|| Jars::Hivemq.provide())
            .await
            .context("loading the jars was cut off")??;
        for name in ["conf", "data", "extensions"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let mut this = Self {
            options,
            folder: folder.canonicalize().context("the folder was just made")?,
            jars,
            port: Port::choose()?,
            daemon: None,
        };
        this.run_on_free_ports().await?;
        Ok(this)
    }

    /// Its address, `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("hivemq.log")
    }

    fn choose_ports(&mut self) -> anyhow::Result<()> {
        self.port = Port::choose()?;
        Ok(())
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let config = self.folder.join("conf/config.xml");
        std::fs::write(&config, self.config())
            .with_context(|| format!("cannot write {}", config.display()))?;
        let jars = self.jars.display();
        let classes = format!("{jars}:{jars}/*");
        let log = self.log();
        let program = Program::new("hivemq", &ServiceProgram::Java.path()?, &log)
            .args(JVM)
            .args(["-cp", &classes, "Broker", &self.folder.display().to_string()])
            .args([self.options.max_inflight.to_string()]);
        let will = LastWill {
            signal: Signal::SIGKILL,
            mounted: None,
            remove: None,
        };
        let daemon = self.daemon.insert(Daemon::start(program, &log, will)?);
        daemon.until_logged(READY, READY_WITHIN).await
    }

    fn config(&self) -> String {
        let HivemqOptions {
            max_queued,
            receive_maximum,
            max_inflight: _,
            max_packet,
        } = self.options;
        let (port, address) = (self.port.number(), self.port.address().ip());
        format!(
            "<?xml version=\"1.0\"?>
<hivemq>
  <listeners>
    <tcp-listener><port>{port}</port><bind-address>{address}</bind-address></tcp-listener>
  </listeners>
  <mqtt>
    <queued-messages><max-queue-size>{max_queued}</max-queue-size></queued-messages>
    <receive-maximum><server-receive-maximum>{receive_maximum}</server-receive-maximum></receive-maximum>
    <packets><max-packet-size>{max_packet}</max-packet-size></packets>
  </mqtt>
  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
"
        )
    }
}
