//! The owner of all state of an agent: one task that takes every input, asks the pure parts (`agent-core`,
//! `agent-link`) and carries out what they say.
//!
//! Everything else talks to it through one bounded channel. Disk work happens here, in the order in which the pure
//! parts demand it: that costs the task an fsync now and then (measured in milliseconds), and buys that no two
//! writes of an agent ever race.

mod core;
mod link;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_core::{AgentCore, Append, AttemptKey, Effect, Event};
use agent_link::{LinkEvent, LinkHandle, LinkInput, Uplink};
use fleet_domain::{RunId, Vin};
use fleet_wire::event::AgentStarted;
use fleet_wire::live::Live;
use jiff::Timestamp;
use spool::RealDisk;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::attempt::Workplace;
use crate::config::Config;
use crate::fetch::Fetcher;
use crate::journal;
use crate::prepare::Prepared;
use crate::status::{ProcessStatus, Status, StepStatus};

pub(crate) use self::core::{fresh_event_id, now};

/// The core's saved state, in the data folder.
pub const STATE_FILE: &str = "state";
/// How often receipts are written down and old events removed.
const HOUSEKEEPING: Duration = Duration::from_mins(1);
/// Longest sleep: the runtime's clock stands still while the machine sleeps, deadlines don't.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// Pause before an event that the disk refused is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// Files are fetched for so many attempts at a time.
const PREPARATIONS: usize = 2;

/// What the owner is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something for the core.
    Core(Box<Event>),
    /// An attempt can be started.
    Prepared(AttemptKey, Prepared),
    /// The vehicle on the bench.
    Vehicle(Vin),
    /// Somebody asks.
    Status(oneshot::Sender<Status>),
}

/// Why an agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// What was written may be lost; a new process finds out.
    #[error("the spool counts nothing more ({detail}); check the disk, then start the agent again")]
    Spool {
        /// What the disk said.
        detail: String,
    },
    /// The link's task has ended by itself.
    #[error("the link to the broker has ended by itself")]
    Link,
}

/// All state of an agent.
pub(crate) struct Owner {
    pub(crate) config: Config,
    pub(crate) run_id: RunId,
    pub(crate) started_at: Timestamp,
    pub(crate) core: AgentCore,
    pub(crate) uplink: Uplink<RealDisk>,
    pub(crate) link: LinkHandle,
    pub(crate) workplace: Workplace,
    pub(crate) fetcher: Fetcher,
    pub(crate) permits: Arc<Semaphore>,
    /// What `AgentStarted` says, for a spool that is begun later.
    pub(crate) started: AgentStarted,
    pub(crate) vin: Option<Vin>,
    pub(crate) live: watch::Receiver<Option<Live>>,
    pub(crate) state_file: PathBuf,
    /// Journals of an earlier process.
    pub(crate) journals: journal::Opened,
    pub(crate) preparing: HashMap<AttemptKey, AbortHandle>,
    pub(crate) prepared: HashMap<AttemptKey, Prepared>,
    pub(crate) cancels: HashMap<AttemptKey, watch::Sender<bool>>,
    /// Events that the disk refused for now, oldest first. Nothing is appended before them.
    pub(crate) unwritten: VecDeque<Append>,
    /// Events that are written and not yet known to be durable.
    pub(crate) unsynced: Vec<Append>,
    pub(crate) spool_failed: Option<String>,
    pub(crate) connected: bool,
    pub(crate) disconnected_because: Option<String>,
    pub(crate) sync_sent: Option<u64>,
    pub(crate) housekeeping_at: Duration,
    pub(crate) refusing: Option<String>,
}

/// The inputs of an owner.
pub(crate) struct Inputs {
    pub(crate) inbox: mpsc::Receiver<Input>,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    /// Becomes true when the process is asked to end.
    pub(crate) stop: watch::Receiver<bool>,
}

pub(crate) fn permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PREPARATIONS))
}

impl Owner {
    /// Does what the core said at its boot, and tells it what the uplink knows.
    pub(crate) fn begin(&mut self, effects: Vec<Effect>) {
        let mut events = VecDeque::new();
        self.carry_out(effects, &mut events);
        events.extend(self.uplink.generation().map(Event::GenerationChanged));
        for event in events {
            self.decide(event);
        }
        self.look_at_room();
    }

