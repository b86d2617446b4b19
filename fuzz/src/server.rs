//! What the server reads from broker and browser.

use fleet_server::config::Config;
use fleet_server::decoders;
use fleet_server::types::NewJob;

use crate::{useful, useful_text};

pub(crate) fn settings(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        crate::settings::file::<Config>(text);
    }
}

/// Topic, user properties `name=value`, an empty line, the payload.
pub(crate) fn message(data: &[u8]) {
    let head_end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, payload) = match head_end {
        Some(at) => (data.get(..at), data.get(at + 2..)),
        None => (Some(data), None),
    };
    let head = String::from_utf8_lossy(head.unwrap_or_default()).into_owned();
    let (topic, properties) = head.split_once('\n').unwrap_or((&head, ""));
    let payload = payload.unwrap_or_default();
    let reading = decoders::message(topic, crate::wire::pairs(properties), payload);
    // Only a cleared presence says nothing; everything else becomes exactly one thing.
    let nothing = payload.is_empty() && topic.ends_with("/presence");
    assert_eq!(reading.outcomes, usize::from(!nothing), "{reading:?}");
    if let Some(kept) = reading.bytes {
        assert_eq!(kept, payload, "the bytes are kept as they came");
    }
    reading.reasons.iter().for_each(|reason| useful_text(reason));
}

pub(crate) fn stream_cursor(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(cursor) = decoders::stream_cursor(&text) {
        assert_eq!(decoders::stream_cursor(&cursor), Some(cursor));
    }
}

/// A record on the first line, the key on the second.
pub(crate) fn record(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (jws, key) = text.split_once('\n').unwrap_or((&text, ""));
    if decoders::is_signed_by(jws, key) {
        assert!(!decoders::is_signed_by(jws, ""), "no key, no signature");
        let (signed, _) = jws.rsplit_once('.').expect("it has a signature");
        assert!(!decoders::is_signed_by(signed, key));
    }
}

pub(crate) fn job(data: &[u8]) {
    match serde_json::from_slice::<NewJob>(data) {
        Ok(job) => {
            let written = serde_json::to_vec(&job).expect("a request can be written");
            let again: NewJob = serde_json::from_slice(&written).expect("what was written can be read");
            assert_eq!(format!("{again:?}"), format!("{job:?}"));
        }
        Err(error) => useful(&error),
    }
}
