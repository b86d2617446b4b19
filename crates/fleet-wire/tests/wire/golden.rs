//! Frozen bytes. A difference here breaks benches in the field: change the code, never the file.
//!
//! A new document gets its file once: `VDS_CREATE_MISSING_GOLDEN=1 cargo test -p fleet-wire golden`
//! writes the files that do not exist yet. It never changes one that does.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use fleet_wire::command::Commands;
use fleet_wire::live::Live;
use fleet_wire::presence::Presence;
use fleet_wire::receipt::ReceiptMessage;
use fleet_wire::sync::Sync;
use fleet_wire::{Channel, EventType, Topic, decode_event, encode_event};

use crate::samples;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/v1")
        .join(name)
}

fn golden(name: &str) -> Vec<u8> {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn create_if_missing(name: &str, bytes: &[u8]) {
    if std::env::var_os("VDS_CREATE_MISSING_GOLDEN").is_some() {
        let mut new = std::fs::OpenOptions::new();
        // `create_new` fails where a file is: a frozen one can't be overwritten.
        if let Ok(mut file) = new.write(true).create_new(true).open(path(name)) {
            file.write_all(bytes).unwrap();
        }
    }
}

fn check(name: &str, bytes: &[u8]) {
    create_if_missing(name, bytes);
    let frozen = golden(name);
    assert_eq!(
        String::from_utf8_lossy(bytes),
        String::from_utf8_lossy(&frozen),
        "{name}"
    );
}

#[test]
fn every_event_has_its_frozen_bytes_and_is_read_back() {
    let samples = samples::events();
    assert_eq!(samples.len(), EventType::KNOWN.len(), "a sample for every type");
    for (properties, body) in samples {
        let name = body.event_type().as_str().to_owned();
        check(
            &format!("{name}.json"),
            &encode_event(&samples::context(properties.seq), &body).unwrap(),
        );
        let event = decode_event(&samples::topic(), &properties, &golden(&format!("{name}.json"))).unwrap();
        assert_eq!(event.body.unwrap(), Some(body), "{name}");
        assert_eq!(event.subject.as_deref(), Some(samples::VIN));
    }
}

#[test]
fn every_control_document_has_its_frozen_bytes_and_is_read_back() {
    check("vds.sync.v1.json", &samples::sync().encode());
    assert_eq!(
        Sync::decode(&golden("vds.sync.v1.json")).unwrap(),
        samples::sync()
    );
    check("vds.receipt.v1.json", &samples::receipt().encode());
    assert_eq!(
        ReceiptMessage::decode(&golden("vds.receipt.v1.json")).unwrap(),
        samples::receipt()
    );
    check("vds.sync.answer.v1.json", &samples::answer().encode());
    assert_eq!(
        ReceiptMessage::decode(&golden("vds.sync.answer.v1.json")).unwrap(),
        samples::answer()
    );
    check("vds.commands.v1.json", &samples::commands().encode());
    assert_eq!(
        Commands::decode(&golden("vds.commands.v1.json")).unwrap(),
        samples::commands()
    );
    check("vds.presence.v1.json", &samples::presence().encode());
    assert_eq!(
        Presence::decode(&golden("vds.presence.v1.json")).unwrap(),
        samples::presence()
    );
    check("vds.live.v1.json", &samples::live().encode());
    assert_eq!(
        Live::decode(&golden("vds.live.v1.json")).unwrap(),
        samples::live()
    );
}

#[test]
fn the_folder_holds_nothing_else() {
    let names = EventType::KNOWN.iter().map(EventType::as_str);
    let mut expected: Vec<_> = names
        .chain([
            "vds.sync.v1",
            "vds.receipt.v1",
            "vds.sync.answer.v1",
            "vds.commands.v1",
            "vds.presence.v1",
            "vds.live.v1",
            "frame",
        ])
        .map(|name| format!("{name}.json"))
        .collect();
    let mut found: Vec<_> = std::fs::read_dir(path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn topics_and_user_properties_are_frozen() {
    let topics: BTreeMap<_, _> = Channel::ALL
        .into_iter()
        .map(|channel| {
            (
                channel.as_str(),
                Topic::new(samples::plant(), samples::device(), channel).to_string(),
            )
        })
        .collect();
    let properties: BTreeMap<_, _> = samples::events()
        .into_iter()
        .map(|(properties, body)| (body.event_type().as_str().to_owned(), properties.encode()))
        .collect();
    let mut bytes =
        serde_json::to_vec_pretty(&serde_json::json!({ "topics": topics, "properties": properties }))
            .unwrap();
    bytes.push(b'\n');
    check("frame.json", &bytes);
}
