//! Rules 5 to 8.

use agent_link::{AlarmKind, AppendError, LinkEffect, LinkInput};
use spool::HoleReason;
use spool::sim::SimDisk;

use crate::bench::{Bench, body, positions, receipt, secs, spool_id};

const NONE: [u64; 0] = [];

#[test]
fn the_window_starts_at_one_and_opens_by_what_receipts_advance() {
    let (mut bench, sent) = Bench::connected(60, 65_535);
    assert_eq!(sent, [1]);
    let mut rounds = Vec::new();
    let (mut sent, mut through) = (sent, 0);
    while let Some(last) = sent.last().copied() {
        rounds.push(last - through);
        for seq in through + 1..=last {
            bench.puback(1, seq, 0);
        }
        through = last;
        sent = positions(&bench.receipt(1, through));
    }
    assert_eq!(rounds, [1, 2, 4, 8, 16, 16, 13], "16 at most");
}

#[test]
fn the_broker_s_receive_maximum_is_a_limit_too() {
    let (mut bench, _) = Bench::connected(40, 3);
    for through in 1..=3 {
        bench.puback(1, through, 0);
        bench.receipt(1, through);
    }
    bench.puback(1, 4, 0);
    assert_eq!(positions(&bench.receipt(1, 4)), [7]);
}

#[test]
fn a_puback_proves_nothing() {
    let (mut bench, _) = Bench::connected(3, 10);
    assert_eq!(positions(&bench.puback(1, 1, 0)), NONE);
    assert_eq!(bench.uplink.outstanding(), 3);
    assert_eq!(positions(&bench.tick(secs(9))), NONE);
    assert_eq!(positions(&bench.tick(secs(10))), [1], "sent again by the timer");
}

#[test]
fn the_timer_goes_back_to_the_first_without_receipt_with_a_window_of_one() {
    let (mut bench, _) = Bench::connected(9, 10);
    for seq in 1..=3 {
        bench.puback(1, seq, 0);
        bench.receipt(1, seq);
    }
    for seq in 4..=7 {
        bench.puback(1, seq, 0);
    }
    assert_eq!(positions(&bench.tick(secs(10))), [4]);
    bench.puback(1, 4, 0);
    assert_eq!(
        positions(&bench.receipt(1, 6)).len(),
        3,
        "what had arrived is not sent again"
    );
}

#[test]
fn the_wait_doubles_to_60_s_with_20_percent_jitter_and_an_advance_resets_it() {
    let (mut bench, _) = Bench::connected(3, 10);
    let mut waits = Vec::new();
    for _ in 0..7 {
        bench.puback(1, 1, 0);
        let due = bench.uplink.next_deadline().unwrap();
        waits.push(due.saturating_sub(bench.now).as_secs_f64());
        assert_eq!(positions(&bench.tick(due)), [1]);
    }
    assert!((waits[0] - 10.0).abs() < 0.01, "{waits:?}");
    for (wait, around) in waits[1..].iter().zip([20.0, 40.0, 60.0, 60.0, 60.0, 60.0]) {
        assert!((around * 0.8..=around * 1.2).contains(wait), "{waits:?}");
    }
    bench.puback(1, 1, 0);
    bench.receipt(1, 1);
    bench.puback(1, 2, 0);
    assert_eq!(bench.uplink.next_deadline(), Some(bench.now + secs(10)));
}

#[test]
fn receipts_never_cause_a_resend_but_a_gap_does_once_per_value_of_through() {
    let (mut bench, _) = Bench::connected(9, 10);
    bench.puback(1, 1, 0);
    assert_eq!(positions(&bench.receipt(1, 1)), [2, 3]);
    bench.puback(1, 2, 0);
    bench.puback(1, 3, 0);
    assert_eq!(positions(&bench.receipt(1, 1)), NONE, "the same again");
    let mut gap = receipt(1, 1);
    gap.gap = true;
    assert_eq!(positions(&bench.handle(LinkInput::Receipt(gap.clone()))), [2, 3]);
    bench.puback(1, 2, 0);
    bench.puback(1, 3, 0);
    assert_eq!(positions(&bench.handle(LinkInput::Receipt(gap))), NONE, "once");
}

#[test]
fn nothing_is_resent_while_its_puback_is_open_and_after_30_s_the_connection_is_given_up() {
    let (mut bench, _) = Bench::connected(3, 10);
    assert_eq!(positions(&bench.tick(secs(10))), NONE);
    assert_eq!(positions(&bench.tick(secs(29))), NONE);
    let effects = bench.tick(secs(30));
    assert!(
        matches!(effects[..], [LinkEffect::Reconnect { connection: 1, .. }]),
        "{effects:?}"
    );
    assert_eq!(
        bench.uplink.next_deadline(),
        None,
        "nothing to do without a connection"
    );
    assert_eq!(bench.connect(2, 10), [1]);
}

#[test]
fn a_late_puback_lets_the_resend_through() {
    let (mut bench, _) = Bench::connected(3, 10);
    bench.tick(secs(10));
    bench.now = secs(12);
    assert_eq!(positions(&bench.puback(1, 1, 0)), [1]);
}

#[test]
fn a_puback_of_an_old_connection_says_nothing() {
    let (mut bench, _) = Bench::connected(3, 10);
    bench.handle(LinkInput::Disconnected { connection: 1 });
    assert_eq!(bench.connect(2, 10), [1]);
    bench.puback(1, 1, 0);
    bench.now = secs(11);
    assert_eq!(
        positions(&bench.tick(secs(11))),
        NONE,
        "the one of connection 2 is still open"
    );
}

