//! The connection against a broker that misbehaves on request (mqtt.md).

use std::time::Duration;

use agent_link::link::{self, PresenceDocuments};
use agent_link::{LinkConfig, LinkEvent, LinkHandle};
use fleet_domain::Seq;
use fleet_wire::EventProperties;
use fleet_wire::receipt::ReceiptMessage;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, PubAckReason, SubAck, SubscribeReasonCode};
use spool::Position;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::bench::{answer, receipt, spool_id};
use crate::broker::{Broker, connack, slot};

pub(crate) fn start(port: u16) -> (LinkHandle, mpsc::Receiver<LinkEvent>) {
    let plant = "plant-1".parse().unwrap();
    let device = "bench-07".parse().unwrap();
    let mut config = LinkConfig::new(plant, device, "127.0.0.1".to_owned(), port, 5);
    config.keep_alive = Duration::from_secs(5);
    config.reconnect_at_most = Duration::from_millis(50);
    link::spawn(config, |counter| PresenceDocuments {
        online: format!("online {counter}").into_bytes(),
        offline: format!("offline {counter}").into_bytes(),
    })
}

pub(crate) async fn next(events: &mut mpsc::Receiver<LinkEvent>) -> LinkEvent {
    timeout(Duration::from_secs(20), events.recv())
        .await
        .expect("an event in time")
        .expect("the link runs")
}

pub(crate) fn event(handle: &LinkHandle, connection: u64, seq: Seq) {
    let position = Position {
        spool: spool_id(1),
        seq,
        predecessor: None,
    };
    let properties = EventProperties {
        spool: spool_id(1),
        seq,
        predecessor: None,
        hole_to: None,
    };
    handle.publish_event(
        connection,
        position,
        properties,
        format!("event {seq}").into_bytes(),
    );
}

#[tokio::test]
async fn a_connect_resumes_the_session_subscribes_and_says_that_the_bench_is_there() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let (_peer, [connect, subscribe, presence]) = broker.welcome(true).await;
    let Packet::Connect(connect, Some(will), None) = connect else {
        panic!("{connect:?}")
    };
    assert_eq!(
        (connect.client_id.as_str(), connect.clean_start),
        ("bench-07", false)
    );
    let properties = connect.properties.unwrap();
    assert_eq!(properties.session_expiry_interval, Some(7 * 24 * 3600));
    assert_eq!(properties.topic_alias_max, None, "no aliases");
    let presence_topic = format!("vds/v1/plant-1/{}/bench-07/presence", slot());
    assert_eq!(
        (will.topic.as_ref(), will.retain),
        (presence_topic.as_bytes(), true)
    );
    assert_eq!(will.message.as_ref(), b"offline 1");
    assert_eq!(will.properties.unwrap().delay_interval, Some(5));
    let Packet::Subscribe(subscribe) = subscribe else {
        panic!("{subscribe:?}")
    };
    let filters: Vec<_> = subscribe
        .filters
        .iter()
        .map(|filter| filter.path.as_str())
        .collect();
    let own = |channel| format!("vds/v1/plant-1/{}/bench-07/{channel}", slot());
    assert_eq!(filters, [own("receipts"), own("commands")]);
    let Packet::Publish(presence) = presence else {
        panic!("{presence:?}")
    };
    assert_eq!(
        (presence.payload.as_ref(), presence.retain),
        (&b"online 1"[..], true)
    );
    assert!(matches!(
        next(&mut events).await,
        LinkEvent::Up {
            connection: 1,
            connect_counter: 1,
            receive_maximum: 12,
            maximum_packet_size: Some(100_000),
            session_present: true
        }
    ));
}

