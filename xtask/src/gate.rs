//! `cargo xtask test`: everything that is checked, in order, with one closing line.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fleet_testkit::Program;

use crate::doctor::{cargo_deny, chromium, everything, provide};
use crate::page;
use crate::workspace::{cargo, command, counts, npm, run_logged, target_dir};

/// The demo's programs are built by then, but a cold machine may be slow.
const PAGE_WITHIN: Duration = Duration::from_mins(10);
/// It ends three benches, a server and the vehicles in order.
const DEMO_ENDS_WITHIN: Duration = Duration::from_mins(1);

/// How a part went. A part that counts no tests is one check.
struct Part {
    name: &'static str,
    passed: u64,
    failed: u64,
    took: Duration,
    fault: Option<String>,
}

/// Passed and failed tests, and what went wrong if something did.
type Outcome = (u64, u64, Option<String>);

struct Gate {
    logs: PathBuf,
    parts: Vec<Part>,
}

/// Runs all parts. A failed part does not stop the others; what needs a failed part fails with it.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let logs = target_dir().join("xtask/test");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let mut gate = Gate {
        logs,
        parts: Vec::new(),
    };
    gate.check("set-up", |_| provide(&everything()));
    gate.check("format", |logs| {
        logged(cargo().args(["fmt", "--all", "--check"]), &logs.join("fmt.log"))
    });
    gate.check("licences", |logs| {
        let checks = ["check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
        logged(command(cargo_deny()).args(checks), &logs.join("deny.log"))
    });
    gate.check("page: packages", page::install);
    if gate.passed("page: packages") {
        gate.check("page: types, lint", |logs| {
            logged(npm().args(["run", "check"]), &logs.join("ui-check.log"))
        });
        gate.tests("page: unit tests", |logs| {
            vitest(npm().args(["run", "test"]), &logs.join("ui-test.log"))
        });
        gate.check("page: build", page::build);
    } else {
        gate.not_run(
            &["page: types, lint", "page: unit tests", "page: build"],
            "the packages are missing",
        );
    }
    gate.check("clippy", |logs| {
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        logged(cargo().args(clippy), &logs.join("clippy.log"))
    });
    gate.tests("tests", |logs| {
        cargo_tests(
            cargo().args(["test", "--workspace", "--no-fail-fast"]),
            &logs.join("cargo-test.log"),
        )
    });
    gate.check("generated files", |logs| {
        own(&["generate", "--check"], &logs.join("generate.log"))
    });
    gate.check("demo", demo);
    gate.check("demo of a plant", |logs| {
        own(&["demo", "--plant", "--once"], &logs.join("demo-plant.log"))
    });
    if gate.passed("page: build") {
        gate.tests("page: in Chromium", |logs| {
            vitest(&mut browser_tests()?, &logs.join("ui-browser.log"))
        });
        gate.tests("page: of a server", page_of_a_server);
    } else {
        gate.not_run(
            &["page: in Chromium", "page: of a server"],
            "the page was not built",
        );
    }
    Ok(gate.close())
}

impl Gate {
    fn check(&mut self, name: &'static str, part: impl FnOnce(&Path) -> anyhow::Result<()>) {
        self.tests(name, |logs| part(logs).map(|()| (1, 0, None)));
    }

    fn tests(&mut self, name: &'static str, part: impl FnOnce(&Path) -> anyhow::Result<Outcome>) {
        println!("{name} …");
        let start = Instant::now();
        let (passed, failed, fault) =
            part(&self.logs).unwrap_or_else(|error| (0, 1, Some(format!("{error:#}"))));
        if let Some(fault) = &fault {
            println!("{name} FAILED\n{fault}\n");
        }
        self.parts.push(Part {
            name,
            passed,
            failed,
            took: start.elapsed(),
            fault,
        });
    }

