//! Every required check fails at a broker that does the thing wrong, and only the checks that should.

use std::collections::BTreeSet;
use std::time::Duration;

use broker_conformance::Verdict::NotMet;
use broker_conformance::catalog::{CHECKS, select};
use bytes::Bytes;
use fleet_testkit::services::{Mosquitto, MosquittoOptions};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, DisconnectReasonCode, Packet, PubAck, Publish};
use tokio::task::JoinSet;

use crate::liar::{Become, Liar, Lie, Way};
use crate::{check, no_control};

/// A lie, the checks that are run, and those of them that must not be met. The others must be.
struct Case {
    name: &'static str,
    lie: Lie,
    only: &'static [&'static str],
    broken: &'static [&'static str],
}

/// Longest time for one of them, on a busy machine.
const CASE_WITHIN: Duration = Duration::from_secs(100);

fn number(publish: &Publish) -> Option<u32> {
    Some(u32::from_be_bytes(publish.payload.get(..4)?.try_into().ok()?))
}

fn nothing() -> Become {
    Become::default()
}

fn swaps_messages(_: usize, way: Way, packet: Packet, held: &mut Option<Packet>) -> Become {
    match packet {
        Packet::Publish(publish)
            if way == Way::Down && number(&publish).is_some_and(|n| n % 50 == 7) && held.is_none() =>
        {
            *held = Some(Packet::Publish(publish));
            nothing()
        }
        Packet::Publish(publish) if way == Way::Down => {
            let follows =
                |held: &mut Packet| matches!(held, Packet::Publish(held) if held.topic == publish.topic);
            let held = held.take_if(follows);
            let on = std::iter::once(Packet::Publish(publish)).chain(held);
            Become {
                on: on.collect(),
                back: Vec::new(),
            }
        }
        packet => packet.into(),
    }
}

fn loses_messages(_: usize, way: Way, packet: Packet, _: &mut Option<Packet>) -> Become {
    match &packet {
        Packet::Publish(publish) if way == Way::Down && number(publish).is_some_and(|n| n % 100 == 50) => {
            nothing()
        }
        _ => packet.into(),
    }
}

fn repeats_messages(_: usize, way: Way, packet: Packet, _: &mut Option<Packet>) -> Become {
    match &packet {
        Packet::Publish(publish) if way == Way::Down && number(publish) == Some(3) => Become {
            on: vec![packet.clone(), packet],
            back: Vec::new(),
        },
        _ => packet.into(),
    }
}

/// As if it forgot a message once it has sent it.
fn acknowledges_to_itself(_: usize, way: Way, packet: Packet, _: &mut Option<Packet>) -> Become {
    match &packet {
        Packet::Publish(publish) if way == Way::Down && publish.qos == QoS::AtLeastOnce => Become {
            back: vec![Packet::PubAck(PubAck::new(publish.pkid, None))],
            on: vec![packet],
        },
        Packet::PubAck(_) if way == Way::Up => nothing(),
        _ => packet.into(),
    }
}

fn forgets_sessions(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Connect(connect, ..), Way::Up) = (&mut packet, way) {
        connect.clean_start = true;
    }
    packet.into()
}

fn knows_no_client_ids(connection: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Connect(connect, ..), Way::Up) = (&mut packet, way) {
        connect.client_id = format!("{}-{connection}", connect.client_id);
    }
    packet.into()
}

fn mixes_up_client_ids(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Connect(connect, ..), Way::Up) = (&mut packet, way) {
        connect.client_id = connect.client_id.replace("isolated-b", "isolated-a");
    }
    packet.into()
}

fn forgets_wills(_: usize, way: Way, packet: Packet, _: &mut Option<Packet>) -> Become {
    match packet {
        Packet::Connect(connect, _, login) if way == Way::Up => Packet::Connect(connect, None, login).into(),
        packet => packet.into(),
    }
}

fn hurries_wills(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Connect(_, Some(will), _), Way::Up) = (&mut packet, way) {
        will.properties = None;
    }
    packet.into()
}

fn sends_wills_at_a_goodbye(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Disconnect(goodbye), Way::Up) = (&mut packet, way) {
        goodbye.reason_code = DisconnectReasonCode::DisconnectWithWillMessage;
    }
    packet.into()
}

