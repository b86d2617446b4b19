//! What a row of the outbox becomes in Kafka.

use fleet_domain::{PlantId, SpoolId, StoreGeneration};
use fleet_store::OutboxRow;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::topics;

/// Names of the headers.
pub mod header {
    /// The plant.
    pub const PLANT: &str = "plant";
    /// The bench.
    pub const DEVICE: &str = "device";
    /// Its spool.
    pub const SPOOL: &str = "spool";
    /// Position in the spool, decimal.
    pub const SEQ: &str = "seq";
    /// The event's id.
    pub const EVENT_ID: &str = "event_id";
    /// The event's type.
    pub const TYPE: &str = "type";
    /// Life of the database that relayed it.
    pub const STORE_GENERATION: &str = "store_generation";
    /// Place in the outbox, decimal.
    pub const OUTBOX_SEQ: &str = "outbox_seq";
    /// W3C trace context, if the event has one.
    pub const TRACEPARENT: &str = "traceparent";
    /// Media type of the value.
    pub const CONTENT_TYPE: &str = "content-type";
}

/// Type of the record that says that a plant's database was restored.
pub const RESTORED_TYPE: &str = "vds.store.restored.v1";
/// Media type of every value.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Key of an event's record: the VIN if it has one, else plant and bench. What a bench says of itself is always
/// keyed by the bench: by the vehicle that stands there, compaction would let one bench take another's place.
pub fn key(plant: &PlantId, row: &OutboxRow) -> String {
    match &row.event.vin {
        Some(vin) if !vin.is_empty() && row.topic != topics::DEVICE_STATE => vin.clone(),
        _ => format!("{plant}/{}", row.event.device),
    }
}

/// Headers of an event's record.
pub fn headers(plant: &PlantId, generation: StoreGeneration, row: &OutboxRow) -> Vec<(&'static str, String)> {
    let event = &row.event;
    let mut headers = vec![
        (header::PLANT, plant.to_string()),
        (header::DEVICE, event.device.to_string()),
        (header::SPOOL, event.spool.to_string()),
        (header::SEQ, event.seq.to_string()),
        (header::EVENT_ID, event.id.to_string()),
        (header::TYPE, event.r#type.clone()),
        (header::STORE_GENERATION, generation.to_string()),
        (header::OUTBOX_SEQ, row.seq.to_string()),
        (header::CONTENT_TYPE, CONTENT_TYPE.to_owned()),
    ];
    if let Some(traceparent) = &row.traceparent {
        headers.push((header::TRACEPARENT, traceparent.clone()));
    }
    headers
}

/// What is said of a restore to every partition.
#[derive(Debug, Clone, Copy)]
pub struct Restored<'a> {
    /// The plant.
    pub plant: &'a PlantId,
    /// Its id; the same in every partition.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Life of the database from now on.
    pub generation: StoreGeneration,
    /// Life of the database that wrote Kafka's last cursor, if it has one.
    pub before: Option<StoreGeneration>,
}

impl Restored<'_> {
    /// Its key: one of its own, so that compaction takes no bench's record away for it.
    pub fn key(&self) -> String {
        format!("{}/_restored", self.plant)
    }

    /// Its headers. It belongs to no bench: `device`, `spool`, `seq` and `outbox_seq` are not there.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            (header::PLANT, self.plant.to_string()),
            (header::EVENT_ID, self.id.to_string()),
            (header::TYPE, RESTORED_TYPE.to_owned()),
            (header::STORE_GENERATION, self.generation.to_string()),
            (header::CONTENT_TYPE, CONTENT_TYPE.to_owned()),
        ]
    }

    /// The CloudEvents document.
    pub fn value(&self) -> Vec<u8> {
        json!({
            "specversion": "1.0",
            "id": self.id,
            "source": format!("/vds/{}", self.plant),
            "type": RESTORED_TYPE,
            "time": self.at,
            "datacontenttype": "application/json",
            "data": {
                "plant": self.plant,
                "store_generation": self.generation,
                "previous_store_generation": self.before,
            },
        })
        .to_string()
        .into_bytes()
    }
}

/// Where an event stood, as its record's headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The plant.
    pub plant: PlantId,
    /// The bench, spool and position; `None` for a record that belongs to no bench.
    pub place: Option<fleet_store::KafkaHigh>,
}

impl Standing {
    /// Reads a record's headers. `None` where they are not those of a relay.
    pub fn of<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let (mut plant, mut device, mut spool, mut seq) = (None, None, None, None);
        for (name, value) in headers {
            let Ok(text) = std::str::from_utf8(value) else {
                continue;
            };
            match name {
                header::PLANT => plant = text.parse().ok(),
                header::DEVICE => device = text.parse().ok(),
                header::SPOOL => spool = text.parse::<SpoolId>().ok(),
                header::SEQ => seq = text.parse().ok(),
                _ => {}
            }
        }
        let place = match (device, spool, seq) {
            (Some(device), Some(spool), Some(seq)) => Some(fleet_store::KafkaHigh { device, spool, seq }),
            _ => None,
        };
        Some(Self { plant: plant?, place })
    }
}
