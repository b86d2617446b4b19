//! `device-agent spool inspect|export`: reads, never writes, and names every damage.

use std::path::Path;
use std::process::Output;

use fleet_domain::{Seq, SpoolId};
use jiff::Timestamp;
use serde_json::Value;
use spool::{HoleReason, Limits, RealDisk, Spools};
use uuid::Uuid;

use crate::support::{Running, agent, stderr};

fn id(number: u128) -> SpoolId {
    SpoolId(Uuid::from_u128(number))
}

/// Two spools: the first receipted up to 2 and with a hole at 3, the second with bytes that are no text.
fn make(folder: &Path) {
    let open = || {
        let disk = RealDisk::open(folder).unwrap();
        Spools::open(disk, Limits::default(), Timestamp::UNIX_EPOCH)
            .unwrap()
            .0
    };
    let write = |spools: &mut Spools<RealDisk>, events: &[&[u8]]| {
        for event in events {
            let position = spools.next_position().unwrap();
            spools.append(position, event).unwrap();
        }
        spools.sync().unwrap();
    };
    let mut spools = open();
    spools.begin(id(1)).unwrap();
    write(
        &mut spools,
        &[b"{\"n\":1}", b"{\"n\":2}", b"{\"n\":3}", b"{\"n\":4}"],
    );
    spools.make_hole(id(1), 3, 3, HoleReason::TooLarge).unwrap();
    spools.settle(id(1), 2, Timestamp::UNIX_EPOCH);
    spools.compact(Timestamp::UNIX_EPOCH).unwrap();
    let mut spools = open();
    spools.begin(id(2)).unwrap();
    write(&mut spools, &[&[0xFF, 0x00, 0xFE]]);
}

fn spool(arguments: &[&str], folder: &Path) -> Output {
    agent().arg("spool").args(arguments).arg(folder).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    text(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn every_kept_event_is_exported_with_its_place_and_whether_it_is_receipted() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let before = content(dir.path());
    let lines = lines(&spool(&["export"], dir.path()));
    let short: Vec<_> = lines
        .iter()
        .map(|line| {
            let n = |key: &str| line[key].as_u64().unwrap_or_default();
            (
                line["kind"].as_str().unwrap(),
                n("seq") + n("from"),
                line["receipted"].as_bool(),
            )
        })
        .collect();
    let expected = [
        ("event", 1, Some(true)),
        ("event", 2, Some(true)),
        ("hole", 3, None),
        ("event", 4, Some(false)),
        ("event", 1, Some(false)),
    ];
    assert_eq!(short, expected);
    assert_eq!(lines[0]["payload"], "{\"n\":1}");
    assert_eq!(lines[2]["reason"], "too_large");
    assert_eq!(
        (&lines[4]["payload_base64"], &lines[4]["payload"]),
        (&"/wD+".into(), &Value::Null)
    );
    let file = lines[3]["file"].as_str().unwrap();
    let offset = usize::try_from(lines[3]["offset"].as_u64().unwrap()).unwrap();
    let raw = std::fs::read(dir.path().join(file)).unwrap();
    assert_eq!(
        &raw[offset + 16..offset + 23],
        b"{\"n\":4}",
        "the place is the record's"
    );
    assert_eq!(content(dir.path()), before, "nothing was changed");
}

#[test]
fn inspect_names_damage_with_file_and_offset_and_repairs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let (name, mut bytes) = content(dir.path()).remove(0);
    let place = bytes.len() - 1;
    bytes[place] ^= 1;
    std::fs::write(&name, &bytes).unwrap();
    std::fs::write(dir.path().join("what.is.this"), b"?").unwrap();
    let before = content(dir.path());
    let shown: Value = serde_json::from_str(&text(&spool(&["inspect", "--json"], dir.path()))).unwrap();
    let lost = &shown["damage"]
        .as_array()
        .unwrap()
        .iter()
        .find(|damage| damage["spool"] != Value::Null);
    let lost = lost.expect("the event is named");
    assert!(name.ends_with(lost["file"].as_str().unwrap()), "{lost}");
    assert_eq!(lost["offset"], place as u64 - 22, "where its record begins");
    assert!(
        lost["what"].as_str().unwrap().contains("event 4 can't be read"),
        "{lost}"
    );
    assert_eq!(shown["spools"][0]["holes"][1]["reason"], "unreadable");
    assert_eq!(
        (&shown["spools"][0]["receipted"], &shown["outstanding"]),
        (&2.into(), &3.into())
    );
    let table = text(&spool(&["inspect"], dir.path()));
    for part in [
        "what.is.this",
        "event 4 can't be read",
        "damaged places: 2",
        "3 without receipt",
    ] {
        assert!(table.contains(part), "{part:?} is not in\n{table}");
    }
    let exported = lines(&spool(&["export"], dir.path()));
    assert_eq!(exported.iter().filter(|line| line["kind"] == "damage").count(), 2);
    assert_eq!(content(dir.path()), before, "nothing was changed");
}

#[test]
fn any_damage_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    for (name, bytes) in content(dir.path()) {
        for damaged in [
            Vec::new(),
            vec![0xFF; bytes.len()],
            bytes[..bytes.len() / 2].to_vec(),
        ] {
            std::fs::write(&name, &damaged).unwrap();
            for arguments in [&["inspect"][..], &["export"]] {
                text(&spool(arguments, dir.path()));
            }
        }
        std::fs::write(&name, &bytes).unwrap();
    }
}

#[test]
fn a_running_agent_s_spool_can_be_looked_at_by_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    running.status();
    let output = agent()
        .args(["spool", "export", "--config"])
        .arg(running.config())
        .output()
        .unwrap();
    let lines = lines(&output);
    let started: Value = serde_json::from_str(lines[0]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(started["type"], "vds.agent.started.v1");
    let seq: Seq = lines[0]["seq"].as_u64().unwrap();
    assert_eq!((seq, &lines[0]["receipted"]), (1, &false.into()));
    running.status();
}

#[test]
fn a_folder_that_is_not_there_is_named_and_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nothing");
    let output = spool(&["inspect"], &missing);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(missing.to_str().unwrap()),
        "{}",
        stderr(&output)
    );
    assert!(!missing.exists());
}
