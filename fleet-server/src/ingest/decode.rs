//! From a message of the broker to what the store understands. Total: every message becomes something.

use fleet_domain::{
    AttemptRef, BenchReport, Digest, Equipment, HeldSpool, Place, Predecessor, PresenceFacts, RejectCode,
    SyncFacts, report::StepReport,
};
use fleet_store::{Inbound, InboundEvent, InboundMessage, RejectedEvent};
use fleet_wire::event::AttemptRef as WireAttempt;
use fleet_wire::limits::MAX_SPOOLS;
use fleet_wire::presence::Presence;
use fleet_wire::sync::Sync;
use fleet_wire::{Channel, DecodedEvent, EventBody, EventProperties, Topic, TopicError, decode_event};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::session::Arrival;
use crate::http::error::chain;

/// What a message is; `None` for one that says nothing: a cleared presence, or a topic that names nobody.
pub(super) fn decode(arrival: &Arrival) -> Option<Inbound> {
    let topic: Topic = match arrival.topic.parse() {
        Ok(topic) => topic,
        Err(error) => return misplaced(arrival, &error),
    };
    let message = match topic.channel {
        Channel::Events => event(arrival, &topic),
        Channel::Sync => match Sync::decode(&arrival.payload) {
            Ok(sync) => InboundMessage::Sync(sync_facts(sync)),
            Err(error) => undecodable(arrival, topic.channel.as_str(), chain(&error)),
        },
        Channel::Presence if arrival.payload.is_empty() => return None,
        Channel::Presence => match Presence::decode(&arrival.payload) {
            Ok(presence) => InboundMessage::Presence(PresenceFacts {
                run_id: presence.run_id,
                connect_counter: presence.connect_counter,
                online: presence.online,
                will: presence.will,
            }),
            Err(error) => undecodable(arrival, topic.channel.as_str(), chain(&error)),
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

/// A topic that is not one of ours. It is kept where it names a device, but nobody is told: that device
/// may be another one than the sender, and a receipt would make it give up an event.
fn misplaced(arrival: &Arrival, error: &TopicError) -> Option<Inbound> {
    let topic: String = arrival.topic.chars().take(200).collect();
    let TopicError::WrongSlot { device, .. } = error else {
        tracing::warn!(
            topic,
            error = error as &dyn std::error::Error,
            "a message on a topic of nobody was dropped"
        );
        return None;
    };
    let channel = arrival.topic.rsplit('/').next().unwrap_or_default();
    let message = undecodable(arrival, channel, format!("topic {topic:?}: {}", chain(error)));
    Some(Inbound {
        slot: arrival.slot,
        device: device.clone(),
        message,
    })
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
            reason: chain(&error),
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
