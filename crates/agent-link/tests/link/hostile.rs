//! Rows of mqtt.md that are traps of the client or of a broker: none may cost more than a connection.

use std::time::Duration;

use agent_link::LinkEvent;
use fleet_wire::limits::MAX_PACKET_BYTES;
use fleet_wire::receipt::ReceiptMessage;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish, PublishProperties};
use tokio::time::timeout;

use crate::adapter::{event, next, start};
use crate::bench::receipt;
use crate::broker::{Broker, Offer, slot};

async fn receipt_of(events: &mut tokio::sync::mpsc::Receiver<LinkEvent>, through: u64) {
    loop {
        if let LinkEvent::Receipt(told) = next(events).await {
            assert_eq!(told, receipt(1, through));
            return;
        }
    }
}

/// The client can't read a DISCONNECT that ends after its reason code (MQTT 5.0, 3.14.2.2.1 allows it). It waits for
/// the rest, sees the end of the connection instead, and the take-over is suspected as one that nobody named.
#[tokio::test]
async fn a_take_over_said_in_the_short_form_is_suspected_after_three_short_lives() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let mut suspected = Vec::new();
    for _ in 0..3 {
        let (mut peer, _) = broker.welcome(true).await;
        assert!(matches!(next(&mut events).await, LinkEvent::Up { .. }));
        peer.write_raw(&[0xE0, 1, 0x8E]).await;
        drop(peer);
        let LinkEvent::Down { taken_over, .. } = next(&mut events).await else {
            panic!("still up")
        };
        suspected.push(taken_over);
    }
    assert_eq!(suspected, [false, false, true]);
}

#[tokio::test]
async fn a_goodbye_in_the_short_form_on_a_line_that_stays_open_is_noticed_by_the_keep_alive() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    peer.write_raw(&[0xE0, 1, 0x8E]).await;
    let down = next(&mut events).await;
    assert!(matches!(down, LinkEvent::Down { connection: 1, .. }), "{down:?}");
    broker.welcome(true).await;
    assert!(matches!(
        next(&mut events).await,
        LinkEvent::Up { connection: 2, .. }
    ));
}

/// rumqtt #1056 and #1014: one client that lives on is wedged by this.
#[tokio::test]
async fn pubacks_out_of_order_and_then_a_new_session_wedge_nothing() {
    let (broker, port) = Broker::start().await;
    let (handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    for seq in 1..=4 {
        event(&handle, 1, seq);
    }
    let mut packets = Vec::new();
    for _ in 1..=4 {
        packets.push(peer.publish().await.pkid);
    }
    peer.puback(packets[3], PubAckReason::Success).await;
    peer.puback(packets[1], PubAckReason::Success).await;
    for _ in 0..2 {
        assert!(matches!(next(&mut events).await, LinkEvent::PubAck { .. }));
    }
    drop(peer);
    assert!(matches!(next(&mut events).await, LinkEvent::Down { .. }));
    let (mut peer, _) = broker.welcome(false).await;
    assert!(matches!(
        next(&mut events).await,
        LinkEvent::Up {
            connection: 2,
            session_present: false,
            ..
        }
    ));
    for seq in 1..=30 {
        event(&handle, 2, seq);
    }
    for seq in 1..=30 {
        let publish = peer.publish().await;
        assert_eq!(publish.payload.as_ref(), format!("event {seq}").as_bytes());
        peer.puback(publish.pkid, PubAckReason::Success).await;
    }
}

#[tokio::test]
async fn a_receive_maximum_of_one_lets_one_publish_at_a_time_through() {
    let (broker, port) = Broker::start().await;
    let (handle, mut events) = start(port);
    let offer = Offer {
        receive_max: Some(1),
        ..Offer::default()
    };
    let (mut peer, _) = broker.welcome_with(true, offer).await;
    assert!(matches!(
        next(&mut events).await,
        LinkEvent::Up {
            receive_maximum: 1,
            ..
        }
    ));
    for seq in 1..=3 {
        event(&handle, 1, seq);
    }
    for seq in 1..=3 {
        let publish = peer.publish().await;
        assert_eq!(publish.payload.as_ref(), format!("event {seq}").as_bytes());
        let early = timeout(Duration::from_millis(200), peer.read()).await;
        assert!(
            early.is_err(),
            "a second one before the acknowledgement: {early:?}"
        );
        peer.puback(publish.pkid, PubAckReason::Success).await;
        assert!(matches!(next(&mut events).await, LinkEvent::PubAck { .. }));
    }
}

#[tokio::test]
async fn a_packet_above_the_agreed_size_costs_the_connection_and_no_more() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    peer.send_some(1, "commands", vec![b'x'; MAX_PACKET_BYTES + 1])
        .await;
    let down = next(&mut events).await;
    assert!(matches!(down, LinkEvent::Down { connection: 1, .. }), "{down:?}");
    let (mut peer, _) = broker.welcome(true).await;
    peer.send(1, "receipts", ReceiptMessage::Receipt(receipt(1, 4)).encode())
        .await;
    receipt_of(&mut events, 4).await;
}

