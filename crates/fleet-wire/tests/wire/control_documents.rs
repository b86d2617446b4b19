use fleet_wire::ControlError;
use fleet_wire::command::{Commands, DesiredState, EntryProblem, JobDocumentError};
use fleet_wire::limits::{
    MAX_ANSWER_REJECTIONS, MAX_JOB_BYTES, MAX_NOTE_CHARS, MAX_OPEN_JOBS, MAX_PAYLOAD_BYTES, MAX_REJECTIONS,
    MAX_SPOOLS, MAX_SYNC_JOBS,
};
use fleet_wire::live::Live;
use fleet_wire::presence::Presence;
use fleet_wire::receipt::{ReceiptMessage, RejectCode, Rejection};
use fleet_wire::sync::{BenchJobState, Sync};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::samples;

#[test]
fn a_document_on_the_wrong_channel_is_refused_with_both_names() {
    let presence = samples::presence().encode();
    match Sync::decode(&presence) {
        Err(ControlError::WrongType { expected, found }) => {
            assert_eq!((expected, found.as_str()), ("vds.sync.v1", "vds.presence.v1"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        ReceiptMessage::decode(&presence),
        Err(ControlError::WrongType { .. })
    ));
    assert!(matches!(
        Presence::decode(&samples::live().encode()),
        Err(ControlError::WrongType { .. })
    ));
}

#[test]
fn malformed_documents_are_refused() {
    for bad in [
        &b""[..],
        b"{",
        b"null",
        b"[]",
        b"{}",
        br#"{"type":7}"#,
        br#"{"type":"vds.sync.v1"}"#,
        &[0xff],
    ] {
        assert!(
            matches!(Sync::decode(bad), Err(ControlError::Malformed { .. })),
            "{bad:?}"
        );
        assert!(Commands::decode(bad).is_err());
        assert!(Live::decode(bad).is_err());
        assert!(Presence::decode(bad).is_err());
        assert!(ReceiptMessage::decode(bad).is_err());
    }
    let large = vec![b' '; MAX_PAYLOAD_BYTES + 1];
    assert!(matches!(
        Commands::decode(&large),
        Err(ControlError::TooLarge { .. })
    ));
}

#[test]
fn lists_longer_than_their_limit_are_refused() {
    let mut commands = samples::commands();
    commands.jobs = vec![commands.jobs[1].clone(); MAX_OPEN_JOBS + 1];
    assert!(matches!(
        Commands::decode(&commands.encode()),
        Err(ControlError::TooMany { list: "jobs", .. })
    ));
    let ReceiptMessage::Receipt(mut receipt) = samples::receipt() else {
        panic!()
    };
    receipt.rejected = vec![
        Rejection {
            seq: 1,
            code: RejectCode::Conflict
        };
        MAX_REJECTIONS + 1
    ];
    let bytes = ReceiptMessage::Receipt(receipt).encode();
    assert!(matches!(
        ReceiptMessage::decode(&bytes),
        Err(ControlError::TooMany { list: "rejected", .. })
    ));
    let mut sync = samples::sync();
    sync.jobs = vec![sync.jobs[0]; MAX_SYNC_JOBS + 1];
    assert!(matches!(
        Sync::decode(&sync.encode()),
        Err(ControlError::TooMany { list: "jobs", .. })
    ));
    sync.jobs.clear();
    sync.spools = vec![sync.spools[0].clone(); MAX_SPOOLS + 1];
    assert!(matches!(
        Sync::decode(&sync.encode()),
        Err(ControlError::TooMany { list: "spools", .. })
    ));
    sync.spools.clear();
    sync.former = vec![sync.former[0]; MAX_SPOOLS + 1];
    assert!(matches!(
        Sync::decode(&sync.encode()),
        Err(ControlError::TooMany { list: "former", .. })
    ));
}

#[test]
fn the_largest_documents_fit_into_the_payload_limit() {
    let mut sync = samples::sync();
    sync.jobs = vec![sync.jobs[0]; MAX_SYNC_JOBS];
    sync.spools = vec![sync.spools[0].clone(); MAX_SPOOLS];
    sync.former = vec![sync.former[0]; MAX_SPOOLS];
    assert_eq!(Sync::decode(&sync.encode()).unwrap(), sync);

    let ReceiptMessage::SyncAnswer(mut answer) = samples::answer() else {
        panic!()
    };
    answer.spools = vec![answer.spools[1].clone(); 2 * MAX_SPOOLS];
    let rejection = Rejection {
        seq: i64::MAX as u64,
        code: RejectCode::SpecVersion,
    };
    for spool in answer
        .spools
        .iter_mut()
        .take(MAX_ANSWER_REJECTIONS / MAX_REJECTIONS)
    {
        spool.rejected = vec![rejection; MAX_REJECTIONS];
    }
    let largest = ReceiptMessage::SyncAnswer(answer.clone());
    assert_eq!(ReceiptMessage::decode(&largest.encode()).unwrap(), largest);
    answer.spools[127].rejected.push(rejection);
    assert!(matches!(
        ReceiptMessage::decode(&ReceiptMessage::SyncAnswer(answer).encode()),
        Err(ControlError::TooMany { list: "rejected", .. })
    ));

    let mut commands = samples::commands();
    let job = commands.jobs[0].job.as_mut().unwrap();
    let room = MAX_JOB_BYTES - serde_json::to_vec(job).unwrap().len();
    job.requested_by.push_str(&"x".repeat(room));
    commands.jobs = vec![commands.jobs[0].clone(); MAX_OPEN_JOBS];
    assert_eq!(Commands::decode(&commands.encode()).unwrap(), commands);
}

#[test]
fn a_number_that_no_column_holds_is_refused_by_name() {
    let cases: Vec<(&str, &str, Value)> = vec![
        ("number", "/number", json!(u64::MAX)),
        ("answered", "/answered", json!(u64::MAX)),
        ("connect_counter", "/connect_counter", json!(u64::MAX)),
        ("desired_version", "/desired_version", json!(u64::MAX)),
        ("first_kept", "/spools/0/first_kept", json!(0)),
        ("next_seq", "/spools/0/next_seq", json!(0)),
        ("next_seq", "/spools/0/next_seq", json!(u64::MAX)),
        ("receipted", "/spools/0/receipted", json!(u64::MAX)),
        ("rejections_known", "/spools/0/rejections_known", json!(u64::MAX)),
        ("last_seq", "/spools/0/predecessor/last_seq", json!(u64::MAX)),
        ("last_seq", "/former/0/last_seq", json!(u64::MAX)),
    ];
    for (name, pointer, value) in cases {
        let mut document: Value = serde_json::from_slice(&samples::sync().encode()).unwrap();
        *document.pointer_mut(pointer).unwrap() = value;
        match Sync::decode(document.to_string().as_bytes()) {
            Err(ControlError::OutOfRange { field, .. }) => assert_eq!(field, name),
            other => panic!("{pointer}: {other:?}"),
        }
    }
    for (sample, pointer) in [
        (samples::receipt(), "/through"),
        (samples::receipt(), "/rejected/0/seq"),
        (samples::answer(), "/spools/0/through"),
        (samples::answer(), "/spools/0/rejected/0/seq"),
    ] {
        let mut document: Value = serde_json::from_slice(&sample.encode()).unwrap();
        *document.pointer_mut(pointer).unwrap() = json!(u64::MAX);
        let read = ReceiptMessage::decode(document.to_string().as_bytes());
        assert!(
            matches!(read, Err(ControlError::OutOfRange { .. })),
            "{pointer}: {read:?}"
        );
    }
}

#[test]
fn a_note_for_people_is_cut() {
    let mut sync = samples::sync();
    sync.refusing_jobs = Some("ä".repeat(MAX_NOTE_CHARS + 1));
    let note = Sync::decode(&sync.encode()).unwrap().refusing_jobs.unwrap();
    assert_eq!(note, "ä".repeat(MAX_NOTE_CHARS));
}

/// The sample list with its first entry changed, as read by a bench.
fn changed(change: impl FnOnce(&mut Value)) -> (Commands, Vec<EntryProblem>) {
    let mut document: Value = serde_json::from_slice(&samples::commands().encode()).unwrap();
    change(&mut document["jobs"][0]);
    Commands::decode_with_problems(document.to_string().as_bytes()).unwrap()
}

#[test]
fn an_offer_whose_job_can_not_be_read_stands_without_one_and_holds_no_other_entry_back() {
    let cases: Vec<(&str, Value)> = vec![
        ("/job/kind", json!("levitate")),
        ("/job/vin", json!("?")),
        ("/job/parameters", json!([1])),
        ("/job/priority", json!("high")),
        ("/job/requested_by", json!("x".repeat(MAX_JOB_BYTES))),
        ("/job/procedure/sha256", json!("../../etc/passwd")),
        ("/job/artifacts/0/sha256", json!("E3B0")),
        ("/job/procedure/path", json!("//elsewhere/x")),
        ("/job/procedure/path", json!("http://elsewhere/x")),
        ("/job/artifacts/0/path", json!("/api/../x")),
        ("/job/artifacts/0/path", json!("/api/x?y=1")),
        ("/job", json!(7)),
    ];
    for (pointer, value) in cases {
        let (commands, problems) = changed(|entry| *entry.pointer_mut(pointer).unwrap() = value.clone());
        assert_eq!(commands.jobs.len(), 2, "{pointer} {value}");
        assert_eq!(commands.jobs[0].job, None, "{pointer} {value}");
        assert_eq!(commands.jobs[0].offer_id, samples::commands().jobs[0].offer_id);
        assert_eq!(commands.jobs[1], samples::commands().jobs[1]);
        assert!(matches!(problems[..], [EntryProblem::Job { .. }]), "{problems:?}");
    }
    let (_, problems) = changed(|entry| entry["job"]["procedure"]["path"] = json!("//elsewhere"));
    assert!(matches!(
        problems[..],
        [EntryProblem::Job {
            source: JobDocumentError::Path(_),
            ..
        }]
    ));
}

#[test]
fn an_entry_that_can_not_be_read_is_left_out_alone_and_named() {
    for change in [json!(null), json!({}), json!({"job_id": "x", "state": "offered"})] {
        let (commands, problems) = changed(|entry| *entry = change);
        assert_eq!(commands.jobs, samples::commands().jobs[1..]);
        assert!(
            matches!(problems[..], [EntryProblem::Entry { index: 0, .. }]),
            "{problems:?}"
        );
    }
}

#[test]
fn words_of_a_newer_server_neither_stop_nor_start_anything() {
    let text = String::from_utf8(samples::commands().encode()).unwrap();
    let newer = text.replace(
        r#""state":"offered""#,
        r#""state":"postponed","postponed_by":"x""#,
    );
    assert_eq!(
        Commands::decode(newer.as_bytes()).unwrap().jobs[0].state,
        DesiredState::Unknown
    );
    let text = String::from_utf8(samples::receipt().encode()).unwrap();
    let newer = text.replace(r#""code":"malformed""#, r#""code":"too_heavy""#);
    let Ok(ReceiptMessage::Receipt(receipt)) = ReceiptMessage::decode(newer.as_bytes()) else {
        panic!("{newer}")
    };
    assert_eq!(receipt.rejected[0].code, RejectCode::Other);
}

#[test]
fn words_of_a_newer_agent_do_not_hold_a_sync_back() {
    let text = String::from_utf8(samples::sync().encode()).unwrap();
    let newer = text.replace(r#""state":"running""#, r#""state":"paused","why":{"x":[1]}"#);
    let sync = Sync::decode(newer.as_bytes()).unwrap();
    assert_eq!(sync.jobs[0].state, BenchJobState::Unknown);
}

proptest! {
    #[test]
    fn any_bytes_give_a_document_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (Sync::decode(&bytes), Commands::decode(&bytes), ReceiptMessage::decode(&bytes));
        let _ = (Presence::decode(&bytes), Live::decode(&bytes));
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0usize..4000, to in any::<u8>()) {
        let mut all = [samples::sync().encode(), samples::commands().encode(), samples::receipt().encode(), samples::answer().encode(), samples::presence().encode(), samples::live().encode()];
        for bytes in &mut all {
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = (Sync::decode(bytes), Commands::decode(bytes), ReceiptMessage::decode(bytes));
            let _ = (Presence::decode(bytes), Live::decode(bytes));
        }
    }
}
