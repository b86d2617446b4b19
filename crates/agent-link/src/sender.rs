//! What is sent when. Pure: time is an argument.

use std::time::Duration;

/// Figures of the sender. The defaults are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderConfig {
    /// Most events without receipt on their way.
    pub max_window: u16,
    /// Time without an advance after which is sent again.
    pub resend_after: Duration,
    /// Longest such time after doubling.
    pub resend_at_most: Duration,
    /// No PUBACK for so long: reconnect.
    pub puback_within: Duration,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            max_window: fleet_wire::limits::MAX_WINDOW,
            resend_after: Duration::from_secs(10),
            resend_at_most: Duration::from_secs(60),
            puback_within: Duration::from_secs(30),
        }
    }
}