#[tokio::test]
async fn a_topic_alias_that_was_never_allowed_brings_no_document_and_no_standstill() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    next(&mut events).await;
    let content = ReceiptMessage::Receipt(receipt(1, 9)).encode();
    let mut publish = Publish::new(
        "",
        QoS::AtLeastOnce,
        content,
        Some(PublishProperties {
            topic_alias: Some(1),
            ..PublishProperties::default()
        }),
    );
    publish.pkid = 1;
    peer.write(Packet::Publish(publish)).await;
    let good = ReceiptMessage::Receipt(receipt(1, 4)).encode();
    peer.send(2, "receipts", good.clone()).await;
    // The client may end the connection over it: then the next one brings the document.
    let told = next(&mut events).await;
    match told {
        LinkEvent::Receipt(told) => assert_eq!(told, receipt(1, 4), "not the one without a topic"),
        LinkEvent::Down { .. } => {
            let (mut peer, _) = broker.welcome(true).await;
            peer.send(1, "receipts", good).await;
            receipt_of(&mut events, 4).await;
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reader_that_falls_behind_costs_the_connection_not_memory() {
    let (broker, port) = Broker::start().await;
    let (_handle, mut events) = start(port);
    let (mut peer, _) = broker.welcome(true).await;
    assert!(matches!(next(&mut events).await, LinkEvent::Up { .. }));
    let content = ReceiptMessage::Receipt(receipt(1, 4)).encode();
    let topic = format!("vds/v1/plant-1/{}/bench-07/receipts", slot());
    let flood = async {
        loop {
            let publish = Publish::new(topic.clone(), QoS::AtMostOnce, content.clone(), None);
            if !peer.try_write(Packet::Publish(publish)).await {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), flood)
        .await
        .expect("the link gives up");
    assert!(events.len() <= events.max_capacity());
    let mut down = None;
    while down.is_none() {
        if let LinkEvent::Down { reason, .. } = next(&mut events).await {
            down = Some(reason);
        }
    }
    assert!(down.unwrap().contains("too far behind"));
    broker.welcome(true).await;
    assert!(matches!(
        next(&mut events).await,
        LinkEvent::Up { connection: 2, .. }
    ));
}

#[tokio::test]
async fn a_broker_that_takes_nothing_more_costs_the_connection_not_memory() {
    let (broker, port) = Broker::start().await;
    let (handle, mut events) = start(port);
    let (peer, _) = broker.welcome(true).await;
    assert!(matches!(next(&mut events).await, LinkEvent::Up { .. }));
    // Nobody reads: the client's sixteen open publishes fill up, then what waits before them.
    let mut seq = 0;
    let down = loop {
        seq += 1;
        event(&handle, 1, seq);
        tokio::task::yield_now().await;
        if let Ok(told) = events.try_recv() {
            break told;
        }
        assert!(seq < 100_000, "it takes everything");
    };
    assert!(
        matches!(&down, LinkEvent::Down { reason, .. } if reason.contains("takes nothing more")),
        "{down:?}"
    );
    drop(peer);
}
