//! How the server's own clients reach a broker, and what they need of it.
//!
//! The same for the broker in the process and for the plant's: ingest and dispatch do not know which one it is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fleet_settings::Credentials;
use fleet_wire::limits::{MAX_PACKET_BYTES, SESSION_EXPIRY};
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, MqttOptions, StateError};

use crate::config::ExternalBroker;

/// Longest keep-alive that a broker may impose: a bench that has gone must show within a minute or so.
const MAX_SERVER_KEEP_ALIVE_S: u16 = 60;

/// Where the server's clients connect, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct BrokerAddress {
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

impl BrokerAddress {
    /// The broker inside the process.
    pub(crate) fn embedded(address: SocketAddr) -> Self {
        // A listener on the unspecified address is reached by loopback.
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Self {
            host: ip.to_string(),
            port: address.port(),
            credentials: None,
        }
    }

    /// The plant's broker.
    pub(crate) fn external(broker: &ExternalBroker) -> Self {
        Self {
            host: broker.address.host.clone(),
            port: broker.address.port,
            credentials: broker.credentials.clone(),
        }
    }

    /// Options of one connection: never delayed by Nagle's algorithm, which costs 14 ms per round at 5,000 events/s.
    pub(crate) fn options(&self, client_id: String, keep_alive: Duration) -> MqttOptions {
        // The client joins host and port with a colon, so an IPv6 address needs its brackets.
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let mut options = MqttOptions::new(client_id, host, self.port);
        options.set_keep_alive(keep_alive);
        if let Some(of) = &self.credentials {
            options.set_credentials(of.username.clone(), of.password.reveal().to_owned());
        }
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        options
    }
}

/// State of the way to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerState {
    /// `ok`, `unreachable`, `refused`, `limits_too_small`
    pub(crate) state: &'static str,
    /// How it stands, for people.
    pub(crate) detail: String,
}

impl BrokerState {
    pub(crate) fn new(state: &'static str, detail: impl Into<String>) -> Self {
        Self {
            state,
            detail: detail.into(),
        }
    }
}

/// What to do about a state of the broker.
pub(crate) fn help(state: &str) -> Option<&'static str> {
    match state {
        "unreachable" => Some(
            "start the broker, or correct mqtt.url; benches keep their events and the server goes on by itself",
        ),
        "refused" => Some(
            "give the server's user the rights that docs/brokers.md names, correct mqtt.credentials_file and start the \
             server again; replicas of a plant must have the same mqtt.url",
        ),
        "limits_too_small" => Some("raise the broker's limits as docs/brokers.md says"),
        _ => None,
    }
}

/// What is too small in what the broker announces, with what is needed. Empty: nothing.
pub(crate) fn too_small(connack: &ConnAck, wanted_expiry: Option<Duration>) -> Vec<String> {
    let Some(of) = &connack.properties else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if let Some(size) = of
        .max_packet_size
        .filter(|size| (*size as usize) < MAX_PACKET_BYTES)
    {
        found.push(format!(
            "maximum packet size {size} bytes, {MAX_PACKET_BYTES} are needed (Mosquitto: max_packet_size)"
        ));
    }
    if let Some(qos) = of.max_qos.filter(|qos| *qos < 1) {
        found.push(format!("maximum QoS {qos}, 1 is needed (Mosquitto: max_qos)"));
    }
    if of.retain_available == Some(0) {
        found.push("no retained messages, presence needs them (Mosquitto: retain_available)".to_owned());
    }
    if of.wildcard_subscription_available == Some(0) {
        found.push("no wildcard subscriptions, the slots need them".to_owned());
    }
    if let Some(wanted) = wanted_expiry
        && let Some(granted) = of.session_expiry_interval
        && u64::from(granted) < wanted.as_secs()
    {
        found.push(format!(
            "sessions are kept {granted} s, {} are needed (Mosquitto: persistent_client_expiration)",
            SESSION_EXPIRY.as_secs()
        ));
    }
    if let Some(keep_alive) = of
        .server_keep_alive
        .filter(|of| *of == 0 || *of > MAX_SERVER_KEEP_ALIVE_S)
    {
        found.push(format!(
            "keep-alive {keep_alive} s, at most {MAX_SERVER_KEEP_ALIVE_S} is needed (Mosquitto: max_keepalive)"
        ));
    }
    found
}

