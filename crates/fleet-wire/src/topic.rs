//! Topics: `vds/v1/{plant}/{slot}/{device}/{channel}`.

use std::fmt;
use std::str::FromStr;

use fleet_domain::{DeviceId, IdError, PlantId, Slot};

/// Last level of a topic: what kind of message it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Bench to server, QoS 1, durable in the bench's spool.
    Events,
    /// Bench to server, QoS 1, not spooled.
    Sync,
    /// Bench to server, QoS 0, never stored.
    Live,
    /// Bench to server, QoS 1, retained, and the will.
    Presence,
    /// Server to bench, QoS 1: receipts and sync answers.
    Receipts,
    /// Server to bench, QoS 1: the whole list of open jobs.
    Commands,
}

impl Channel {
    /// All channels.
    pub const ALL: [Self; 6] = [
        Self::Events,
        Self::Sync,
        Self::Live,
        Self::Presence,
        Self::Receipts,
        Self::Commands,
    ];

    /// The topic level.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Sync => "sync",
            Self::Live => "live",
            Self::Presence => "presence",
            Self::Receipts => "receipts",
            Self::Commands => "commands",
        }
    }
}

/// A topic of one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The plant.
    pub plant: PlantId,
    /// The slot; always that of the device.
    pub slot: Slot,
    /// The device.
    pub device: DeviceId,
    /// What the topic carries.
    pub channel: Channel,
}

/// Why a topic is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Not six levels that begin with `vds/v1`.
    #[error("topic is not vds/v1/{{plant}}/{{slot}}/{{device}}/{{channel}}")]
    Shape,
    /// The last level is unknown.
    #[error("topic's last level is none of events, sync, live, presence, receipts, commands")]
    Channel,
    /// A level is no valid identifier.
    #[error("topic names no valid identifier")]
    Id(#[from] IdError),
    /// The slot is not that of the device: "wrong device".
    #[error("device {device} belongs to slot {expected}, the topic says {found}")]
    WrongSlot {
        /// The device in the topic.
        device: DeviceId,
        /// The device's slot.
        expected: Slot,
        /// The slot in the topic.
        found: Slot,
    },
}

impl Topic {
    /// The topic of a device's channel.
    pub fn new(plant: PlantId, device: DeviceId, channel: Channel) -> Self {
        Self {
            plant,
            slot: Slot::of(&device),
            device,
            channel,
        }
    }

    /// Filter that matches one channel of every device of a slot.
    pub fn slot_filter(plant: &PlantId, slot: Slot, channel: Channel) -> String {
        format!("vds/v1/{plant}/{slot}/+/{}", channel.as_str())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "vds/v1/{}/{}/{}/{}",
            self.plant,
            self.slot,
            self.device,
            self.channel.as_str()
        )
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(value: &str) -> Result<Self, TopicError> {
        let mut levels = value.split('/');
        let mut next = || levels.next().ok_or(TopicError::Shape);
        if next()? != "vds" || next()? != "v1" {
            return Err(TopicError::Shape);
        }
        let (plant, slot, device, channel) = (next()?, next()?, next()?, next()?);
        if levels.next().is_some() {
            return Err(TopicError::Shape);
        }
        let channel = Channel::ALL
            .into_iter()
            .find(|c| c.as_str() == channel)
            .ok_or(TopicError::Channel)?;
        let (plant, found, device): (PlantId, Slot, DeviceId) =
            (plant.parse()?, slot.parse()?, device.parse()?);
        let expected = Slot::of(&device);
        if found == expected {
            Ok(Self {
                plant,
                slot: found,
                device,
                channel,
            })
        } else {
            Err(TopicError::WrongSlot {
                device,
                expected,
                found,
            })
        }
    }
}