fn grants_little(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::ConnAck(connack), Way::Down) = (&mut packet, way) {
        let granted = connack.properties.get_or_insert_with(|| ConnAckProperties {
            session_expiry_interval: None,
            receive_max: None,
            max_qos: None,
            retain_available: None,
            max_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: None,
            shared_subscription_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        });
        granted.max_packet_size = Some(100_000);
        granted.max_qos = Some(0);
        granted.retain_available = Some(0);
        granted.wildcard_subscription_available = Some(0);
        granted.session_expiry_interval = Some(60);
        granted.receive_max = Some(5);
        granted.server_keep_alive = Some(600);
    }
    packet.into()
}

fn uses_aliases(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Publish(publish), Way::Down) = (&mut packet, way) {
        publish.properties.get_or_insert_default().topic_alias = Some(1);
    }
    packet.into()
}

fn hands_out_little(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Connect(connect, ..), Way::Up) = (&mut packet, way)
        && let Some(properties) = &mut connect.properties
    {
        properties.receive_maximum = Some(20);
    }
    packet.into()
}

fn flips_a_byte(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Publish(publish), Way::Down) = (&mut packet, way)
        && publish.payload.len() > 100_000
    {
        let mut bytes = publish.payload.to_vec();
        bytes[70_000] ^= 1;
        publish.payload = Bytes::from(bytes);
    }
    packet.into()
}

fn ignores_readers_limits(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Connect(connect, ..), Way::Up) = (&mut packet, way)
        && let Some(properties) = &mut connect.properties
    {
        properties.max_packet_size = None;
    }
    packet.into()
}

fn sorts_user_properties(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Publish(publish), Way::Down) = (&mut packet, way)
        && let Some(properties) = &mut publish.properties
    {
        properties.user_properties.sort();
    }
    packet.into()
}

fn ignores_expiry(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Publish(publish), Way::Up) = (&mut packet, way)
        && let Some(properties) = &mut publish.properties
    {
        properties.message_expiry_interval = None;
    }
    packet.into()
}

fn retains_nothing(_: usize, way: Way, mut packet: Packet, _: &mut Option<Packet>) -> Become {
    if let (Packet::Publish(publish), Way::Up) = (&mut packet, way) {
        publish.retain = false;
    }
    packet.into()
}

const CASES: &[Case] = &[
    Case {
        name: "it swaps messages",
        lie: swaps_messages,
        only: &["order", "limits"],
        broken: &["order.publisher", "order.reconnect"],
    },
    Case {
        name: "it loses messages",
        lie: loses_messages,
        only: &["takeover", "queue", "session", "isolation", "slow", "restart"],
        broken: &[
            "takeover.complete",
            "queue.offline",
            "session.absence",
            "isolation.sessions",
            "slow.others",
            "restart.orderly",
        ],
    },
    Case {
        name: "it sends a message twice",
        lie: repeats_messages,
        only: &["acks"],
        broken: &["acks.live", "acks.again"],
    },
    Case {
        name: "it forgets what it has sent",
        lie: acknowledges_to_itself,
        only: &["acks", "order"],
        broken: &["acks.again", "order.reconnect"],
    },
    Case {
        name: "it forgets sessions",
        lie: forgets_sessions,
        only: &["session", "isolation"],
        broken: &["session.absence", "isolation.sessions"],
    },
    Case {
        name: "it does not know a client id again",
        lie: knows_no_client_ids,
        only: &["takeover"],
        broken: &["takeover.ends_old", "takeover.first_message", "takeover.complete"],
    },
    Case {
        name: "it mixes up two client ids",
        lie: mixes_up_client_ids,
        only: &["isolation"],
        broken: &["isolation.sessions"],
    },
    Case {
        name: "it forgets wills",
        lie: forgets_wills,
        only: &["will", "keepalive"],
        broken: &["will.delay", "keepalive.half_open"],
    },
    Case {
        name: "it does not wait for a will's delay",
        lie: hurries_wills,
        only: &["will"],
        broken: &["will.delay", "will.canceled"],
    },
    Case {
        name: "it sends the will at a goodbye",
        lie: sends_wills_at_a_goodbye,
        only: &["will"],
        broken: &["will.goodbye"],
    },
    Case {
        name: "it grants little",
        lie: grants_little,
        only: &["limits"],
        broken: &[
            "limits.packet_size",
            "limits.qos",
            "limits.retain",
            "limits.wildcard",
            "limits.session_expiry",
            "limits.receive_maximum",
            "limits.keep_alive",
        ],
    },
    Case {
        name: "it forces topic aliases",
        lie: uses_aliases,
        only: &["limits"],
        broken: &["limits.mqtt5"],
    },
    Case {
        name: "it hands out 20 messages at once",
        lie: hands_out_little,
        only: &["inflight"],
        broken: &["inflight.slot"],
    },
    Case {
        name: "it changes a byte of large messages",
        lie: flips_a_byte,
        only: &["large"],
        broken: &["large.to_server", "large.to_bench"],
    },
    Case {
        name: "it ignores what a reader can take",
        lie: ignores_readers_limits,
        only: &["large"],
        broken: &["large.unreadable"],
    },
    Case {
        name: "it sorts user properties",
        lie: sorts_user_properties,
        only: &["properties"],
        broken: &["properties.kept"],
    },
    Case {
        name: "it delivers what has expired",
        lie: ignores_expiry,
        only: &["properties"],
        broken: &["properties.expired"],
    },
    Case {
        name: "it retains nothing",
        lie: retains_nothing,
        only: &["retained"],
        broken: &["retained.life"],
    },
];

