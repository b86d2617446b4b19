//! What this machine has and lacks, and what would install it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};

use crate::workspace::{cargo, command, own_dir, shown};

/// The version that is installed into `.xtask/`; nothing global is touched.
const CARGO_DENY: &str = "0.20.2";
/// A Node.js release line from the npm registry, for distributions whose own is too old.
const NODE_FROM_NPM: &str = "node@22";
const NODE: Version = Version(20, 19);
const RUST: Version = Version(1, 95);
/// Debian's hook that says whether a package may start its services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Something that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Rust,
    CCompiler,
    Node,
    Npm,
    Chromium,
    CargoDeny,
}

/// What the demo needs; the tests need all.
pub(crate) const FOR_DEMO: [Need; 4] = [Need::Rust, Need::CCompiler, Need::Node, Need::Npm];
pub(crate) const FOR_TESTS: [Need; 6] = [
    Need::Rust,
    Need::CCompiler,
    Need::Node,
    Need::Npm,
    Need::Chromium,
    Need::CargoDeny,
];

/// What was found.
enum State {
    Found(String),
    TooOld(String),
    Missing,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust toolchain",
            Self::CCompiler => "C compiler",
            Self::Node => "Node.js",
            Self::Npm => "npm",
            Self::Chromium => "Chromium (tests)",
            Self::CargoDeny => "cargo-deny (tests)",
        }
    }

    fn state(self) -> State {
        match self {
            Self::Rust => at_least(first_line(command("rustc").arg("--version")), RUST),
            Self::CCompiler => any(first_line(command("cc").arg("--version"))),
            Self::Node => at_least(first_line(command("node").arg("--version")), NODE),
            Self::Npm => any(first_line(command("npm").arg("--version"))),
            Self::Chromium => any(chromium().map(|path| path.display().to_string())),
            Self::CargoDeny => match first_line(command(cargo_deny()).arg("--version")) {
                Some(found) if found.ends_with(CARGO_DENY) => State::Found(found),
                Some(found) => State::TooOld(found),
                None => State::Missing,
            },
        }
    }

    fn wanted(self) -> String {
        match self {
            Self::Rust => format!("{RUST} or newer, with clippy and rustfmt"),
            Self::Node => format!("{NODE} or newer"),
            Self::CargoDeny => CARGO_DENY.to_owned(),
            Self::CCompiler | Self::Npm | Self::Chromium => "any".to_owned(),
        }
    }

    /// The one command that installs it.
    fn remedy(self) -> String {
        match self {
            Self::Rust => format!("rustup toolchain install {RUST}.0 --component clippy,rustfmt"),
            Self::CCompiler => "apt-get install -y gcc libc6-dev".to_owned(),
            Self::Node if debian_node() >= Some(NODE) => "apt-get install -y nodejs npm".to_owned(),
            Self::Node => format!("apt-get install -y nodejs npm && npm install --global {NODE_FROM_NPM}"),
            Self::Npm => "apt-get install -y npm".to_owned(),
            Self::Chromium => "apt-get install -y chromium".to_owned(),
            Self::CargoDeny => shown(&install_cargo_deny()),
        }
    }

    fn install(self) -> anyhow::Result<()> {
        match self {
            Self::Rust => bail!("run `{}`", self.remedy()),
            Self::CCompiler => apt_install(&["gcc", "libc6-dev"]),
            Self::Node => {
                apt_install(&["nodejs", "npm"])?;
                if debian_node() < Some(NODE) {
                    succeed(privileged("npm")?.args(["install", "--global", NODE_FROM_NPM]))?;
                }
                Ok(())
            }
            Self::Npm => apt_install(&["npm"]),
            Self::Chromium => apt_install(&["chromium"]),
            Self::CargoDeny => succeed(&mut install_cargo_deny()),
        }
    }
}

