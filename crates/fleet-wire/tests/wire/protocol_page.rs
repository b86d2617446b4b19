//! docs/protocol.md shows the frozen samples, and every limit that it names is the one in the code.

use std::path::PathBuf;

use fleet_wire::{EventType, limits};
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/protocol.md")).unwrap()
}

/// Name and JSON of every sample on the page.
fn shown() -> Vec<(String, Value)> {
    page()
        .split("<!-- golden: ")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once(" -->\n```json\n").unwrap();
            let (json, _) = rest.split_once("\n```\n").unwrap();
            (name.to_owned(), serde_json::from_str(json).unwrap())
        })
        .collect()
}

#[test]
fn every_document_is_shown_as_it_is_frozen() {
    let shown = shown();
    for (name, sample) in &shown {
        let path = root().join(format!("crates/fleet-wire/tests/golden/v1/{name}.json"));
        let frozen: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(sample, &frozen, "{name}");
    }
    for (_, name, _) in fleet_wire::documents::schemas() {
        let times = shown.iter().filter(|(of, _)| of == name).count();
        assert_eq!(times, 1, "{name} stands on the page once");
    }
    for known in EventType::KNOWN {
        assert!(page().contains(&format!("### `{}`", known.as_str())), "{known:?}");
    }
}

#[test]
fn every_limit_on_the_page_is_the_one_in_the_code() {
    let page = page();
    let (_, limits_section) = page.split_once("\n## Limits\n").unwrap();
    let (limits_section, _) = limits_section.split_once("\n## ").unwrap();
    for (what, limit) in [
        ("payload of any message", limits::MAX_PAYLOAD_BYTES),
        ("MQTT packet", limits::MAX_PACKET_BYTES),
        (
            "events without receipt under way",
            usize::from(limits::MAX_WINDOW),
        ),
        ("open jobs in a list", limits::MAX_OPEN_JOBS),
        ("`job` of an entry", limits::MAX_JOB_BYTES),
        (
            "rejections in a receipt, and per spool in an answer",
            limits::MAX_REJECTIONS,
        ),
        ("rejections in a sync answer", limits::MAX_ANSWER_REJECTIONS),
        ("held spools, and former spools, in a sync", limits::MAX_SPOOLS),
        ("jobs in a sync", limits::MAX_SYNC_JOBS),
        ("`refusing_jobs`", limits::MAX_NOTE_CHARS),
        ("`type`, `subject` of an event", limits::MAX_ATTRIBUTE_BYTES),
        (
            "positions, versions, counters",
            usize::try_from(limits::MAX_SEQ).unwrap(),
        ),
    ] {
        let row = format!("\n| {what} | {limit}");
        assert!(limits_section.contains(&row), "{row}");
    }
    for row in [
        format!(
            "| session expiry interval | {} s ",
            limits::SESSION_EXPIRY.as_secs()
        ),
        format!("| keep alive | {} s ", limits::KEEP_ALIVE.as_secs()),
        format!("will delay {} s", limits::WILL_DELAY.as_secs()),
        format!(
            "| maximum packet size (CONNECT) | {} bytes",
            limits::MAX_PACKET_BYTES
        ),
    ] {
        assert!(page.contains(&row), "{row}");
    }
}
