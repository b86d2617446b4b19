//! Identifiers, each with a type of its own so that none can stand in for another.
//!
//! Names of plants and devices match `[A-Za-z0-9_-]{1,64}`: they stand in MQTT topics, Kafka keys
//! and URLs without escaping. Everything made by us is a UUIDv7 (RFC 9562), minted outside this crate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A plant or device name has a character or a length that is not allowed.
    #[error("{what} {value:?} must be 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'")]
    Name {
        /// Which kind of name: `plant` or `device`.
        what: &'static str,
        /// The text as given, cut to 80 characters.
        value: String,
    },
    /// The text is no UUID.
    #[error("{what} {value:?} is not a UUID")]
    Uuid {
        /// Which kind of identifier.
        what: &'static str,
        /// The text as given, cut to 80 characters.
        value: String,
        /// What the parser said.
        #[source]
        source: uuid::Error,
    },
    /// The text is no vehicle identification number.
    #[error("VIN {value:?} must be 17 characters of A-Z and 0-9 without I, O and Q (ISO 3779)")]
    Vin {
        /// The text as given, cut to 80 characters.
        value: String,
    },
    /// The text is no slot.
    #[error("slot {value:?} must be one lower-case hexadecimal digit")]
    Slot {
        /// The text as given, cut to 80 characters.
        value: String,
    },
}

fn shown(value: &str) -> String {
    value.chars().take(80).collect()
}

/// A JSON Schema of a text with a pattern.
macro_rules! text_schema {
    ($name:ident, $pattern:literal) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

macro_rules! name_id {
    ($(#[$meta:meta])* $name:ident, $what:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        text_schema!($name, r"^[A-Za-z0-9_-]{1,64}$");

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(value: &str) -> Result<Self, IdError> {
                let ok = (1..=64).contains(&value.len())
                    && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                if ok { Ok(Self(value.to_owned())) } else { Err(IdError::Name { what: $what, value: shown(value) }) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(value: String) -> Result<Self, IdError> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

name_id!(
    /// A plant: part of every topic, key and unique constraint.
    PlantId, "plant"
);
name_id!(
    /// A test bench. Unique across plants; also its MQTT client identifier.
    DeviceId, "device"
);

macro_rules! uuid_id {
    ($(#[$meta:meta])* $name:ident, $what:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[derive(schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(value: &str) -> Result<Self, IdError> {
                Uuid::parse_str(value)
                    .map(Self)
                    .map_err(|source| IdError::Uuid { what: $what, value: shown(value), source })
            }
        }
    };
}

uuid_id!(
    /// One durable log of a bench; a new one at every start of the agent.
    SpoolId, "spool id"
);
uuid_id!(
    /// One process of an agent.
    RunId, "run id"
);
uuid_id!(
    /// One life of the server's database. A restore makes a new, higher one.
    StoreGeneration, "store generation"
);
uuid_id!(
    /// A job.
    JobId, "job id"
);
uuid_id!(
    /// One offer of a job to one bench.
    OfferId, "offer id"
);
uuid_id!(
    /// An event; the CloudEvents `id`.
    EventId, "event id"
);

/// Position of an event in its spool: starts at 1 and grows by one.
pub type Seq = u64;

/// Part of a plant's devices that one replica records: CRC-32C (Castagnoli) of the device id mod 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot(u8);

impl Slot {
    /// Number of slots of a plant. Frozen with the topics.
    pub const COUNT: u8 = 16;

    /// The slot a device belongs to.
    pub fn of(device: &DeviceId) -> Self {
        let [low, ..] = crc32c::crc32c(device.as_str().as_bytes()).to_le_bytes();
        Self(low % Self::COUNT)
    }

    /// A slot by number; `None` from 16 on.
    pub fn new(number: u8) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// The slot's number, 0 to 15.
    pub fn number(self) -> u8 {
        self.0
    }

    /// All slots in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Slot {
    type Err = IdError;
    fn from_str(value: &str) -> Result<Self, IdError> {
        match value.as_bytes() {
            [b @ b'0'..=b'9'] => Ok(Self(b - b'0')),
            [b @ b'a'..=b'f'] => Ok(Self(b - b'a' + 10)),
            _ => Err(IdError::Slot { value: shown(value) }),
        }
    }
}

impl TryFrom<String> for Slot {
    type Error = IdError;
    fn try_from(value: String) -> Result<Self, IdError> {
        value.parse()
    }
}

impl From<Slot> for String {
    fn from(slot: Slot) -> String {
        slot.to_string()
    }
}

/// A vehicle identification number (ISO 3779): 17 characters, no I, O or Q.
///
/// The check digit is not judged here: only some markets have one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Vin(String);

text_schema!(Vin, r"^[A-HJ-NPR-Z0-9]{17}$");

impl Vin {
    /// The VIN as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Vin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Vin {
    type Err = IdError;
    fn from_str(value: &str) -> Result<Self, IdError> {
        let ok = value.len() == 17
            && value
                .bytes()
                .all(|b| b.is_ascii_digit() || (b.is_ascii_uppercase() && !matches!(b, b'I' | b'O' | b'Q')));
        if ok {
            Ok(Self(value.to_owned()))
        } else {
            Err(IdError::Vin { value: shown(value) })
        }
    }
}

impl TryFrom<String> for Vin {
    type Error = IdError;
    fn try_from(value: String) -> Result<Self, IdError> {
        value.parse()
    }
}

impl From<Vin> for String {
    fn from(vin: Vin) -> String {
        vin.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_break_a_topic_is_refused() {
        for bad in ["", "a/b", "a+b", "a#", "ä", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad:?}");
        }
        assert_eq!("bench-07_A".parse::<DeviceId>().unwrap().as_str(), "bench-07_A");
    }

    #[test]
    fn a_slot_is_one_lower_case_hexadecimal_digit() {
        for bad in ["", "A", "g", "10", " 1"] {
            assert!(bad.parse::<Slot>().is_err(), "{bad:?}");
        }
        for slot in Slot::all() {
            assert_eq!(slot.to_string().parse::<Slot>(), Ok(slot));
        }
    }

    #[test]
    fn the_slot_of_a_device_is_frozen() {
        // CRC-32C check value of "123456789" is 0xE3069283 (RFC 3720, B.4).
        assert_eq!(Slot::of(&"123456789".parse().unwrap()).number(), 3);
    }

    #[test]
    fn a_vin_has_17_characters_without_i_o_q() {
        for bad in [
            "",
            "WDB1110101A00000",
            "WDB1110101A0000011",
            "WDB1110101AI00001",
            "wdb1110101a000001",
        ] {
            assert!(bad.parse::<Vin>().is_err(), "{bad:?}");
        }
        assert!("WDB1110101A000001".parse::<Vin>().is_ok());
    }
}
