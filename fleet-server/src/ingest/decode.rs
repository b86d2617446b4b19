//! From a message of the broker to what the store understands. Total: every message becomes something.

use fleet_domain::{
    AttemptRef, BenchReport, Digest, Equipment, HeldSpool, Place, Predecessor, PresenceFacts, RejectCode,
    SyncFacts, error_chain, report::StepReport,
};
use fleet_store::{Inbound, InboundEvent, InboundMessage, Misplaced, RejectedEvent};
use fleet_wire::event::AttemptRef as WireAttempt;
use fleet_wire::limits::MAX_SPOOLS;
use fleet_wire::presence::Presence;
use fleet_wire::sync::Sync;
use fleet_wire::{Channel, DecodedEvent, EventBody, EventProperties, Topic, TopicError, decode_event};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::session::Arrival;

/// Characters of a foreign topic that are kept.
const MAX_SHOWN: usize = 200;

/// Messages as the store takes them, each kind in arrival order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decoded {
    pub(crate) items: Vec<Inbound>,
    pub(crate) misplaced: Vec<Misplaced>,
}

impl Decoded {
    /// Adds a message. A cleared presence says nothing and is left out.
    pub(crate) fn add(&mut self, arrival: &Arrival) {
        match arrival.topic.parse::<Topic>() {
            Ok(topic) => self.items.extend(inbound(arrival, topic)),
            Err(_) if arrival.payload.is_empty() && arrival.topic.ends_with("/presence") => {}
            Err(error) => self.misplaced.push(misplaced(arrival, &error)),
        }
    }
}

impl Decoded {
    /// Each message by itself.
    pub(super) fn apart(self) -> impl Iterator<Item = Self> {
        let items = self.items.into_iter().map(|item| Self {
            items: vec![item],
            misplaced: Vec::new(),
        });
        let misplaced = self.misplaced.into_iter().map(|message| Self {
            items: Vec::new(),
            misplaced: vec![message],
        });
        items.chain(misplaced)
    }
}

fn inbound(arrival: &Arrival, topic: Topic) -> Option<Inbound> {
    let message = match topic.channel {
        Channel::Events => event(arrival, &topic),
        Channel::Sync => match Sync::decode(&arrival.payload) {
            Ok(sync) => InboundMessage::Sync(sync_facts(sync)),
            Err(error) => undecodable(arrival, topic.channel.as_str(), error_chain(&error)),
        },
        Channel::Presence if arrival.payload.is_empty() => return None,
        Channel::Presence => match Presence::decode(&arrival.payload) {
            Ok(presence) => InboundMessage::Presence(PresenceFacts {
                run_id: presence.run_id,
                connect_counter: presence.connect_counter,
                online: presence.online,
                will: presence.will,
            }),
            Err(error) => undecodable(arrival, topic.channel.as_str(), error_chain(&error)),
        },
        other => undecodable(
            arrival,
            other.as_str(),
            "a bench does not publish there".to_owned(),
        ),
    };
    Some(Inbound {
        slot: arrival.slot,
        device: topic.device,
        message,
    })
}

fn undecodable(arrival: &Arrival, channel: &str, reason: String) -> InboundMessage {
    InboundMessage::Undecodable {
        channel: channel.to_owned(),
        bytes: arrival.payload.clone(),
        reason,
    }
}

/// A topic that is not one of ours. It is kept, but nobody is told: the device that it names, if any, may be
/// another one than the sender, and a receipt would make that one give up an event.
fn misplaced(arrival: &Arrival, error: &TopicError) -> Misplaced {
    let cut = |text: &str| text.chars().take(MAX_SHOWN).collect::<String>();
    // vds/v1/{plant}/{slot}/{device}/{channel}, as the subscription's filter has it.
    let level = |place: usize| cut(arrival.topic.split('/').nth(place).unwrap_or_default());
    Misplaced {
        slot: arrival.slot,
        device: level(4),
        channel: level(5),
        user_properties: arrival.properties.clone(),
        bytes: arrival.payload.clone(),
        reason: format!(
            "a message came on topic {:?}: {}",
            cut(&arrival.topic),
            error_chain(error)
        ),
    }
}

fn place(properties: &EventProperties) -> Place {
    Place {
        spool: properties.spool,
        seq: properties.seq,
        predecessor: properties.predecessor.map(predecessor),
        hole_to: properties.hole_to,
    }
}

fn predecessor(predecessor: fleet_wire::Predecessor) -> Predecessor {
    Predecessor {
        spool: predecessor.spool,
        last_seq: predecessor.last_seq,
    }
}

fn event(arrival: &Arrival, topic: &Topic) -> InboundMessage {
    let bytes = arrival.payload.clone();
    let properties = match EventProperties::decode(&arrival.properties) {
        Ok(properties) => properties,
        Err(error) => {
            return InboundMessage::Unattributed {
                bytes,
                user_properties: arrival.properties.clone(),
                reason: error.to_string(),
            };
        }
    };
    let digest = Digest(Sha256::digest(&bytes).into());
    match decode_event(topic, &properties, &bytes) {
        Ok(event) => InboundMessage::Event(InboundEvent {
            place: place(&properties),
            digest,
            bytes,
            id: event.id,
            r#type: event.r#type.as_str().to_owned(),
            vin: event.subject.clone(),
            time: event.time,
            traceparent: event.traceparent.clone(),
            report: report(event),
        }),
        Err(error) => InboundMessage::Rejected(RejectedEvent {
            place: place(&properties),
            digest,
            code: reject_code(error.code()),
            reason: error_chain(&error),
            bytes,
        }),
    }
}

