//! What services are asked to do: sub-functions and the parameter of 2F.

use crate::reader::{DecodeError, Reader};

/// Kind of reset, service 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResetKind {
    /// 01: as if power went and came.
    Hard,
    /// 02: as if the key was turned.
    KeyOffOn,
    /// 03: the application starts again.
    Soft,
    /// Any other.
    Other(u8),
}

impl ResetKind {
    /// The sub-function on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Hard => 0x01,
            Self::KeyOffOn => 0x02,
            Self::Soft => 0x03,
            Self::Other(code) => code & 0x7F,
        }
    }
}

impl From<u8> for ResetKind {
    fn from(code: u8) -> Self {
        match code & 0x7F {
            0x01 => Self::Hard,
            0x02 => Self::KeyOffOn,
            0x03 => Self::Soft,
            other => Self::Other(other),
        }
    }
}

/// What is done with a routine, service 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoutineAction {
    /// 01
    Start,
    /// 02
    Stop,
    /// 03
    Results,
}

impl RoutineAction {
    /// The sub-function on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Start => 0x01,
            Self::Stop => 0x02,
            Self::Results => 0x03,
        }
    }

    pub(crate) fn decode(code: u8, reader: &Reader<'_>) -> Result<Self, DecodeError> {
        match code {
            0x01 => Ok(Self::Start),
            0x02 => Ok(Self::Stop),
            0x03 => Ok(Self::Results),
            other => Err(reader.unknown_sub_function(other)),
        }
    }
}

/// Whether faults are recorded, service 85.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtcSetting {
    /// 01
    On,
    /// 02
    Off,
}

impl DtcSetting {
    /// The sub-function on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::On => 0x01,
            Self::Off => 0x02,
        }
    }

    pub(crate) fn decode(code: u8, reader: &Reader<'_>) -> Result<Self, DecodeError> {
        match code {
            0x01 => Ok(Self::On),
            0x02 => Ok(Self::Off),
            other => Err(reader.unknown_sub_function(other)),
        }
    }
}

/// What is done with an input or output, service 2F.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IoControl {
    /// 00: the ECU has the control again.
    ReturnControl,
    /// 01: back to its default.
    ResetToDefault,
    /// 02: held as it is.
    Freeze,
    /// 03: set to the state given.
    ShortTermAdjustment,
}

impl IoControl {
    /// The parameter on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::ReturnControl => 0x00,
            Self::ResetToDefault => 0x01,
            Self::Freeze => 0x02,
            Self::ShortTermAdjustment => 0x03,
        }
    }

    pub(crate) fn decode(code: u8, reader: &Reader<'_>) -> Result<Self, DecodeError> {
        match code {
            0x00 => Ok(Self::ReturnControl),
            0x01 => Ok(Self::ResetToDefault),
            0x02 => Ok(Self::Freeze),
            0x03 => Ok(Self::ShortTermAdjustment),
            _ => Err(reader.out_of_range()),
        }
    }
}
