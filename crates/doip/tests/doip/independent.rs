//! The codec against `simple_doip`, which somebody else wrote, and against bytes from nowhere.

use doip::{
    ActivationCode, ActivationType, DecodeError, DiagnosticNackCode, HEADER_LENGTH, HeaderNackCode, Message,
    StreamDecoder, VehicleAnnouncement,
};
use proptest::prelude::*;
use simple_doip::messages::{Encode as _, Payload};
use simple_doip::wire::SliceSink;
use simple_doip::{LogicalAddress, try_frame};

/// A message of every kind, with each optional part present and absent.
fn messages() -> Vec<Message> {
    let vehicle = VehicleAnnouncement {
        vin: *b"1M8GDM9AXKP042788",
        logical_address: 0x1000,
        eid: [2, 0, 0, 0, 0, 1],
        gid: [2, 0, 0, 0, 0, 2],
        further_action: 0,
        sync_status: Some(0),
    };
    let response = |oem| Message::ActivationResponse {
        tester: 0x0E80,
        entity: 0x1000,
        code: ActivationCode::Success,
        oem,
    };
    let request = |oem| Message::ActivationRequest {
        source: 0x0E80,
        activation: ActivationType::Default,
        oem,
    };
    let status = |max_data_size| Message::EntityStatusResponse {
        node_type: 0,
        max_sockets: 8,
        open_sockets: 1,
        max_data_size,
    };
    vec![
        Message::HeaderNack(HeaderNackCode::MessageTooLarge),
        Message::IdentificationRequest,
        Message::IdentificationRequestByEid([1, 2, 3, 4, 5, 6]),
        Message::IdentificationRequestByVin(*b"1M8GDM9AXKP042788"),
        Message::Announcement(vehicle.clone()),
        Message::Announcement(VehicleAnnouncement {
            sync_status: None,
            ..vehicle
        }),
        request(None),
        request(Some([1, 2, 3, 4])),
        response(None),
        response(Some([1, 2, 3, 4])),
        Message::AliveCheckRequest,
        Message::AliveCheckResponse { source: 0x0E80 },
        Message::EntityStatusRequest,
        status(None),
        status(Some(65_540)),
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
            previous: vec![0x22],
        },
        Message::DiagnosticNack {
            source: 0x1001,
            target: 0x0E80,
            code: DiagnosticNackCode::UnknownTarget,
            previous: vec![],
        },
    ]
}

/// What `simple_doip` makes of whole bytes: the payload, if it takes them.
fn other(bytes: &[u8]) -> Option<Payload<'_>> {
    let (frame, consumed) = try_frame(bytes).ok()??;
    if consumed != bytes.len() {
        return None;
    }
    Payload::decode(frame.payload, frame.header.payload_type()).ok()
}

