//! What is on its way between benches and servers, and what the servers make of it.

use fleet_domain::ledger::{Digest, Place, Predecessor, RejectCode, SyncFacts};
use fleet_domain::{BenchReport, DeviceId, Equipment, PlantId, Seq, Slot, SpoolId};
use fleet_store::{Inbound, InboundEvent, InboundMessage, ReceiptRow, RejectedEvent, SyncAnswerRow};
use fleet_wire::receipt::{Receipt, RejectCode as WireCode, Rejection, SpoolAnswer, SyncAnswer};
use fleet_wire::{Channel, DecodedEvent, EventBody, EventProperties, Topic, decode_event};

/// What a bench publishes.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Event {
        /// None: something on the way has lost them.
        properties: Option<EventProperties>,
        payload: Vec<u8>,
    },
    Sync(SyncFacts),
}

/// A message of a bench on its way to a server.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) bench: usize,
    pub(crate) body: Body,
}

/// A message of a server to a bench.
#[derive(Debug, Clone)]
pub(crate) enum Down {
    Receipt(Receipt),
    Answer(SyncAnswer),
}

/// Place of an event over all benches.
pub(crate) type Key = (usize, SpoolId, Seq);

impl Message {
    /// For the trace.
    pub(crate) fn describe(&self) -> String {
        match &self.body {
            Body::Event {
                properties: Some(properties),
                ..
            } => format!("event {} of {}", properties.seq, short(properties.spool)),
            Body::Event { properties: None, .. } => "an event without properties".to_owned(),
            Body::Sync(facts) => format!("sync {}", facts.number),
        }
    }
}

impl Down {
    /// For the trace.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Receipt(receipt) => {
                let gap = if receipt.gap { ", gap" } else { "" };
                format!(
                    "receipt {} through {}{gap}",
                    short(receipt.spool_id),
                    receipt.through
                )
            }
            Self::Answer(answer) => {
                let spools: Vec<_> = answer
                    .spools
                    .iter()
                    .map(|spool| format!("{} through {}", short(spool.spool_id), spool.through))
                    .collect();
                format!("answer {}: {}", answer.number, spools.join(", "))
            }
        }
    }
}

/// The end of a spool's name, which tells it from others in a run.
pub(crate) fn short(spool: SpoolId) -> String {
    format!("spool {:x}", spool.0.as_u128() >> 64)
}

pub(crate) fn plant() -> PlantId {
    "plant-1".parse().expect("a valid name")
}

pub(crate) fn device(bench: usize) -> DeviceId {
    format!("bench-{bench}").parse().expect("a valid name")
}

/// The bench of a name that [`device`] made.
pub(crate) fn bench_of(device: &DeviceId) -> usize {
    let number = device.as_str().trim_start_matches("bench-");
    number.parse().unwrap_or(usize::MAX)
}

/// The message as the storage takes it.
pub(crate) fn inbound(message: &Message) -> Result<Inbound, String> {
    let device = device(message.bench);
    let read = match &message.body {
        Body::Event {
            properties: Some(properties),
            payload,
        } => event(&device, properties, payload)?,
        Body::Event { payload, .. } => InboundMessage::Unattributed {
            bytes: payload.clone().into(),
            user_properties: Vec::new(),
            reason: "no user properties".to_owned(),
        },
        Body::Sync(facts) => InboundMessage::Sync(facts.clone()),
    };
    Ok(Inbound {
        slot: Slot::of(&device),
        device,
        message: read,
    })
}

fn event(device: &DeviceId, properties: &EventProperties, payload: &[u8]) -> Result<InboundMessage, String> {
    let topic = Topic::new(plant(), device.clone(), Channel::Events);
    let event = decode_event(&topic, properties, payload)
        .map_err(|error| format!("a bench sent what can't be read: {error}"))?;
    let place = Place {
        spool: properties.spool,
        seq: properties.seq,
        predecessor: properties.predecessor.map(|prev| Predecessor {
            spool: prev.spool,
            last_seq: prev.last_seq,
        }),
        hole_to: properties.hole_to,
    };
    let digest = digest(payload);
    if marker_of(&event).is_some_and(|(_, refused)| refused) {
        return Ok(InboundMessage::Rejected(RejectedEvent {
            place,
            digest,
            code: RejectCode::Malformed,
            bytes: payload.to_vec().into(),
            reason: "this event is refused".to_owned(),
        }));
    }
    Ok(InboundMessage::Event(InboundEvent {
        place,
        digest,
        bytes: payload.to_vec().into(),
        id: event.id,
        r#type: event.r#type.as_str().to_owned(),
        vin: event.subject.clone(),
        time: event.time,
        traceparent: event.traceparent.clone(),
        report: report(event),
    }))
}

/// What the events of these benches mean; their jobs are nobody's.
fn report(event: DecodedEvent) -> BenchReport {
    match event.body {
        Ok(Some(EventBody::AgentStarted(started))) => BenchReport::AgentStarted {
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
        Ok(Some(EventBody::SpoolHole(hole))) => BenchReport::Hole {
            to: hole.to,
            reason: hole.reason,
        },
        _ => BenchReport::Unknown {
            r#type: event.r#type.as_str().to_owned(),
        },
    }
}

/// Which event it is, and whether the server refuses it; none for a hole.
fn marker_of(event: &DecodedEvent) -> Option<(u64, bool)> {
    let text = match &event.body {
        Ok(Some(EventBody::AgentStarted(body))) => body.agent_version.as_str(),
        Ok(Some(EventBody::JobRejected(body))) => body.code.as_str(),
        _ => return None,
    };
    let (number, refused) = text.split_once('/').unwrap_or((text, ""));
    Some((number.parse().unwrap_or(0), refused == "refused"))
}

/// Stands for SHA-256: the model has no adversary.
pub(crate) fn digest(payload: &[u8]) -> Digest {
    let mut lanes = [0xcbf2_9ce4_8422_2325_u64, 0x9ae1_6a3b_2f90_404f, 1, 2];
    for (index, byte) in payload.iter().enumerate() {
        let lane = &mut lanes[index % 4];
        *lane = (*lane ^ u64::from(*byte))
            .wrapping_mul(0x100_0000_01b3)
            .rotate_left(13);
    }
    let mut digest = [0; 32];
    for (chunk, lane) in digest.chunks_mut(8).zip(lanes) {
        chunk.copy_from_slice(&lane.to_le_bytes());
    }
    Digest(digest)
}

fn rejection(row: &fleet_domain::Rejection) -> Rejection {
    let code = match row.code {
        RejectCode::Conflict => WireCode::Conflict,
        _ => WireCode::Malformed,
    };
    Rejection { seq: row.seq, code }
}

/// The receipt as it is sent.
pub(crate) fn receipt(row: &ReceiptRow) -> (usize, Down) {
    let receipt = Receipt {
        store_generation: row.generation,
        spool_id: row.spool,
        through: row.through,
        rejected: row.rejected.iter().map(rejection).collect(),
        gap: row.gap,
        unattributed: row.unattributed,
    };
    (bench_of(&row.device), Down::Receipt(receipt))
}

/// The answer as it is sent.
pub(crate) fn answer(device: &DeviceId, row: SyncAnswerRow) -> (usize, Down) {
    let spools = row.spools.into_iter().map(|spool| SpoolAnswer {
        spool_id: spool.spool,
        through: spool.through,
        rejected: spool.rejected.iter().map(rejection).collect(),
    });
    let answer = SyncAnswer {
        number: row.number,
        store_generation: row.generation,
        spools: spools.collect(),
        bench_restored: row.bench_restored,
    };
    (bench_of(device), Down::Answer(answer))
}
