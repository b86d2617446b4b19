//! A bench's link to the server: the sender core, pure, and its MQTT adapter.
//!
//! [`Uplink`] holds the spools and decides what is sent when (delivery contract, rules 5 to 8 and 16 to
//! 17); it does no network I/O and reads no clock. [`link::spawn`] runs the connection with rumqttc under
//! the rules of `mqtt.md`: one event loop per network connection, the spool as the only memory.

mod effect;
mod hole;
pub mod link;
mod rtt;
mod sender;
mod uplink;

pub use effect::{AlarmKind, LinkEffect, LinkInput};
pub use link::{LinkConfig, LinkEvent, LinkHandle};
pub use sender::SenderConfig;
pub use uplink::{AppendError, EventDraft, Uplink, UplinkConfig};
