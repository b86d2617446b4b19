//! What goes into a client and what comes out.

use core::time::Duration;

use crate::nrc::Nrc;
use crate::reader::DecodeError;
use crate::response::Response;
use crate::service::Service;

/// Limits of a [`Client`](crate::Client). All durations are local waiting times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientConfig {
    /// P2 until a session's answer says otherwise.
    pub p2: Duration,
    /// P2* until a session's answer says otherwise.
    pub p2_star: Duration,
    /// Added to P2 and P2* for the way there and back and for a busy bench computer.
    pub transport_margin: Duration,
    /// Most answers 78 to one request.
    pub max_pending: u32,
    /// Longest time from the first 78 to the final answer.
    pub pending_total: Duration,
    /// Wait before a request answered by 21 is sent again. 21 means that nothing was done, so that every
    /// service may be repeated.
    pub busy_wait: Duration,
    /// Most repetitions after 21.
    pub max_busy: u32,
    /// Most repetitions after silence, for services 22, 19 and 3E only.
    pub max_silent: u32,
    /// Time without a seed request after 36 or 37.
    pub security_delay: Duration,
    /// Interval of 3E 80 outside the default session; `None` sends none.
    pub tester_present: Option<Duration>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            p2: Duration::from_millis(50),
            p2_star: Duration::from_secs(5),
            transport_margin: Duration::from_secs(1),
            max_pending: 500,
            pending_total: Duration::from_mins(2),
            busy_wait: Duration::from_millis(200),
            max_busy: 10,
            max_silent: 2,
            security_delay: Duration::from_secs(10),
            tester_present: Some(Duration::from_secs(2)),
        }
    }
}

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// To this ECU alone.
    Physical,
    /// To the functional address: every ECU of the vehicle hears it.
    Functional,
}

/// One message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub addressing: Addressing,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Which time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// P2: no answer at all.
    P2,
    /// P2*: a 78, then no further answer.
    P2Star,
}

/// A failure of the transport, kept apart from what an ECU answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// The gateway refused the message (negative acknowledgement of ISO 13400-2).
    #[error("the gateway refused the message with code {code:02X}")]
    Refused {
        /// Code of the negative acknowledgement.
        code: u8,
    },
    /// The connection ended.
    #[error("the connection ended")]
    Closed,
}

/// How a request ended badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UdsError {
    /// The ECU refused.
    #[error("{service} refused: {nrc}")]
    NegativeResponse {
        /// The service refused.
        service: Service,
        /// Why.
        nrc: Nrc,
    },
    /// The ECU was silent; whether it acted is unknown.
    #[error("{service}: no answer within {waited:?} ({wait:?}, {attempts} attempts)")]
    Timeout {
        /// The service asked for.
        service: Service,
        /// Which time ran out.
        wait: Wait,
        /// How long the last attempt was waited for.
        waited: Duration,
        /// Requests sent.
        attempts: u32,
    },
    /// The ECU answered this service with bytes that are no answer.
    #[error("{service}: the answer is malformed")]
    Unexpected {
        /// The service asked for.
        service: Service,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// The ECU said 78 too often or for too long; whether it acted is unknown.
    #[error("{service}: still pending after {count} answers 78 and {elapsed:?}")]
    PendingCap {
        /// The service asked for.
        service: Service,
        /// Answers 78 seen.
        count: u32,
        /// Time since the first of them.
        elapsed: Duration,
    },
    /// The transport failed; whether the ECU acted is unknown unless the gateway refused.
    #[error("{service}: {fault}")]
    Link {
        /// The service asked for.
        service: Service,
        /// What failed.
        #[source]
        fault: LinkFault,
    },
}

impl UdsError {
    /// The negative response code, if the ECU gave one.
    pub const fn nrc(&self) -> Option<Nrc> {
        match self {
            Self::NegativeResponse { nrc, .. } => Some(*nrc),
            _ => None,
        }
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Another request is outstanding.
    #[error("{service} is outstanding")]
    Busy {
        /// The service of the outstanding request.
        service: Service,
    },
    /// The ECU asked for a delay before the next seed.
    #[error("no seed may be requested before {until:?}")]
    SecurityDelay {
        /// On the clock of `now`.
        until: Duration,
    },
}

/// How a request ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The answer; `None` when silence means success (suppressed) or nobody answered a functional request.
    pub response: Option<Response>,
    /// The answer's bytes, empty without an answer.
    pub raw: Vec<u8>,
    /// Answers 78 seen.
    pub pending: u32,
    /// Requests sent: 1 and one more for each repetition.
    pub attempts: u32,
    /// From the first sending to the answer.
    pub elapsed: Duration,
}

/// Why a message was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// Nothing is outstanding: late, or the answer to a tester present.
    NothingOutstanding,
    /// It names another service.
    OtherService,
    /// It names the same service with another identifier, counter or sub-function: late.
    OtherRequest,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The request ended; the next may be sent.
    Completed(Result<Completion, UdsError>),
    /// The ECU said 78.
    Pending {
        /// How often for this request.
        count: u32,
    },
    /// The request will be or was sent again.
    Repeating {
        /// Requests sent so far, this repetition included.
        attempts: u32,
    },
    /// A message was thrown away.
    Discarded(Discard),
}

/// What the caller has to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Output {
    /// Messages to send, in order.
    pub transmit: Vec<Transmit>,
    /// What happened.
    pub event: Option<Event>,
}

impl Output {
    pub(crate) fn event(event: Event) -> Self {
        Self {
            transmit: Vec::new(),
            event: Some(event),
        }
    }
}
