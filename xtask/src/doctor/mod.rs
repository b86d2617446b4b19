//! What this machine has and lacks, and what would install it.

mod apt;
mod version;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::bail;
use fleet_testkit::services::{Jars, ServiceProgram};

use crate::workspace::{cargo, command, own_dir, shown};
use apt::{privileged, succeed};
use version::{State, Version, any, at_least, first_line, version};

/// The version that is installed into `.xtask/`; nothing global is touched.
const CARGO_DENY: &str = "0.20.2";
/// A Node.js release line from the npm registry, for distributions whose own is too old.
const NODE_FROM_NPM: &str = "node@22";
const NODE: Version = Version(20, 19);
const RUST: Version = Version(1, 95);
const JAVA: Version = Version(17, 0);
const POSTGRES: Version = Version(15, 0);

/// Something that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Rust,
    CCompiler,
    /// librdkafka is C and, in part, C++; its TLS (OpenSSL) is built by a Perl script.
    CppCompiler,
    Make,
    Perl,
    Node,
    Npm,
    Chromium,
    CargoDeny,
    Postgres,
    Mosquitto,
    Jdk,
    Maven,
    Kafka,
    Hivemq,
    /// The server, and the tool that checks rules.
    Prometheus,
    Python,
}

/// What the programs of the product and their page are built with: enough for the demo.
pub(crate) const FOR_DEMO: [Need; 7] = [
    Need::Rust,
    Need::CCompiler,
    Need::CppCompiler,
    Need::Make,
    Need::Perl,
    Need::Node,
    Need::Npm,
];
/// What the demo of a plant needs besides.
pub(crate) const FOR_PLANT: [Need; 5] = [
    Need::Postgres,
    Need::Mosquitto,
    Need::Jdk,
    Need::Maven,
    Need::Kafka,
];
/// What the tests need besides both.
const FOR_TESTS: [Need; 5] = [
    Need::Hivemq,
    Need::Prometheus,
    Need::Python,
    Need::Chromium,
    Need::CargoDeny,
];

/// Everything that any command needs.
pub(crate) fn everything() -> Vec<Need> {
    [&FOR_DEMO[..], &FOR_PLANT, &FOR_TESTS].concat()
}

impl Need {
    fn name(self) -> String {
        match self {
            Self::Rust => "Rust toolchain",
            Self::CCompiler => "C compiler",
            Self::CppCompiler => "C++ compiler",
            Self::Make => "make",
            Self::Perl => "Perl",
            Self::Node => "Node.js",
            Self::Npm => "npm",
            Self::Postgres => "PostgreSQL server",
            Self::Mosquitto => "Mosquitto",
            Self::Jdk => "Java compiler",
            Self::Maven => "Maven",
            Self::Kafka => return Jars::Kafka.title(),
            Self::Hivemq => return Jars::Hivemq.title(),
            Self::Prometheus => "Prometheus",
            Self::Python => "Python with venv",
            Self::Chromium => "Chromium",
            Self::CargoDeny => "cargo-deny",
        }
        .to_owned()
    }

    fn state(self) -> State {
        let says = |program: &str| first_line(command(program).arg("--version"));
        match self {
            Self::Rust => at_least(says("rustc"), RUST),
            Self::CCompiler => any(says("cc")),
            Self::CppCompiler => any(says("c++")),
            Self::Make => any(says("make")),
            // The small Perl of a bare Debian lacks modules that OpenSSL's build uses.
            Self::Perl => any(first_line(command("perl").args([
                "-MIPC::Cmd",
                "-MFindBin",
                "-MTime::Piece",
                "-e",
                "print qq(Perl $^V\\n)",
            ]))),
            Self::Node => at_least(says("node"), NODE),
            Self::Npm => any(says("npm")),
            Self::Postgres => at_least(of_service(ServiceProgram::Postgres, "--version"), POSTGRES),
            Self::Mosquitto => {
                any(found(ServiceProgram::MosquittoPasswd).and(found(ServiceProgram::Mosquitto)))
            }
            Self::Jdk => at_least(of_service(ServiceProgram::Javac, "--version"), JAVA),
            Self::Maven => any(found(ServiceProgram::Maven)),
            Self::Kafka => jars(Jars::Kafka),
            Self::Hivemq => jars(Jars::Hivemq),
            Self::Prometheus => any(found(ServiceProgram::Promtool).and(found(ServiceProgram::Prometheus))),
            Self::Python => any(first_line(command("python3").args([
                "-c",
                "import sys, venv, ensurepip; print('Python', sys.version.split()[0])",
            ]))),
            Self::Chromium => any(chromium().map(|path| path.display().to_string())),
            Self::CargoDeny => match first_line(command(cargo_deny()).arg("--version")) {
                Some(found) if found.ends_with(CARGO_DENY) => State::Found(found),
                Some(found) => State::TooOld(found),
                None => State::Missing,
            },
        }
    }

