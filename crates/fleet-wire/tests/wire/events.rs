use fleet_wire::limits::MAX_PAYLOAD_BYTES;
use fleet_wire::receipt::RejectCode;
use fleet_wire::{EventBody, EventProperties, EventType, decode_event, encode_event};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::samples::{self, properties};

fn started() -> Value {
    let (_, body) = samples::events().into_iter().nth(3).unwrap();
    serde_json::from_slice(&encode_event(&samples::context(5), &body).unwrap()).unwrap()
}

fn with(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut event = started();
    change(&mut event);
    serde_json::to_vec(&event).unwrap()
}

fn code(properties: &EventProperties, bytes: &[u8]) -> RejectCode {
    decode_event(&samples::topic(), properties, bytes)
        .expect_err("refused")
        .code()
}

#[test]
fn every_malformed_event_is_refused_with_its_code() {
    let five = properties(5);
    let table: Vec<(&str, Vec<u8>, RejectCode)> = vec![
        ("empty", vec![], RejectCode::Malformed),
        ("not JSON", b"{".to_vec(), RejectCode::Malformed),
        ("not UTF-8", vec![b'"', 0xff, b'"'], RejectCode::Malformed),
        ("an array", b"[]".to_vec(), RejectCode::Malformed),
        (
            "deeply nested",
            "[".repeat(100_000).into_bytes(),
            RejectCode::Malformed,
        ),
        (
            "no id",
            with(|e| {
                e.as_object_mut().unwrap().remove("id");
            }),
            RejectCode::Malformed,
        ),
        (
            "no data",
            with(|e| {
                e.as_object_mut().unwrap().remove("data");
            }),
            RejectCode::Malformed,
        ),
        (
            "id is no UUID",
            with(|e| e["id"] = json!("7")),
            RejectCode::Malformed,
        ),
        (
            "time is no time",
            with(|e| e["time"] = json!("yesterday")),
            RejectCode::Malformed,
        ),
        (
            "too large",
            with(|e| e["data"] = json!("x".repeat(MAX_PAYLOAD_BYTES))),
            RejectCode::TooLarge,
        ),
        (
            "type is longer than a column",
            with(|e| e["type"] = json!("x".repeat(129))),
            RejectCode::Malformed,
        ),
        (
            "subject is longer than a column",
            with(|e| e["subject"] = json!("x".repeat(129))),
            RejectCode::Malformed,
        ),
        (
            "another version",
            with(|e| e["specversion"] = json!("0.3")),
            RejectCode::SpecVersion,
        ),
        (
            "another device",
            with(|e| e["source"] = json!("/vds/plant-1/bench-08")),
            RejectCode::Disagrees,
        ),
        (
            "another plant",
            with(|e| e["source"] = json!("/vds/plant-2/bench-07")),
            RejectCode::Disagrees,
        ),
        (
            "another spool",
            with(|e| e["spool"] = json!(samples::uuid(77))),
            RejectCode::Disagrees,
        ),
        (
            "another position",
            with(|e| e["sequence"] = json!("00000000000000000006")),
            RejectCode::Disagrees,
        ),
        (
            "position not padded",
            with(|e| e["sequence"] = json!("5")),
            RejectCode::Disagrees,
        ),
        (
            "a hole in the payload alone",
            with(|e| {
                e["type"] = json!("vds.spool.hole.v1");
                e["data"] = json!({"to": 7, "reason": "x"});
            }),
            RejectCode::Disagrees,
        ),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(code(&five, &bytes), expected, "{name}");
    }
}

#[test]
fn a_hole_must_say_the_same_range_twice() {
    let hole = |data: Value| {
        with(|e| {
            e["type"] = json!("vds.spool.hole.v1");
            e["data"] = data;
        })
    };
    let to_9 = EventProperties {
        hole_to: Some(9),
        ..properties(5)
    };
    assert!(
        decode_event(
            &samples::topic(),
            &to_9,
            &hole(json!({"to": 9, "reason": "expired"}))
        )
        .is_ok()
    );
    assert_eq!(
        code(&to_9, &hole(json!({"to": 8, "reason": "expired"}))),
        RejectCode::Disagrees
    );
    assert_eq!(code(&to_9, &hole(json!({}))), RejectCode::Disagrees);
    assert_eq!(code(&properties(5), &hole(json!({}))), RejectCode::Disagrees);
    assert_eq!(
        code(&to_9, &with(|_| ())),
        RejectCode::Disagrees,
        "a job event is no hole"
    );
}

