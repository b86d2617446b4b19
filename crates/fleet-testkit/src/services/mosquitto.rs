//! A Mosquitto broker of one's own, with the settings that the product asks for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use nix::unistd::Uid;

use super::Credentials;
use super::daemon::{Daemon, LastWill};
use super::lifecycle::lifecycle;
use super::port::Port;
use super::programs::ServiceProgram;
use crate::Program;

const READY: &str = " running";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How a broker is started. The default is what `docs/brokers.md` asks of Mosquitto.
#[derive(Debug, Clone)]
pub struct MosquittoOptions {
    /// Messages on the way to one client at a time (`max_inflight_messages`; Mosquitto's own default is 20).
    pub max_inflight: u32,
    /// Messages that wait for one client (`max_queued_messages`; Mosquitto's own default is 1,000).
    pub max_queued: u32,
    /// The largest payload in bytes that is taken (`message_size_limit`); none: no limit.
    pub message_size_limit: Option<u32>,
    /// How often its memory is written to disk; a kill loses what came since. At least a second.
    pub autosave: Duration,
    /// The users that may connect; none: everybody may.
    pub users: Vec<Credentials>,
    /// More lines of `mosquitto.conf`, key and value.
    pub settings: Vec<(String, String)>,
}

impl Default for MosquittoOptions {
    fn default() -> Self {
        Self {
            max_inflight: 2_000,
            max_queued: 100_000,
            message_size_limit: None,
            autosave: Duration::from_mins(30),
            users: Vec::new(),
            settings: Vec::new(),
        }
    }
}

/// A running (or stopped) Mosquitto broker. Dropping it kills it.
#[derive(Debug)]
pub struct Mosquitto {
    /// How it is started; a change holds from the next [`Mosquitto::restart`].
    pub options: MosquittoOptions,
    folder: PathBuf,
    port: Port,
    daemon: Option<Daemon>,
}

lifecycle!(Mosquitto, "Mosquitto", ends_by Signal::SIGTERM, taken "Address already in use");

impl Mosquitto {
    /// Starts a broker that keeps sessions and messages in `{folder}/data`.
    ///
    /// # Errors
    /// When Mosquitto is not installed or does not listen; with the end of its log.
    pub async fn start(folder: &Path, options: MosquittoOptions) -> anyhow::Result<Self> {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let mut this = Self {
            options,
            folder: folder.canonicalize().context("the folder was just made")?,
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
        self.folder.join("mosquitto.log")
    }

    fn choose_ports(&mut self) -> anyhow::Result<()> {
        self.port = Port::choose()?;
        Ok(())
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let program = ServiceProgram::Mosquitto.path()?;
        let config = self.folder.join("mosquitto.conf");
        let text = self.config()?;
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let log = self.log();
        let program = Program::new("mosquitto", &program, &log).args(["-c".as_ref(), config.as_os_str()]);
        let will = LastWill {
            signal: Signal::SIGKILL,
            mounted: None,
            remove: None,
        };
        let daemon = self.daemon.insert(Daemon::start(program, &log, will)?);
        daemon.until_logged(READY, READY_WITHIN).await
    }

    fn config(&self) -> anyhow::Result<String> {
        let options = &self.options;
        let mut lines = Vec::new();
        let mut line = |key: &str, value: String| lines.push(format!("{key} {value}\n"));
        if Uid::effective().is_root() {
            // Else it changes to its own account, which may not write here.
            line("user", "root".to_owned());
        }
        line("persistence", "true".to_owned());
        line("persistence_location", format!("{}/data/", self.folder.display()));
        line("autosave_interval", options.autosave.as_secs().max(1).to_string());
        line("max_inflight_messages", options.max_inflight.to_string());
        line("max_queued_messages", options.max_queued.to_string());
        line("set_tcp_nodelay", "true".to_owned());
        if let Some(bytes) = options.message_size_limit {
            line("message_size_limit", bytes.to_string());
        }
        line("log_dest", "stderr".to_owned());
        line("log_timestamp_format", "%Y-%m-%dT%H:%M:%S".to_owned());
        line("allow_anonymous", options.users.is_empty().to_string());
        if !options.users.is_empty() {
            line("password_file", self.write_passwords()?.display().to_string());
        }
        for (key, value) in &options.settings {
            line(key, value.clone());
        }
        // Last: some of the above may not come after a listener.
        line(
            "listener",
            format!("{} {}", self.port.number(), self.port.address().ip()),
        );
        Ok(lines.concat())
    }

    fn write_passwords(&self) -> anyhow::Result<PathBuf> {
        let file = self.folder.join("passwords");
        std::fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))?;
        let program = ServiceProgram::MosquittoPasswd.path()?;
        for user in &self.options.users {
            let output = Command::new(&program)
                .arg("-b")
                .arg(&file)
                .args([&user.username, &user.password])
                .output()
                .context("cannot start mosquitto_passwd")?;
            if !output.status.success() {
                bail!(
                    "mosquitto_passwd: {}",
                    String::from_utf8_lossy(&output.stderr).trim_end()
                );
            }
        }
        Ok(file)
    }
}
