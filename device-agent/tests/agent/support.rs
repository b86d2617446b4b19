//! Running agents and what they say.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Long enough for a machine that compiles beside the tests.
const WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_device-agent"));
    command.env_clear();
    command
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An agent of the folder `dir/data`; killed at drop.
pub(crate) struct Running {
    child: Child,
    config: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Settings of a bench whose broker, server and vehicle are not there.
pub(crate) fn write_config(dir: &Path) -> PathBuf {
    let config = dir.join("agent.toml");
    let data = dir.join("data");
    let text = format!(
        "device = \"bench-07\"\nstation = \"eol-3\"\ndata_dir = \"{}\"\n\
         [broker]\nurl = \"mqtt://127.0.0.1:9\"\n[server]\nurl = \"http://127.0.0.1:9\"\n\
         [vehicle]\nentity = \"127.0.0.1:9\"\n[spool]\nmin_free_bytes = 0\n",
        data.display()
    );
    std::fs::write(&config, text).unwrap();
    config
}

impl Running {
    pub(crate) fn start(dir: &Path) -> Self {
        let config = write_config(dir);
        let child = agent()
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, config }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Asks until the agent itself answers.
    pub(crate) fn status(&self) -> Value {
        let begun = Instant::now();
        loop {
            let status = status_json(&self.config);
            if status["running"] == true {
                return status;
            }
            assert!(begun.elapsed() < WITHIN, "the agent does not answer: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks it to end and gives its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < WITHIN, "the agent does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) fn status_json(config: &Path) -> Value {
    let output = agent()
        .arg("--config")
        .arg(config)
        .args(["status", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn status_table(config: &Path) -> String {
    let output = agent()
        .arg("--config")
        .arg(config)
        .arg("status")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}
