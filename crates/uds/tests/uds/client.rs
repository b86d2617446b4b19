//! Timing and repetition of the client. Time is a number here: nothing waits.

use core::time::Duration;

use proptest::prelude::*;
use uds::{
    Addressing, Client, ClientConfig, Discard, Event, LinkFault, Nrc, Output, Request, Response, SendError,
    Session, UdsError, Wait,
};

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

const READ: [u8; 3] = [0x22, 0xF1, 0x90];
const PENDING: [u8; 3] = [0x7F, 0x31, 0x78];

fn client() -> Client {
    let config = ClientConfig {
        transport_margin: ms(0),
        max_pending: 3,
        pending_total: ms(12_000),
        ..ClientConfig::default()
    };
    Client::new(config, ms(0))
}

fn sent(output: &Output) -> Vec<Vec<u8>> {
    output.transmit.iter().map(|one| one.bytes.clone()).collect()
}

fn error(output: Output) -> UdsError {
    match output.event {
        Some(Event::Completed(Err(error))) => error,
        other => panic!("{other:?}"),
    }
}

fn answer(output: Output) -> uds::Completion {
    match output.event {
        Some(Event::Completed(Ok(completion))) => completion,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_in_time_completes_the_request() {
    let mut client = client();
    let output = client.send(Request::read(0xF190), ms(0)).unwrap();
    assert_eq!(sent(&output), [READ]);
    let completion = answer(client.on_message(&[0x62, 0xF1, 0x90, b'W'], ms(20)));
    assert_eq!(
        completion.response,
        Some(Response::Data {
            did: 0xF190,
            data: vec![b'W']
        })
    );
    assert_eq!(
        (completion.attempts, completion.pending, completion.elapsed),
        (1, 0, ms(20))
    );
    assert!(!client.is_busy());
}

#[test]
fn a_second_request_has_to_wait() {
    let mut client = client();
    let _ = client.send(Request::read(0xF190), ms(0)).unwrap();
    let refused = client.send(Request::read(0xF191), ms(1)).unwrap_err();
    assert!(matches!(refused, SendError::Busy { .. }));
}

#[test]
fn silence_repeats_a_reading_twice_and_then_gives_up() {
    let mut client = client();
    let _ = client.send(Request::read(0xF190), ms(0)).unwrap();
    for (at, attempts) in [(50, 2), (100, 3)] {
        assert_eq!(client.next_deadline(), Some(ms(at)));
        let output = client.on_timer(ms(at));
        assert_eq!(sent(&output), [READ]);
        assert_eq!(output.event, Some(Event::Repeating { attempts }));
    }
    let gave_up = error(client.on_timer(ms(150)));
    assert!(
        matches!(
            gave_up,
            UdsError::Timeout {
                wait: Wait::P2,
                attempts: 3,
                ..
            }
        ),
        "{gave_up:?}"
    );
}

#[test]
fn silence_never_repeats_a_write() {
    for request in [
        Request::write(0xF15A, vec![1]),
        Request::start_routine(0xFF00, vec![]),
        Request::TransferData {
            counter: 1,
            data: vec![1],
        },
        Request::session(Session::Programming),
        Request::ClearDtcs { group: 0xFF_FFFF },
    ] {
        let mut client = client();
        let _ = client.send(request, ms(0)).unwrap();
        let gave_up = error(client.on_timer(ms(50)));
        assert!(
            matches!(gave_up, UdsError::Timeout { attempts: 1, .. }),
            "{gave_up:?}"
        );
    }
}

#[test]
fn each_78_restarts_p2_star() {
    let mut client = client();
    let _ = client
        .send(Request::start_routine(0xFF00, vec![]), ms(0))
        .unwrap();
    assert_eq!(
        client.on_message(&PENDING, ms(40)).event,
        Some(Event::Pending { count: 1 })
    );
    assert_eq!(client.next_deadline(), Some(ms(5_040)));
    assert_eq!(
        client.on_message(&PENDING, ms(5_000)).event,
        Some(Event::Pending { count: 2 })
    );
    assert_eq!(client.next_deadline(), Some(ms(10_000)));
    let completion = answer(client.on_message(&[0x71, 0x01, 0xFF, 0x00, 0x00], ms(9_000)));
    assert_eq!(completion.pending, 2);
}

#[test]
fn too_many_78_are_an_end() {
    let mut client = client();
    let _ = client
        .send(Request::start_routine(0xFF00, vec![]), ms(0))
        .unwrap();
    for at in 1..=3 {
        let _ = client.on_message(&PENDING, ms(at));
    }
    let capped = error(client.on_message(&PENDING, ms(4)));
    assert!(
        matches!(capped, UdsError::PendingCap { count: 4, .. }),
        "{capped:?}"
    );
}

#[test]
fn the_total_time_of_78_is_an_end() {
    let mut client = client();
    let _ = client
        .send(Request::start_routine(0xFF00, vec![]), ms(0))
        .unwrap();
    for at in [1_000, 5_000, 9_000] {
        let _ = client.on_message(&PENDING, ms(at));
    }
    assert_eq!(
        client.next_deadline(),
        Some(ms(13_000)),
        "twelve seconds after the first"
    );
    assert!(matches!(
        error(client.on_timer(ms(13_000))),
        UdsError::PendingCap { count: 3, .. }
    ));
}

#[test]
fn silence_after_78_is_a_time_out_and_not_repeated() {
    let mut client = client();
    let _ = client
        .send(Request::start_routine(0xFF00, vec![]), ms(0))
        .unwrap();
    let _ = client.on_message(&PENDING, ms(10));
    assert!(matches!(
        error(client.on_timer(ms(5_010))),
        UdsError::Timeout {
            wait: Wait::P2Star,
            ..
        }
    ));
}

#[test]
fn busy_waits_and_asks_again_whatever_the_service() {
    let mut client = client();
    let _ = client
        .send(Request::start_routine(0xFF00, vec![]), ms(0))
        .unwrap();
    let output = client.on_message(&[0x7F, 0x31, 0x21], ms(5));
    assert_eq!(output.event, Some(Event::Repeating { attempts: 2 }));
    assert_eq!(client.next_deadline(), Some(ms(205)));
    assert_eq!(client.on_timer(ms(204)), Output::default());
    assert_eq!(sent(&client.on_timer(ms(205))), [[0x31, 0x01, 0xFF, 0x00]]);
}

#[test]
fn busy_is_capped() {
    let mut client = client();
    let _ = client.send(Request::read(0xF190), ms(0)).unwrap();
    let mut now = ms(0);
    for _ in 0..10 {
        let _ = client.on_message(&[0x7F, 0x22, 0x21], now);
        now += ms(200);
        let _ = client.on_timer(now);
    }
    let capped = error(client.on_message(&[0x7F, 0x22, 0x21], now));
    assert_eq!(capped.nrc(), Some(Nrc::BusyRepeatRequest));
}

#[test]
fn after_36_and_37_no_seed_is_asked_for_until_the_delay_is_over() {
    for code in [0x36, 0x37] {
        let mut client = client();
        let seed = Request::RequestSeed {
            level: 0x11,
            record: vec![],
        };
        let _ = client.send(seed.clone(), ms(0)).unwrap();
        let refused = error(client.on_message(&[0x7F, 0x27, code], ms(10)));
        assert_eq!(refused.nrc().map(Nrc::code), Some(code));
        let until = ms(10_010);
        assert_eq!(
            client.send(seed.clone(), ms(10_009)),
            Err(SendError::SecurityDelay { until })
        );
        assert!(
            client.send(Request::read(0xF190), ms(11)).is_ok(),
            "other services go on"
        );
        let _ = client.on_message(&[0x62, 0xF1, 0x90, 1], ms(12));
        assert!(client.send(seed, until).is_ok());
    }
}

#[test]
fn a_delay_is_kept_over_a_restart() {
    let mut client = client();
    client.set_seed_not_before(ms(500));
    let seed = Request::RequestSeed {
        level: 0x11,
        record: vec![],
    };
    assert!(client.send(seed.clone(), ms(499)).is_err());
    assert!(client.send(seed, ms(500)).is_ok());
}

#[test]
fn late_answers_are_thrown_away() {
    let mut client = client();
    let late = client.on_message(&[0x62, 0xF1, 0x90, 1], ms(0));
    assert_eq!(late.event, Some(Event::Discarded(Discard::NothingOutstanding)));
    let _ = client.send(Request::read(0xF191), ms(0)).unwrap();
    let other = client.on_message(&[0x62, 0xF1, 0x90, 1], ms(1));
    assert_eq!(other.event, Some(Event::Discarded(Discard::OtherRequest)));
    let service = client.on_message(&[0x71, 0x01, 0xFF, 0x00], ms(2));
    assert_eq!(service.event, Some(Event::Discarded(Discard::OtherService)));
    let negative = client.on_message(&[0x7F, 0x31, 0x22], ms(3));
    assert_eq!(negative.event, Some(Event::Discarded(Discard::OtherService)));
    assert!(
        answer(client.on_message(&[0x62, 0xF1, 0x91, 2], ms(4)))
            .response
            .is_some()
    );
}

#[test]
fn a_suppressed_request_succeeds_by_silence_but_can_be_refused() {
    let suppressed = Request::SessionControl {
        session: Session::Extended,
        suppress: true,
    };
    let mut client = client();
    let _ = client.send(suppressed.clone(), ms(0)).unwrap();
    assert_eq!(answer(client.on_timer(ms(50))).response, None);
    assert_eq!(client.session(), Session::Extended);
    let mut client = self::client();
    let _ = client.send(suppressed, ms(0)).unwrap();
    assert_eq!(
        error(client.on_message(&[0x7F, 0x10, 0x22], ms(5))).nrc(),
        Some(Nrc::ConditionsNotCorrect)
    );
    assert_eq!(client.session(), Session::Default);
}

#[test]
fn a_functional_request_goes_to_all_and_silence_is_no_error() {
    let mut client = client();
    let output = client
        .send_functional(Request::session(Session::Extended), ms(0))
        .unwrap();
    assert_eq!(output.transmit[0].addressing, Addressing::Functional);
    assert_eq!(answer(client.on_timer(ms(50))).response, None);
    assert_eq!(client.session(), Session::Default, "nobody said that it changed");
}

#[test]
fn the_answer_to_10_sets_the_times() {
    let mut client = client();
    let _ = client
        .send(Request::session(Session::Programming), ms(0))
        .unwrap();
    let _ = answer(client.on_message(&[0x50, 0x02, 0x00, 0x64, 0x00, 0xC8], ms(1)));
    assert_eq!(client.timing(), (ms(100), ms(2_000)));
    let _ = client
        .send(
            Request::EcuReset {
                kind: uds::ResetKind::Hard,
                suppress: false,
            },
            ms(2),
        )
        .unwrap();
    let _ = answer(client.on_message(&[0x51, 0x01], ms(3)));
    assert_eq!(
        (client.session(), client.timing()),
        (Session::Default, (ms(50), ms(5_000)))
    );
}

#[test]
fn outside_the_default_session_a_tester_is_present_every_two_seconds() {
    let mut client = client();
    assert_eq!(client.next_deadline(), None);
    let _ = client.send(Request::session(Session::Extended), ms(0)).unwrap();
    let _ = client.on_message(&[0x50, 0x03, 0x00, 0x32, 0x01, 0xF4], ms(100));
    assert_eq!(client.next_deadline(), Some(ms(2_100)));
    assert_eq!(client.on_timer(ms(2_099)), Output::default());
    assert_eq!(sent(&client.on_timer(ms(2_100))), [[0x3E, 0x80]]);
    assert_eq!(client.next_deadline(), Some(ms(4_100)));
}

#[test]
fn a_session_met_on_a_new_connection_is_kept() {
    let mut client = client();
    let _ = client.send(Request::read(0xF186), ms(0)).unwrap();
    let _ = client.on_message(&[0x62, 0xF1, 0x86, 0x02], ms(10));
    assert_eq!(client.session(), Session::Programming);
    assert_eq!(client.next_deadline(), Some(ms(2_010)));
}

#[test]
fn a_refusal_by_the_gateway_is_no_answer_of_the_control_unit() {
    let mut client = client();
    let _ = client.send(Request::read(0xF190), ms(0)).unwrap();
    let refused = error(client.on_link_fault(LinkFault::Refused { code: 0x06 }, ms(1)));
    assert!(matches!(
        refused,
        UdsError::Link {
            fault: LinkFault::Refused { code: 6 },
            ..
        }
    ));
    assert_eq!(refused.nrc(), None);
}

#[test]
fn a_closed_connection_ends_request_and_session() {
    let mut client = client();
    let _ = client.send(Request::session(Session::Extended), ms(0)).unwrap();
    let _ = client.on_message(&[0x50, 0x03, 0x00, 0x32, 0x01, 0xF4], ms(1));
    let _ = client.send(Request::read(0xF190), ms(2)).unwrap();
    assert!(matches!(
        error(client.on_link_fault(LinkFault::Closed, ms(3))),
        UdsError::Link { .. }
    ));
    assert_eq!(
        (client.session(), client.next_deadline()),
        (Session::Default, None)
    );
    assert_eq!(client.on_link_fault(LinkFault::Closed, ms(4)), Output::default());
}

#[test]
fn a_malformed_answer_of_the_service_is_an_error() {
    let mut client = client();
    let _ = client.send(Request::read(0xF190), ms(0)).unwrap();
    assert!(matches!(
        error(client.on_message(&[0x62, 0xF1], ms(1))),
        UdsError::Unexpected { .. }
    ));
}

proptest! {
    /// Whatever arrives and whenever: no panic, one outstanding request at most, and each request ends.
    #[test]
    fn every_request_ends(script in prop::collection::vec((0_u64..3000, prop::collection::vec(any::<u8>(), 0..5), any::<bool>()), 0..60)) {
        let mut client = client();
        let mut now = ms(0);
        let _ = client.send(Request::start_routine(0xFF00, vec![]), now).unwrap();
        let mut ended = 0;
        for (wait, noise, from_ecu) in script {
            now += ms(wait);
            let bytes = if from_ecu { vec![0x7F, 0x31, 0x78] } else { noise };
            let outputs = [client.on_timer(now), client.on_message(&bytes, now)];
            ended += outputs.iter().filter(|one| matches!(one.event, Some(Event::Completed(_)))).count();
        }
        for _ in 0..200 {
            let Some(deadline) = client.next_deadline() else { break };
            if !client.is_busy() { break }
            now = now.max(deadline);
            ended += usize::from(matches!(client.on_timer(now).event, Some(Event::Completed(_))));
        }
        prop_assert_eq!(ended, 1);
        prop_assert!(!client.is_busy());
    }
}
