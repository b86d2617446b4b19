//! What can go wrong while a check runs. It becomes the text of the check's result.

use std::time::Duration;

/// Why a check could not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection to the broker.
    #[error("the broker can't be reached: {reason}")]
    Unreachable {
        /// What the system said.
        reason: String,
    },
    /// The broker answered the connect with a refusal.
    #[error("the broker refuses the connection: {code}")]
    Refused {
        /// Its reason.
        code: String,
    },
    /// A connection ended.
    #[error("the connection ended while waiting for {what}: {ended}")]
    Ended {
        /// What was waited for.
        what: String,
        /// How it ended.
        ended: String,
    },
    /// Something did not come.
    #[error("no {what} within {} s", within.as_secs_f32())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
    },
    /// The broker did not take a subscription.
    #[error("the broker refuses the subscription to {filter}: {code}")]
    Subscription {
        /// The filter.
        filter: String,
        /// Its reason.
        code: String,
    },
    /// The broker could not be ended or started.
    #[error("{0}")]
    Control(String),
}
