//! Bytes of requests and answers.

use proptest::prelude::*;
use uds::{
    DecodeError, DtcRecord, DtcSetting, IoControl, Nrc, Request, ResetKind, Response, RoutineAction, Service,
    Session, SessionTiming,
};

/// Each request with its bytes, written down from the standard by hand.
fn requests() -> Vec<(Request, &'static [u8])> {
    vec![
        (Request::session(Session::Programming), &[0x10, 0x02]),
        (
            Request::SessionControl {
                session: Session::Extended,
                suppress: true,
            },
            &[0x10, 0x83],
        ),
        (
            Request::SessionControl {
                session: Session::Other(0x60),
                suppress: false,
            },
            &[0x10, 0x60],
        ),
        (
            Request::EcuReset {
                kind: ResetKind::Hard,
                suppress: false,
            },
            &[0x11, 0x01],
        ),
        (Request::ClearDtcs { group: 0xFF_FFFF }, &[0x14, 0xFF, 0xFF, 0xFF]),
        (Request::ReadDtcsByStatus { mask: 0x09 }, &[0x19, 0x02, 0x09]),
        (Request::read(0xF190), &[0x22, 0xF1, 0x90]),
        (
            Request::RequestSeed {
                level: 0x11,
                record: vec![],
            },
            &[0x27, 0x11],
        ),
        (
            Request::SendKey {
                level: 0x12,
                key: vec![1, 2],
            },
            &[0x27, 0x12, 1, 2],
        ),
        (
            Request::CommunicationControl {
                control: 0x01,
                communication_type: 0x01,
                suppress: false,
            },
            &[0x28, 0x01, 0x01],
        ),
        (Request::write(0xF15A, vec![0xAA]), &[0x2E, 0xF1, 0x5A, 0xAA]),
        (
            Request::InputOutputControl {
                did: 0x3101,
                control: IoControl::ShortTermAdjustment,
                state: vec![1],
            },
            &[0x2F, 0x31, 0x01, 0x03, 0x01],
        ),
        (
            Request::InputOutputControl {
                did: 0x3101,
                control: IoControl::ReturnControl,
                state: vec![],
            },
            &[0x2F, 0x31, 0x01, 0x00],
        ),
        (Request::start_routine(0xFF00, vec![]), &[0x31, 0x01, 0xFF, 0x00]),
        (Request::routine_results(0x0301), &[0x31, 0x03, 0x03, 0x01]),
        (
            Request::RequestDownload {
                format: 0,
                address: 0x1000,
                size: 0x0001_8000,
            },
            &[0x34, 0x00, 0x44, 0x00, 0x00, 0x10, 0x00, 0x00, 0x01, 0x80, 0x00],
        ),
        (
            Request::TransferData {
                counter: 1,
                data: vec![9],
            },
            &[0x36, 0x01, 0x09],
        ),
        (Request::TransferExit { record: vec![] }, &[0x37]),
        (Request::TesterPresent { suppress: true }, &[0x3E, 0x80]),
        (
            Request::ControlDtcSetting {
                setting: DtcSetting::Off,
                suppress: false,
            },
            &[0x85, 0x02],
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn responses() -> Vec<(Response, &'static [u8])> {
    let timing = SessionTiming {
        p2_ms: 50,
        p2_star_10ms: 500,
    };
    vec![
        (
            Response::Negative {
                service: 0x31,
                nrc: Nrc::ResponsePending,
            },
            &[0x7F, 0x31, 0x78],
        ),
        (
            Response::Negative {
                service: 0x99,
                nrc: Nrc::Other(0xE0),
            },
            &[0x7F, 0x99, 0xE0],
        ),
        (
            Response::SessionControl {
                session: Session::Extended,
                timing,
            },
            &[0x50, 0x03, 0x00, 0x32, 0x01, 0xF4],
        ),
        (
            Response::EcuReset {
                kind: ResetKind::Hard,
                power_down_s: None,
            },
            &[0x51, 0x01],
        ),
        (
            Response::EcuReset {
                kind: ResetKind::Other(4),
                power_down_s: Some(9),
            },
            &[0x51, 0x04, 0x09],
        ),
        (Response::ClearDtcs, &[0x54]),
        (
            Response::Dtcs {
                availability_mask: 0xFF,
                records: vec![DtcRecord {
                    code: 0xC1_0001,
                    status: 0x08,
                }],
            },
            &[0x59, 0x02, 0xFF, 0xC1, 0x00, 0x01, 0x08],
        ),
        (
            Response::Data {
                did: 0xF186,
                data: vec![3],
            },
            &[0x62, 0xF1, 0x86, 0x03],
        ),
        (
            Response::Seed {
                level: 0x11,
                seed: vec![5, 6],
            },
            &[0x67, 0x11, 5, 6],
        ),
        (Response::KeyAccepted { level: 0x12 }, &[0x67, 0x12]),
        (Response::CommunicationControl { control: 0x01 }, &[0x68, 0x01]),
        (Response::WriteData { did: 0xF15A }, &[0x6E, 0xF1, 0x5A]),
        (
            Response::InputOutputControl {
                did: 0x3101,
                control: IoControl::ShortTermAdjustment,
                state: vec![1],
            },
            &[0x6F, 0x31, 0x01, 0x03, 0x01],
        ),
        (
            Response::Routine {
                action: RoutineAction::Start,
                id: 0xFF00,
                status: vec![0],
            },
            &[0x71, 0x01, 0xFF, 0x00, 0x00],
        ),
        (
            Response::DownloadAccepted {
                max_block_length: 0x0402,
            },
            &[0x74, 0x20, 0x04, 0x02],
        ),
        (
            Response::TransferData {
                counter: 0,
                record: vec![],
            },
            &[0x76, 0x00],
        ),
        (Response::TransferExit { record: vec![] }, &[0x77]),
        (Response::TesterPresent, &[0x7E, 0x00]),
        (
            Response::ControlDtcSetting {
                setting: DtcSetting::On,
            },
            &[0xC5, 0x01],
        ),
    ]
}

#[test]
fn requests_have_the_bytes_of_the_standard() {
    for (request, bytes) in requests() {
        assert_eq!(request.encode(), bytes, "{request:?}");
        assert_eq!(Request::decode(bytes).as_ref(), Ok(&request));
    }
    let covered: Vec<Service> = requests().iter().map(|(request, _)| request.service()).collect();
    assert!(
        Service::ALL.iter().all(|service| covered.contains(service)),
        "each service has a line"
    );
}

#[test]
fn answers_have_the_bytes_of_the_standard() {
    for (response, bytes) in responses() {
        assert_eq!(response.encode(), bytes, "{response:?}");
        assert_eq!(Response::decode(bytes).as_ref(), Ok(&response));
    }
}

#[test]
fn every_shortened_message_is_an_error_or_another_message() {
    for (request, bytes) in requests() {
        for end in 0..bytes.len() {
            assert_ne!(Request::decode(&bytes[..end]).as_ref(), Ok(&request));
        }
    }
    for (response, bytes) in responses() {
        for end in 0..bytes.len() {
            assert_ne!(Response::decode(&bytes[..end]).as_ref(), Ok(&response));
        }
    }
}

#[test]
fn malformed_requests_say_what_is_wrong() {
    let table: &[(&[u8], DecodeError)] = &[
        (&[], DecodeError::Empty),
        (&[0x99], DecodeError::UnknownService(0x99)),
        (
            &[0x10],
            DecodeError::TooShort {
                service: 0x10,
                length: 1,
            },
        ),
        (
            &[0x10, 1, 2],
            DecodeError::TooLong {
                service: 0x10,
                length: 3,
            },
        ),
        (
            &[0x19, 0x0A],
            DecodeError::UnknownSubFunction {
                service: 0x19,
                sub_function: 0x0A,
            },
        ),
        (
            &[0x22, 0xF1],
            DecodeError::TooShort {
                service: 0x22,
                length: 2,
            },
        ),
        (
            &[0x22, 0xF1, 0x90, 0xF1],
            DecodeError::TooLong {
                service: 0x22,
                length: 4,
            },
        ),
        (&[0x27, 0x00], DecodeError::OutOfRange { service: 0x27 }),
        (
            &[0x2E, 0xF1, 0x5A],
            DecodeError::TooShort {
                service: 0x2E,
                length: 3,
            },
        ),
        (
            &[0x2F, 0x31, 0x01, 0x09],
            DecodeError::OutOfRange { service: 0x2F },
        ),
        (
            &[0x31, 0x07, 0xFF, 0x00],
            DecodeError::UnknownSubFunction {
                service: 0x31,
                sub_function: 0x07,
            },
        ),
        (
            &[0x34, 0x00, 0x04, 1, 2, 3, 4],
            DecodeError::OutOfRange { service: 0x34 },
        ),
        (
            &[0x3E, 0x01],
            DecodeError::UnknownSubFunction {
                service: 0x3E,
                sub_function: 0x01,
            },
        ),
    ];
    for (bytes, error) in table {
        assert_eq!(Request::decode(bytes), Err(*error), "{bytes:02x?}");
    }
}

#[test]
fn a_download_may_have_short_address_and_size() {
    let request = Request::decode(&[0x34, 0x00, 0x21, 0x10, 0x02, 0x00]).unwrap();
    assert_eq!(
        request,
        Request::RequestDownload {
            format: 0,
            address: 0x10,
            size: 0x0200
        }
    );
}

#[test]
fn negative_response_codes_are_named_as_elsewhere() {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "");
    for code in 0..=0xFF {
        let Some(theirs) = automotive_diag::uds::UdsError::from_repr(code) else {
            continue;
        };
        let ours = Nrc::from(code);
        // What is missing here keeps its code.
        if let Nrc::Other(other) = ours {
            assert_eq!(other, code);
            continue;
        }
        let (ours, theirs) = (plain(ours.name()), plain(&format!("{theirs:?}")));
        assert!(ours == theirs, "{code:02X}: {ours} {theirs}");
    }
}

#[test]
fn services_are_named_as_elsewhere() {
    for service in Service::ALL {
        let theirs = automotive_diag::uds::UdsCommand::from_repr(service.sid()).unwrap();
        assert_eq!(format!("{theirs:?}"), service.name());
    }
}

#[test]
fn codes_and_names_go_both_ways() {
    for nrc in Nrc::NAMED {
        assert_eq!(Nrc::from(nrc.code()), *nrc);
    }
    for service in Service::ALL {
        assert_eq!(Service::from_sid(service.sid()), Some(*service));
        assert_eq!(service.positive_sid(), service.sid() + 0x40);
    }
}

#[test]
fn an_answer_belongs_to_its_request_only() {
    let read = Request::read(0xF190);
    assert!(
        Response::Data {
            did: 0xF190,
            data: vec![]
        }
        .answers(&read)
    );
    assert!(
        !Response::Data {
            did: 0xF191,
            data: vec![]
        }
        .answers(&read)
    );
    assert!(!Response::TesterPresent.answers(&read));
    let block = Request::TransferData {
        counter: 2,
        data: vec![],
    };
    assert!(
        !Response::TransferData {
            counter: 1,
            record: vec![]
        }
        .answers(&block)
    );
}

proptest! {
    #[test]
    fn decoding_is_total_and_what_is_read_can_be_written(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        if let Ok(response) = Response::decode(&bytes) {
            prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
        }
    }

    #[test]
    fn decoding_of_known_services_is_total(
        first in prop::sample::select(Service::ALL.iter().flat_map(|s| [s.sid(), s.positive_sid()]).collect::<Vec<_>>()),
        rest in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut bytes = vec![first];
        bytes.extend(rest);
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        if let Ok(response) = Response::decode(&bytes) {
            prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
        }
    }
}