#[test]
fn a_puback_with_an_error_keeps_the_event_and_backs_off() {
    let (mut bench, _) = Bench::connected(3, 10);
    let effects = bench.puback(1, 1, 0x97);
    let refused = AlarmKind::PublishRefused {
        spool: spool_id(1),
        seq: 1,
        reason: 0x97,
    };
    assert_eq!(effects, [LinkEffect::Alarm(refused)]);
    assert_eq!(positions(&bench.tick(secs(7))), NONE);
    let due = bench.uplink.next_deadline().unwrap();
    assert!(due >= secs(8) && due <= secs(12), "{due:?}");
    assert_eq!(positions(&bench.tick(due)), [1]);
    bench.puback(1, 1, 0x10);
    assert_eq!(
        bench.uplink.outstanding(),
        3,
        "nobody listens: no error, and no receipt either"
    );
}

#[test]
fn what_the_broker_would_not_take_is_refused_when_it_is_appended() {
    let mut bench = Bench::start(&SimDisk::new(1), 1);
    bench.handle(LinkInput::Connected {
        connection: 1,
        receive_maximum: 10,
        maximum_packet_size: Some(10_000),
    });
    let draft = agent_link::EventDraft {
        id: fleet_domain::EventId(uuid::Uuid::nil()),
        vin: None,
        time: jiff::Timestamp::UNIX_EPOCH,
        traceparent: None,
    };
    let refused = bench.uplink.append(&draft, &body(9_000)).unwrap_err();
    assert!(
        matches!(refused, AppendError::TooLarge { most: 7_952, .. }),
        "{refused}"
    );
    bench.write(1, 100);
    assert_eq!(positions(&bench.tick(secs(0))), [1], "the place was not used");
}

#[test]
fn a_hole_takes_the_place_of_what_became_too_large() {
    let mut bench = Bench::start(&SimDisk::new(1), 1);
    bench.write(1, 9_000);
    bench.write(1, 10);
    let small = |connection| LinkInput::Connected {
        connection,
        receive_maximum: 10,
        maximum_packet_size: Some(10_000),
    };
    let effects = bench.handle(small(1));
    let [
        LinkEffect::Alarm(AlarmKind::Hole {
            reason: HoleReason::TooLarge,
            ..
        }),
        publish,
    ] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    let LinkEffect::Publish {
        properties, payload, ..
    } = publish
    else {
        panic!("{publish:?}")
    };
    assert_eq!((properties.seq, properties.hole_to), (1, Some(1)));
    // The same bytes again, also from another process.
    let mut again = Bench::start(&bench.disk, 2);
    let effects = again.handle(small(2));
    let Some(LinkEffect::Publish { payload: same, .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    assert_eq!(same, payload);
}

#[test]
fn an_unattributed_message_costs_the_oldest_event_and_only_that() {
    let (mut bench, _) = Bench::connected(3, 10);
    bench.puback(1, 1, 0);
    let mut unattributed = receipt(1, 0);
    unattributed.unattributed = true;
    let effects = bench.handle(LinkInput::Receipt(unattributed.clone()));
    assert!(
        matches!(
            effects[..],
            [
                LinkEffect::Alarm(AlarmKind::Hole {
                    from: 1,
                    to: 1,
                    reason: HoleReason::Unattributed,
                    ..
                }),
                LinkEffect::Publish { .. }
            ]
        ),
        "{effects:?}"
    );
    bench.puback(1, 1, 0);
    assert_eq!(
        bench.handle(LinkInput::Receipt(unattributed.clone())),
        [],
        "the same receipt again"
    );
    assert_eq!(positions(&bench.receipt(1, 1)), [2, 3]);
    assert_eq!(
        bench.handle(LinkInput::Receipt(unattributed)),
        [],
        "and once more, late"
    );
}

#[test]
fn the_oldest_spool_goes_first_and_one_at_a_time() {
    let disk = SimDisk::new(1);
    Bench::start(&disk, 1).write(2, 10);
    let mut bench = Bench::start(&disk, 2);
    bench.write(2, 10);
    let effects = bench.handle(LinkInput::Connected {
        connection: 1,
        receive_maximum: 10,
        maximum_packet_size: None,
    });
    let LinkEffect::Publish { position, .. } = &effects[0] else {
        panic!("{effects:?}")
    };
    assert_eq!((position.spool, position.seq, effects.len()), (spool_id(1), 1, 1));
    assert_eq!(
        positions(&bench.receipt(1, 1)),
        [2],
        "spool 2 waits although the window is open"
    );
    let effects = bench.receipt(1, 2);
    let LinkEffect::Publish {
        position, properties, ..
    } = &effects[0]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((position.spool, position.seq), (spool_id(2), 1));
    assert_eq!(
        properties.predecessor.map(|p| (p.spool, p.last_seq)),
        Some((spool_id(1), 2))
    );
    let LinkEffect::Publish { properties, .. } = &effects[1] else {
        panic!("{effects:?}")
    };
    assert_eq!(properties.predecessor, None, "on the first event only");
}

#[test]
fn what_is_not_durable_is_not_sent() {
    let (mut bench, _) = Bench::connected(1, 10);
    bench.receipt(1, 1);
    let draft = agent_link::EventDraft {
        id: fleet_domain::EventId(uuid::Uuid::nil()),
        vin: None,
        time: jiff::Timestamp::UNIX_EPOCH,
        traceparent: None,
    };
    bench.uplink.append(&draft, &body(10)).unwrap();
    assert_eq!(positions(&bench.tick(secs(1))), NONE);
    bench.uplink.sync().unwrap();
    assert_eq!(positions(&bench.tick(secs(1))), [2]);
}