/// Restarts nothing, and says that it did: a broker that lost everything but looks restarted is not needed, since
/// the lie itself loses messages.
struct SaysItDid;

#[async_trait::async_trait]
impl broker_conformance::BrokerControl for SaysItDid {
    fn can(&self, _: broker_conformance::Ending) -> bool {
        true
    }

    async fn restart(&self, _: broker_conformance::Ending) -> Result<(), broker_conformance::ControlError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_lie_is_found_by_the_checks_that_should_find_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start(folder.path(), MosquittoOptions::default())
        .await
        .expect("Mosquitto starts");
    let address = broker.address();
    let mut running = JoinSet::new();
    for case in CASES {
        running.spawn(async move {
            let liar = Liar::start(address, case.lie).await;
            let control = std::sync::Arc::new(SaysItDid);
            let url = liar.url();
            let checked = check(&url, control, case.only);
            let report = tokio::time::timeout(CASE_WITHIN, checked).await;
            (
                case,
                report.unwrap_or_else(|_| panic!("{} takes too long", case.name)),
            )
        });
    }
    let mut faults = Vec::new();
    while let Some(done) = running.join_next().await {
        let (case, report) = done.expect("a case ends");
        let found: BTreeSet<_> = report
            .checks
            .iter()
            .filter(|check| check.verdict == NotMet)
            .map(|check| check.id)
            .collect();
        let wanted: BTreeSet<_> = case.broken.iter().copied().collect();
        if found != wanted {
            let shown = broker_conformance::render(&report, 120);
            faults.push(format!(
                "{}: not met are {found:?}, expected {wanted:?}\n{shown}",
                case.name
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_required_check_has_a_lie_that_it_finds() {
    let broken: BTreeSet<_> = CASES.iter().flat_map(|case| case.broken).copied().collect();
    let missing: Vec<_> = CHECKS
        .iter()
        .filter(|check| check.required && !broken.contains(check.id))
        .map(|check| check.id)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for case in CASES {
        let run: BTreeSet<_> = case
            .only
            .iter()
            .flat_map(|word| select(word))
            .map(|check| check.id)
            .collect();
        assert!(case.broken.iter().all(|id| run.contains(id)), "{}", case.name);
    }
}

#[tokio::test]
async fn an_honest_proxy_is_not_blamed() {
    fn honest(_: usize, _: Way, packet: Packet, _: &mut Option<Packet>) -> Become {
        packet.into()
    }
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start(folder.path(), MosquittoOptions::default())
        .await
        .expect("Mosquitto starts");
    let liar = Liar::start(broker.address(), honest).await;
    let report = check(
        &liar.url(),
        no_control(),
        &["limits", "order", "properties", "large", "retained", "acks"],
    )
    .await;
    assert!(report.is_met(), "{}", broker_conformance::render(&report, 120));
}
