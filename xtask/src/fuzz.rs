//! `cargo xtask fuzz`: looks for inputs that break a decoder, guided by coverage, on the stable compiler.
//!
//! The targets are plain functions of the crate `fuzz-targets` (`fuzz/`); `fuzz/driver` links them with libFuzzer. The
//! compiler's coverage pass needs no nightly: it is asked for by LLVM's own options. No sanitizer: the code is safe Rust,
//! and the targets bound memory themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::workspace::{cargo, root, target_dir};

/// Coverage of edges, kept in counters beside the code, and the operands of comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Longest input that is tried, bytes; `corpus.rs` refuses larger ones.
const LONGEST: u32 = 32 * 1024;
/// An input may take so long, seconds.
const INPUT_SECONDS: u32 = 10;
/// Memory of the process, MiB: the targets' own bound is far below.
const MEMORY_MIB: u32 = 2048;
/// Time for making a crash smaller, seconds.
const MINIMIZE_SECONDS: u32 = 60;
/// Inputs that are kept are at most so large, bytes: the corpus is committed.
const KEPT: u64 = 4 * 1024;
/// Most inputs of a target in the committed corpus.
const MOST_KEPT: usize = 60;

/// What is asked for.
pub(crate) struct Options<'a> {
    /// One target; none: all, one after the other.
    pub(crate) target: Option<&'a str>,
    /// How long for each target.
    pub(crate) seconds: u64,
    /// Only list the targets.
    pub(crate) list: bool,
    /// Keep small inputs that reach new code in the committed corpus.
    pub(crate) keep: bool,
}

/// Runs the command: success when no input was found that breaks a target.
pub(crate) fn run(options: &Options<'_>) -> anyhow::Result<ExitCode> {
    let all = targets(&corpus())?;
    if options.list {
        println!("{}", all.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(&all, options.target)?;
    let driver = build(chosen.iter().any(|name| of_a_program(name)))?;
    let mut broken = Vec::new();
    for (number, name) in chosen.iter().enumerate() {
        println!(
            "[{}/{}] {name} for {} s …",
            number + 1,
            chosen.len(),
            options.seconds
        );
        let search = Search::new(&driver, name)?;
        match search.run(options.seconds)? {
            None => println!("    nothing found; {}", search.figures()),
            Some(input) => {
                println!("    FOUND {}", input.display());
                broken.push((name.clone(), input));
            }
        }
        if options.keep {
            println!("    {} inputs kept", search.keep()?);
        }
    }
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "\n{} target(s) are broken. Replay, on the stable compiler and without the driver:",
        broken.len()
    );
    for (name, input) in broken {
        println!(
            "  TARGET={name} cargo test -p fuzz-targets --test corpus   # {}",
            input.display()
        );
    }
    println!("Commit the input with its fix: the corpus is replayed by every `cargo xtask test`.");
    Ok(ExitCode::FAILURE)
}

fn corpus() -> PathBuf {
    root().join("fuzz/corpus")
}

/// The names of the targets are those of the corpus' folders; a test of the targets holds them together.
fn targets(corpus: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context("cannot read the corpus")?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "{} is empty", corpus.display());
    Ok(names)
}

fn choose(all: &[String], target: Option<&str>) -> anyhow::Result<Vec<String>> {
    match target {
        None => Ok(all.to_vec()),
        Some(name) if all.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => bail!("there is no fuzz target {name:?}; there are {}", all.join(", ")),
    }
}

