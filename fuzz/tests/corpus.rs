//! Replays the committed inputs, each against its target.
//!
//! `TARGET=spool-folder cargo test -p fuzz-targets --test corpus` replays those of one target; a failure names the
//! input's file. `cargo xtask fuzz` looks for new ones.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fuzz_targets::{Target, find, targets};

/// Largest input that is committed, bytes.
const LARGEST: u64 = 64 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = corpus().join(target);
    let entries = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}; every target has seeds", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The inputs of a target that it does not pass, with what it said.
fn failures(target: Target) -> (usize, Vec<String>) {
    let inputs = inputs(target.name);
    let failed = inputs.iter().filter_map(|path| {
        let data = std::fs::read(path).expect("the input can be read");
        let said = catch_unwind(AssertUnwindSafe(|| target.run(&data))).err()?;
        let text = said
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| said.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a text");
        Some(format!("{}: {text}", path.display()))
    });
    let failed = failed.collect();
    (inputs.len(), failed)
}

// One test, not one for each target: the bound on memory looks at the whole process.
#[test]
fn every_input_of_the_corpus_passes() {
    let only = std::env::var("TARGET").ok();
    let (mut count, mut failed) = (0, Vec::new());
    for target in targets() {
        if only.as_ref().is_none_or(|only| only == target.name) {
            let (inputs, failures) = failures(target);
            count += inputs;
            failed.extend(failures);
        }
    }
    println!("{count} inputs");
    assert!(count > 0, "no target is called {only:?}");
    assert!(
        failed.is_empty(),
        "{} of {count} inputs fail:\n{}",
        failed.len(),
        failed.join("\n")
    );
    rejects_what_takes_too_much_memory();
}

/// The bound must be able to fail: a target that takes memory that nobody sent.
fn rejects_what_takes_too_much_memory() {
    let greedy = Target::new("greedy", |data| {
        let announced = usize::from(data.first().copied().unwrap_or(0)) << 20;
        let taken: Vec<u8> = Vec::with_capacity(announced);
        assert!(taken.is_empty());
        std::hint::black_box(taken);
    });
    greedy.run(&[1]);
    let refused = catch_unwind(AssertUnwindSafe(|| greedy.run(&[64])));
    assert!(refused.is_err(), "64 MiB for one byte went unnoticed");
}

#[test]
fn every_target_has_a_folder_and_every_folder_a_target() {
    let named: BTreeSet<_> = targets().map(|target| target.name.to_owned()).collect();
    let entries = std::fs::read_dir(corpus()).expect("the corpus is there");
    let found: BTreeSet<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a plain name")
        })
        .collect();
    assert_eq!(found, named);
    assert_eq!(named.len(), targets().count(), "names differ");
    assert!(find("no-such-target").is_none());
}

/// `cargo xtask fuzz` decides by the name what it builds.
#[test]
fn the_targets_of_programs_are_known_by_their_names() {
    for target in targets() {
        let prefixes = ["agent-", "loadtest-", "server-"];
        let named = prefixes.iter().any(|prefix| target.name.starts_with(prefix));
        assert_eq!(named, target.of_a_program(), "{}", target.name);
    }
}

#[test]
fn inputs_are_small() {
    for target in targets() {
        for path in inputs(target.name) {
            let bytes = std::fs::metadata(&path).expect("it is there").len();
            assert!(bytes <= LARGEST, "{} has {bytes} bytes", path.display());
        }
    }
}
