use fleet_wire::ControlError;
use fleet_wire::command::{Commands, DesiredState};
use fleet_wire::limits::{MAX_OPEN_JOBS, MAX_PAYLOAD_BYTES, MAX_REJECTIONS};
use fleet_wire::live::Live;
use fleet_wire::presence::Presence;
use fleet_wire::receipt::{ReceiptMessage, RejectCode, Rejection};
use fleet_wire::sync::Sync;
use proptest::prelude::*;

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

proptest! {
    #[test]
    fn a_changed_byte_never_panics(at in 0usize..4000, to in any::<u8>()) {
        let mut all = [samples::sync().encode(), samples::commands().encode(), samples::receipt().encode(), samples::answer().encode()];
        for bytes in &mut all {
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = (Sync::decode(bytes), Commands::decode(bytes), ReceiptMessage::decode(bytes));
        }
    }
}
