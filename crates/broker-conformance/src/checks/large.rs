//! Packets of our limits, above the broker's limit, and above a reader's.

use bytes::Bytes;
use fleet_wire::limits::{CONTROL_EXPIRY, MAX_PACKET_BYTES, MAX_PAYLOAD_BYTES};
use fleet_wire::{CONTROL_CONTENT_TYPE, EVENT_CONTENT_TYPE};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish, PublishProperties};

use super::{SILENCE, SOON};
use crate::client::Wanted;
use crate::fault::Fault;
use crate::number::{numbered, numbers};
use crate::raw::{NoPacket, Raw};
use crate::report::{Findings, Verdict};
use crate::runner::Run;

pub(super) async fn large(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    for result in [
        to_server(run, findings).await,
        to_bench(run, findings).await,
        above(run, findings).await,
    ] {
        // Each tells its own; one that failed must not hide the others.
        if let Err(fault) = result {
            let open = ["large.to_server", "large.to_bench", "large.above"];
            let open = open.into_iter().find(|id| !findings.has(id));
            findings.note(open.unwrap_or("large.above"), Verdict::NotMet, fault.to_string());
        }
    }
    unreadable(run, findings).await
}

/// Bytes that no text or compression would leave as they are.
fn bytes(len: usize) -> Bytes {
    let mut state = 0x9E37_79B9_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// A QoS 1 publish of exactly `size` bytes on the wire.
fn publish_of(topic: &str, properties: PublishProperties, size: usize) -> Publish {
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, Bytes::new(), Some(properties));
    publish.pkid = 1;
    // A payload of this size makes the length field four bytes, as the whole packet has it.
    let probe = size.saturating_sub(1024);
    publish.payload = bytes(probe);
    publish.payload = bytes(probe + size.saturating_sub(publish.size()));
    publish
}

async fn to_server(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("large", "bench", "events");
    let mut reader = run.session("large-slot").await?;
    reader.subscribe(&run.topic("large", "+", "events")).await?;
    let properties = PublishProperties {
        content_type: Some(EVENT_CONTENT_TYPE.to_owned()),
        user_properties: vec![
            ("spool".to_owned(), "0".repeat(36)),
            ("seq".to_owned(), "1".to_owned()),
        ],
        ..PublishProperties::default()
    };
    let packet = publish_of(&topic, properties.clone(), MAX_PACKET_BYTES);
    let mut writer = run.passing("large-bench").await?;
    writer
        .publish_as(&topic, packet.payload.clone(), false, properties)
        .await?;
    let answers = writer.settled().await?;
    let message = reader.next(SOON).await;
    let (good, measured) = match message {
        Ok(message) => {
            reader.acknowledge(&message).await?;
            let same = message.payload == packet.payload;
            (
                same,
                format!(
                    "a packet of {} bytes came {}",
                    packet.size(),
                    if same { "unchanged" } else { "changed" }
                ),
            )
        }
        Err(fault) => (false, format!("{fault}; PUBACK {}", told(answers.refusal))),
    };
    findings.judge("large.to_server", good, measured);
    reader.disconnect().await
}

fn told(refusal: Option<PubAckReason>) -> String {
    refusal.map_or_else(|| "said success".to_owned(), |reason| format!("said {reason:?}"))
}

async fn to_bench(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("large", "bench", "commands");
    let mut bench = run
        .open(&Wanted {
            max_packet: MAX_PACKET_BYTES,
            receive_maximum: 64,
            ..Wanted::session(run.id("large-reader"))
        })
        .await?;
    bench.subscribe(&topic).await?;
    let payload = bytes(MAX_PAYLOAD_BYTES);
    let properties = PublishProperties {
        content_type: Some(CONTROL_CONTENT_TYPE.to_owned()),
        message_expiry_interval: u32::try_from(CONTROL_EXPIRY.as_secs()).ok(),
        ..PublishProperties::default()
    };
    let mut writer = run.passing("large-writer").await?;
    writer
        .publish_as(&topic, payload.clone(), false, properties)
        .await?;
    writer.settled().await?;
    let message = bench.next(SOON).await?;
    bench.acknowledge(&message).await?;
    let same = message.payload == payload;
    findings.judge(
        "large.to_bench",
        same,
        format!(
            "{} bytes came {}",
            message.payload.len(),
            if same { "unchanged" } else { "changed" }
        ),
    );
    bench.disconnect().await
}

async fn above(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("large", "bench", "above");
    let (mut raw, connack) = Raw::connect(&run.target, &run.id("above"), 60, None).await?;
    let limit = connack
        .properties
        .and_then(|properties| properties.max_packet_size);
    let Some(limit) = limit else {
        findings.note(
            "large.above",
            Verdict::Ok,
            "no limit is told, so there is none to pass",
        );
        return Ok(());
    };
    let size = limit as usize + 1;
    if size > 4 * MAX_PACKET_BYTES {
        let said = format!("the broker's limit of {limit} bytes is far above ours");
        findings.note("large.above", Verdict::NotChecked, said);
        return Ok(());
    }
    let packet = publish_of(&topic, PublishProperties::default(), size);
    // The broker may close while it is written.
    let sent = raw.send(&Packet::Publish(packet)).await;
    let (is_told, what) = match raw.receive(SOON).await {
        Ok(Packet::Disconnect(goodbye)) => (
            true,
            format!(
                "answered with {:?} (0x{:02X})",
                goodbye.reason_code, goodbye.reason_code as u8
            ),
        ),
        Ok(Packet::PubAck(ack)) => (
            ack.reason != PubAckReason::Success,
            format!("PUBACK {}", told(Some(ack.reason))),
        ),
        Ok(other) => (false, format!("answered with {other:?}")),
        Err(NoPacket::Closed) => (false, "the connection was closed without a word".to_owned()),
        Err(NoPacket::Silence) => (
            false,
            format!(
                "no answer within {} s{}",
                SOON.as_secs(),
                if sent.is_ok() {
                    ""
                } else {
                    ", and not all could be sent"
                }
            ),
        ),
    };
    findings.judge(
        "large.above",
        is_told,
        format!("{size} bytes at a limit of {limit}: {what}"),
    );
    Ok(())
}

async fn unreadable(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("large", "bench", "unreadable");
    let wanted = Wanted {
        max_packet: 2048,
        ..Wanted::session(run.id("small-reader"))
    };
    let mut reader = run.open(&wanted).await?;
    reader.subscribe(&topic).await?;
    let mut writer = run.passing("unreadable-writer").await?;
    for (n, size) in [(0, 100), (1, 8192), (2, 100)] {
        writer.publish(&topic, numbered(n, size)).await?;
    }
    writer.settled().await?;
    let arrived = numbers(&reader.drain(3, SILENCE).await?);
    findings.judge(
        "large.unreadable",
        arrived == [0, 2],
        format!("small, 8,192 bytes, small to a reader of 2,048 bytes: {arrived:?} came of [0, 1, 2]"),
    );
    reader.disconnect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_exactly_the_size_asked_for() {
        for size in [2_000, 20_000, MAX_PACKET_BYTES, MAX_PACKET_BYTES + 1] {
            let properties = PublishProperties {
                content_type: Some("x".to_owned()),
                ..PublishProperties::default()
            };
            let packet = publish_of("a/b", properties, size);
            let mut written = bytes::BytesMut::new();
            packet.write(&mut written).expect("written");
            assert_eq!((packet.size(), written.len()), (size, size));
        }
    }
}