#[tokio::test]
async fn a_puback_is_told_with_its_place_and_reason_also_out_of_order() {
    let (broker, port) = Broker::start().await;
    let (handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    for seq in 1..=3 {
        event(&handle, 1, seq);
    }
    let mut packets = Vec::new();
    for seq in 1..=3 {
        let publish = peer.publish().await;
        assert_eq!(publish.payload.as_ref(), format!("event {seq}").as_bytes());
        assert_eq!((publish.qos, publish.retain), (QoS::AtLeastOnce, false));
        let properties = publish.properties.unwrap();
        assert_eq!(
            properties.content_type.as_deref(),
            Some("application/cloudevents+json")
        );
        assert_eq!(
            EventProperties::decode(&properties.user_properties).unwrap().seq,
            seq
        );
        packets.push(publish.pkid);
    }
    peer.puback(packets[1], PubAckReason::QuotaExceeded).await;
    peer.puback(packets[0], PubAckReason::Success).await;
    for (expected, code) in [(2, 0x97), (1, 0)] {
        let told = next(&mut events).await;
        let LinkEvent::PubAck {
            connection: 1,
            position,
            reason,
        } = told
        else {
            panic!("{told:?}")
        };
        assert_eq!((position.seq, reason), (expected, code));
    }
}

#[tokio::test]
async fn nothing_of_a_lost_connection_reaches_the_next_one() {
    let (broker, port) = Broker::start().await;
    let (handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    for seq in 1..=40 {
        event(&handle, 1, seq);
    }
    peer.publish().await;
    drop(peer);
    let down = next(&mut events).await;
    assert!(
        matches!(
            down,
            LinkEvent::Down {
                connection: 1,
                taken_over: false,
                ..
            }
        ),
        "{down:?}"
    );
    let (mut peer, [_, _, presence]) = broker.welcome(false).await;
    let Packet::Publish(presence) = presence else {
        panic!("{presence:?}")
    };
    assert_eq!(presence.payload.as_ref(), b"online 2");
    let up = next(&mut events).await;
    assert!(
        matches!(
            up,
            LinkEvent::Up {
                connection: 2,
                session_present: false,
                ..
            }
        ),
        "{up:?}"
    );
    event(&handle, 1, 41);
    event(&handle, 2, 1);
    assert_eq!(
        peer.publish().await.payload.as_ref(),
        b"event 1",
        "what was meant for connection 1 is dropped"
    );
}

#[tokio::test]
async fn a_refused_connect_is_told_and_tried_again() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let mut peer = broker.accept().await;
    peer.read().await.unwrap();
    peer.write(connack(ConnectReturnCode::NotAuthorized, false)).await;
    let down = next(&mut events).await;
    let LinkEvent::Down {
        connection: 1,
        reason,
        taken_over: false,
    } = down
    else {
        panic!("{down:?}")
    };
    assert!(reason.contains("NotAuthorized"), "{reason}");
    broker.welcome(false).await;
    assert!(matches!(
        next(&mut events).await,
        LinkEvent::Up { connection: 2, .. }
    ));
}

#[tokio::test]
async fn a_refused_subscription_is_no_connection() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let mut peer = broker.accept().await;
    peer.read().await.unwrap();
    peer.write(connack(ConnectReturnCode::Success, true)).await;
    let Some(Packet::Subscribe(asked)) = peer.read().await else {
        panic!("no subscription")
    };
    let codes = vec![
        SubscribeReasonCode::Success(QoS::AtLeastOnce),
        SubscribeReasonCode::NotAuthorized,
    ];
    peer.write(Packet::SubAck(SubAck {
        pkid: asked.pkid,
        return_codes: codes,
        properties: None,
    }))
    .await;
    let down = next(&mut events).await;
    assert!(
        matches!(&down, LinkEvent::Down { reason, .. } if reason.contains("subscription")),
        "{down:?}"
    );
}

#[tokio::test]
async fn a_take_over_is_named() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    peer.disconnect(0x8E).await;
    let down = next(&mut events).await;
    assert!(
        matches!(
            down,
            LinkEvent::Down {
                connection: 1,
                taken_over: true,
                ..
            }
        ),
        "{down:?}"
    );
}

#[tokio::test]
async fn a_take_over_that_the_broker_does_not_name_is_suspected_after_three_short_lives() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let mut suspected = Vec::new();
    for _ in 0..3 {
        let (peer, _) = broker.welcome(true).await;
        next(&mut events).await;
        drop(peer);
        let LinkEvent::Down { taken_over, .. } = next(&mut events).await else {
            panic!("still up")
        };
        suspected.push(taken_over);
    }
    assert_eq!(suspected, [false, false, true]);
}

#[tokio::test]
async fn a_half_open_link_is_noticed_within_two_keep_alives() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    let begun = std::time::Instant::now();
    assert!(matches!(peer.read().await, Some(Packet::PingReq(_))));
    let down = next(&mut events).await;
    assert!(matches!(down, LinkEvent::Down { connection: 1, .. }), "{down:?}");
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn documents_are_decoded_and_a_bad_one_does_not_end_the_connection() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    peer.send(1, "receipts", ReceiptMessage::Receipt(receipt(1, 4)).encode())
        .await;
    peer.send(2, "receipts", b"{".to_vec()).await;
    peer.send(3, "commands", b"[]".to_vec()).await;
    peer.send(
        4,
        "receipts",
        ReceiptMessage::SyncAnswer(answer(1, 1, &[])).encode(),
    )
    .await;
    let told = next(&mut events).await;
    assert!(
        matches!(&told, LinkEvent::Receipt(told) if *told == receipt(1, 4)),
        "{told:?}"
    );
    for _ in 0..2 {
        let told = next(&mut events).await;
        assert!(matches!(told, LinkEvent::Undecodable { .. }), "{told:?}");
    }
    assert!(matches!(next(&mut events).await, LinkEvent::SyncAnswer(_)));
    for pkid in 1..=4 {
        let Some(Packet::PubAck(ack)) = peer.read().await else {
            panic!("no acknowledgement")
        };
        assert_eq!(ack.pkid, pkid);
    }
}

#[tokio::test]
async fn a_reconnect_is_obeyed_for_the_current_connection_only() {
    let (broker, port) = Broker::start().await;
    let (handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    handle.reconnect(7);
    handle.publish_sync(b"sync".to_vec());
    assert_eq!(peer.publish().await.payload.as_ref(), b"sync");
    handle.reconnect(1);
    assert!(matches!(
        next(&mut events).await,
        LinkEvent::Down { connection: 1, .. }
    ));
    assert_eq!(peer.read().await, None);
}

#[tokio::test]
async fn an_orderly_end_says_goodbye() {
    let (broker, port) = Broker::start().await;
    let (handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    handle.shutdown();
    let goodbye = peer.publish().await;
    assert_eq!(
        (goodbye.payload.as_ref(), goodbye.retain),
        (&b"offline 1"[..], true)
    );
    // The client writes DISCONNECT with reason 0 and no properties, which its own reader does not take.
    timeout(Duration::from_secs(10), async {
        while events.recv().await.is_some() {}
    })
    .await
    .expect("it ends");
}
