//! Documents, properties and topics of the wire.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use agent_core::Saved;
use fleet_domain::{DeviceId, EventId, PlantId, Slot, SpoolId, Vin};
use fleet_wire::command::Commands;
use fleet_wire::limits::{MAX_ATTRIBUTE_BYTES, MAX_NOTE_CHARS, MAX_OPEN_JOBS, MAX_PAYLOAD_BYTES};
use fleet_wire::live::Live;
use fleet_wire::presence::Presence;
use fleet_wire::receipt::ReceiptMessage;
use fleet_wire::sync::Sync;
use fleet_wire::{
    Channel, ControlError, DecodedEvent, EventContext, EventProperties, Topic, decode_event, encode_event,
};
use serde::Deserialize;

use crate::{useful, useful_text};

/// What was read can be written, and reads the same again.
fn control<T: PartialEq + Debug>(
    data: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, ControlError>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    match decode(data) {
        Ok(document) => {
            assert!(data.len() <= MAX_PAYLOAD_BYTES, "an over-size document was read");
            let bytes = encode(&document);
            // A time can be written longer than it was read.
            if bytes.len() <= MAX_PAYLOAD_BYTES {
                let again = decode(&bytes).expect("what was written can be read");
                assert_eq!(again, document);
            }
            Some(document)
        }
        Err(error) => {
            useful(&error);
            None
        }
    }
}

pub(crate) fn sync(data: &[u8]) {
    if let Some(sync) = control(data, Sync::decode, Sync::encode) {
        let note = sync.refusing_jobs.unwrap_or_default();
        assert!(note.chars().count() <= MAX_NOTE_CHARS);
    }
}

pub(crate) fn presence(data: &[u8]) {
    control(data, Presence::decode, Presence::encode);
}

pub(crate) fn live(data: &[u8]) {
    control(data, Live::decode, Live::encode);
}

pub(crate) fn receipt(data: &[u8]) {
    control(data, ReceiptMessage::decode, ReceiptMessage::encode);
}

pub(crate) fn commands(data: &[u8]) {
    let Some(list) = control(data, Commands::decode, Commands::encode) else {
        return;
    };
    assert!(list.jobs.len() <= MAX_OPEN_JOBS);
    for job in list.jobs.iter().filter_map(|entry| entry.job.as_ref()) {
        job.check().expect("a job that fails its check is left out");
    }
    let (_, problems) = Commands::decode_with_problems(data).expect("it was read a moment ago");
    assert!(
        problems.len() <= MAX_OPEN_JOBS,
        "at most one problem for an entry"
    );
    for problem in &problems {
        useful(problem);
    }
}

/// What a document claims to be, so that the checks against topic and properties are passed.
#[derive(Deserialize)]
struct Claim {
    source: String,
    sequence: String,
    spool: SpoolId,
    #[serde(default)]
    data: Option<serde_json::Value>,
}

/// Topic and properties that fit the document, where it names possible ones.
fn claimed(data: &[u8]) -> Option<(Topic, EventProperties)> {
    let claim: Claim = serde_json::from_slice(data).ok()?;
    let (plant, device) = claim.source.strip_prefix("/vds/")?.split_once('/')?;
    let topic = Topic::new(plant.parse().ok()?, device.parse().ok()?, Channel::Events);
    let hole_to = claim.data.and_then(|data| data.get("to")?.as_u64());
    let properties = EventProperties {
        spool: claim.spool,
        seq: claim.sequence.parse().ok()?,
        predecessor: None,
        hole_to,
    };
    Some((topic, properties))
}

fn someone() -> (Topic, EventProperties) {
    let plant: PlantId = "plant-a".parse().expect("a plant");
    let device: DeviceId = "bench-01".parse().expect("a bench");
    let properties = EventProperties {
        spool: SpoolId(uuid::Uuid::from_u128(7)),
        seq: 1,
        predecessor: None,
        hole_to: None,
    };
    (Topic::new(plant, device, Channel::Events), properties)
}

pub(crate) fn event(data: &[u8]) {
    let fitting = claimed(data);
    for (topic, properties) in [fitting, Some(someone())].into_iter().flatten() {
        match decode_event(&topic, &properties, data) {
            Ok(event) => event_holds(&topic, &properties, &event, data.len()),
            Err(error) => useful(&error),
        }
    }
}

