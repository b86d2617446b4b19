//! Jobs in the storage.

use std::collections::BTreeMap;

use fleet_domain::{
    DeviceId, EntryState, Job, JobId, JobKind, JobState, OfferId, Outcome, StoreGeneration, Verdict, Vin,
};
use jiff::Timestamp;

/// The procedure of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcedureUse {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
}

/// A file of a job.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ArtifactUse {
    /// Name of the procedure's input that it fills.
    pub input: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// A job to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Its id: derived from requester and request id where there is one (delivery rule 27), else fresh.
    pub id: JobId,
    /// The requester's own id of the request.
    pub request_id: Option<String>,
    /// What kind of work.
    pub kind: JobKind,
    /// The vehicle.
    pub vin: Vin,
    /// Name of the ECU.
    pub ecu: String,
    /// The procedure.
    pub procedure: ProcedureUse,
    /// Files.
    pub artifacts: Vec<ArtifactUse>,
    /// Values of the procedure's parameters.
    pub parameters: BTreeMap<String, String>,
    /// The bench that must do it; any fitting one otherwise.
    pub device: Option<DeviceId>,
    /// Seconds from the first receipt of the offer to the first step.
    pub start_within_s: u32,
    /// No offer is made after it, by the server's clock.
    pub deadline: Option<Timestamp>,
    /// Higher goes first.
    pub priority: i32,
    /// Who asked for it.
    pub requested_by: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The job whose work it repeats, if a person asked for that.
    pub retry: Option<Retry>,
}

/// Whose work a job repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The job that had ended.
    pub of: JobId,
    /// Why, for people.
    pub reason: String,
}

/// A job as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// State, attempt, fence, bench of the last offer and so on.
    pub job: Job,
    /// What was asked for; of a job that a bench reported and nobody asked for, as far as it is known.
    pub request: NewJob,
    /// A bench reported it and nobody here asked for it.
    pub reported: bool,
    /// Recorded.
    pub created_at: Timestamp,
    /// Last offered.
    pub offered_at: Option<Timestamp>,
    /// Acceptance received.
    pub accepted_at: Option<Timestamp>,
    /// Start received.
    pub started_at: Option<Timestamp>,
    /// End received or decided.
    pub finished_at: Option<Timestamp>,
    /// Steps of the last attempt that have ended.
    pub steps_done: u32,
    /// Software versions read back, by ECU.
    pub software: BTreeMap<String, String>,
    /// Events of attempts that had been taken away.
    pub fenced_events: u64,
    /// Who called it back or took it over.
    pub decided_by: Option<String>,
}

/// A recorded job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The job.
    pub job: JobRow,
    /// It was recorded by this call; otherwise the request was known.
    pub new: bool,
}

/// A job that was changed by a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobChange {
    /// The job.
    pub job: JobRow,
    /// Devices whose list of jobs changed.
    pub lists: Vec<DeviceId>,
}

/// What a round of dispatch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DispatchOutcome {
    /// Devices whose list of jobs changed.
    pub lists: Vec<DeviceId>,
    /// Jobs offered, and to whom.
    pub offered: Vec<(JobId, DeviceId)>,
    /// Jobs whose deadline has passed (an offered one is being withdrawn).
    pub timed_out: Vec<JobId>,
    /// Jobs that no bench can take at the moment.
    pub parked: Vec<JobId>,
    /// No offer is made: these benches have not synced since the database was restored (rule 28).
    pub waiting_for: Vec<DeviceId>,
}

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states; empty: any.
    pub states: Vec<JobState>,
    /// Of this vehicle.
    pub vin: Option<Vin>,
    /// Of vehicles whose VIN contains this text, as it stands. Every row is looked at.
    pub vin_part: Option<String>,
    /// Offered to or meant for this bench.
    pub device: Option<DeviceId>,
}

/// A job in a bench's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// What kind of work.
    pub kind: JobKind,
    /// The vehicle.
    pub vin: Vin,
    /// Name of the ECU.
    pub ecu: String,
    /// Its state.
    pub state: JobState,
    /// Its verdict: in doubt, if any.
    pub verdict: Option<Verdict>,
    /// Steps that have ended.
    pub steps_done: u32,
    /// Steps in the plan.
    pub steps_total: Option<u32>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// The job.
    pub job: JobId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Fencing number.
    pub fence: u64,
    /// The bench.
    pub device: DeviceId,
    /// The offer; none for a reported job.
    pub offer_id: Option<OfferId>,
    /// Offered.
    pub offered_at: Option<Timestamp>,
    /// Acceptance received.
    pub accepted_at: Option<Timestamp>,
    /// Start received.
    pub started_at: Option<Timestamp>,
    /// Final event received.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Stable reason of the end.
    pub reason_code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// Steps in the plan.
    pub steps_total: Option<u32>,
    /// Software versions read back, by ECU.
    pub software: BTreeMap<String, String>,
    /// The signed result record, JWS compact serialisation.
    pub record: Option<String>,
    /// It was taken away before its end.
    pub fenced: bool,
}

/// A finished step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// Place in the plan, from 0.
    pub index: u32,
    /// Its id.
    pub step: String,
    /// What it does, for people.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Start by the bench's clock.
    pub started_at: Timestamp,
    /// End by the bench's clock.
    pub finished_at: Timestamp,
    /// Milliseconds.
    pub duration_ms: u64,
    /// How often it was tried again.
    pub retries: u32,
    /// Last negative response code, if any.
    pub nrc: Option<u8>,
    /// For people.
    pub detail: Option<String>,
    /// The measurements: a JSON list as in the event.
    pub measurements_json: String,
}

/// A bench's complete list of open jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredList {
    /// The current generation.
    pub generation: StoreGeneration,
    /// Rises with each change.
    pub version: u64,
    /// At most [`crate::MAX_OPEN_JOBS`], fenced entries last.
    pub entries: Vec<DesiredEntry>,
}

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredEntry {
    /// The job.
    pub job: JobRow,
    /// How it stands for this bench.
    pub state: EntryState,
    /// Attempt of this bench.
    pub attempt: u32,
    /// Fencing number of this bench's attempt.
    pub fence: u64,
    /// The offer, in state `offered`.
    pub offer_id: Option<OfferId>,
}
