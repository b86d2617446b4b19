//! What the broker's CONNACK grants.

use fleet_wire::limits::{KEEP_ALIVE, MAX_PACKET_BYTES, MAX_WINDOW, SESSION_EXPIRY};
use rumqttc::v5::mqttbytes::v5::ConnAckProperties;

use super::SOON;
use crate::client::{Connection, Wanted};
use crate::fault::Fault;
use crate::report::{Findings, Verdict};
use crate::runner::Run;

/// Publishes with an open PUBACK that a slot's session has at most.
const SLOT_WINDOW: u16 = 200;

/// Longest keep alive that the server bears: a bench that has gone shows within a minute or so.
const LONGEST_KEEP_ALIVE: u16 = 60;

pub(super) async fn limits(run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    let days = u32::try_from(SESSION_EXPIRY.as_secs()).unwrap_or(u32::MAX);
    let mut client = run
        .open(&Wanted {
            session_expiry: days,
            ..Wanted::session(run.id("limits"))
        })
        .await?;
    granted(client.connack.properties.as_ref(), findings, days);
    alias(run, &mut client, findings).await?;
    client.disconnect().await
}

/// A message comes with its topic and without an alias: we announce that we take none.
async fn alias(run: &Run, client: &mut Connection, findings: &mut Findings) -> Result<(), Fault> {
    let topic = run.topic("limits", "bench", "events");
    client.subscribe(&topic).await?;
    for _ in 0..3 {
        client.publish(&topic, "same topic").await?;
        let message = client.next(SOON).await?;
        client.acknowledge(&message).await?;
        let alias = message.properties.topic_alias;
        if message.topic != topic || alias.is_some() {
            let said = format!(
                "a message came with topic {:?} and alias {alias:?}",
                message.topic
            );
            findings.note("limits.mqtt5", Verdict::NotMet, said);
        }
    }
    findings.note(
        "limits.mqtt5",
        Verdict::Ok,
        "connected; messages name their topic",
    );
    Ok(())
}

fn granted(properties: Option<&ConnAckProperties>, findings: &mut Findings, days: u32) {
    let packet = properties.and_then(|p| p.max_packet_size);
    findings.judge(
        "limits.packet_size",
        packet.is_none_or(|size| size as usize >= MAX_PACKET_BYTES),
        packet.map_or("no limit is told".to_owned(), |size| format!("{size} bytes")),
    );
    let qos = properties.and_then(|p| p.max_qos).unwrap_or(2);
    findings.judge("limits.qos", qos >= 1, format!("up to QoS {qos}"));
    let retain = properties.and_then(|p| p.retain_available).unwrap_or(1) == 1;
    findings.judge(
        "limits.retain",
        retain,
        if retain { "available" } else { "not available" },
    );
    let wildcard = properties
        .and_then(|p| p.wildcard_subscription_available)
        .unwrap_or(1)
        == 1;
    findings.judge(
        "limits.wildcard",
        wildcard,
        if wildcard { "available" } else { "not available" },
    );
    let expiry = properties.and_then(|p| p.session_expiry_interval).unwrap_or(days);
    findings.judge(
        "limits.session_expiry",
        expiry >= days,
        format!("{days} s asked for, {expiry} s granted"),
    );
    let window = properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX);
    let verdict = match window {
        SLOT_WINDOW.. => Verdict::Ok,
        MAX_WINDOW.. => Verdict::Borne,
        _ => Verdict::NotMet,
    };
    findings.note("limits.receive_maximum", verdict, format!("{window} publishes"));
    let ours = u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX);
    let keep_alive = properties.and_then(|p| p.server_keep_alive).unwrap_or(ours);
    let verdict = match keep_alive {
        same if same == ours => Verdict::Ok,
        1..=LONGEST_KEEP_ALIVE => Verdict::Borne,
        _ => Verdict::NotMet,
    };
    findings.note(
        "limits.keep_alive",
        verdict,
        format!("{ours} s asked for, {keep_alive} s granted"),
    );
}
