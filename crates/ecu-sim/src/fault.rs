//! Faults that a simulated control unit shows.

use serde::Deserialize;

/// One fault. `times` counts down; where it is absent the fault happens once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The connection ends at the block with this number (from 1); the control unit goes on.
    LinkDrop {
        /// Number of the block.
        block: u64,
        /// How often.
        #[serde(default = "once")]
        times: u32,
    },
    /// The supply fails at the block with this number (from 1): working memory and session are gone.
    PowerLoss {
        /// Number of the block.
        block: u64,
        /// How often.
        #[serde(default = "once")]
        times: u32,
    },
    /// A service is refused.
    Nrc {
        /// Service identifier.
        service: u8,
        /// Only with these bytes behind the service identifier, hexadecimal.
        #[serde(default)]
        bytes: String,
        /// Negative response code.
        code: u8,
        /// How often.
        #[serde(default = "once")]
        times: u32,
    },
    /// A service is answered late, with 78 in between.
    Pending {
        /// Service identifier.
        service: u8,
        /// Only with these bytes behind the service identifier, hexadecimal.
        #[serde(default)]
        bytes: String,
        /// How many 78.
        count: u32,
        /// Between two of them, milliseconds.
        every_ms: u64,
        /// How often.
        #[serde(default = "once")]
        times: u32,
    },
    /// A request is not answered, though it is carried out.
    Silent {
        /// Service identifier.
        service: u8,
        /// How often.
        #[serde(default = "once")]
        times: u32,
    },
    /// After a download the control unit says its old version.
    WrongVersion,
    /// One byte of each download is stored wrong.
    Corruption {
        /// How often.
        #[serde(default = "once")]
        times: u32,
    },
    /// Every check routine says that all is well, whatever is stored.
    BlindCheck,
}

const fn once() -> u32 {
    1
}

/// A fault for one control unit, as `VIN/ECU=kind,key=value,…` on the command line, such as
/// `WDB1110101A000001/ESP=power_loss,block=12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSpec {
    /// The vehicle.
    pub vin: String,
    /// Name of the control unit.
    pub ecu: String,
    /// The fault.
    pub fault: Fault,
}

/// Why a fault is not understood.
#[derive(Debug, thiserror::Error)]
pub enum FaultSpecError {
    /// It is not written as one.
    #[error(
        "`{0}` is no fault; write VIN/ECU=kind,key=value, such as WDB1110101A000001/ESP=power_loss,block=12"
    )]
    Shape(String),
    /// Kind or values are unknown.
    #[error("`{text}` is no fault")]
    Fault {
        /// As it was written.
        text: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl core::str::FromStr for FaultSpec {
    type Err = FaultSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || FaultSpecError::Shape(text.to_owned());
        let (who, what) = text.split_once('=').ok_or_else(shape)?;
        let (vin, ecu) = who.split_once('/').ok_or_else(shape)?;
        let mut parts = what.split(',');
        let mut object = serde_json::Map::new();
        object.insert("kind".to_owned(), parts.next().ok_or_else(shape)?.into());
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(shape)?;
            let number = match value.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => value.parse().ok(),
            };
            let value = match number {
                Some(number) if key != "bytes" => number.into(),
                _ => value.into(),
            };
            object.insert(key.to_owned(), value);
        }
        let fault = serde_json::from_value(object.into()).map_err(|source| FaultSpecError::Fault {
            text: text.to_owned(),
            source,
        })?;
        Ok(Self {
            vin: vin.to_owned(),
            ecu: ecu.to_owned(),
            fault,
        })
    }
}

/// The faults of one control unit.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultPlan {
    faults: Vec<Fault>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnRequest {
    Refuse(u8),
    Delay { count: u32, every_ms: u64 },
    Swallow,
}

/// What becomes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnBlock {
    LinkDrop,
    PowerLoss,
}

impl FaultPlan {
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self { faults }
    }

    pub(crate) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn on_request(&mut self, request: &[u8]) -> Option<OnRequest> {
        let (sid, rest) = request.split_first()?;
        self.faults.iter_mut().find_map(|fault| {
            let (service, bytes, times, effect) = match fault {
                Fault::Nrc {
                    service,
                    bytes,
                    code,
                    times,
                } => (*service, bytes.as_str(), times, OnRequest::Refuse(*code)),
                Fault::Pending {
                    service,
                    bytes,
                    count,
                    every_ms,
                    times,
                } => {
                    let effect = OnRequest::Delay {
                        count: *count,
                        every_ms: *every_ms,
                    };
                    (*service, bytes.as_str(), times, effect)
                }
                Fault::Silent { service, times } => (*service, "", times, OnRequest::Swallow),
                _ => return None,
            };
            (hits(service, bytes, *sid, rest) && spend(times)).then_some(effect)
        })
    }

    pub(crate) fn on_block(&mut self, number: u64) -> Option<OnBlock> {
        self.faults.iter_mut().find_map(|fault| {
            let (block, times, effect) = match fault {
                Fault::LinkDrop { block, times } => (block, times, OnBlock::LinkDrop),
                Fault::PowerLoss { block, times } => (block, times, OnBlock::PowerLoss),
                _ => return None,
            };
            (*block == number && spend(times)).then_some(effect)
        })
    }

    pub(crate) fn corrupts(&mut self) -> bool {
        self.faults.iter_mut().any(|fault| match fault {
            Fault::Corruption { times } => spend(times),
            _ => false,
        })
    }

    pub(crate) fn keeps_version(&self) -> bool {
        self.faults.contains(&Fault::WrongVersion)
    }

    pub(crate) fn is_blind(&self) -> bool {
        self.faults.contains(&Fault::BlindCheck)
    }
}

fn spend(times: &mut u32) -> bool {
    let left = *times > 0;
    *times = times.saturating_sub(1);
    left
}

fn hits(service: u8, bytes: &str, sid: u8, rest: &[u8]) -> bool {
    service == sid && hex::decode(bytes).is_ok_and(|bytes| rest.starts_with(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_from_the_command_line() {
        let spec: FaultSpec = "WDB1110101A000001/ESP=power_loss,block=12".parse().unwrap();
        assert_eq!(spec.ecu, "ESP");
        assert_eq!(spec.fault, Fault::PowerLoss { block: 12, times: 1 });
        let spec: FaultSpec = "V/E=nrc,service=0x31,bytes=01ff00,code=0x22,times=2"
            .parse()
            .unwrap();
        assert_eq!(
            spec.fault,
            Fault::Nrc {
                service: 0x31,
                bytes: "01ff00".to_owned(),
                code: 0x22,
                times: 2
            }
        );
        for bad in [
            "",
            "ESP=power_loss",
            "V/E=explode",
            "V/E=power_loss",
            "V/E=power_loss,block",
        ] {
            assert!(bad.parse::<FaultSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fault_happens_as_often_as_it_says() {
        let mut plan = FaultPlan::new(vec![Fault::LinkDrop { block: 3, times: 2 }]);
        assert_eq!(plan.on_block(2), None);
        assert_eq!(plan.on_block(3), Some(OnBlock::LinkDrop));
        assert_eq!(plan.on_block(3), Some(OnBlock::LinkDrop));
        assert_eq!(plan.on_block(3), None);
    }
}