#[test]
fn the_other_codec_reads_every_message_and_writes_the_same_payload() {
    for message in messages() {
        let bytes = message.encode();
        let payload = other(&bytes).unwrap_or_else(|| panic!("{message:?} is refused by simple_doip"));
        let mut written = vec![0; payload.encoded_size().unwrap()];
        payload.encode(&mut SliceSink::new(&mut written)).unwrap();
        assert_eq!(written, bytes[HEADER_LENGTH..], "{message:?}");
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
}

#[test]
fn the_other_codec_sees_the_same_fields() {
    let all = messages();
    let find = |wanted: fn(&Message) -> bool| all.iter().find(|message| wanted(message)).unwrap().encode();
    let bytes = find(|message| matches!(message, Message::Diagnostic { .. }));
    let Some(Payload::DiagnosticMessage(read)) = other(&bytes) else {
        panic!()
    };
    assert_eq!(
        (read.source_address, read.target_address),
        (LogicalAddress::from(0x0E80), LogicalAddress::from(0x1001))
    );
    assert_eq!(read.user_data, [0x22, 0xF1, 0x90]);
    let bytes = find(|message| matches!(message, Message::ActivationRequest { oem: Some(_), .. }));
    let Some(Payload::RoutingActivationRequest(read)) = other(&bytes) else {
        panic!()
    };
    assert_eq!(read.source_address, LogicalAddress::from(0x0E80));
    assert_eq!(read.reserved_vehicle_manufacturer, Some([1, 2, 3, 4]));
    let bytes = find(|message| matches!(message, Message::ActivationResponse { .. }));
    let Some(Payload::RoutingActivationResponse(read)) = other(&bytes) else {
        panic!()
    };
    assert_eq!(read.logical_address_tester, LogicalAddress::from(0x0E80));
    assert_eq!(read.logical_address_of_doip_entity, LogicalAddress::from(0x1000));
    let bytes = find(|message| matches!(message, Message::Announcement(_)));
    let Some(Payload::VehicleAnnouncement(read)) = other(&bytes) else {
        panic!()
    };
    assert_eq!(
        (&read.vin, read.logical_address),
        (b"1M8GDM9AXKP042788", LogicalAddress::from(0x1000))
    );
    assert_eq!(read.entity_id, [2, 0, 0, 0, 0, 1]);
    let bytes = find(|message| matches!(message, Message::DiagnosticNack { .. }));
    let Some(Payload::DiagnosticMessageNack(read)) = other(&bytes) else {
        panic!()
    };
    assert_eq!(
        (read.source_address, read.target_address),
        (LogicalAddress::from(0x1001), LogicalAddress::from(0x0E80))
    );
}

#[test]
fn a_header_that_can_not_be_is_refused_with_the_acknowledgement_that_is_owed() {
    let alive = Message::AliveCheckRequest.encode();
    let with = |at: usize, to: u8| {
        let mut bytes = alive.clone();
        bytes[at] = to;
        bytes
    };
    let table = [
        (
            "wrong inverse version",
            with(1, 0x00),
            HeaderNackCode::IncorrectPattern,
            true,
        ),
        (
            "unknown version",
            [&[0x7F, 0x80], &alive[2..]].concat(),
            HeaderNackCode::IncorrectPattern,
            true,
        ),
        (
            "unknown type",
            with(2, 0x70),
            HeaderNackCode::UnknownPayloadType,
            false,
        ),
        (
            "length of 4 GiB",
            [&alive[..4], &[0xFF; 4]].concat(),
            HeaderNackCode::MessageTooLarge,
            false,
        ),
        (
            "length that does not fit the type",
            [&with(7, 1)[..], &[0]].concat(),
            HeaderNackCode::InvalidPayloadLength,
            true,
        ),
    ];
    for (name, bytes, nack, closes) in table {
        let mut stream = StreamDecoder::default();
        stream.push(&bytes);
        let error = stream.next_message().expect_err(name);
        assert_eq!((error.nack(), error.closes()), (nack, closes), "{name}");
    }
}

#[test]
fn a_stream_in_single_bytes_gives_the_same_messages() {
    let all = messages();
    let mut stream = StreamDecoder::default();
    let mut found = Vec::new();
    for byte in all.iter().flat_map(Message::encode) {
        stream.push(&[byte]);
        while let Some(message) = stream.next_message().unwrap() {
            found.push(message);
        }
    }
    assert_eq!(found, all);
}

#[test]
fn a_message_that_is_too_large_is_skipped_and_the_next_one_is_read() {
    let large = Message::Diagnostic {
        source: 1,
        target: 2,
        data: vec![0; 1000],
    }
    .encode();
    let mut stream = StreamDecoder::new(100);
    for part in [large, Message::AliveCheckRequest.encode()].concat().chunks(7) {
        stream.push(part);
    }
    assert!(matches!(
        stream.next_message(),
        Err(DecodeError::TooLarge {
            length: 1004,
            limit: 100
        })
    ));
    assert_eq!(stream.next_message(), Ok(Some(Message::AliveCheckRequest)));
}

const TYPES: [u16; 16] = [
    0x0000, 0x0001, 0x0002, 0x0003, 0x0004, 0x0005, 0x0006, 0x0007, 0x0008, 0x4001, 0x4002, 0x4003, 0x4004,
    0x8001, 0x8002, 0x8003,
];

proptest! {
    #[test]
    fn any_bytes_give_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
        let mut stream = StreamDecoder::new(64);
        stream.push(&bytes);
        for _ in 0..bytes.len() {
            let _ = stream.next_message();
        }
    }

    #[test]
    fn what_the_other_codec_takes_is_taken_here_as_well(
        payload_type in proptest::sample::select(&TYPES[..]),
        payload in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = vec![0x02, 0xFD];
        bytes.extend(payload_type.to_be_bytes());
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(&payload);
        if other(&bytes).is_some() {
            prop_assert!(Message::decode(&bytes).is_ok(), "{:02X?}", bytes);
        }
    }
}
