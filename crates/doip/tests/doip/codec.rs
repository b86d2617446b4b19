//! Bytes of messages, compared with the crate `simple_doip`.

use doip::{
    ActivationCode, ActivationType, DecodeError, DiagnosticNackCode, HeaderNackCode, Message,
    VehicleAnnouncement,
};
use proptest::prelude::*;
use simple_doip::messages::Message as Theirs;
use simple_doip::wire::{Decode as _, Encode as _, SliceSink};

pub(crate) fn samples() -> Vec<Message> {
    let vehicle = VehicleAnnouncement {
        vin: *b"WDB1110101A000001",
        logical_address: 0x1000,
        eid: [2, 0, 0, 0, 0, 1],
        gid: [0, 0, 0, 0, 0, 7],
        further_action: 0x00,
        sync_status: Some(0x00),
    };
    vec![
        Message::HeaderNack(HeaderNackCode::MessageTooLarge),
        Message::IdentificationRequest,
        Message::IdentificationRequestByEid([1, 2, 3, 4, 5, 6]),
        Message::IdentificationRequestByVin(*b"WDB1110101A000001"),
        Message::Announcement(vehicle.clone()),
        Message::Announcement(VehicleAnnouncement {
            sync_status: None,
            further_action: 0x10,
            ..vehicle
        }),
        Message::ActivationRequest {
            source: 0x0E80,
            activation: ActivationType::Default,
            oem: None,
        },
        Message::ActivationRequest {
            source: 0x0E80,
            activation: ActivationType::CentralSecurity,
            oem: Some([1, 2, 3, 4]),
        },
        Message::ActivationResponse {
            tester: 0x0E80,
            entity: 0x1000,
            code: ActivationCode::Success,
            oem: None,
        },
        Message::ActivationResponse {
            tester: 0x0E80,
            entity: 0x1000,
            code: ActivationCode::SourceInUse,
            oem: Some([9; 4]),
        },
        Message::AliveCheckRequest,
        Message::AliveCheckResponse { source: 0x0E80 },
        Message::EntityStatusRequest,
        Message::EntityStatusResponse {
            node_type: 0,
            max_sockets: 8,
            open_sockets: 1,
            max_data_size: Some(65_540),
        },
        Message::EntityStatusResponse {
            node_type: 1,
            max_sockets: 1,
            open_sockets: 0,
            max_data_size: None,
        },
        Message::PowerModeRequest,
        Message::PowerModeResponse { mode: 1 },
        Message::Diagnostic {
            source: 0x0E80,
            target: 0x1001,
            data: vec![0x22, 0xF1, 0x90],
        },
        Message::DiagnosticAck {
            source: 0x1001,
            target: 0x0E80,
            code: 0,
            previous: vec![],
        },
        Message::DiagnosticAck {
            source: 0x1001,
            target: 0x0E80,
            code: 0,
            previous: vec![0x22],
        },
        Message::DiagnosticNack {
            source: 0x1001,
            target: 0x0E80,
            code: DiagnosticNackCode::TargetUnreachable,
            previous: vec![],
        },
    ]
}

#[test]
fn another_implementation_reads_and_writes_the_same_bytes() {
    for message in samples() {
        let bytes = message.encode();
        let (theirs, rest) = Theirs::decode(&bytes).unwrap_or_else(|error| panic!("{message:?}: {error}"));
        assert!(rest.is_empty(), "{message:?}");
        let mut buffer = [0; 256];
        let mut sink = SliceSink::new(&mut buffer);
        let length = theirs.encode(&mut sink).unwrap();
        assert_eq!(buffer[..length], bytes, "{message:?}");
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
}

#[test]
fn known_bytes() {
    let request = Message::ActivationRequest {
        source: 0x0E80,
        activation: ActivationType::Default,
        oem: None,
    };
    assert_eq!(
        request.encode(),
        [0x02, 0xFD, 0, 5, 0, 0, 0, 7, 0x0E, 0x80, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        Message::IdentificationRequest.encode(),
        [0xFF, 0x00, 0, 1, 0, 0, 0, 0]
    );
}

#[test]
fn the_version_of_2019_is_read_and_others_are_refused() {
    let mut bytes = Message::AliveCheckRequest.encode();
    bytes[0] = 0x03;
    bytes[1] = 0xFC;
    assert_eq!(Message::decode(&bytes), Ok(Message::AliveCheckRequest));
    for (version, inverse) in [
        (0x02, 0xFC),
        (0x03, 0x03),
        (0x01, 0xFE),
        (0x04, 0xFB),
        (0xFF, 0x00),
    ] {
        bytes[0] = version;
        bytes[1] = inverse;
        let error = Message::decode(&bytes).unwrap_err();
        assert_eq!(error, DecodeError::Pattern { version, inverse });
        assert_eq!(
            (error.nack(), error.closes()),
            (HeaderNackCode::IncorrectPattern, true)
        );
    }
}

#[test]
fn a_wrong_length_is_said_for_every_type() {
    for message in samples() {
        let bytes = message.encode();
        let mut long = bytes.clone();
        long.push(0);
        assert!(
            matches!(Message::decode(&long), Err(DecodeError::Length { .. })),
            "{message:?}"
        );
        for end in 0..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_err(), "{message:?}");
        }
    }
}

#[test]
fn codes_go_both_ways() {
    for code in 0..=0xFF {
        assert_eq!(ActivationCode::from(code).code(), code);
        assert_eq!(DiagnosticNackCode::from(code).code(), code);
        assert_eq!(HeaderNackCode::from(code).code(), code);
        assert_eq!(ActivationType::from(code).code(), code);
    }
}

proptest! {
    #[test]
    fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn payloads_of_known_types_are_total(
        kind in prop::sample::select(vec![0_u16, 1, 2, 3, 4, 5, 6, 7, 8, 0x4001, 0x4002, 0x4003, 0x4004, 0x8001, 0x8002, 0x8003]),
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = vec![0x02, 0xFD];
        bytes.extend(kind.to_be_bytes());
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}