#[test]
fn an_unknown_type_is_taken_without_a_body() {
    let bytes = with(|e| {
        e["type"] = json!("vds.torque.curve.v3");
        e["later"] = json!([1]);
    });
    let event = decode_event(&samples::topic(), &properties(5), &bytes).unwrap();
    assert_eq!(event.r#type, EventType::Unknown("vds.torque.curve.v3".to_owned()));
    assert_eq!(event.body, Ok(None));
}

#[test]
fn a_body_of_another_shape_does_not_hold_the_event_back() {
    let bytes = with(|e| e["data"] = json!({"job_id": 7}));
    let event = decode_event(&samples::topic(), &properties(5), &bytes).unwrap();
    assert!(event.body.unwrap_err().contains("steps_total"));
    let bytes = with(|e| e["data"]["steps_total"] = json!("x".repeat(100_000)));
    let event = decode_event(&samples::topic(), &properties(5), &bytes).unwrap();
    assert_eq!(event.body.unwrap_err().len(), 500, "the reason is cut");
}

#[test]
fn a_number_that_is_not_finite_is_refused_when_it_is_written() {
    let Some((_, EventBody::StepFinished(mut step))) = samples::events().into_iter().nth(4) else {
        panic!()
    };
    // JSON has no NaN: written as null, no reader would find a measured value.
    let mut limited = step.clone();
    step.measurements[0].value = fleet_wire::event::Value::Number(f64::NAN);
    limited.measurements[0].limits.lt = Some(f64::INFINITY);
    for step in [step, limited] {
        let error = encode_event(&samples::context(5), &EventBody::StepFinished(step)).unwrap_err();
        assert!(error.to_string().contains("ubat"), "{error}");
    }
}

#[test]
fn words_of_a_newer_agent_leave_the_event_without_a_body_and_do_not_refuse_it() {
    let bodies = [
        (
            "vds.job.finished.v1",
            r#""verdict":"passed""#,
            r#""verdict":"superb""#,
        ),
        (
            "vds.step.finished.v1",
            r#""outcome":"passed","started_at""#,
            r#""outcome":"superb","started_at""#,
        ),
        ("vds.step.finished.v1", r#""value":13.8"#, r#""value":{"min":1}"#),
    ];
    for (name, from, to) in bodies {
        let (properties, body) = samples::events()
            .into_iter()
            .find(|(_, body)| body.event_type().as_str() == name)
            .unwrap();
        let text =
            String::from_utf8(encode_event(&samples::context(properties.seq), &body).unwrap()).unwrap();
        assert!(text.contains(from), "{text}");
        let event = decode_event(&samples::topic(), &properties, text.replace(from, to).as_bytes()).unwrap();
        assert!(event.body.is_err(), "{name}");
    }
}

#[test]
fn fields_of_a_newer_agent_are_ignored() {
    let bytes = with(|e| {
        e["data"]["later"] = json!({"x": 1});
        e["traceparent"] = json!("0".repeat(1000));
    });
    let event = decode_event(&samples::topic(), &properties(5), &bytes).unwrap();
    assert!(event.body.unwrap().is_some());
    assert_eq!(event.traceparent, None, "one that can't be real is left out");
}

proptest! {
    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_event(&samples::topic(), &properties(5), &bytes);
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0usize..400, to in any::<u8>(), which in 0usize..7) {
        let (properties, body) = samples::events().into_iter().nth(which).unwrap();
        let mut bytes = encode_event(&samples::context(properties.seq), &body).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = decode_event(&samples::topic(), &properties, &bytes);
    }
}
