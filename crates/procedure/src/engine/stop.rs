//! Why a step or the whole work ended early.

use uds::{Nrc, UdsError};

use super::Failure;

/// Why a step did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The product missed a limit or a check.
    Missed(String),
    /// The control unit refused: it did nothing.
    Refused { nrc: Nrc, detail: String },
    /// Whether the control unit acted is unknown, but the connection lives.
    Silent(String),
    /// The connection is gone.
    LinkLost(String),
    /// This connection leads to another vehicle or control unit than the job names.
    Wrong { reason: &'static str, detail: String },
    /// Bench, signer, journal or procedure; nothing was sent.
    Bench { reason: &'static str, detail: String },
    /// Somebody wanted the end.
    Canceled,
}

impl Trouble {
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Missed(detail)
            | Self::Refused { detail, .. }
            | Self::Silent(detail)
            | Self::LinkLost(detail)
            | Self::Wrong { detail, .. }
            | Self::Bench { detail, .. } => detail.clone(),
            Self::Canceled => "canceled".to_owned(),
        }
    }

    pub(super) const fn nrc(&self) -> Option<u8> {
        match self {
            Self::Refused { nrc, .. } => Some(nrc.code()),
            _ => None,
        }
    }

    /// Whether this says something about the product: it then counts as `failed`, not `error`.
    pub(super) const fn is_product(&self) -> bool {
        match self {
            Self::Missed(_) => true,
            Self::Refused { nrc, .. } => {
                matches!(
                    nrc,
                    Nrc::GeneralProgrammingFailure | Nrc::FailurePreventsExecution
                )
            }
            _ => false,
        }
    }

    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Missed(_) => "check_missed",
            Self::Refused { nrc, .. } => match nrc {
                Nrc::InvalidKey => "key_refused",
                Nrc::ExceededNumberOfAttempts | Nrc::RequiredTimeDelayNotExpired => "security_locked",
                Nrc::GeneralProgrammingFailure => "programming_failed",
                _ => "ecu_refused",
            },
            Self::Silent(_) => "ecu_silent",
            Self::LinkLost(_) => "link_lost",
            Self::Wrong { reason, .. } | Self::Bench { reason, .. } => reason,
            Self::Canceled => "canceled",
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let detail = failure.to_string();
        match failure {
            Failure::Uds(UdsError::NegativeResponse { nrc, .. }) => Self::Refused { nrc, detail },
            Failure::Uds(UdsError::Link {
                fault: uds::LinkFault::Closed,
                ..
            })
            | Failure::NotConnected => Self::LinkLost(detail),
            Failure::Uds(_) => Self::Silent(detail),
            Failure::SecurityDelay => Self::Bench {
                reason: "security_locked",
                detail,
            },
        }
    }
}