/// `cargo xtask doctor`.
pub(crate) fn run(install: bool) -> anyhow::Result<ExitCode> {
    let mut lacking = Vec::new();
    for need in FOR_TESTS {
        let (mark, found) = match need.state() {
            State::Found(found) => ("ok", found),
            State::TooOld(found) => ("too old", found),
            State::Missing => ("missing", String::new()),
        };
        println!(
            "{mark:>8}  {:<20} {:<44} needed: {}",
            need.name(),
            clipped(&found),
            need.wanted()
        );
        if mark != "ok" {
            lacking.push(need);
        }
    }
    if lacking.is_empty() {
        println!("nothing is missing: `cargo xtask demo`");
        return Ok(ExitCode::SUCCESS);
    }
    if install {
        provide(&lacking)?;
        println!("installed: `cargo xtask demo`");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\n`cargo xtask doctor --install` installs what it can; by hand:");
    for need in lacking {
        println!("  {}", need.remedy());
    }
    Ok(ExitCode::FAILURE)
}

/// Makes sure that all this is there, installing what can be installed.
///
/// # Errors
/// Names everything that is still missing, each with the one command that installs it.
pub(crate) fn provide(needs: &[Need]) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for need in needs {
        if matches!(need.state(), State::Found(_)) {
            continue;
        }
        println!("  installing {}", need.name());
        let done = need.install();
        if !matches!(need.state(), State::Found(_)) {
            let why = done
                .err()
                .map(|error| format!(" ({error:#})"))
                .unwrap_or_default();
            faults.push(format!(
                "{} {} is missing{why}; next: {}",
                need.name(),
                need.wanted(),
                need.remedy()
            ));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        bail!("{}", faults.join("\n"))
    }
}

/// Where Chromium is.
pub(crate) fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

/// Where cargo-deny is, or will be.
pub(crate) fn cargo_deny() -> PathBuf {
    own_dir().join("bin/cargo-deny")
}

fn install_cargo_deny() -> Command {
    let mut install = cargo();
    // Unoptimized: it runs for a second, its optimized build takes minutes.
    install.args([
        "install",
        "--quiet",
        "--locked",
        "--debug",
        "--version",
        CARGO_DENY,
        "--root",
        ".xtask",
        "cargo-deny",
    ]);
    install
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .map(|line| line.trim().to_owned())
}

fn any(found: Option<String>) -> State {
    found.map_or(State::Missing, State::Found)
}

fn at_least(found: Option<String>, needed: Version) -> State {
    match found {
        Some(text) if version(&text) >= Some(needed) => State::Found(text),
        Some(text) => State::TooOld(text),
        None => State::Missing,
    }
}

/// The first `major.minor` in a text such as `rustc 1.95.0 (…)` or `v20.19.2`.
fn version(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split('.');
        Some(Version(
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
        ))
    })
}

fn clipped(text: &str) -> String {
    text.chars().take(44).collect()
}

/// The version that Debian's archive offers.
fn debian_node() -> Option<Version> {
    let output = command("apt-cache").args(["policy", "nodejs"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| version(line.trim().strip_prefix("Candidate:")?))
}

/// A command with the rights to install: as root itself, else by sudo when that asks no password.
fn privileged(program: &str) -> anyhow::Result<Command> {
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

fn succeed(command: &mut Command) -> anyhow::Result<()> {
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

fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, found) in [
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some(Version(1, 95))),
            ("v20.19.2", Some(Version(20, 19))),
            ("18.19.0+dfsg-6~deb12u2", Some(Version(18, 19))),
            ("(none)", None),
            ("", None),
        ] {
            assert_eq!(version(text), found, "{text}");
        }
    }

    #[test]
    fn a_version_below_the_needed_one_is_too_old_and_none_is_missing() {
        let state = |text: Option<&str>| at_least(text.map(ToOwned::to_owned), NODE);
        assert!(matches!(state(Some("v20.19.0")), State::Found(_)));
        assert!(matches!(state(Some("v22.1.0")), State::Found(_)));
        assert!(matches!(state(Some("v20.18.3")), State::TooOld(_)));
        assert!(matches!(state(Some("not a version")), State::TooOld(_)));
        assert!(matches!(state(None), State::Missing));
    }
}
