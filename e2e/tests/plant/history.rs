//! What the benches made and what arrived somewhere.

use std::fmt;

use anyhow::{Context as _, ensure};
use fleet_domain::{DeviceId, EventId, Seq, SpoolId};
use fleet_store::outbox_topic;
use sha2::{Digest as _, Sha256};
use spool::sim::SimDisk;
use spool::{Limits, Read, Spools};

/// SHA-256 of an event's bytes.
pub(crate) type Hash = [u8; 32];

pub(crate) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// An event's place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) device: String,
    pub(crate) spool: SpoolId,
    pub(crate) seq: Seq,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.device, self.spool, self.seq)
    }
}

/// An event that counts: it lies on its bench's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) place: Place,
    /// Place of its spool among the spools of its bench, from 0.
    pub(crate) ordinal: usize,
    pub(crate) id: EventId,
    /// Topic in Kafka that it belongs to.
    pub(crate) topic: &'static str,
    pub(crate) vin: Option<String>,
    pub(crate) hash: Hash,
    /// Its size.
    pub(crate) bytes: usize,
    /// The server has to reject it.
    pub(crate) refused: bool,
}

/// An event as it arrived somewhere, in the order in which it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) place: Place,
    pub(crate) id: EventId,
    pub(crate) hash: Hash,
    /// Within a lane the order of a bench's events is promised: a bench's outbox rows, a key of a topic.
    pub(crate) lane: String,
    /// Where it lies, for people: a row's number, a partition and its offset.
    pub(crate) at: String,
}

/// An event that was noted by the bench when it became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) place: Place,
    pub(crate) id: EventId,
    pub(crate) hash: Hash,
}

/// Reads a bench's disk after its end: whatever lies there counts. What the bench had noted has to be there.
pub(crate) fn read_disk(device: &DeviceId, disk: &SimDisk, noted: &[Noted]) -> anyhow::Result<Vec<Made>> {
    let now = fleet_clock::wall_now();
    let (mut spools, opened) = Spools::open(disk.clone(), Limits::default(), now)?;
    ensure!(
        spools.former().is_empty(),
        "{device} has removed spools that the books need"
    );
    let mut made = Vec::new();
    for (ordinal, held) in spools.held().into_iter().enumerate() {
        ensure!(
            held.first_kept == 1,
            "{device} has removed events that the books need"
        );
        for seq in held.first_kept..held.next_seq {
            let place = Place {
                device: device.to_string(),
                spool: held.spool,
                seq,
            };
            let Read::Event(bytes) = spools.read(held.spool, seq)? else {
                anyhow::bail!("{place:?} is a hole; damage: {:?}", opened.damage)
            };
            made.push(event(place, ordinal, &bytes)?);
        }
    }
    let by_place: std::collections::BTreeMap<_, _> = made.iter().map(|made| (&made.place, made)).collect();
    for noted in noted {
        let found = by_place.get(&noted.place);
        ensure!(
            found.is_some_and(|made| made.hash == noted.hash && made.id == noted.id),
            "{noted:?} was durable and the disk holds {found:?}"
        );
    }
    Ok(made)
}

fn event(place: Place, ordinal: usize, bytes: &[u8]) -> anyhow::Result<Made> {
    let envelope: serde_json::Value =
        serde_json::from_slice(bytes).with_context(|| format!("{place:?} is no JSON"))?;
    let text = |name: &str| envelope.get(name).and_then(serde_json::Value::as_str);
    let vin = text("subject").map(ToOwned::to_owned);
    Ok(Made {
        ordinal,
        id: text("id").context("an event has an id")?.parse()?,
        topic: outbox_topic(text("type").context("an event has a type")?),
        refused: vin
            .as_deref()
            .is_some_and(|vin| vin.len() > fleet_wire::limits::MAX_ATTRIBUTE_BYTES),
        vin,
        hash: hash(bytes),
        bytes: bytes.len(),
        place,
    })
}