fn event_holds(topic: &Topic, properties: &EventProperties, event: &DecodedEvent, bytes: usize) {
    assert!(bytes <= MAX_PAYLOAD_BYTES);
    assert!(event.r#type.as_str().len() <= MAX_ATTRIBUTE_BYTES);
    let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= MAX_ATTRIBUTE_BYTES);
    assert!(short(&event.subject) && short(&event.traceparent));
    let body = match &event.body {
        Ok(Some(body)) => body,
        Ok(None) => return,
        Err(reason) => return useful_text(reason),
    };
    let context = EventContext {
        id: event.id,
        plant: topic.plant.clone(),
        device: topic.device.clone(),
        vin: event.subject.clone(),
        time: event.time,
        spool: properties.spool,
        seq: properties.seq,
        traceparent: event.traceparent.clone(),
    };
    let bytes = encode_event(&context, body).expect("what was read from JSON can be written");
    if bytes.len() > MAX_PAYLOAD_BYTES {
        return;
    }
    let again = decode_event(topic, properties, &bytes).expect("what was written can be read");
    assert_eq!(format!("{again:?}"), format!("{event:?}"));
}

/// Pairs as lines `name=value`.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn properties(data: &[u8]) {
    let pairs = pairs(&String::from_utf8_lossy(data));
    match EventProperties::decode(&pairs) {
        Ok(properties) => {
            assert!(properties.seq >= 1);
            assert!(properties.hole_to.is_none_or(|to| to >= properties.seq));
            assert!(properties.predecessor.is_none() || properties.seq == 1);
            let again = EventProperties::decode(&properties.encode());
            assert_eq!(again, Ok(properties));
        }
        Err(error) => useful(&error),
    }
}

pub(crate) fn topic(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<Topic>() {
        Ok(topic) => {
            assert_eq!(topic.to_string(), text, "one topic has one spelling");
            assert_eq!(topic.slot, Slot::of(&topic.device));
        }
        Err(error) => useful(&error),
    }
}

/// What is read has one text, and that text reads the same again.
fn named<T: FromStr<Err: std::error::Error + 'static> + Display + PartialEq + Debug>(
    text: &str,
) -> Option<T> {
    match text.parse::<T>() {
        Ok(id) => {
            let again = id.to_string().parse::<T>();
            assert_eq!(again.expect("what was written can be read"), id);
            Some(id)
        }
        Err(error) => {
            useful(&error);
            None
        }
    }
}

pub(crate) fn ids(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // A level of a topic and a part of a path: nothing in it may lead elsewhere.
    for name in [
        named::<DeviceId>(&text).map(|id| id.to_string()),
        named::<PlantId>(&text).map(|id| id.to_string()),
        named::<Vin>(&text).map(|id| id.to_string()),
    ]
    .into_iter()
    .flatten()
    {
        assert!(!name.is_empty() && !name.contains(['/', '+', '#', '\0']) && name != ".." && name != ".");
        assert!(name.len() <= MAX_ATTRIBUTE_BYTES);
    }
    named::<Slot>(&text);
    named::<SpoolId>(&text);
    named::<EventId>(&text);
}

pub(crate) fn saved_state(data: &[u8]) {
    // The checksum stands before the JSON: with the right one the reader behind it is reached.
    let mended = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let json = data.get(end + 1..).unwrap_or_default();
            let head = String::from_utf8_lossy(data.get(..end).unwrap_or_default());
            let format = head.rsplit_once(' ').map_or("", |(format, _)| format);
            let mut mended = format!("{format} {:08x}\n", crc32c::crc32c(json)).into_bytes();
            mended.extend_from_slice(json);
            mended
        }
        None => data.to_vec(),
    };
    for bytes in [data, &mended] {
        match Saved::decode(bytes) {
            Ok(saved) => {
                let again = Saved::decode(&saved.encode()).expect("what was written can be read");
                assert_eq!(again, saved);
                assert!(saved.jobs().iter().all(|job| !format!("{job:?}").is_empty()));
                let _ = (saved.unconfirmed(), saved.list());
            }
            Err(error) => useful(&error),
        }
    }
}
