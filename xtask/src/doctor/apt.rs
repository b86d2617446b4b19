//! Debian's packages, installed without starting their services.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::version::first_line;
use crate::workspace::{command, shown};

/// Debian's hook that says whether a package may start its services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs packages. None of their services is started.
///
/// # Errors
/// When this is no Debian, there is no right to install, or apt fails.
pub(super) fn install(packages: &[&str]) -> anyhow::Result<()> {
    if first_line(command("apt-get").arg("--version")).is_none() {
        bail!("this is no Debian: there is no apt-get");
    }
    let quiet = ["-q", "-y", "-o", "DPkg::Lock::Timeout=120"];
    let _policy = NoServices::begin()?;
    succeed(apt()?.args(quiet).arg("update"))?;
    succeed(
        apt()?
            .args(quiet)
            .args(["install", "--no-install-recommends"])
            .args(packages),
    )
}

/// A command with the rights to install: as root itself, else by sudo when that asks no password.
pub(super) fn privileged(program: &str) -> anyhow::Result<Command> {
    if first_line(command("id").arg("-u")).as_deref() == Some("0") {
        return Ok(command(program));
    }
    if first_line(command("sudo").args(["-n", "id", "-u"])).as_deref() == Some("0") {
        let mut sudo = command("sudo");
        sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", program]);
        return Ok(sudo);
    }
    bail!("no right to install here: neither root nor sudo without a password")
}

/// Runs a command and says it.
pub(super) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let what = shown(command);
    println!("  {what}");
    let output = command
        .output()
        .with_context(|| format!("cannot start `{what}`"))?;
    if !output.status.success() {
        bail!(
            "`{what}` failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

fn apt() -> anyhow::Result<Command> {
    let mut apt = privileged("apt-get")?;
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(apt)
}

/// While this lives, packages that are installed start no services.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> anyhow::Result<Self> {
        if Path::new(POLICY).exists() {
            // Somebody's own policy stays as it is.
            return Ok(Self { ours: false });
        }
        let policy = tempfile::NamedTempFile::new().context("cannot make a file")?;
        std::fs::write(policy.path(), "#!/bin/sh\nexit 101\n").context("cannot write a file")?;
        succeed(
            privileged("install")?
                .args(["-m", "755"])
                .arg(policy.path())
                .arg(POLICY),
        )?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Ok(mut remove) = privileged("rm")
            && let Err(error) = remove.args(["-f", POLICY]).stdout(Stdio::null()).status()
        {
            eprintln!(
                "cannot remove {POLICY}: {error}; remove it by hand, it keeps packages from starting services"
            );
        }
    }
}