    fn not_run(&mut self, names: &[&'static str], why: &str) {
        for name in names {
            self.tests(name, |_| bail!("not run: {why}"));
        }
    }

    fn passed(&self, name: &str) -> bool {
        self.parts
            .iter()
            .any(|part| part.name == name && part.failed == 0)
    }

    /// The table and the closing line, which is the last one that is printed.
    fn close(&self) -> ExitCode {
        println!("\n{:<20} {:>8} {:>8} {:>9}", "part", "passed", "failed", "time");
        for part in &self.parts {
            let mark = if part.failed > 0 { "  <- failed" } else { "" };
            let seconds = part.took.as_secs_f32();
            println!(
                "{:<20} {:>8} {:>8} {seconds:>7.1} s{mark}",
                part.name, part.passed, part.failed
            );
        }
        let took: Duration = self.parts.iter().map(|part| part.took).sum();
        println!(
            "logs: {}; {:.0} s in all",
            self.logs.display(),
            took.as_secs_f32()
        );
        let passed: u64 = self.parts.iter().map(|part| part.passed).sum();
        let failed: u64 = self.parts.iter().map(|part| part.failed).sum();
        println!("{passed} passed, {failed} failed");
        let fine = failed == 0 && self.parts.iter().all(|part| part.fault.is_none());
        if fine {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn logged(command: &mut Command, log: &Path) -> anyhow::Result<()> {
    run_logged(command, log).map(drop)
}

/// These commands themselves, as a process of their own, also while cargo replaces the file on disk.
fn own(args: &[&str], log: &Path) -> anyhow::Result<()> {
    logged(command("/proc/self/exe").args(args), log)
}

/// The demo on an empty folder, and once more on the same one.
fn demo(logs: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let data = folder.path().display().to_string();
    for log in ["demo.log", "demo-again.log"] {
        let args = ["demo", "--once", "--data", &data];
        if let Err(error) = own(&args, &logs.join(log)) {
            let kept = folder.keep();
            return Err(error.context(format!(
                "the data folder with all logs is kept: {}",
                kept.display()
            )));
        }
    }
    Ok(())
}

fn browser_tests() -> anyhow::Result<Command> {
    let path = chromium().context("Chromium is missing: `cargo xtask doctor --install`")?;
    let mut tests = npm();
    tests.args(["run", "test:browser"]).env("CHROMIUM", path);
    Ok(tests)
}

/// The page as a running server gives it, with the benches and jobs of the demo.
fn page_of_a_server(logs: &Path) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let data = folder.path().display().to_string();
    let log = logs.join("demo-page.log");
    if log.exists() {
        std::fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let mut demo = Program::new("demo", Path::new("/proc/self/exe"), &log)
            .args(["demo", "--data", &data])
            .start()?;
        let shown = demo.until_ready("the page's address", PAGE_WITHIN, || {
            page_address(&std::fs::read_to_string(&log).ok()?)
        });
        let tested = match shown.await {
            Ok(address) => browser_tests()
                .and_then(|mut tests| vitest(tests.env("PAGE_URL", address), &logs.join("ui-server.log"))),
            Err(error) => Err(error),
        };
        // Killed it would leave its own programs behind.
        let ended = demo.terminate(DEMO_ENDS_WITHIN).await?;
        if !ended.success() {
            bail!("the demo ended with {ended}, see {}", log.display());
        }
        tested
    })
}

/// What the demo says when its jobs are finished.
fn page_address(said: &str) -> Option<String> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("The page is at "))?;
    Some(line.split_once(". ")?.0.to_owned())
}

/// Runs tests with cargo and adds up what its runs say.
fn cargo_tests(command: &mut Command, log: &Path) -> anyhow::Result<Outcome> {
    let done = run_logged(command, log);
    let (passed, failed) = cargo_counts(&std::fs::read_to_string(log).unwrap_or_default());
    outcome(passed, failed, done)
}

/// Runs the page's tests, whose reporter ends with a counting line.
fn vitest(command: &mut Command, log: &Path) -> anyhow::Result<Outcome> {
    let done = run_logged(command, log);
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let (passed, failed) = text.lines().rev().find_map(counts).unwrap_or_default();
    outcome(passed, failed, done)
}

/// A run that fails without a failed test (it did not compile, it crashed) is one failure; so is one without tests.
fn outcome(passed: u64, failed: u64, done: anyhow::Result<String>) -> anyhow::Result<Outcome> {
    match done {
        Ok(_) if passed + failed == 0 => bail!("no test was run"),
        Ok(_) if failed == 0 => Ok((passed, 0, None)),
        Ok(_) => Ok((
            passed,
            failed,
            Some("failed or ignored tests, but the runner ended with 0".to_owned()),
        )),
        Err(error) => Ok((passed, failed.max(1), Some(format!("{error:#}")))),
    }
}

/// Adds up the lines `test result: ok. 8 passed; 0 failed; 0 ignored; …`. An ignored test did not pass.
fn cargo_counts(text: &str) -> (u64, u64) {
    let (mut passed, mut failed) = (0, 0);
    for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let figure = |word: &str| {
            let part = line
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(word))?;
            part.trim().parse::<u64>().ok()
        };
        passed += figure("passed").unwrap_or(0);
        failed += figure("failed").unwrap_or(0) + figure("ignored").unwrap_or(0);
    }
    (passed, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: &str = "running 2 tests\ntest a ... ok\n\
        test result: ok. 8 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
        test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";

    #[test]
    fn the_results_of_all_test_programs_are_added_up_and_an_ignored_test_is_a_failed_one() {
        assert_eq!(cargo_counts(RUNS), (11, 3));
        assert_eq!(cargo_counts("error: could not compile"), (0, 0));
    }

    #[test]
    fn the_pages_address_is_said_when_the_jobs_are_finished() {
        let said =
            "page: http://127.0.0.1:1\nqueued 3 jobs\n\nThe page is at http://127.0.0.1:1. Ctrl-C ends it.\n";
        assert_eq!(page_address(said).as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(page_address("page: http://127.0.0.1:1\nqueued 3 jobs\n"), None);
    }

    #[test]
    fn a_run_without_tests_or_with_a_wrong_exit_code_is_no_success() {
        let fine = || Ok(String::new());
        assert!(outcome(0, 0, fine()).is_err());
        assert!(matches!(outcome(5, 0, fine()), Ok((5, 0, None))));
        assert!(matches!(outcome(5, 1, fine()), Ok((5, 1, Some(_)))));
        let crashed = Err(anyhow::anyhow!("signal 9"));
        assert!(matches!(outcome(5, 0, crashed), Ok((5, 1, Some(_)))));
    }
}
