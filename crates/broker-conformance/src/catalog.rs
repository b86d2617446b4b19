//! What is checked: what we rely on, why, and the settings of known brokers that help.

use serde::Serialize;

/// A setting of a broker that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The broker.
    pub broker: &'static str,
    /// The setting, as it is written there.
    pub setting: &'static str,
}

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name: the group's name, a dot, its own.
    pub id: &'static str,
    /// What we rely on.
    pub relies_on: &'static str,
    /// Why, and what happens without it.
    pub why: &'static str,
    /// Whether a run fails without it. Otherwise the product bears it.
    pub required: bool,
    /// What helps.
    pub settings: &'static [Setting],
}

impl Check {
    /// The group that it is measured with.
    pub fn group(&self) -> &'static str {
        self.id.split('.').next().unwrap_or(self.id)
    }
}

const fn required(
    id: &'static str,
    relies_on: &'static str,
    why: &'static str,
    settings: &'static [Setting],
) -> Check {
    Check {
        id,
        relies_on,
        why,
        required: true,
        settings,
    }
}

const fn borne(
    id: &'static str,
    relies_on: &'static str,
    why: &'static str,
    settings: &'static [Setting],
) -> Check {
    Check {
        required: false,
        ..required(id, relies_on, why, settings)
    }
}

const fn mosquitto(setting: &'static str) -> Setting {
    Setting {
        broker: "Mosquitto",
        setting,
    }
}

const fn hivemq(setting: &'static str) -> Setting {
    Setting {
        broker: "HiveMQ CE",
        setting,
    }
}

const fn embedded(setting: &'static str) -> Setting {
    Setting {
        broker: "embedded",
        setting,
    }
}

