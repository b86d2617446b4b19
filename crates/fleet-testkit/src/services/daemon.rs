//! A service's processes: its own family of them, its log, and a watchdog for the case that nobody stops it.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Process, Program};

const STEP: Duration = Duration::from_millis(5);
/// What an orderly end may take on a loaded machine.
const ENDS_WITHIN: Duration = Duration::from_mins(1);
/// Nothing outlives SIGKILL for long; PostgreSQL's processes need some milliseconds for SIGQUIT.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// What the watchdog runs. It reads from a pipe that only the starting process holds: the end of the file says that
/// this process is gone, however it ended. Then: the signal that ends the service at once, its children, the rest.
/// A signal of death for the parent thread (`PR_SET_PDEATHSIG`) would not do: tests run on threads that end early.
const WATCHDOG: &str = r#"
read -r _
family="$1 $(cat /proc/"$1"/task/*/children 2>/dev/null)"
kill -"$2" "$1" 2>/dev/null
kill -CONT $family 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
  kill -0 "$1" 2>/dev/null || break
  sleep 0.2
done
kill -KILL $family 2>/dev/null
[ -z "$3" ] || umount -l "$3" 2>/dev/null
# Its last process may still write while this removes.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  [ -n "$4" ] && [ -e "$4" ] || break
  rm -rf -- "$4" 2>/dev/null || sleep 0.5
done
"#;

/// What is left to do when a service ends without being stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastWill<'a> {
    /// The signal that ends it at once and lets it give back what outlives a process.
    pub(super) signal: Signal,
    /// A file system to unmount.
    pub(super) mounted: Option<&'a Path>,
    /// A folder to remove.
    pub(super) remove: Option<&'a Path>,
}

/// The running processes of a service. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Process,
    watchdog: Child,
    /// Where in the log this run begins; the file goes on over restarts.
    log_begin: usize,
}

impl Daemon {
    /// Starts the program.
    pub(super) fn start(program: Program, log: &Path, will: LastWill<'_>) -> anyhow::Result<Self> {
        let log_begin = std::fs::metadata(log).map_or(0, |file| file.len());
        let mut process = program.start()?;
        let watchdog = watch(process.pid(), will);
        let watchdog = match watchdog {
            Ok(watchdog) => watchdog,
            Err(error) => {
                process.kill()?;
                return Err(error);
            }
        };
        Ok(Self {
            process,
            watchdog,
            log_begin: usize::try_from(log_begin).unwrap_or(usize::MAX),
        })
    }

    /// Its first process.
    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until its log of this run holds a text.
    pub(super) async fn until_logged(&mut self, text: &str, within: Duration) -> anyhow::Result<()> {
        let (log, begin) = (self.process.log().to_owned(), self.log_begin);
        let what = format!("`{text}` in the log");
        self.process
            .until_ready(&what, within, || {
                let bytes = std::fs::read(&log).ok()?;
                let said = String::from_utf8_lossy(bytes.get(begin..)?).into_owned();
                said.contains(text).then_some(())
            })
            .await
    }

    /// Whether the log of this run holds a text.
    pub(super) fn logged(&self, text: &str) -> bool {
        let bytes = std::fs::read(self.process.log()).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.log_begin..).unwrap_or_default()).contains(text)
    }

    /// SIGKILL of all its processes; none of them runs afterwards.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        // The first one cannot start others while it stands still.
        self.process.stop()?;
        let family = family(self.process.pid());
        self.process.kill()?;
        send(&family, Signal::SIGKILL);
        until_gone(&family)
    }

    /// SIGSTOP of all its processes: their sockets stay open and silent.
    pub(super) fn freeze(&mut self) -> anyhow::Result<()> {
        self.process.stop()?;
        send(&family(self.process.pid()), Signal::SIGSTOP);
        Ok(())
    }

    /// SIGCONT of all its processes.
    pub(super) fn thaw(&mut self) -> anyhow::Result<()> {
        send(&family(self.process.pid()), Signal::SIGCONT);
        self.process.resume()
    }

    /// Ends it in order by the signal that asks for it.
    pub(super) async fn end(mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        self.process.signal(signal)?;
        let ended = self.process.wait(ENDS_WITHIN).await;
        if ended.is_err() {
            let tail = self.process.log_tail();
            self.kill()?;
            bail!(
                "{} did not end within {} s of {signal} and was killed. Its log {} ends with:\n{tail}",
                self.process.name(),
                ENDS_WITHIN.as_secs(),
                self.process.log().display(),
            );
        }
        ended
    }

    /// Ends it at once by a signal that it knows, from a place that cannot wait asynchronously.
    pub(super) fn end_now(&mut self, signal: Signal) {
        let family = family(self.process.pid());
        let asked = self.process.signal(signal).and_then(|()| self.thaw());
        let end = Instant::now() + GONE_WITHIN;
        while asked.is_ok() && self.process.ended().is_none() && Instant::now() < end {
            sleep(STEP);
        }
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
        send(&family, Signal::SIGKILL);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.ended().is_none()
            && let Err(error) = self.kill()
        {
            eprintln!("{error:#}");
        }
        // Only now: until here somebody had to look after the processes.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

fn watch(pid: u32, will: LastWill<'_>) -> anyhow::Result<Child> {
    let signal = will.signal.as_str().trim_start_matches("SIG");
    let path = |path: Option<&Path>| path.map(PathBuf::from).unwrap_or_default();
    Command::new("/bin/sh")
        .args(["-c", WATCHDOG, "watchdog", &pid.to_string(), signal])
        .args([path(will.mounted), path(will.remove)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        // A Ctrl-C in the terminal is not for it.
        .process_group(0)
        .spawn()
        .context("cannot start the watchdog (/bin/sh)")
}

/// All descendants of a process. A process group would not do: each of PostgreSQL's processes leads one of its own.
fn family(pid: u32) -> Vec<Pid> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some((_, parent)) = state_and_parent(child) {
            parents.push((child, parent));
        }
    }
    let mut family = vec![i32::try_from(pid).unwrap_or(i32::MAX)];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    family.into_iter().skip(1).map(Pid::from_raw).collect()
}

/// From `/proc/PID/stat`: `PID (name) STATE PARENT …`; the name may hold spaces and brackets.
fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?.chars().next()?;
    Some((state, words.next()?.parse().ok()?))
}

fn send(family: &[Pid], signal: Signal) {
    for pid in family {
        // One that has ended meanwhile needs no signal.
        let _ = kill(*pid, signal);
    }
}

fn until_gone(family: &[Pid]) -> anyhow::Result<()> {
    let end = Instant::now() + GONE_WITHIN;
    for pid in family {
        // A dead one that nobody has asked after yet (Z) holds nothing any more.
        while state_and_parent(pid.as_raw()).is_some_and(|(state, _)| state != 'Z' && state != 'X') {
            if Instant::now() > end {
                bail!("process {pid} outlived SIGKILL");
            }
            sleep(STEP);
        }
    }
    Ok(())
}
