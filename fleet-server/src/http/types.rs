//! The shapes of the REST API. They are the contract with the page: `docs/openapi.json` is made from them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A word of the domain with a schema of its own.
macro_rules! mirror {
    ($(#[$meta:meta])* $name:ident of $domain:path { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vmeta])* $variant),+
        }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$variant => Self::$variant),+ }
            }
        }

        impl From<$name> for $domain {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => <$domain>::$variant),+ }
            }
        }
    };
}

mirror! {
    /// State of a job.
    JobState of fleet_domain::JobState {
        /// Recorded.
        Queued,
        /// In a bench's list, not known to be accepted.
        Offered,
        /// Taken out of the list, not yet confirmed by the bench.
        Withdrawing,
        /// The bench has it durably.
        Accepted,
        /// First step begun.
        Running,
        /// Final, with a verdict.
        Finished,
        /// Final: the bench refused it.
        Rejected,
        /// Final: called back.
        Canceled,
        /// Final: its deadline has passed.
        TimedOut,
        /// Final: another job took its place.
        Superseded,
        /// Final: a person declared the bench lost.
        TakenOver,
    }
}

mirror! {
    /// Verdict of an attempt.
    Verdict of fleet_domain::Verdict {
        /// Everything was read back and is as it should be.
        Passed,
        /// The product missed a limit or a check.
        Failed,
        /// Bench, link or procedure: says nothing about the product.
        Error,
        /// Stopped before any write.
        Aborted,
        /// State of the ECU unknown.
        InDoubt,
    }
}

mirror! {
    /// How a step or a measurement ended.
    Outcome of fleet_domain::Outcome {
        /// As it should be.
        Passed,
        /// The product missed a limit or a check.
        Failed,
        /// Bench, link or procedure: says nothing about the product.
        Error,
        /// Not done.
        Skipped,
    }
}

mirror! {
    /// What kind of work a job is.
    JobKind of fleet_domain::JobKind {
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
}

mirror! {
    /// What a person may do to a job.
    JobAction of fleet_domain::JobAction {
        /// Call it back.
        Cancel,
        /// Declare its bench lost.
        TakeOver,
        /// Ask for the same work again, as a new job.
        Retry,
    }
}

/// What a bench's spools hold that the server does not have yet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BenchSpool {
    /// Events that the bench holds, by its last sync.
    pub held_events: u64,
    /// Events heard of and not stored yet.
    pub outstanding: u64,
}

/// A bench.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Bench {
    /// Its id.
    pub device: String,
    /// Its plant.
    pub plant: String,
    /// Its slot, one hexadecimal digit.
    pub slot: String,
    /// Connected to the broker.
    pub online: bool,
    /// Since when it is online or offline, by the server's clock.
    pub presence_since: Option<Timestamp>,
    /// When something was last heard from it, by the server's clock.
    pub last_seen: Option<Timestamp>,
    /// Station of the line.
    pub station: Option<String>,
    /// VIN of the vehicle that stands there.
    pub vin: Option<String>,
    /// ECUs that it serves; empty: any.
    pub ecus: Vec<String>,
    /// Ways to reach an ECU.
    pub transports: Vec<String>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// Its Ed25519 public key, base64url.
    pub public_key: Option<String>,
    /// Its current process.
    pub run_id: Option<Uuid>,
    /// Version of its list of jobs that it has durably.
    pub desired_version: u64,
    /// Why it takes no new job at the moment.
    pub refusing_jobs: Option<String>,
    /// Its spools.
    pub spool: BenchSpool,
    /// Its open jobs.
    pub open_jobs: Vec<JobSummary>,
}

/// A job in a few words.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    /// Its id.
    pub id: Uuid,
    /// What kind of work.
    pub kind: JobKind,
    /// The vehicle.
    pub vin: String,
    /// The ECU.
    pub ecu: String,
    /// Its state.
    pub state: JobState,
    /// Its verdict, once finished.
    pub verdict: Option<Verdict>,
    /// Number of steps.
    pub steps_total: Option<u32>,
    /// Steps that have ended.
    pub steps_done: u32,
}

