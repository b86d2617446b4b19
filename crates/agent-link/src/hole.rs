//! The event that stands for positions which can't be read any more.

use fleet_domain::{EventId, Seq, SpoolId};
use fleet_wire::event::{EventBody, SpoolHole};
use fleet_wire::{EventContext, encode_event};
use jiff::Timestamp;
use spool::HoleReason;
use uuid::Uuid;

use crate::uplink::UplinkConfig;

/// The hole's bytes: the same for the same hole, today and after a restart. So its id is derived (`UUIDv5`)
/// and its time is that of the spool's id.
pub(crate) fn encode(
    config: &UplinkConfig,
    spool: SpoolId,
    seq: Seq,
    to: Seq,
    reason: HoleReason,
) -> Vec<u8> {
    let name = format!("hole {seq} {to} {reason}");
    let context = EventContext {
        id: EventId(Uuid::new_v5(&spool.0, name.as_bytes())),
        plant: config.plant.clone(),
        device: config.device.clone(),
        vin: None,
        time: made_at(spool),
        spool,
        seq,
        traceparent: None,
    };
    let body = EventBody::SpoolHole(SpoolHole {
        to,
        reason: reason.as_str().to_owned(),
    });
    // Numbers and texts always have a JSON form.
    encode_event(&context, &body).unwrap_or_default()
}

fn made_at(spool: SpoolId) -> Timestamp {
    let unix = spool.0.get_timestamp().map(|at| at.to_unix());
    unix.and_then(|(seconds, nanos)| {
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
    })
    .unwrap_or(Timestamp::UNIX_EPOCH)
}