/// Every check, in the order in which it is told.
pub const CHECKS: &[Check] = &[
    required(
        "limits.mqtt5",
        "MQTT 5 without a forced topic alias",
        "spool, seq and content type travel as MQTT 5 properties, and our client loses the topic of a message with an alias",
        &[],
    ),
    required(
        "limits.packet_size",
        "packets of 264,192 bytes are taken",
        "a larger event would be refused where it is appended, and a hole would take its place",
        &[
            mosquitto("max_packet_size 264192, or leave it out"),
            hivemq("<max-packet-size> in <mqtt><packets>"),
        ],
    ),
    required(
        "limits.qos",
        "QoS 1",
        "events, receipts and lists of jobs are QoS 1",
        &[
            mosquitto("max_qos 1 or 2"),
            hivemq("<max-qos> in <mqtt><quality-of-service>"),
        ],
    ),
    required(
        "limits.retain",
        "retained messages",
        "presence is retained",
        &[
            mosquitto("retain_available true"),
            hivemq("<retained-messages><enabled>true</enabled>"),
        ],
    ),
    required(
        "limits.wildcard",
        "subscriptions with wildcards",
        "a slot is read through vds/v1/{plant}/{slot}/+/events",
        &[hivemq("<wildcard-subscriptions><enabled>true</enabled>")],
    ),
    required(
        "limits.session_expiry",
        "sessions that live for 7 days",
        "what comes for a slot while no server is there waits in its session",
        &[
            mosquitto("persistent_client_expiration 7d or longer, or leave it out"),
            hivemq("<max-interval> in <mqtt><session-expiry>"),
        ],
    ),
    required(
        "limits.receive_maximum",
        "at least 16 publishes with an open PUBACK, 200 for full speed",
        "a bench has up to 16 events on their way, a slot's session up to 200 receipts and lists",
        &[
            mosquitto("max_inflight_messages 2000"),
            hivemq("<server-receive-maximum>1000</server-receive-maximum>"),
        ],
    ),
    required(
        "limits.keep_alive",
        "our keep alive of 15 s is taken; another one up to 60 s is borne",
        "a bench that has gone shows within a minute or so",
        &[mosquitto("max_keepalive 60, or leave it out")],
    ),
    required(
        "session.absence",
        "a session and its messages outlive the client's absence",
        "the slot's messages wait while the server is restarted or hands the slot over",
        &[],
    ),
    required(
        "order.publisher",
        "each publisher's messages come in their order through a slot's subscription",
        "the ledger takes only the next event of a spool; what comes early is thrown away and sent again",
        &[],
    ),
    required(
        "order.reconnect",
        "after a lost connection the unacknowledged messages come first, then the others, in order",
        "the same",
        &[],
    ),
    required(
        "takeover.ends_old",
        "a second connection with the same client id ends the first",
        "only one server reads a slot",
        &[],
    ),
    required(
        "takeover.first_message",
        "the next owner gets the slot's messages within 10 s",
        "results wait so long when a slot is handed over",
        &[],
    ),
    required(
        "takeover.complete",
        "no message is lost at a take-over; another order of what was not acknowledged is borne",
        "what is lost is sent again after 10 s only",
        &[embedded("file storage of the broker, as the server sets it")],
    ),
    borne(
        "takeover.will",
        "a will with delay is not sent when another connection takes the session",
        "either is borne: presence is ordered by run and counter, so the will of an older connect changes nothing (rule 29)",
        &[],
    ),
    required(
        "acks.again",
        "messages without acknowledgement come again on the next connection, acknowledged ones do not",
        "a message is acknowledged after its commit; a server that dies before gets it again",
        &[],
    ),
    required(
        "acks.live",
        "nothing is sent twice on a live connection",
        "a slow commit would double the traffic that made it slow",
        &[],
    ),
    required(
        "will.delay",
        "the will is sent after its delay when a connection is lost",
        "the page shows that a bench is gone",
        &[],
    ),
    required(
        "will.canceled",
        "a reconnect within the delay cancels the will",
        "a short interruption must not show as offline",
        &[],
    ),
    required(
        "will.goodbye",
        "the will is not sent after a DISCONNECT",
        "a bench that leaves in order says so itself",
        &[],
    ),
    required(
        "queue.offline",
        "the broker keeps what comes for a slot without a server",
        "a full queue acknowledges and drops; the benches find out by the missing receipt and send again",
        &[
            embedded("mqtt.max_queued_messages 100000"),
            mosquitto("max_queued_messages 100000"),
            hivemq("<max-queue-size>100000</max-queue-size>"),
        ],
    ),
    required(
        "inflight.slot",
        "250 messages without acknowledgement at once",
        "a commit holds what is on its way: with 20 at once a slot crawls",
        &[
            embedded("max_outbound_inflight 2000, as the server sets it"),
            hivemq(
                "InternalConfigurations.MAX_INFLIGHT_WINDOW_SIZE_MESSAGES.set(2000) in the code that embeds it",
            ),
        ],
    ),
    borne(
        "inflight.most",
        "2,000 messages without acknowledgement at once, never more than the receive maximum",
        "ingest.receive_maximum may be raised so far; nothing is sized by it, so more is borne",
        &[],
    ),
    borne(
        "inflight.while_waiting",
        "what arrives later comes while earlier messages wait for their acknowledgement",
        "otherwise a slot gets what has gathered at the broker once per commit: slower, nothing is lost",
        &[],
    ),
    required(
        "large.to_server",
        "a packet of 264,192 bytes reaches a slot unchanged",
        "the largest event",
        &[mosquitto("max_packet_size 264192, or leave it out")],
    ),
    required(
        "large.to_bench",
        "a payload of 262,144 bytes reaches a bench unchanged",
        "the largest list of jobs",
        &[mosquitto("max_packet_size 264192, or leave it out")],
    ),
    borne(
        "large.above",
        "a packet above the broker's limit is answered with a reason",
        "the sender compares sizes itself and never sends one",
        &[],
    ),
    required(
        "large.unreadable",
        "a message too large for its reader is left out and does not stop the ones behind it",
        "a reader with a smaller limit would be stuck for ever",
        &[],
    ),
    required(
        "properties.kept",
        "user properties in their order, and the content type; ones that the broker adds are borne",
        "spool and seq of an event are user properties; they alone drive the ledger",
        &[],
    ),
    required(
        "properties.expired",
        "an expired message is not delivered",
        "a receipt or a list of jobs must not reach a bench long after it was made",
        &[],
    ),
    borne(
        "properties.expiry_left",
        "the rest of a message's life is told to its reader",
        "ours do not read it",
        &[],
    ),
    required(
        "retained.life",
        "a retained message is set, replaced and cleared, and delivered at a subscribe",
        "a server that starts sees which benches are there",
        &[],
    ),
    borne(
        "retained.flag",
        "the retain flag tells a stored message from a live one",
        "ours do not read it: presence is ordered by run and counter",
        &[],
    ),
    borne(
        "refused.told",
        "a publish that is not allowed is refused by its PUBACK or by the end of the connection",
        "a PUBACK proves nothing to us: without a receipt the event stays in the spool",
        &[],
    ),
    required(
        "slow.others",
        "a reader that stands still does not stop the others",
        "one bench with a bad link must not hold up a plant",
        &[],
    ),
    required(
        "isolation.sessions",
        "two client ids with the same filter share nothing",
        "slots and benches must not take each other's messages or sessions away",
        &[],
    ),
    required(
        "keepalive.half_open",
        "a connection that went silent is noticed, and its will is sent, at most 6 s after 1.5 keep alives",
        "a bench whose cable was pulled shows as offline",
        &[],
    ),
    required(
        "restart.orderly",
        "sessions and their QoS 1 messages outlive a restart of the broker",
        "otherwise every bench sends again what had no receipt",
        &[
            mosquitto("persistence true, and persistence_location"),
            hivemq("<persistence><mode>file</mode>, and a data folder that stays"),
        ],
    ),
    borne(
        "restart.killed",
        "they outlive kill -9 as well",
        "what is lost is sent again: the spool keeps an event until its receipt",
        &[mosquitto("autosave_interval 1 loses less")],
    ),
];

/// The check of this name.
pub fn find(id: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.id == id)
}

/// The checks that a word of `--only` means: one name, or all of a group.
pub fn select(word: &str) -> Vec<&'static Check> {
    CHECKS
        .iter()
        .filter(|check| check.id == word || check.group() == word)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_groups_stand_together() {
        let ids: BTreeSet<_> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), CHECKS.len());
        let mut groups: Vec<_> = CHECKS.iter().map(Check::group).collect();
        groups.dedup();
        let unique: BTreeSet<_> = groups.iter().collect();
        assert_eq!(unique.len(), groups.len(), "{groups:?}");
    }

    #[test]
    fn a_word_selects_a_check_or_a_group() {
        assert_eq!(select("will.delay").len(), 1);
        assert_eq!(select("will").len(), 3);
        assert!(select("wil").is_empty());
    }

    #[test]
    fn the_size_in_the_text_is_the_size_on_the_wire() {
        assert_eq!(fleet_wire::limits::MAX_PACKET_BYTES, 264_192);
        assert_eq!(fleet_wire::limits::MAX_PAYLOAD_BYTES, 262_144);
    }
}