/// A page of benches.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BenchPage {
    /// The benches, by id.
    pub items: Vec<Bench>,
    /// Give it as `cursor` for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// Give it as `since` to the stream: nothing after this snapshot is missed.
    pub stream_cursor: String,
}

/// A procedure of a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProcedureRef {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// A file of a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactRef {
    /// Input of the procedure that it fills.
    pub input: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// Whether an action is possible now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AllowedAction {
    /// The action.
    pub action: JobAction,
    /// Possible.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// A job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// The requester's id of the request.
    pub request_id: Option<String>,
    /// What kind of work.
    pub kind: JobKind,
    /// The vehicle.
    pub vin: String,
    /// The ECU.
    pub ecu: String,
    /// The procedure.
    pub procedure: ProcedureRef,
    /// Its files.
    pub artifacts: Vec<ArtifactRef>,
    /// Values of the procedure's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Its state.
    pub state: JobState,
    /// Queued, and no bench can take it at the moment: why.
    pub parked: Option<String>,
    /// Its verdict, once finished.
    pub verdict: Option<Verdict>,
    /// Stable reason of the end.
    pub reason_code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// The bench that has or had it.
    pub device: Option<String>,
    /// Number of the last offer, from 1; 0 before the first.
    pub attempt: u32,
    /// Fencing number of the last offer.
    pub fence: u64,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When it was last offered.
    pub offered_at: Option<Timestamp>,
    /// When its acceptance was stored.
    pub accepted_at: Option<Timestamp>,
    /// When its start was stored.
    pub started_at: Option<Timestamp>,
    /// When its end was stored.
    pub finished_at: Option<Timestamp>,
    /// Not offered after this.
    pub deadline: Option<Timestamp>,
    /// Higher goes first.
    pub priority: i32,
    /// Who asked for it.
    pub requested_by: String,
    /// Number of steps.
    pub steps_total: Option<u32>,
    /// Steps that have ended.
    pub steps_done: u32,
    /// Software versions read back at the end, by ECU.
    pub software: BTreeMap<String, String>,
    /// Events of attempts that were taken away: stored and shown, they move nothing.
    pub fenced_events: u64,
    /// What a person may do now.
    pub allowed_actions: Vec<AllowedAction>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// A page of jobs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobPage {
    /// The jobs, newest first.
    pub items: Vec<Job>,
    /// Give it as `cursor` for the next page; none on the last.
    pub next_cursor: Option<String>,
    /// Give it as `since` to the stream: nothing after this snapshot is missed.
    pub stream_cursor: String,
}

/// A request for a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// The requester's id of this request: the same one again is the same job. Also as header `Idempotency-Key`.
    #[serde(default)]
    pub request_id: Option<String>,
    /// What kind of work.
    pub kind: JobKind,
    /// The vehicle: 17 characters.
    pub vin: String,
    /// Name of the ECU.
    pub ecu: String,
    /// The procedure.
    pub procedure: ProcedureChoice,
    /// One file for each input of the procedure.
    #[serde(default)]
    pub artifacts: Vec<ArtifactChoice>,
    /// Values of the procedure's parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Only this bench may do it.
    #[serde(default)]
    pub device: Option<String>,
    /// Seconds from the offer's arrival at the bench to its first step; 1 hour when not given.
    #[serde(default)]
    pub start_within_s: Option<u32>,
    /// Not offered after this.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Higher goes first; 0 when not given.
    #[serde(default)]
    pub priority: Option<i32>,
}

/// A procedure by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcedureChoice {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// A file by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArtifactChoice {
    /// Input of the procedure that it fills.
    pub input: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Why a person does something to a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// For people, 1 to 500 characters.
    pub reason: String,
}

/// Limits of a measurement, as applied.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Greater than or equal.
    #[serde(default)]
    pub ge: Option<f64>,
    /// Less than or equal.
    #[serde(default)]
    pub le: Option<f64>,
    /// Greater than.
    #[serde(default)]
    pub gt: Option<f64>,
    /// Less than.
    #[serde(default)]
    pub lt: Option<f64>,
    /// Equal to this text.
    #[serde(default)]
    pub equals: Option<String>,
}

