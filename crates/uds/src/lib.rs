//! Unified Diagnostic Services (ISO 14229-1) without input or output.
//!
//! Three parts: the codec ([`Request`], [`Response`]), the client of one ECU ([`Client`]) and the cutting of an
//! image into blocks ([`Download`]). Time is an argument everywhere: a [`Duration`](core::time::Duration) since
//! any fixed origin of a clock that does not run backwards.
//!
//! Decoding is total: every byte string gives a value or a typed error, never a panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod client;
mod crc;
mod nrc;
mod outcome;
mod parameter;
mod reader;
mod request;
mod response;
mod service;
mod transfer;

pub use client::Client;
pub use crc::crc32;
pub use nrc::Nrc;
pub use outcome::{
    Addressing, ClientConfig, Completion, Discard, Event, LinkFault, Output, SendError, Transmit, UdsError,
    Wait,
};
pub use parameter::{DtcSetting, IoControl, ResetKind, RoutineAction};
pub use reader::DecodeError;
pub use request::Request;
pub use response::{DtcRecord, Response, SessionTiming};
pub use service::{Service, Session};
pub use transfer::{BlockCounter, Download, TransferError};