    /// Runs until it is asked to end, or until the spool has failed and no attempt runs any more.
    ///
    /// # Errors
    /// When it ended by itself.
    pub(crate) async fn run(mut self, mut inputs: Inputs) -> Result<(), OwnerError> {
        let mut stopping = false;
        loop {
            let sleep = self.until_next_deadline();
            tokio::select! {
                biased;
                changed = inputs.stop.changed(), if !stopping => {
                    // A sender that has gone can't ask any more; the process ends with its main task.
                    if changed.is_err() || *inputs.stop.borrow() {
                        stopping = true;
                        tracing::info!("asked to end: nothing new is begun");
                        self.decide(Event::Stop);
                    }
                }
                input = inputs.inbox.recv() => match input {
                    Some(input) => self.take(input),
                    None => return Err(OwnerError::Link),
                },
                event = inputs.events.recv() => match event {
                    Some(event) => self.take_link(event),
                    None => return Err(OwnerError::Link),
                },
                () = tokio::time::sleep(sleep) => self.tick(),
            }
            if self.core.running().is_some() && !self.cancels.is_empty() {
                continue;
            }
            if let Some(detail) = self.spool_failed.take() {
                return Err(OwnerError::Spool { detail });
            }
            if stopping {
                return self.end(inputs.events).await;
            }
        }
    }

    /// Writes down what is known, says goodbye and waits for the link's end.
    async fn end(mut self, mut events: mpsc::Receiver<LinkEvent>) -> Result<(), OwnerError> {
        self.compact();
        self.link.shutdown();
        let drained = async { while events.recv().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(3), drained)
            .await
            .is_err()
        {
            tracing::warn!("the broker did not take the goodbye in time; its will says the same");
        }
        tracing::info!("ended in order");
        Ok(())
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Core(event) => {
                if let Event::Finished { key, .. } = &*event {
                    self.cancels.remove(key);
                }
                if let Event::PreparationFailed { key, .. } = &*event {
                    self.preparing.remove(key);
                }
                self.decide(*event);
            }
            Input::Prepared(key, prepared) => {
                // A preparation that was given up may have ended at the same moment.
                if self.preparing.remove(&key).is_some() {
                    self.prepared.insert(key, prepared);
                    self.decide(Event::Prepared(key));
                }
            }
            Input::Vehicle(vin) => self.vehicle_answers(vin),
            // Who asked may have gone.
            Input::Status(reply) => drop(reply.send(self.status())),
        }
    }

    fn until_next_deadline(&self) -> Duration {
        let now = fleet_clock::boot_now();
        let retry = self.waits_for_disk().then(|| now.saturating_add(WRITE_AGAIN));
        let at = [
            self.core.next_deadline(),
            self.uplink.next_deadline(),
            retry,
            Some(self.housekeeping_at),
        ];
        let at = at.into_iter().flatten().min().unwrap_or(now);
        // A deadline that is due already and does not go away must not become a busy loop.
        at.saturating_sub(now)
            .clamp(Duration::from_millis(1), LONGEST_SLEEP)
    }

    pub(crate) fn waits_for_disk(&self) -> bool {
        !self.unwritten.is_empty() || !self.unsynced.is_empty()
    }

    fn tick(&mut self) {
        let now = fleet_clock::boot_now();
        if self.waits_for_disk() {
            self.write_again();
        }
        if self.housekeeping_at <= now {
            self.housekeeping_at = now.saturating_add(HOUSEKEEPING);
            self.compact();
            self.look_at_room();
        }
        self.uplink(LinkInput::Tick);
        self.decide(Event::Tick);
    }

    fn status(&self) -> Status {
        let list = self.core.durable_list();
        let spools = self.uplink.spools();
        let live = self.live.borrow().clone();
        Status {
            running: true,
            plant: self.config.plant.to_string(),
            device: self.config.device.to_string(),
            store_generation: list.map(|(generation, _)| generation),
            desired_version: list.map_or(0, |(_, version)| version),
            jobs: self.core.jobs(),
            process: Some(ProcessStatus {
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                run_id: self.run_id,
                started_at: self.started_at,
                public_key: self.started.public_key.clone(),
                station: self.config.station.clone(),
                entity: self.config.entity.to_string(),
                vin: self.vin.clone(),
                broker: self.config.broker.address.to_string(),
                connected: self.connected,
                disconnected_because: self.disconnected_because.clone(),
                spool_id: spools.next_position().map(|position| position.spool),
                outstanding: self.uplink.outstanding(),
                refusing_jobs: self.core.refusing_jobs(),
                step: live.map(|live| StepStatus {
                    job_id: live.job_id,
                    step: live.step,
                    step_index: live.step_index,
                    steps_total: live.steps_total,
                    bytes_done: live.bytes_done,
                    bytes_total: live.bytes_total,
                }),
            }),
        }
    }
}
