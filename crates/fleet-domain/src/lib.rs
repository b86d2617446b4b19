//! The pure core of VDS Fleet: identifiers, devices, jobs, verdicts and the delivery ledger.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time and identifiers come in
//! as arguments, so a simulation can own them.

mod cause;
pub mod ids;
pub mod job;
pub mod ledger;
pub mod presence;
pub mod report;
pub mod verdict;
pub mod withdraw;

pub use cause::error_chain;
pub use ids::{
    DeviceId, EventId, IdError, JobId, OfferId, PlantId, RunId, Seq, Slot, SpoolId, StoreGeneration, Vin,
};
pub use job::{
    AllowedAction, EntryState, Job, JobAction, JobEvent, JobKind, JobState, Standing, TransitionError,
    WithdrawTarget, Withdrawal, allowed_actions,
};
pub use ledger::{
    Arrival, Decision, DeviceLedger, Digest, HeldSpool, LedgerAlarm, Place, Predecessor, RejectCode,
    Rejection, SpoolAnswer, SpoolLedger, SyncDecision, SyncFacts,
};
pub use presence::{Presence, PresenceFacts};
pub use report::{AttemptRef, BenchReport, Equipment};
pub use verdict::{Outcome, Verdict};
