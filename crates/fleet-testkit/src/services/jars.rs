//! What is loaded or made once per target folder: the jars of Kafka and HiveMQ, PostgreSQL's template.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::programs::ServiceProgram;

const KAFKA: &str = "4.3.1";
const HIVEMQ: &str = "2025.5";

/// The folder for services below cargo's target folder; it is made.
///
/// # Errors
/// When it cannot be made.
pub fn folder() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let folder = root.join(target).join("services");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    folder
        .canonicalize()
        .with_context(|| format!("cannot find {}", folder.display()))
}

/// A lock file, not yet locked.
pub(super) fn lock_file(name: &str) -> anyhow::Result<File> {
    let path = folder()?.join(format!("{name}.lock"));
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Waits for a lock among all processes that use this target folder.
pub(super) fn locked(name: &str) -> anyhow::Result<File> {
    let lock = lock_file(name)?;
    lock.lock().with_context(|| format!("cannot lock {name}.lock"))?;
    Ok(lock)
}

/// A program that comes as jars of the Maven registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jars {
    /// Apache Kafka.
    Kafka,
    /// HiveMQ CE and the small program that embeds it.
    Hivemq,
}

impl Jars {
    /// Its name and version, for messages.
    pub fn title(self) -> String {
        match self {
            Self::Kafka => format!("Apache Kafka {KAFKA}"),
            Self::Hivemq => format!("HiveMQ CE {HIVEMQ}"),
        }
    }

    /// Where the jars are once they are loaded.
    ///
    /// # Errors
    /// When the target folder cannot be made.
    pub fn place(self) -> anyhow::Result<PathBuf> {
        Ok(folder()?.join(match self {
            Self::Kafka => format!("kafka-{KAFKA}"),
            Self::Hivemq => format!("hivemq-{HIVEMQ}"),
        }))
    }

    /// Whether they are loaded.
    pub fn are_here(self) -> bool {
        self.place().is_ok_and(|place| place.is_dir())
    }

    /// Loads them unless they are here; gives their folder. Waits for another process that is loading them.
    ///
    /// # Errors
    /// When Java or Maven is missing, or Maven fails (its output is in the message).
    pub fn provide(self) -> anyhow::Result<PathBuf> {
        let place = self.place()?;
        let name = place.file_name().unwrap_or_default().display().to_string();
        let _lock = locked(&name)?;
        if place.is_dir() {
            return Ok(place);
        }
        let new = place.with_file_name(format!("{name}.new"));
        if new.exists() {
            std::fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("services")
            .join(match self {
                Self::Kafka => "kafka",
                Self::Hivemq => "hivemq",
            });
        load(&source, &new, self.version())?;
        if self == Self::Hivemq {
            compile(&source.join("Broker.java"), &new)?;
        }
        std::fs::rename(&new, &place).with_context(|| format!("cannot rename {}", new.display()))?;
        Ok(place)
    }

    fn version(self) -> &'static str {
        match self {
            Self::Kafka => KAFKA,
            Self::Hivemq => HIVEMQ,
        }
    }
}

/// The jars of a pom and all that they need. Maven's own plugins are named with their versions, so that the result
/// does not change with the Maven that is installed.
fn load(source: &Path, place: &Path, version: &str) -> anyhow::Result<()> {
    let mut maven = Command::new(ServiceProgram::Maven.path()?);
    maven
        .args(["--batch-mode", "--no-transfer-progress", "-f"])
        .arg(source.join("pom.xml"))
        .arg(format!("-Dservice.version={version}"))
        .arg(format!("-Dservice.folder={}", place.display()))
        .arg("package");
    succeed(&mut maven)
}

fn compile(source: &Path, place: &Path) -> anyhow::Result<()> {
    let mut javac = Command::new(ServiceProgram::Javac.path()?);
    javac
        .arg("-cp")
        .arg(place.join("*"))
        .arg("-d")
        .arg(place)
        .arg(source);
    succeed(&mut javac)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
