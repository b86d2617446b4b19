//! The shapes of the REST API. They are the contract with the page: `docs/openapi.json` is made from them.

mod benches;
mod files;
mod jobs;
mod ledger;
mod runs;
mod server;
mod words;

pub use benches::{Bench, BenchPage, BenchSpool};
pub use files::{
    ArtifactInfo, ArtifactList, ProcedureInfo, ProcedureList, SecurityAccessKey, SecurityAccessRequest,
};
pub use jobs::{
    AllowedAction, ArtifactChoice, ArtifactRef, Job, JobPage, JobSummary, NewJob, ProcedureChoice,
    ProcedureRef, Reason,
};
pub use ledger::{
    Alarm, AlarmPage, BenchLedger, DeadLetter, DeadLetterPage, LedgerSpool, LedgerTotals, OutboxPage,
    OutboxRow,
};
pub use runs::{Limits, Live, MeasuredValue, Measurement, Run, RunRecord, Step};
pub use server::{Check, Diagnostic, Problem, Readiness, Relay, Replica, Replicas, Status};
pub use words::{JobAction, JobKind, JobState, Outcome, Verdict};