    fn is_met(self) -> bool {
        matches!(self.state(), State::Found(_))
    }

    fn wanted(self) -> String {
        match self {
            Self::Rust => format!("{RUST} or newer, with clippy and rustfmt"),
            Self::Node => format!("{NODE} or newer"),
            Self::Jdk => format!("{JAVA} or newer"),
            Self::Postgres => format!("{POSTGRES} or newer"),
            Self::CargoDeny => CARGO_DENY.to_owned(),
            _ => "any".to_owned(),
        }
    }

    /// Debian's packages.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::CCompiler => &["gcc", "libc6-dev"],
            Self::CppCompiler => &["g++"],
            Self::Make => &["make"],
            Self::Perl => &["perl"],
            Self::Node => &["nodejs", "npm"],
            Self::Npm => &["npm"],
            Self::Postgres => &["postgresql"],
            Self::Mosquitto => &["mosquitto"],
            Self::Jdk => &["default-jdk-headless"],
            Self::Maven => &["maven"],
            Self::Prometheus => &["prometheus"],
            Self::Python => &["python3", "python3-venv"],
            Self::Chromium => &["chromium"],
            Self::Rust | Self::Kafka | Self::Hivemq | Self::CargoDeny => &[],
        }
    }

    /// The one command that installs it.
    fn remedy(self) -> String {
        let apt = format!("apt-get install -y {}", self.packages().join(" "));
        match self {
            Self::Rust => format!("rustup toolchain install {RUST}.0 --component clippy,rustfmt"),
            Self::Node if debian_node() < Some(NODE) => {
                format!("{apt} && npm install --global {NODE_FROM_NPM}")
            }
            Self::Kafka | Self::Hivemq => "cargo xtask doctor --install".to_owned(),
            Self::CargoDeny => shown(&install_cargo_deny()),
            _ => apt,
        }
    }

    /// What packages cannot bring. Called after they are installed.
    fn install(self) -> anyhow::Result<()> {
        match self {
            Self::Rust => bail!("run `{}`", self.remedy()),
            Self::Node if debian_node() < Some(NODE) => {
                succeed(privileged("npm")?.args(["install", "--global", NODE_FROM_NPM]))
            }
            Self::Kafka => Jars::Kafka.provide().map(drop),
            Self::Hivemq => Jars::Hivemq.provide().map(drop),
            Self::CargoDeny => succeed(&mut install_cargo_deny()),
            _ => Ok(()),
        }
    }
}

/// `cargo xtask doctor`.
pub(crate) fn run(install: bool) -> anyhow::Result<ExitCode> {
    let mut lacking = Vec::new();
    for need in everything() {
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
    let missing: Vec<_> = needs.iter().copied().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|need| need.name()).collect();
    println!("  installing {}", names.join(", "));
    let packages: Vec<_> = missing.iter().flat_map(|need| need.packages()).copied().collect();
    let by_apt = if packages.is_empty() {
        Ok(())
    } else {
        apt::install(&packages)
    };
    let mut faults = Vec::new();
    for need in missing {
        let done = need.install();
        if need.is_met() {
            continue;
        }
        let why = match (done, &by_apt) {
            (Err(error), _) => format!(" ({error:#})"),
            (Ok(()), Err(error)) => format!(" ({error:#})"),
            (Ok(()), Ok(())) => String::new(),
        };
        faults.push(format!(
            "{} {} is missing{why}; next: {}",
            need.name(),
            need.wanted(),
            need.remedy()
        ));
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

fn found(program: ServiceProgram) -> Option<String> {
    program.find().map(|path| path.display().to_string())
}

fn of_service(program: ServiceProgram, question: &str) -> Option<String> {
    first_line(command(program.find()?).arg(question))
}

fn jars(jars: Jars) -> State {
    if !jars.are_here() {
        return State::Missing;
    }
    any(jars.place().ok().map(|place| place.display().to_string()))
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