/// A measured value: number or text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum MeasuredValue {
    /// In the measurement's unit.
    Number(f64),
    /// A text.
    Text(String),
}

/// A measurement.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Measurement {
    /// Its name.
    pub name: String,
    /// Bytes as the ECU sent them, hexadecimal.
    pub raw: String,
    /// The decoded value.
    pub value: MeasuredValue,
    /// Its unit.
    #[serde(default)]
    pub unit: Option<String>,
    /// The limits.
    #[serde(default)]
    pub limits: Limits,
    /// Within the limits or not.
    pub outcome: Outcome,
    /// Within the limits, but close to one.
    #[serde(default)]
    pub marginal: bool,
}

/// A step that has ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Step {
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
    /// Milliseconds by the bench's monotonic clock.
    pub duration_ms: u64,
    /// How often it was tried again.
    pub retries: u32,
    /// Last negative response code.
    pub nrc: Option<u8>,
    /// For people.
    pub detail: Option<String>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
}

/// Where a running job stands. Never stored.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Live {
    /// The bench.
    pub device: String,
    /// The job.
    pub job_id: Uuid,
    /// Which attempt.
    pub attempt: u32,
    /// Id of the step that runs.
    pub step: String,
    /// Its place, from 0.
    pub step_index: u32,
    /// Number of steps.
    pub steps_total: u32,
    /// Bytes transferred in this step.
    pub bytes_done: u64,
    /// Bytes to transfer in this step.
    pub bytes_total: u64,
    /// The bench's clock.
    pub time: Timestamp,
}

/// The signed record of an attempt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunRecord {
    /// JWS, compact serialisation.
    pub jws: String,
    /// Its signature is that of the bench's registered key.
    pub verified: bool,
    /// The key, base64url.
    pub public_key: Option<String>,
}

/// An attempt of a job with its steps.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// The job.
    pub job: Job,
    /// Which attempt.
    pub attempt: u32,
    /// Its steps so far.
    pub steps: Vec<Step>,
    /// Where it stands, while it runs and the bench says so.
    pub live: Option<Live>,
    /// Its signed record, once finished.
    pub record: Option<RunRecord>,
}

/// A row of a bench's ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerSpool {
    /// The spool.
    pub spool_id: Uuid,
    /// Highest position heard of.
    pub announced: u64,
    /// Stored.
    pub stored: u64,
    /// Rejected.
    pub rejected: u64,
    /// Stated as holes.
    pub holes: u64,
    /// Heard of and not settled.
    pub outstanding: u64,
    /// Every position up to this one is settled.
    pub through: u64,
    /// Messages settled before.
    pub duplicates: u64,
    /// Messages above the next position.
    pub gaps: u64,
    /// Messages with other content than stored.
    pub conflicts: u64,
    /// Stored events that wait for the relay.
    pub in_outbox: u64,
}

/// A bench's ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BenchLedger {
    /// Its spools, oldest first.
    pub spools: Vec<LedgerSpool>,
}

/// The plant's ledger: announced = stored + rejected + holes + outstanding.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerTotals {
    /// Heard of.
    pub announced: u64,
    /// Stored.
    pub stored: u64,
    /// Rejected.
    pub rejected: u64,
    /// Stated as holes.
    pub holes: u64,
    /// Heard of and not settled.
    pub outstanding: u64,
    /// Messages settled before.
    pub duplicates: u64,
    /// Messages above the next position.
    pub gaps: u64,
    /// Messages with other content than stored.
    pub conflicts: u64,
    /// Stored events that wait for the relay.
    pub in_outbox: u64,
    /// Stored events whose meaning could not be stored.
    pub unprojected: u64,
    /// Messages that could not be taken.
    pub dead_letters: u64,
}

