//! Runs one proof on the copy of the tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::table::{Proof, reported};
use crate::workspace::tail;

/// How a proof went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It passed: on a mutant, nobody noticed.
    Passed,
    /// It failed, and its judgement says what was expected.
    Found(String),
    /// It says nothing about the rule: it did not compile, ran too long, or failed for another reason.
    Error(String),
}

/// Where a proof runs.
pub(crate) struct Place<'a> {
    /// Root of the copy.
    pub(crate) tree: &'a Path,
    /// Folder of built files.
    pub(crate) target: &'a Path,
    /// Folder of logs.
    pub(crate) logs: &'a Path,
}

/// Builds and runs a proof; `name` is that of its logs.
pub(crate) fn run(
    proof: &Proof,
    env: &BTreeMap<String, String>,
    expect: &[String],
    name: &str,
    place: &Place<'_>,
) -> anyhow::Result<Outcome> {
    let build = step(&proof.build, proof, env, place, &format!("{name}-build"))?;
    // Building takes as long as it takes.
    let (ended, output) = build.wait(Duration::from_hours(2))?;
    match ended {
        Some(status) if status.success() => {}
        _ => {
            return Ok(Outcome::Error(format!(
                "it does not compile:\n{}",
                tail(&output, 25)
            )));
        }
    }
    let report = place.logs.join(format!("{name}.json"));
    let mut words = proof.run.clone();
    if proof.report {
        // One of an earlier run says nothing of this one.
        let _ = std::fs::remove_file(&report);
        words.extend(["--report".to_owned(), report.display().to_string()]);
    }
    let run = step(&words, proof, env, place, name)?;
    let log = run.log.clone();
    let (ended, output) = run.wait(Duration::from_secs(proof.seconds))?;
    let finding = if proof.report {
        let report = std::fs::read(&report).unwrap_or_default();
        reported(&serde_json::from_slice(&report).unwrap_or_default(), expect)
    } else {
        proof.finding(&output, expect)
    };
    Ok(judge(proof, expect, ended, finding, &output, &log))
}

/// What an ended proof says. A failure without the expected judgement proves nothing.
fn judge(
    proof: &Proof,
    expect: &[String],
    ended: Option<ExitStatus>,
    finding: Option<String>,
    output: &str,
    log: &Path,
) -> Outcome {
    match ended {
        Some(status) if status.success() => Outcome::Passed,
        Some(status) => match finding {
            Some(finding) => Outcome::Found(finding),
            None => Outcome::Error(format!(
                "it ended with {status}, and no judgement says {}; log: {}\n{}",
                expect.join(" or "),
                log.display(),
                tail(output, 15)
            )),
        },
        None => Outcome::Error(format!(
            "it did not end within {} s; log: {}",
            proof.seconds,
            log.display()
        )),
    }
}

struct Step {
    child: std::process::Child,
    log: PathBuf,
}

fn step(
    words: &[String],
    proof: &Proof,
    env: &BTreeMap<String, String>,
    place: &Place<'_>,
    name: &str,
) -> anyhow::Result<Step> {
    let Some((program, arguments)) = words.split_first() else {
        bail!("a proof without a command");
    };
    let log = place.logs.join(format!("{name}.log"));
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone().context("cannot open the log twice")?;
    let program = match program.as_str() {
        "cargo" => std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        other => other.into(),
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(place.tree)
        .env("CARGO_TARGET_DIR", place.target)
        // Of the cargo that runs this command; they would lead back to the checkout.
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_MANIFEST_PATH")
        .envs(&proof.env)
        .envs(env)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        // Of its own, so that what it started ends with it.
        .process_group(0);
    let child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", words.join(" ")))?;
    Ok(Step { child, log })
}

impl Step {
    /// Waits for the end; `None` when it took too long and was killed.
    fn wait(mut self, most: Duration) -> anyhow::Result<(Option<ExitStatus>, String)> {
        let begun = Instant::now();
        let ended = loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for a proof")? {
                break Some(status);
            }
            if begun.elapsed() >= most {
                self.kill();
                break None;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let output =
            std::fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok((ended, String::from_utf8_lossy(&output).into_owned()))
    }

    fn kill(&mut self) {
        // By its group: cargo has started the proof, which has started programs.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(build: &str, run: &str) -> Proof {
        let words = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
        Proof {
            about: String::new(),
            build: words(build),
            run: words(run),
            env: BTreeMap::new(),
            seconds: 2,
            judgement: Some("judgement:".to_owned()),
            report: false,
            programs: false,
        }
    }

    fn outcome(build: &str, run: &str) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            tree: folder.path(),
            target: folder.path(),
            logs: folder.path(),
        };
        let expect = ["lost".to_owned()];
        super::run(&proof(build, run), &BTreeMap::new(), &expect, "x", &place).unwrap()
    }

    #[test]
    fn a_mutant_is_found_by_a_judgement_and_by_nothing_else() {
        assert_eq!(outcome("true", "true"), Outcome::Passed);
        assert_eq!(
            outcome("true", "echo judgement: 3 lost; exit 1"),
            Outcome::Found("judgement: 3 lost".to_owned())
        );
        // It crashed, it judged something else, it said the word elsewhere.
        for run in [
            "exit 101",
            "echo judgement: stuck; exit 1",
            "echo connection lost; exit 1",
        ] {
            assert!(matches!(outcome("true", run), Outcome::Error(_)), "{run}");
        }
        // A judgement of a proof that passes is none.
        assert_eq!(outcome("true", "echo judgement: 0 lost"), Outcome::Passed);
    }

    #[test]
    fn a_report_of_this_run_is_a_judgement() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            tree: folder.path(),
            target: folder.path(),
            logs: folder.path(),
        };
        let expect = ["lost".to_owned()];
        let run = |script: &str| {
            let proof = Proof {
                judgement: None,
                report: true,
                ..proof("true", script)
            };
            super::run(&proof, &BTreeMap::new(), &expect, "x", &place).unwrap()
        };
        // `sh -c SCRIPT --report FILE` has the file as $1.
        assert_eq!(
            run("echo '{\"lost\": 2}' > $1; exit 1"),
            Outcome::Found("lost: 2".to_owned())
        );
        assert!(
            matches!(run("exit 1"), Outcome::Error(_)),
            "the report of the run before is none of this one"
        );
        assert!(matches!(
            run("echo '{\"lost\": 0}' > $1; exit 1"),
            Outcome::Error(_)
        ));
    }

    #[test]
    fn a_proof_that_does_not_compile_is_an_error_although_it_ends_with_a_failure() {
        let outcome = outcome("echo error: lost; exit 101", "echo judgement: 3 lost; exit 1");
        assert!(
            matches!(&outcome, Outcome::Error(why) if why.contains("compile")),
            "{outcome:?}"
        );
    }

    #[test]
    fn a_proof_that_hangs_is_an_error() {
        let begun = Instant::now();
        let outcome = outcome("true", "echo judgement: 3 lost; sleep 60");
        assert!(
            matches!(&outcome, Outcome::Error(why) if why.contains("2 s")),
            "{outcome:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