fn reject_code(code: fleet_wire::receipt::RejectCode) -> RejectCode {
    use fleet_wire::receipt::RejectCode as Wire;
    match code {
        Wire::TooLarge => RejectCode::TooLarge,
        Wire::SpecVersion => RejectCode::SpecVersion,
        Wire::Disagrees => RejectCode::Disagrees,
        Wire::Conflict => RejectCode::Conflict,
        Wire::Malformed | Wire::Other => RejectCode::Malformed,
    }
}

/// The code as it stands in a receipt.
pub(super) fn wire_code(code: RejectCode) -> fleet_wire::receipt::RejectCode {
    use fleet_wire::receipt::RejectCode as Wire;
    match code {
        RejectCode::Malformed => Wire::Malformed,
        RejectCode::TooLarge => Wire::TooLarge,
        RejectCode::SpecVersion => Wire::SpecVersion,
        RejectCode::Disagrees => Wire::Disagrees,
        RejectCode::Conflict => Wire::Conflict,
    }
}

fn attempt(of: WireAttempt) -> AttemptRef {
    AttemptRef {
        job: of.job_id,
        attempt: of.attempt,
        fence: of.fence,
    }
}

fn report(event: DecodedEvent) -> BenchReport {
    let r#type = || event.r#type.as_str().to_owned();
    match event.body {
        Ok(Some(body)) => known(body, event.time),
        Ok(None) => BenchReport::Unknown { r#type: r#type() },
        Err(reason) => BenchReport::Unreadable {
            r#type: r#type(),
            reason,
        },
    }
}

fn known(body: EventBody, time: Timestamp) -> BenchReport {
    match body {
        EventBody::AgentStarted(started) => BenchReport::AgentStarted {
            run_id: started.run_id,
            agent_version: started.agent_version,
            public_key: started.public_key,
            equipment: Equipment {
                transports: started.equipment.transports,
                ecus: started.equipment.ecus,
                station: started.equipment.station,
                vin: started.equipment.vin,
            },
        },
        EventBody::JobAccepted(accepted) => BenchReport::JobAccepted {
            of: attempt(accepted.of),
            offer_id: accepted.offer_id,
            generation: accepted.store_generation,
            desired_version: accepted.desired_version,
        },
        EventBody::JobRejected(rejected) => BenchReport::JobRejected {
            of: attempt(rejected.of),
            offer_id: rejected.offer_id,
            code: rejected.code,
            detail: rejected.detail,
        },
        EventBody::JobStarted(started) => BenchReport::JobStarted {
            of: attempt(started.of),
            steps_total: started.steps_total,
            time,
        },
        EventBody::StepFinished(step) => BenchReport::StepFinished(StepReport {
            of: attempt(step.of),
            index: step.index,
            step: step.step,
            name: step.name,
            outcome: step.outcome,
            started_at: step.started_at,
            finished_at: step.finished_at,
            duration_ms: step.duration_ms,
            retries: step.retries,
            nrc: step.nrc,
            detail: step.detail,
            // Read from JSON a moment ago, so it has a JSON form.
            measurements_json: serde_json::to_string(&step.measurements).unwrap_or_else(|_| "[]".to_owned()),
        }),
        EventBody::JobFinished(finished) => BenchReport::JobFinished {
            of: attempt(finished.of),
            verdict: finished.verdict,
            reason_code: finished.reason_code,
            detail: finished.detail,
            software: finished.software,
            record: finished.record,
        },
        EventBody::SpoolHole(hole) => BenchReport::Hole {
            to: hole.to,
            reason: hole.reason,
        },
    }
}

fn sync_facts(sync: Sync) -> SyncFacts {
    SyncFacts {
        number: sync.number,
        run_id: sync.run_id,
        connect_counter: sync.connect_counter,
        generation: sync.store_generation,
        desired_version: sync.desired_version,
        // A sync that names fewer than the limit has named all.
        complete: sync.spools.len() < MAX_SPOOLS,
        held: sync
            .spools
            .into_iter()
            .map(|held| HeldSpool {
                spool: held.spool_id,
                predecessor: held.predecessor.map(predecessor),
                first_kept: held.first_kept,
                next_seq: held.next_seq,
                receipted: held.receipted,
                rejections_known: held.rejections_known,
            })
            .collect(),
        former: sync
            .former
            .into_iter()
            .map(|former| Predecessor {
                spool: former.spool_id,
                last_seq: former.last_seq,
            })
            .collect(),
        jobs: sync.jobs.into_iter().map(|job| job.job_id).collect(),
        refusing_jobs: sync.refusing_jobs,
    }
}
