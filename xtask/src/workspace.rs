//! Folders of this workspace, and commands run in it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The programs of the product, by package and binary name.
pub(crate) const PROGRAMS: [&str; 3] = ["fleet-server", "device-agent", "ecu-sim"];

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    let configured = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(configured)
}

/// What belongs to these commands and to no commit: tools, stamps.
pub(crate) fn own_dir() -> PathBuf {
    root().join(".xtask")
}

/// A program built in the development profile.
pub(crate) fn binary(name: &str) -> PathBuf {
    target_dir().join("debug").join(name)
}

/// A command in the repository's root.
pub(crate) fn command(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// A cargo command: the same cargo that runs this.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// An npm command in `ui/`.
pub(crate) fn npm() -> Command {
    let mut npm = command("npm");
    npm.current_dir(root().join("ui"))
        .env("npm_config_fund", "false")
        .env("npm_config_audit", "false");
    npm.env("npm_config_update_notifier", "false")
        .env("NO_COLOR", "1");
    npm
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let words = words.join(" ");
    match words.split_once('/') {
        // The path of cargo itself says nothing.
        Some((_, rest)) if words.starts_with('/') => {
            let (program, arguments) = rest.split_once(' ').unwrap_or((rest, ""));
            format!("{} {arguments}", program.rsplit('/').next().unwrap_or(program))
        }
        _ => words,
    }
}

/// Runs a command with its output in a file.
///
/// # Errors
/// When it cannot be started or fails: with the end of its output and where the rest is.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> anyhow::Result<String> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone().context("cannot open the log twice")?;
    let what = shown(command);
    let status = command.stdout(file).stderr(errors).status();
    let status = status
        .with_context(|| format!("cannot start `{what}`; `cargo xtask doctor` says what is missing"))?;
    let output = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    if !status.success() {
        bail!(
            "`{what}` failed ({status}). Log: {}. It ends with:\n{}",
            log.display(),
            tail(&output, 60)
        );
    }
    Ok(output)
}

/// The last lines of a text, without those that read like the closing line of a test run.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().filter(|line| !closes_a_run(line)).collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}

/// Whether a line counts tests: only the gate's own last line may.
fn closes_a_run(line: &str) -> bool {
    counts(line).is_some() || line.trim_start().starts_with("test result:")
}

/// Reads `N passed, N failed`, alone on a line.
pub(crate) fn counts(line: &str) -> Option<(u64, u64)> {
    let (passed, failed) = line.trim().strip_suffix(" failed")?.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_closing_line_counts() {
        assert_eq!(counts("12 passed, 3 failed"), Some((12, 3)));
        assert_eq!(counts("  0 passed, 1 failed\n"), Some((0, 1)));
        for line in [
            "",
            "12 passed",
            "12 passed, 3 failed, 1 skipped",
            "ui: 1 passed, 0 failed",
            "x passed, 1 failed",
        ] {
            assert_eq!(counts(line), None, "{line}");
        }
    }

    #[test]
    fn the_end_of_a_log_holds_no_closing_line_of_another_tool() {
        let log = "one\ntest result: FAILED. 1 passed; 1 failed;\ntwo\n1 passed, 1 failed\nthree\n";
        assert_eq!(tail(log, 2), "two\nthree");
        assert_eq!(tail(log, 60), "one\ntwo\nthree");
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        assert_eq!(shown(command.args(["test", "-p", "a/b"])), "cargo test -p a/b");
        assert_eq!(shown(Command::new("npm").arg("ci")), "npm ci");
    }
}
