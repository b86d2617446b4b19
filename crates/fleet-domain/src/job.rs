//! A job and its states.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::AttemptRef;
use crate::{DeviceId, JobId, OfferId, Verdict};

mod transition;

pub use transition::{AllowedAction, JobAction, TransitionError, allowed_actions};

/// What kind of work a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Program an ECU.
    Flash,
    /// Calibrate a sensor.
    Calibrate,
    /// Teach a key to the vehicle.
    PersonaliseKey,
    /// Write a variant coding.
    Code,
    /// Test without change.
    Test,
    /// Collect data for a document.
    Document,
    /// Any other approved procedure.
    Procedure,
}

/// An enum of bare words with their text form.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word, as in the documents.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value of a word.
            pub fn of(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words!(JobKind {
    Flash = "flash",
    Calibrate = "calibrate",
    PersonaliseKey = "personalise_key",
    Code = "code",
    Test = "test",
    Document = "document",
    Procedure = "procedure",
});

/// State of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Recorded.
    Queued,
    /// In a bench's list, not known to be accepted; the VIN is held.
    Offered,
    /// Gone from the list, not yet confirmed by the bench; the VIN stays held.
    Withdrawing,
    /// The bench has it durably.
    Accepted,
    /// First step begun.
    Running,
    /// Final, with a verdict. With `in_doubt` the VIN stays held.
    Finished,
    /// Final: the bench refused it, nothing was done to a vehicle.
    Rejected,
    /// Final: called back, nothing was done to a vehicle.
    Canceled,
    /// Final: its deadline has passed, nothing was done to a vehicle.
    TimedOut,
    /// Final: another job took its place, nothing was done to a vehicle.
    Superseded,
    /// Final: a person declared the bench lost.
    TakenOver,
}

words!(JobState {
    Queued = "queued",
    Offered = "offered",
    Withdrawing = "withdrawing",
    Accepted = "accepted",
    Running = "running",
    Finished = "finished",
    Rejected = "rejected",
    Canceled = "canceled",
    TimedOut = "timed_out",
    Superseded = "superseded",
    TakenOver = "taken_over",
});

impl JobState {
    /// Nothing leads out of it, but for a job in doubt.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Finished
                | Self::Rejected
                | Self::Canceled
                | Self::TimedOut
                | Self::Superseded
                | Self::TakenOver
        )
    }
}

/// Where a withdrawn offer goes once the bench has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WithdrawTarget {
    /// Back into the queue.
    Queued,
    /// Canceled.
    Canceled,
    /// Timed out.
    TimedOut,
    /// Superseded.
    Superseded,
}

words!(WithdrawTarget {
    Queued = "queued",
    Canceled = "canceled",
    TimedOut = "timed_out",
    Superseded = "superseded",
});

impl WithdrawTarget {
    /// The state.
    pub fn state(self) -> JobState {
        match self {
            Self::Queued => JobState::Queued,
            Self::Canceled => JobState::Canceled,
            Self::TimedOut => JobState::TimedOut,
            Self::Superseded => JobState::Superseded,
        }
    }
}

/// An offer that is being taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Where the job goes.
    pub target: WithdrawTarget,
    /// Version of the bench's first list without the offer.
    pub version: u64,
    /// Why, for people.
    pub reason: String,
}

/// State of an entry of a bench's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryState {
    /// May be accepted and started.
    Offered,
    /// The acceptance is stored.
    Accepted,
    /// The start of the first step is stored.
    Running,
    /// The outcome on the ECU is unknown.
    InDoubt,
    /// Taken away from this bench.
    Fenced,
}

words!(EntryState {
    Offered = "offered",
    Accepted = "accepted",
    Running = "running",
    InDoubt = "in_doubt",
    Fenced = "fenced",
});