/// The named state that the end of a connection shows.
pub(crate) fn ended(error: &ConnectionError) -> BrokerState {
    use ConnectReturnCode as Code;
    match error {
        ConnectionError::ConnectionRefused(code) => {
            let state = match code {
                Code::BadUserNamePassword
                | Code::NotAuthorized
                | Code::Banned
                | Code::BadAuthenticationMethod
                | Code::BadClientId
                | Code::ClientIdentifierNotValid
                | Code::RefusedProtocolVersion
                | Code::UnsupportedProtocolVersion => "refused",
                Code::PacketTooLarge => "limits_too_small",
                _ => "unreachable",
            };
            BrokerState::new(state, format!("the broker refuses the connection: {code:?}"))
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            let state = match reason_code {
                DisconnectReasonCode::NotAuthorized => "refused",
                DisconnectReasonCode::PacketTooLarge => "limits_too_small",
                _ => "unreachable",
            };
            BrokerState::new(state, format!("the broker ended the connection: {reason_code:?}"))
        }
        error => BrokerState::new(
            "unreachable",
            format!("no connection: {}", fleet_domain::error_chain(error)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::ConnAckProperties;

    use super::*;

    fn connack(change: impl FnOnce(&mut ConnAckProperties)) -> ConnAck {
        let mut properties = ConnAckProperties {
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
        };
        change(&mut properties);
        ConnAck {
            session_present: false,
            code: ConnectReturnCode::Success,
            properties: Some(properties),
        }
    }

    #[test]
    fn a_broker_that_announces_no_limit_has_none() {
        assert!(too_small(&connack(|_| {}), Some(SESSION_EXPIRY)).is_empty());
        let plain = ConnAck {
            session_present: true,
            code: ConnectReturnCode::Success,
            properties: None,
        };
        assert!(too_small(&plain, Some(SESSION_EXPIRY)).is_empty());
        let generous = connack(|of| {
            of.max_packet_size = Some(u32::try_from(MAX_PACKET_BYTES).unwrap());
            of.max_qos = Some(1);
            of.retain_available = Some(1);
            of.session_expiry_interval = Some(u32::try_from(SESSION_EXPIRY.as_secs()).unwrap());
            of.server_keep_alive = Some(MAX_SERVER_KEEP_ALIVE_S);
            of.receive_max = Some(1);
        });
        assert!(too_small(&generous, Some(SESSION_EXPIRY)).is_empty());
    }

    #[test]
    fn each_limit_is_named_with_what_is_announced_and_what_is_needed() {
        let cases: [(ConnAck, &str); 6] = [
            (
                connack(|of| of.max_packet_size = Some(1000)),
                "1000 bytes, 264192",
            ),
            (connack(|of| of.max_qos = Some(0)), "maximum QoS 0"),
            (connack(|of| of.retain_available = Some(0)), "retained"),
            (
                connack(|of| of.wildcard_subscription_available = Some(0)),
                "wildcard",
            ),
            (
                connack(|of| of.session_expiry_interval = Some(60)),
                "60 s, 604800",
            ),
            (connack(|of| of.server_keep_alive = Some(600)), "keep-alive 600"),
        ];
        for (connack, words) in cases {
            let found = too_small(&connack, Some(SESSION_EXPIRY));
            assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
        }
        // A session that is not meant to last may be cut short.
        assert!(too_small(&connack(|of| of.session_expiry_interval = Some(0)), None).is_empty());
    }

    #[test]
    fn a_refusal_is_told_from_a_broker_that_is_away() {
        let refused = |code| ended(&ConnectionError::ConnectionRefused(code)).state;
        assert_eq!(refused(ConnectReturnCode::NotAuthorized), "refused");
        assert_eq!(refused(ConnectReturnCode::BadUserNamePassword), "refused");
        assert_eq!(refused(ConnectReturnCode::UnsupportedProtocolVersion), "refused");
        assert_eq!(refused(ConnectReturnCode::ServerBusy), "unreachable");
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(ended(&ConnectionError::Io(io)).state, "unreachable");
    }
}
