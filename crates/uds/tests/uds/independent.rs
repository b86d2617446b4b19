//! The codec against tables that somebody else wrote, worked examples, and bytes from nowhere.

use automotive_diag::uds::{UdsCommand, UdsError};
use proptest::prelude::*;
use uds::{BlockCounter, Nrc, Request, Response, RoutineAction, Service, Session, crc32};

/// Letters and digits only, in lower case: `requestCorrectlyReceived-ResponsePending`.
fn plain(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase()
}

#[test]
fn every_service_has_the_identifier_that_others_give_it() {
    for service in Service::ALL {
        let other = UdsCommand::from_repr(service.sid()).unwrap_or_else(|| panic!("{service} is no service"));
        assert_eq!(
            plain(service.name()),
            plain(&format!("{other:?}")),
            "{:02X}",
            service.sid()
        );
        assert_eq!(Service::from_sid(service.sid()), Some(*service));
    }
}

#[test]
fn every_negative_response_code_has_the_meaning_that_others_give_it() {
    // Of ISO 14229-1:2020; the other table is older.
    let newer = [0x34, 0x94];
    for nrc in Nrc::NAMED {
        let Some(other) = UdsError::from_repr(nrc.code()) else {
            assert!(newer.contains(&nrc.code()), "{nrc} is unknown elsewhere");
            continue;
        };
        assert_eq!(
            plain(nrc.name()),
            plain(&format!("{other:?}")),
            "{:02X}",
            nrc.code()
        );
    }
    for code in 0..=u8::MAX {
        assert_eq!(Nrc::from(code).code(), code, "no code is lost");
    }
}

#[test]
fn requests_have_the_bytes_of_the_textbook() {
    let table: Vec<(Request, Vec<u8>)> = vec![
        (Request::session(Session::from(0x03)), vec![0x10, 0x03]),
        (Request::read(0xF190), vec![0x22, 0xF1, 0x90]),
        (Request::write(0xF15A, [1, 2]), vec![0x2E, 0xF1, 0x5A, 1, 2]),
        (Request::TesterPresent { suppress: true }, vec![0x3E, 0x80]),
        (
            Request::RequestSeed {
                level: 0x11,
                record: vec![],
            },
            vec![0x27, 0x11],
        ),
        (
            Request::SendKey {
                level: 0x12,
                key: vec![0xAA],
            },
            vec![0x27, 0x12, 0xAA],
        ),
        (Request::start_routine(0xFF00, []), vec![0x31, 0x01, 0xFF, 0x00]),
        (
            Request::Routine {
                action: RoutineAction::Results,
                id: 0x0203,
                option: vec![],
            },
            vec![0x31, 0x03, 0x02, 0x03],
        ),
        (
            Request::ClearDtcs { group: 0x00FF_FFFF },
            vec![0x14, 0xFF, 0xFF, 0xFF],
        ),
        (Request::ReadDtcsByStatus { mask: 0x09 }, vec![0x19, 0x02, 0x09]),
        (
            Request::RequestDownload {
                format: 0,
                address: 0x0001_0000,
                size: 0x200,
            },
            vec![0x34, 0x00, 0x44, 0, 1, 0, 0, 0, 0, 2, 0],
        ),
        (
            Request::TransferData {
                counter: 1,
                data: vec![7],
            },
            vec![0x36, 1, 7],
        ),
        (Request::TransferExit { record: vec![] }, vec![0x37]),
    ];
    for (request, bytes) in table {
        assert_eq!(request.encode(), bytes, "{request:?}");
        assert_eq!(Request::decode(&bytes), Ok(request));
    }
}

#[test]
fn the_block_counter_starts_at_one_and_wraps_to_zero() {
    let counters = std::iter::successors(Some(BlockCounter::FIRST), |counter| Some(counter.next()));
    let seen: Vec<u8> = counters.take(257).map(BlockCounter::value).collect();
    assert_eq!(
        (seen[0], seen[254], seen[255], seen[256]),
        (0x01, 0xFF, 0x00, 0x01)
    );
}

#[test]
fn the_checksum_is_the_common_crc_32() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the usual check value");
}

#[test]
fn a_truncated_request_is_refused_at_every_length() {
    let whole = Request::RequestDownload {
        format: 0,
        address: 1,
        size: 2,
    }
    .encode();
    for length in 0..whole.len() {
        assert!(Request::decode(&whole[..length]).is_err(), "{length} bytes");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(Request::decode(&longer).is_err(), "a byte too many");
}

proptest! {
    #[test]
    fn any_bytes_give_a_request_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn any_bytes_give_a_response_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(response) = Response::decode(&bytes) {
            prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
        }
    }

    #[test]
    fn bytes_behind_a_known_service_give_a_value_or_an_error(
        service in proptest::sample::select(Service::ALL),
        tail in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut request = vec![service.sid()];
        request.extend(&tail);
        if let Ok(read) = Request::decode(&request) {
            prop_assert_eq!(Request::decode(&read.encode()), Ok(read));
        }
        let mut response = vec![service.positive_sid()];
        response.extend(&tail);
        if let Ok(read) = Response::decode(&response) {
            prop_assert_eq!(Response::decode(&read.encode()), Ok(read));
        }
    }
}