/// A job, as far as its transitions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// Queued, and no bench can take it at the moment: why.
    pub parked: Option<String>,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Stable reason of the end.
    pub reason_code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// Number of the last offer: each offer is an attempt. 0 before the first.
    pub attempt: u32,
    /// Fencing number of the last offer. 0 before the first.
    pub fence: u64,
    /// The bench of the last offer, while it has or had the job.
    pub device: Option<DeviceId>,
    /// The last offer.
    pub offer_id: Option<OfferId>,
    /// In state `withdrawing`: where to, and by which list.
    pub withdrawal: Option<Withdrawal>,
    /// Number of steps, once the bench has said it.
    pub steps_total: Option<u32>,
}

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// No bench can take it at the moment.
    Park {
        /// Why, for people.
        reason: String,
    },
    /// Put into a bench's list.
    Offer {
        /// The bench.
        device: DeviceId,
        /// The offer.
        offer_id: OfferId,
        /// Fencing number of the lease on the VIN.
        fence: u64,
    },
    /// A person or the requester calls it back.
    Cancel {
        /// Version of the bench's list without it, where it has been offered.
        version: u64,
        /// Why, for people.
        reason: String,
    },
    /// Its deadline has passed.
    TimeOut {
        /// Version of the bench's list without it, where it has been offered.
        version: u64,
    },
    /// Another job takes its place.
    Supersede {
        /// Version of the bench's list without it, where it has been offered.
        version: u64,
        /// The other job.
        by: JobId,
    },
    /// The offer is taken back, the job goes into the queue again.
    Requeue {
        /// Version of the bench's list without it.
        version: u64,
        /// Why, for people.
        reason: String,
    },
    /// The bench has confirmed the withdrawal (delivery rule 25).
    WithdrawalConfirmed,
    /// The bench has taken it durably.
    Accepted,
    /// The bench refuses it.
    RefusedByBench {
        /// Stable reason.
        code: String,
        /// For people.
        detail: Option<String>,
    },
    /// The first step begins.
    Started {
        /// Number of steps.
        steps_total: u32,
    },
    /// A step has ended.
    StepFinished,
    /// The bench's final event.
    Finished {
        /// The verdict.
        verdict: Verdict,
        /// Stable reason.
        reason_code: String,
        /// For people.
        detail: Option<String>,
    },
    /// A person declares the bench lost.
    TakeOver {
        /// Why, for people.
        reason: String,
    },
}

/// What a bench's event may do to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It speaks of the attempt that the job is in.
    Current,
    /// It speaks of an attempt that was taken away: stored and shown, but it moves nothing.
    Fenced,
}

impl Job {
    /// A job that was just recorded.
    pub fn new(id: JobId) -> Self {
        Self {
            id,
            state: JobState::Queued,
            parked: None,
            verdict: None,
            reason_code: None,
            detail: None,
            attempt: 0,
            fence: 0,
            device: None,
            offer_id: None,
            withdrawal: None,
            steps_total: None,
        }
    }

    /// Whether an event of `device` about `of` may move the job.
    pub fn standing(&self, device: &DeviceId, of: AttemptRef) -> Standing {
        let same =
            self.device.as_ref() == Some(device) && self.attempt == of.attempt && self.fence == of.fence;
        let open = !self.state.is_final() || self.state == JobState::Finished;
        if same && open && self.state != JobState::Queued {
            Standing::Current
        } else {
            Standing::Fenced
        }
    }

    /// The VIN may not be given to another bench.
    pub fn holds_vin(&self) -> bool {
        match self.state {
            JobState::Offered | JobState::Withdrawing | JobState::Accepted | JobState::Running => true,
            JobState::Finished => self.verdict == Some(Verdict::InDoubt),
            _ => false,
        }
    }

    /// How the job stands in its bench's list, if at all. A fenced entry depends on what the bench has
    /// confirmed, which the job doesn't know.
    pub fn entry(&self) -> Option<EntryState> {
        match self.state {
            JobState::Offered => Some(EntryState::Offered),
            JobState::Accepted => Some(EntryState::Accepted),
            JobState::Running => Some(EntryState::Running),
            JobState::Finished if self.verdict == Some(Verdict::InDoubt) => Some(EntryState::InDoubt),
            _ => None,
        }
    }
}