/// A message that could not be taken.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Its number.
    pub id: u64,
    /// The bench named by its topic.
    pub device: String,
    /// Last level of its topic.
    pub channel: String,
    /// Its spool, where it said one.
    pub spool_id: Option<Uuid>,
    /// Its position, where it said one.
    pub seq: Option<u64>,
    /// Stable reason.
    pub code: String,
    /// For people.
    pub reason: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Its size, bytes.
    pub size: u64,
    /// Its bytes, base64; at most the first 4096.
    pub bytes_base64: String,
}

/// Dead letters, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterPage {
    /// The letters.
    pub items: Vec<DeadLetter>,
    /// Give it as `cursor` for the next page; none on the last.
    pub next_cursor: Option<String>,
}

/// An event that waits for the relay.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OutboxRow {
    /// Its place.
    pub seq: u64,
    /// Topic that it goes to.
    pub topic: String,
    /// Its event.
    pub event_id: Uuid,
    /// Its bench.
    pub device: String,
    /// Its spool.
    pub spool_id: Uuid,
    /// Its position there.
    pub spool_seq: u64,
    /// Its bytes as they came, base64.
    pub event_base64: String,
    /// The same as JSON, for reading.
    #[schema(value_type = Option<Object>)]
    pub event: Option<serde_json::Value>,
}

/// A stretch of the outbox.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OutboxPage {
    /// The rows, oldest first.
    pub items: Vec<OutboxRow>,
    /// Give it as `after` for the next ones.
    pub next_after: u64,
}

/// Something that a person should know.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Alarm {
    /// Its number.
    pub id: u64,
    /// Stable name.
    pub code: String,
    /// The bench that it speaks of.
    pub device: Option<String>,
    /// For people.
    pub detail: String,
    /// How often it was raised.
    pub count: u64,
    /// When it was first raised.
    pub raised_at: Timestamp,
    /// When it was last raised.
    pub last_at: Timestamp,
}

/// Alarms, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AlarmPage {
    /// The alarms.
    pub items: Vec<Alarm>,
    /// Give it as `cursor` for the next page; none on the last.
    pub next_cursor: Option<String>,
}

/// A procedure on the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProcedureInfo {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// When it was put there.
    pub created_at: Timestamp,
}

/// Every procedure.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProcedureList {
    /// The procedures, by id and version.
    pub items: Vec<ProcedureInfo>,
}

/// A file on the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// When it was put there.
    pub created_at: Timestamp,
}

/// Every file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactList {
    /// The files, by name and version.
    pub items: Vec<ArtifactInfo>,
}

/// A bench asks for the key of a security access (ISO 14229-1, 0x27).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityAccessRequest {
    /// Name of the ECU.
    pub ecu: String,
    /// Security level: the odd sub-function of the seed request.
    pub level: u8,
    /// The seed, hexadecimal.
    pub seed: String,
    /// The vehicle.
    pub vin: String,
    /// The job that needs it.
    pub job_id: Uuid,
}

/// The key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecurityAccessKey {
    /// The key, hexadecimal.
    pub key: String,
}

/// State of the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The plant.
    pub plant: String,
    /// Version of the server.
    pub version: String,
    /// The life of its database.
    pub store_generation: Uuid,
    /// Whether it can do its work.
    pub ready: bool,
    /// Its parts.
    pub checks: Vec<Check>,
    /// Benches that are online.
    pub benches_online: u64,
    /// Benches that are offline.
    pub benches_offline: u64,
    /// Jobs that are open, by state.
    pub jobs: BTreeMap<String, u64>,
    /// The server's clock.
    pub time: Timestamp,
}

/// A part of the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// It works.
    pub ok: bool,
    /// What is wrong, or how it stands.
    pub detail: String,
}

/// Readiness.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Every part works.
    pub ready: bool,
    /// The parts.
    pub checks: Vec<Check>,
}

/// A problem (RFC 9457). `code` is stable, the rest is for people.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:vds:problem:` and the code.
    pub r#type: String,
    /// The kind of problem.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What was wrong with this request and what to do.
    pub detail: String,
    /// Stable name of the kind of problem.
    pub code: String,
    /// What is wrong with a procedure, by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

/// What is wrong at a place of a procedure.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// Where in the document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}
