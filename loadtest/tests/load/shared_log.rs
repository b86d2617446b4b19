//! The log that benches share: to each of them a folder, after a restart what was durable.

use std::fs::OpenOptions;
use std::io;

use loadtest::disks::BenchDisk;
use loadtest::shared_log::{SharedDisk, SharedLog};
use proptest::prelude::*;
use spool::{Disk, RealDisk};

#[derive(Debug, Clone)]
enum Act {
    Create(u8),
    Append(u8, Vec<u8>),
    Rename(u8, u8),
    Remove(u8),
    Sync,
}

fn act() -> impl Strategy<Value = Act> {
    let name = 0..4_u8;
    prop_oneof![
        name.clone().prop_map(Act::Create),
        (name.clone(), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(name, data)| Act::Append(name, data)),
        (name.clone(), name.clone()).prop_map(|(from, to)| Act::Rename(from, to)),
        name.prop_map(Act::Remove),
        Just(Act::Sync),
    ]
}

fn apply(disk: &mut impl Disk, act: &Act) -> Result<(), io::ErrorKind> {
    let name = |number: &u8| format!("file-{number}");
    let done = match act {
        Act::Create(file) => disk.create(&name(file)),
        Act::Append(file, data) => disk.append(&name(file), data),
        Act::Rename(from, to) if from == to => Ok(()),
        Act::Rename(from, to) => disk.rename(&name(from), &name(to)),
        Act::Remove(file) => disk.remove(&name(file)),
        Act::Sync => disk.sync_dir(),
    };
    done.map_err(|error| error.kind())
}

/// Names and contents.
fn content(disk: &mut impl Disk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().expect("names");
    let read = |name: String| {
        let mut bytes = vec![0; usize::try_from(disk.len(&name).expect("a length")).expect("small")];
        disk.read_at(&name, 0, &mut bytes).expect("content");
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

fn spools(log: &SharedLog) -> [SharedDisk; 2] {
    ["bench-1", "bench-2"].map(|name| log.bench(name).spool().expect("a folder"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_is_a_folder_to_each_bench_and_the_same_after_a_restart(
        acts in proptest::collection::vec((0..2_usize, act()), 1..60),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut real = ["1", "2"].map(|name| RealDisk::open(folder.path().join(name)).expect("a folder"));
        {
            let log = SharedLog::open(&path).expect("a log");
            let mut shared = spools(&log);
            for (bench, act) in &acts {
                prop_assert_eq!(apply(&mut shared[*bench], act), apply(&mut real[*bench], act), "{:?}", act);
            }
            for bench in 0..2 {
                prop_assert_eq!(content(&mut shared[bench]), content(&mut real[bench]));
            }
        }
        let log = SharedLog::open(&path).expect("a log");
        let mut shared = spools(&log);
        for bench in 0..2 {
            prop_assert_eq!(content(&mut shared[bench]), content(&mut real[bench]));
        }
    }
}

fn written(path: &std::path::Path, texts: &[&str]) {
    let log = SharedLog::open(path).expect("a log");
    let mut disk = log.bench("bench").spool().expect("a folder");
    if disk.len("file").is_err() {
        disk.create("file").expect("a file");
    }
    for text in texts {
        disk.append("file", text.as_bytes()).expect("an append");
    }
}

fn read(path: &std::path::Path) -> String {
    let log = SharedLog::open(path).expect("a log");
    let mut disk = log.bench("bench").spool().expect("a folder");
    let (_, bytes) = content(&mut disk).remove(0);
    String::from_utf8(bytes).expect("text")
}

#[test]
fn what_was_cut_short_is_left_out_and_the_log_goes_on_behind_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    written(&path, &["one ", "two ", "three "]);
    let file = OpenOptions::new().write(true).open(&path).expect("the file");
    file.set_len(file.metadata().expect("its size").len() - 3)
        .expect("cut");
    assert_eq!(read(&path), "one two ");
    written(&path, &["four "]);
    assert_eq!(read(&path), "one two four ");
}

#[test]
fn a_changed_byte_ends_the_log_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    written(&path, &["one ", "two ", "three "]);
    let mut bytes = std::fs::read(&path).expect("the file");
    let at = bytes
        .windows(4)
        .position(|window| window == b"two ")
        .expect("it is there");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("changed");
    assert_eq!(read(&path), "one ");
}

#[test]
fn past_the_end_is_an_error_and_not_zeros() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = SharedLog::open(&folder.path().join("log")).expect("a log");
    let mut disk = log.bench("bench").spool().expect("a folder");
    disk.create("file").expect("a file");
    disk.append("file", b"12345").expect("an append");
    let mut into = [0; 4];
    disk.read_at("file", 1, &mut into).expect("the last four");
    assert_eq!(&into, b"2345");
    let error = disk.read_at("file", 2, &mut into).expect_err("one too many");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
