//! One program of ours as a child process with its log in a file.

use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::eventually;

/// How much of a log is shown when something fails.
const TAIL_LINES: usize = 30;

/// A program to start.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: Command,
    log: PathBuf,
}

impl Program {
    /// A program by its path. Its standard output and error are appended to `log`.
    pub fn new(name: &str, path: &Path, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            command: Command::new(path),
            log: log.to_owned(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets variables of its environment.
    #[must_use]
    pub fn envs<'a>(mut self, envs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.command.envs(envs);
        self
    }

    /// Starts it, in a process group of its own: a Ctrl-C in the terminal reaches only the parent, which then
    /// ends its children in order.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started; both are named.
    pub fn start(mut self) -> anyhow::Result<Process> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open the log {}", self.log.display()))?;
        let errors = log.try_clone().context("cannot open the log twice")?;
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {} ({})",
                    self.name,
                    self.command.get_program().display()
                )
            })?;
        Ok(Process {
            name: self.name,
            child,
            log: self.log,
            ended: None,
        })
    }
}

/// A running program. Dropping it kills it (SIGKILL) and waits for its end.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Sends a signal to the process. A process that has ended is left alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        // Not reaped yet, so the id cannot belong to another process.
        if self.ended().is_some() {
            return Ok(());
        }
        let pid = Pid::from_raw(i32::try_from(self.pid()).context("a process id fits")?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Kills it (SIGKILL) and waits for its end: nothing of it runs afterwards.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if self.ended().is_none() {
            self.child
                .kill()
                .with_context(|| format!("cannot kill {}", self.name))?;
            self.ended = Some(
                self.child
                    .wait()
                    .with_context(|| format!("cannot wait for {}", self.name))?,
            );
        }
        Ok(())
    }

    /// Freezes it (SIGSTOP): its sockets stay open and silent.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen process go on (SIGCONT).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `within`. It goes on running.
    pub async fn wait(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("end of {}", self.name);
        eventually(&what, within, async || self.ended()).await
    }

    /// Asks it to end (SIGTERM), and kills it when it has not ended `within` the time.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn terminate(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        if let Ok(status) = self.wait(within).await {
            return Ok(status);
        }
        self.kill()?;
        bail!(
            "{} did not end within {} s of SIGTERM and was killed",
            self.name,
            within.as_secs()
        )
    }

    /// Waits until `ready` answers; gives up at once when the process ends.
    ///
    /// # Errors
    /// When the process ends or the time is over; the message holds the end of its log.
    pub async fn until_ready<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let answer = eventually(what, within, async || match ready() {
            Some(answer) => Some(Ok(answer)),
            None => self.ended().map(Err),
        })
        .await;
        let reason = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status)) => format!("it ended with {}", describe(status)),
            Err(error) => error.to_string(),
        };
        bail!(
            "{} is not ready: {reason}. Its log {} ends with:\n{}",
            self.name,
            self.log.display(),
            self.log_tail()
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- {} (pid {}), log {}:\n{}",
                self.name,
                self.pid(),
                self.log.display(),
                self.log_tail()
            );
        }
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

/// An exit status in words.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}
