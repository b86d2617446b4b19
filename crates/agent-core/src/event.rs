//! What goes into the core and what comes out of it.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_domain::{EventId, JobId, RunId, StoreGeneration, Vin};
use fleet_wire::EventBody;
use fleet_wire::command::{Commands, JobDocument};
use fleet_wire::event::{AttemptRef, StepFinished, Verdict};
use fleet_wire::sync::{BenchJob, FormerSpool, HeldSpool, Sync};
use jiff::Timestamp;

/// The time of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Since boot, through suspend: the clock that limits are counted on.
    pub boot: Duration,
    /// The wall clock: for people only.
    pub wall: Timestamp,
}

/// One attempt at one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptKey {
    /// The job.
    pub job_id: JobId,
    /// Which attempt, from 1.
    pub attempt: u32,
}

impl From<AttemptRef> for AttemptKey {
    fn from(of: AttemptRef) -> Self {
        Self {
            job_id: of.job_id,
            attempt: of.attempt,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResult {
    /// The verdict.
    pub verdict: Verdict,
    /// Stable reason.
    pub reason_code: String,
    /// For people.
    pub detail: Option<String>,
    /// Software versions read back at the end, by ECU.
    pub software: BTreeMap<String, String>,
    /// The signed result record.
    pub record: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The state of this revision is on disk, fsynced.
    Persisted {
        /// As in the effect.
        revision: u64,
    },
    /// The state could not be written; the effects that stood after it were not carried out.
    PersistFailed {
        /// For people.
        detail: String,
    },
    /// These events are in a spool, fsynced.
    EventsDurable(Vec<EventId>),
    /// An event could not be appended or made durable: no job is taken until a restart.
    SpoolFailed {
        /// For people.
        detail: String,
    },
    /// Whether the spool has room for the events of another job.
    Room {
        /// Why not.
        refusing: Option<String>,
    },
    /// Connected to the broker, subscriptions made.
    Connected {
        /// Connects of this process, from 1.
        connect_counter: u64,
    },
    /// Not connected any more.
    Disconnected,
    /// A list of jobs arrived.
    Commands(Commands),
    /// The server's database has a new life.
    GenerationChanged(StoreGeneration),
    /// This disk is older than what the server heard from this bench.
    BenchRestored,
    /// A sync of this process was answered. Comes after what the answer brought.
    SyncAnswered {
        /// Number of the sync.
        number: u64,
    },
    /// Something does not fit that only a sync can clear up.
    SyncWanted,
    /// Time has passed; see [`crate::AgentCore::next_deadline`].
    Tick,
    /// Procedure and files of an attempt are here and checked.
    Prepared(AttemptKey),
    /// They can't be had, or are not what they should be.
    PreparationFailed {
        /// The attempt.
        key: AttemptKey,
        /// Stable reason, such as `artifact_corrupt`.
        code: String,
        /// For people.
        detail: String,
    },
    /// The first step begins.
    Started {
        /// The attempt.
        key: AttemptKey,
        /// Number of steps in the plan.
        steps_total: u32,
        /// Trace context of the work.
        traceparent: Option<String>,
    },
    /// A step has ended.
    StepReported {
        /// The step.
        step: StepFinished,
        /// Trace context of the work.
        traceparent: Option<String>,
    },
    /// From here on the attempt can't be stopped any more.
    PointOfNoReturn(AttemptKey),
    /// The attempt has ended.
    Finished {
        /// The attempt.
        key: AttemptKey,
        /// How.
        result: JobResult,
        /// Trace context of the work.
        traceparent: Option<String>,
    },
    /// The process is asked to end: nothing new is begun, a running attempt is stopped where it can be.
    Stop,
}

/// An event to append to the spool that is being written.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// Its id.
    pub id: EventId,
    /// The vehicle that it speaks of.
    pub vin: Option<Vin>,
    /// Trace context of the work.
    pub traceparent: Option<String>,
    /// The event.
    pub body: EventBody,
}

/// What to do, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Replace the saved state atomically and fsync it, then say [`Event::Persisted`]. When that fails, drop
    /// the rest of this list and say [`Event::PersistFailed`].
    PersistState {
        /// Grows by one.
        revision: u64,
        /// For [`crate::Saved::decode`].
        bytes: Vec<u8>,
    },
    /// Append an event; when it is durable, say [`Event::EventsDurable`].
    AppendEvent(Append),
    /// Fetch and check what an attempt needs, as long as it takes, then say [`Event::Prepared`] or
    /// [`Event::PreparationFailed`].
    Prepare {
        /// The attempt.
        key: AttemptKey,
        /// What to do.
        document: JobDocument,
        /// Trace context of the request.
        traceparent: Option<String>,
    },
    /// Give that up; nothing needs to be said.
    DropPreparation(AttemptKey),
    /// Start an attempt that was prepared. It is on disk as running.
    StartAttempt {
        /// The attempt and its fencing number.
        of: AttemptRef,
        /// What to do.
        document: JobDocument,
        /// Trace context of the request.
        traceparent: Option<String>,
    },
    /// Find out how an attempt ended that was running when the process ended. Nothing may be written to the
    /// vehicle. Then say [`Event::Finished`].
    RecoverAttempt {
        /// The attempt and its fencing number.
        of: AttemptRef,
        /// What was to be done.
        document: Option<JobDocument>,
        /// Trace context of the request.
        traceparent: Option<String>,
    },
    /// Stop an attempt if it is before the point of no return; it ends with [`Event::Finished`] all the same.
    StopAttempt {
        /// The attempt.
        key: AttemptKey,
        /// Stable reason: `fenced` or `agent_stopping`.
        reason: &'static str,
    },
    /// Send a sync.
    SendSync(SyncParts),
}

/// A sync without what the spools add.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncParts {
    /// Its number.
    pub number: u64,
    /// Number of the last sync whose answer was obeyed; 0: none.
    pub answered: u64,
    /// The process.
    pub run_id: RunId,
    /// Connects of this process.
    pub connect_counter: u64,
    /// Generation and version of the list that is durable here.
    pub durable_list: Option<(StoreGeneration, u64)>,
    /// Open jobs, as on disk.
    pub jobs: Vec<BenchJob>,
    /// Why no job is taken.
    pub refusing_jobs: Option<String>,
}

impl SyncParts {
    /// The whole sync. `generation` is the one that the spools' `receipted` belong to; a list of another
    /// generation counts as none.
    pub fn into_sync(
        self,
        generation: Option<StoreGeneration>,
        spools: Vec<HeldSpool>,
        former: Vec<FormerSpool>,
        time: Timestamp,
    ) -> Sync {
        let desired_version = match self.durable_list {
            Some((of, version)) if Some(of) == generation => version,
            _ => 0,
        };
        Sync {
            number: self.number,
            answered: self.answered,
            run_id: self.run_id,
            connect_counter: self.connect_counter,
            store_generation: generation,
            desired_version,
            spools,
            former,
            jobs: self.jobs,
            time,
            refusing_jobs: self.refusing_jobs,
        }
    }
}