/// A target of a program: building it with coverage takes minutes, so it is only done where it is asked for.
fn of_a_program(name: &str) -> bool {
    ["agent-", "loadtest-", "server-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Builds the driver with coverage and gives its path.
fn build(programs: bool) -> anyhow::Result<PathBuf> {
    let (folder, target) = (root().join("fuzz/driver"), target_dir().join("fuzz/build"));
    // The same versions as the workspace; cargo adds libFuzzer's, which the driver's manifest pins.
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    let host = host()?;
    println!("building the driver with coverage …");
    let mut build = cargo();
    build
        .current_dir(&folder)
        .args(["build", "--release", "--quiet", "--target", &host])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", COVERAGE);
    if programs {
        build.args(["--features", "programs"]);
    }
    let status = build.status().context("cannot start cargo")?;
    ensure!(
        status.success(),
        "the driver does not build ({status}); it needs a C++ compiler for libFuzzer: `cargo xtask doctor`"
    );
    Ok(target.join(host).join("release/fuzz-driver"))
}

/// The machine's own triple: given by name, build scripts and macros are built without coverage.
fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// The search in one target.
struct Search<'a> {
    driver: &'a Path,
    name: &'a str,
    /// What was found earlier on this machine.
    found: PathBuf,
    /// Where a breaking input lands.
    crashes: PathBuf,
    log: PathBuf,
}

impl<'a> Search<'a> {
    fn new(driver: &'a Path, name: &'a str) -> anyhow::Result<Self> {
        let own = target_dir().join("fuzz");
        let search = Self {
            driver,
            name,
            found: own.join("found").join(name),
            crashes: own.join("crashes").join(name),
            log: own.join(format!("{name}.log")),
        };
        for folder in [&search.found, &search.crashes] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(search)
    }

    fn driver(&self, arguments: &[String], log: &Path) -> anyhow::Result<bool> {
        let file = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let status = Command::new(self.driver)
            .args(arguments)
            .env("FUZZ_TARGET", self.name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .status()
            .with_context(|| format!("cannot start {}", self.driver.display()))?;
        Ok(status.success())
    }

    fn limits() -> Vec<String> {
        vec![
            format!("-max_len={LONGEST}"),
            format!("-timeout={INPUT_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
        ]
    }

    /// Searches, and gives the input that breaks the target, made smaller and laid into the corpus.
    fn run(&self, seconds: u64) -> anyhow::Result<Option<PathBuf>> {
        let begun = Instant::now();
        let mut arguments = Self::limits();
        arguments.extend([
            format!("-max_total_time={seconds}"),
            "-print_final_stats=1".to_owned(),
            format!("-artifact_prefix={}/", self.crashes.display()),
            self.found.display().to_string(),
            corpus().join(self.name).display().to_string(),
        ]);
        if self.driver(&arguments, &self.log)? {
            return Ok(None);
        }
        let Some(crash) = newest(&self.crashes, begun)? else {
            bail!(
                "the driver failed without an input that breaks {}; log: {}",
                self.name,
                self.log.display()
            );
        };
        let small = self.minimized(&crash)?;
        let content = fs::read(&small).with_context(|| format!("cannot read {}", small.display()))?;
        let kept = corpus()
            .join(self.name)
            .join(format!("found-{}", digest(&content)));
        fs::write(&kept, content).with_context(|| format!("cannot write {}", kept.display()))?;
        Ok(Some(kept))
    }

    /// The smallest input that was found to break the target in the same way.
    fn minimized(&self, crash: &Path) -> anyhow::Result<PathBuf> {
        let small = self.crashes.join("minimized");
        let _ = fs::remove_file(&small);
        let mut arguments = Self::limits();
        arguments.extend([
            "-minimize_crash=1".to_owned(),
            format!("-max_total_time={MINIMIZE_SECONDS}"),
            format!("-exact_artifact_path={}", small.display()),
            crash.display().to_string(),
        ]);
        self.driver(&arguments, &self.log.with_extension("minimize.log"))?;
        Ok(if small.exists() { small } else { crash.to_owned() })
    }

    /// What the driver says at its end.
    fn figures(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        figures(&String::from_utf8_lossy(&log))
    }

    /// Lays small inputs that reach code which the corpus does not into it.
    fn keep(&self) -> anyhow::Result<usize> {
        let folder = corpus().join(self.name);
        let merged = target_dir().join("fuzz/merged").join(self.name);
        let _ = fs::remove_dir_all(&merged);
        fs::create_dir_all(&merged).with_context(|| format!("cannot make {}", merged.display()))?;
        for name in files(&folder)? {
            fs::copy(folder.join(&name), merged.join(&name)).context("cannot copy the corpus")?;
        }
        let before = files(&merged)?;
        let mut arguments = Self::limits();
        arguments.extend([
            "-merge=1".to_owned(),
            merged.display().to_string(),
            self.found.display().to_string(),
        ]);
        if !self.driver(&arguments, &self.log.with_extension("merge.log"))? {
            bail!(
                "the inputs of {} can't be merged; log: {}",
                self.name,
                self.log.display()
            );
        }
        let mut kept = 0;
        for name in files(&merged)? {
            let path = merged.join(&name);
            let size = fs::metadata(&path).map_or(u64::MAX, |file| file.len());
            if before.contains(&name) || size > KEPT || before.len() + kept >= MOST_KEPT {
                continue;
            }
            let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            fs::write(folder.join(format!("reach-{}", digest(&content))), content)
                .context("cannot write the corpus")?;
            kept += 1;
        }
        Ok(kept)
    }
}

fn files(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// The file that was written last, since `begun`.
fn newest(folder: &Path, begun: Instant) -> anyhow::Result<Option<PathBuf>> {
    let mut newest = None;
    for name in files(folder)? {
        let path = folder.join(name);
        let age = fs::metadata(&path)
            .and_then(|file| file.modified())
            .ok()
            .and_then(|time| time.elapsed().ok())
            .unwrap_or(Duration::MAX);
        // A second of tolerance: the file system's clock is coarse.
        if age <= begun.elapsed() + Duration::from_secs(1)
            && newest.as_ref().is_none_or(|(least, _)| age < *least)
        {
            newest = Some((age, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

fn digest(content: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(content);
    hex::encode(digest.get(..6).unwrap_or_default())
}

/// Runs, runs a second and reached code, from the driver's last lines.
fn figures(log: &str) -> String {
    let stat = |name: &str| {
        log.lines()
            .find_map(|line| line.strip_prefix(&format!("stat::{name}:")))
            .map_or("?", str::trim)
    };
    let reached = log
        .lines()
        .rev()
        .find_map(|line| line.split_once(" cov: ")?.1.split(' ').next())
        .unwrap_or("?");
    format!(
        "{} runs, {} a second, {reached} edges reached",
        stat("number_of_executed_units"),
        stat("average_exec_per_sec")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_folders_of_the_corpus_and_an_unknown_one_is_named() {
        let all = targets(&corpus()).unwrap();
        assert!(all.contains(&"wire-event".to_owned()), "{all:?}");
        assert_eq!(choose(&all, Some("wire-event")).unwrap(), ["wire-event"]);
        assert_eq!(choose(&all, None).unwrap(), all);
        let error = choose(&all, Some("wire-evnt")).unwrap_err().to_string();
        assert!(
            error.contains("wire-evnt") && error.contains("wire-event"),
            "{error}"
        );
    }

    #[test]
    fn figures_are_read_from_the_drivers_last_lines() {
        let log = "#2\tINITED cov: 10 ft: 11 corp: 1/1b\n#9\tDONE   cov: 24 ft: 40 corp: 3/9b\n\
            stat::number_of_executed_units: 900\nstat::average_exec_per_sec:     450\n";
        assert_eq!(figures(log), "900 runs, 450 a second, 24 edges reached");
        assert_eq!(figures(""), "? runs, ? a second, ? edges reached");
    }

    #[test]
    fn the_newest_crash_is_the_one_of_this_run() {
        let folder = tempfile::tempdir().unwrap();
        let old = fs::File::create(folder.path().join("crash-old")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        let begun = Instant::now();
        assert_eq!(newest(folder.path(), begun).unwrap(), None);
        let new = folder.path().join("crash-new");
        fs::write(&new, "x").unwrap();
        assert_eq!(newest(folder.path(), begun).unwrap(), Some(new));
    }
}
