//! One simulated bench: the agent's own spool, sender, link and core. Only what it tells is made up.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use agent_core::{AgentCore, Boot, RestoreError, Saved, Times};
use agent_link::link::{self, Credentials, PresenceDocuments};
use agent_link::{
    AppendError, EventDraft, LinkConfig, LinkEvent, LinkHandle, SenderConfig, Uplink, UplinkConfig,
};
use fleet_domain::{DeviceId, EventId, PlantId, RunId, Seq, SpoolId};
use fleet_wire::event::{AgentStarted, Equipment};
use fleet_wire::{ControlError, EventBody};
use jiff::Timestamp;
use spool::{Disk, Limits, Position, Read, SpoolError, Spools};
use tokio::sync::mpsc;

use crate::client_log::ClientLog;
use crate::disks::{BenchDisk, Gate};
use crate::figures::{Figures, Standing};
use crate::history::Noted;
use crate::rng::Rng;
use crate::work::{Told, Work};
use state_file::StateFile;

mod deciding;
mod sending;
mod state_file;
mod writing;

/// How often receipts are written down and old events removed, as the agent does.
const UPKEEP: Duration = Duration::from_mins(1);

/// What all benches of a population share.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) plant: PlantId,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) reconnect_at_most: Duration,
    pub(crate) session_expiry: Duration,
    /// The machine's boot.
    pub(crate) boot_id: String,
    /// Note each event that counts, to be found on the disk in the end.
    pub(crate) notes: bool,
    /// Disks may be put back to an earlier state; else a server that says so is wrong.
    pub(crate) disks_are_restored: bool,
    /// Begin of the population.
    pub(crate) begun: Instant,
}

/// Why a bench can't go on.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The disk can't be opened.
    #[error("{device}: the disk can't be opened")]
    Disk {
        /// The bench.
        device: DeviceId,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// The spool can't be used.
    #[error("{device}: the spool can't be used")]
    Spool {
        /// The bench.
        device: DeviceId,
        /// Why.
        #[source]
        source: SpoolError,
    },
    /// Counted events are gone from the disk.
    #[error("{device}: counted events are gone: {damage}")]
    Lost {
        /// The bench.
        device: DeviceId,
        /// What and where.
        damage: spool::Damage,
    },
    /// An event can't be appended.
    #[error("{device}: an event can't be appended")]
    Append {
        /// The bench.
        device: DeviceId,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// The saved state can't be used.
    #[error("{device}: the saved state can't be used")]
    State {
        /// The bench.
        device: DeviceId,
        /// Why.
        #[source]
        source: RestoreError,
    },
    /// The log that the benches share has failed.
    #[error("{device}: the shared log has failed: {reason}")]
    Log {
        /// The bench.
        device: DeviceId,
        /// What the disk said.
        reason: String,
    },
    /// The client's log of the history can't be written.
    #[error("{device}: the history can't be written")]
    History {
        /// The bench.
        device: DeviceId,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The server sent what can't be read.
    #[error("{device}: a document on {channel} can't be read")]
    Undecodable {
        /// The bench.
        device: DeviceId,
        /// Where it came.
        channel: &'static str,
        /// Why.
        #[source]
        source: ControlError,
    },
    /// The server says that this disk is cloned or restored, and it is not.
    #[error("{device}: the server says {what}, and nothing was restored here")]
    Restored {
        /// The bench.
        device: DeviceId,
        /// What it says.
        what: &'static str,
    },
    /// The link's task has ended by itself.
    #[error("{device}: the link to the broker has ended by itself")]
    Link {
        /// The bench.
        device: DeviceId,
    },
}

/// A moment on all clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) boot: Duration,
    pub(crate) wall: Timestamp,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            instant: Instant::now(),
            boot: fleet_clock::boot_now(),
            wall: fleet_clock::wall_now(),
        }
    }

    fn times(&self) -> Times {
        Times {
            boot: self.boot,
            wall: self.wall,
        }
    }
}

/// An event's time in the schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) at: Instant,
    pub(crate) phase: usize,
    /// Since the schedule's begin, microseconds.
    pub(crate) offset_us: u64,
}

/// An event that waits for the disk, or for its sync.
#[derive(Debug, Clone)]
struct Waiting {
    draft: EventDraft,
    body: EventBody,
    due: Option<Due>,
    /// It is the core's: it is told when the event is durable.
    of_core: bool,
}

#[derive(Debug)]
struct Unsynced {
    position: Position,
    id: EventId,
    due: Option<Due>,
    of_core: bool,
    noted: Option<Noted>,
}

/// A durable event without receipt.
#[derive(Debug)]
struct Open {
    position: Position,
    due: Option<Due>,
    durable_at: Instant,
}

/// What leaves the bench, in its order.
#[derive(Debug)]
enum Outward {
    Counted(Vec<Unsynced>),
    Publish(agent_link::LinkEffect),
    Sync(Vec<u8>),
}

/// Times in the schedule of a spool's events, by position from 1; `None` for what the schedule did not want.
#[derive(Debug, Clone, Default)]
pub struct SpoolTimes {
    /// Microseconds since the schedule's begin.
    pub due_us: Vec<Option<u64>>,
}

/// One process of a bench.
pub(crate) struct Process<D: Disk> {
    uplink: Uplink<D>,
    core: AgentCore,
    state_file: StateFile<D>,
    link: LinkHandle,
    run_id: RunId,
    connection: Option<u64>,
    sync_sent: Option<u64>,
    upkeep_at: Duration,
    unwritten: VecDeque<Waiting>,
    unsynced: Vec<Unsynced>,
    /// The disk has refused: not tried again before.
    write_at: Option<Duration>,
    held: VecDeque<(u64, Outward)>,
}

pub(crate) struct Bench<B: BenchDisk> {
    setup: Arc<Setup>,
    pub(crate) device: DeviceId,
    disk: B,
    gate: Gate,
    pub(crate) rng: Rng,
    work: Work,
    standing: Arc<Standing>,
    figures: Rc<RefCell<Figures>>,
    log: Option<Arc<ClientLog>>,
    process: Option<Process<B::Disk>>,
    /// Processes so far.
    pub(crate) starts: u64,
    open: VecDeque<Open>,
    /// Highest position published of each spool, by any of its processes.
    published: Vec<(SpoolId, Seq)>,
    noted: Vec<Noted>,
    times: Vec<(SpoolId, SpoolTimes)>,
    boot_id: String,
}

impl<B: BenchDisk> Bench<B> {
    #[expect(clippy::too_many_arguments, reason = "a bench has so many parts; one caller")]
    pub(crate) fn new(
        setup: Arc<Setup>,
        device: DeviceId,
        disk: B,
        work: Work,
        seed: u64,
        standing: Arc<Standing>,
        figures: Rc<RefCell<Figures>>,
        log: Option<Arc<ClientLog>>,
    ) -> Self {
        Self {
            gate: disk.gate(),
            boot_id: setup.boot_id.clone(),
            setup,
            device,
            disk,
            rng: Rng::new(seed),
            work,
            standing,
            figures,
            log,
            process: None,
            starts: 0,
            open: VecDeque::new(),
            published: Vec::new(),
            noted: Vec::new(),
            times: Vec::new(),
        }
    }

    fn spool_error(&self, source: SpoolError) -> BenchError {
        BenchError::Spool {
            device: self.device.clone(),
            source,
        }
    }

    fn disk_error(&self, source: io::Error) -> BenchError {
        BenchError::Disk {
            device: self.device.clone(),
            source,
        }
    }

    /// Starts a process on what the disk holds, as the agent does: state, spool, a new spool with its first event.
    /// Needs a tokio runtime. The receiver is for [`Bench::take`].
    pub(crate) fn start(&mut self, now: &Moment) -> Result<mpsc::Receiver<LinkEvent>, BenchError> {
        let state_file = StateFile::open(self.disk.state().map_err(|error| self.disk_error(error))?);
        let mut state_file = state_file;
        let saved = state_file.read().map_err(|error| self.disk_error(error))?;
        let saved = saved.map(|bytes| Saved::decode(&bytes)).transpose();
        let saved = saved.map_err(|source| BenchError::State {
            device: self.device.clone(),
            source,
        })?;
        let mut spools = self.open_spools(now)?;
        let unconfirmed = saved.as_ref().map(Saved::unconfirmed).unwrap_or_default();
        let found = find_events(&mut spools, unconfirmed).map_err(|error| self.spool_error(error))?;
        let config = UplinkConfig {
            plant: self.setup.plant.clone(),
            device: self.device.clone(),
            sender: SenderConfig::default(),
        };
        let mut uplink = Uplink::new(spools, config, self.rng.draw());
        let run_id = RunId(fleet_clock::new_uuid());
        uplink
            .begin(SpoolId(fleet_clock::new_uuid()))
            .map_err(|error| self.spool_error(error))?;
        let boot = Boot {
            run_id,
            boot_id: self.boot_id.clone(),
            first_sync_number: self.rng.below(1 << 32),
            seed: self.rng.draw(),
            found,
        };
        let (core, effects) = AgentCore::boot(saved, boot, now.times(), &mut fresh_event_id);
        let (link, events) = self.connect(run_id);
        self.starts += 1;
        self.process = Some(Process {
            uplink,
            core,
            state_file,
            link,
            run_id,
            connection: None,
            sync_sent: None,
            upkeep_at: now.boot + self.rng.millis(30_000, 90_000),
            unwritten: VecDeque::new(),
            unsynced: Vec::new(),
            write_at: None,
            held: VecDeque::new(),
        });
        self.began("start", now)?;
        self.begin_core(effects, now)?;
        Ok(events)
    }

    fn open_spools(&self, now: &Moment) -> Result<Spools<B::Disk>, BenchError> {
        let disk = self.disk.spool().map_err(|error| self.disk_error(error))?;
        let opened = Spools::open(disk, Limits::default(), now.wall);
        let (spools, opened) = opened.map_err(|error| self.spool_error(error))?;
        let lost = |damage: &spool::Damage| matches!(damage.kind, spool::DamageKind::Lost { .. });
        match opened.damage.into_iter().find(lost) {
            Some(damage) => Err(BenchError::Lost {
                device: self.device.clone(),
                damage,
            }),
            None => Ok(spools),
        }
    }

    fn connect(&mut self, run_id: RunId) -> (LinkHandle, mpsc::Receiver<LinkEvent>) {
        let mut config = LinkConfig::new(
            self.setup.plant.clone(),
            self.device.clone(),
            self.setup.host.clone(),
            self.setup.port,
            self.rng.draw(),
        );
        config.credentials.clone_from(&self.setup.credentials);
        config.reconnect_at_most = self.setup.reconnect_at_most;
        config.session_expiry = self.setup.session_expiry;
        link::spawn(config, move |counter| {
            let time = fleet_clock::wall_now();
            PresenceDocuments {
                online: agent_core::presence(run_id, counter, true, false, time).encode(),
                offline: agent_core::presence(run_id, counter, false, true, time).encode(),
            }
        })
    }

    /// The first event of a spool.
    fn began(&mut self, reason: &str, now: &Moment) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let body = EventBody::AgentStarted(AgentStarted {
            run_id: process.run_id,
            agent_version: format!("loadtest {}", env!("CARGO_PKG_VERSION")),
            public_key: String::new(),
            equipment: Equipment::default(),
            reason: reason.to_owned(),
        });
        // Before what the disk still refuses.
        process.unwritten.push_front(Waiting {
            draft: draft(fresh_event_id(), None, now),
            body,
            due: None,
            of_core: false,
        });
        self.write(now)
    }

    /// Tells the next event of its work, which was due at this time.
    pub(crate) fn tell(&mut self, due: Due, now: &Moment) -> Result<(), BenchError> {
        self.figures.borrow_mut().counts.due += 1;
        let Told { vin, body } = self.work.next(&mut self.rng, now.wall);
        let draft = draft(fresh_event_id(), vin, now);
        self.append_later(
            Waiting {
                draft,
                body,
                due: Some(due),
                of_core: false,
            },
            now,
        )
    }

    /// Ends like a killed process, on a disk that can also as if the power had gone: then what was not synced may be
    /// lost. [`Bench::start`] begins the next one.
    pub(crate) fn die(&mut self, now: &Moment) -> Result<(), BenchError> {
        if self.rng.chance(500) {
            let Told { vin, body } = self.work.next(&mut self.rng, now.wall);
            let draft = draft(fresh_event_id(), vin, now);
            self.append_later(
                Waiting {
                    draft,
                    body,
                    due: None,
                    of_core: false,
                },
                now,
            )?;
            self.process = None;
            if self.disk.lose_power() {
                self.boot_id = fleet_clock::new_uuid().to_string();
            }
        }
        self.stop();
        Ok(())
    }

    /// Ends without a word.
    pub(crate) fn stop(&mut self) {
        self.process = None;
        self.standing.connected.store(false, Ordering::Relaxed);
    }

    /// Whether this is the process that runs.
    pub(crate) fn runs(&self, process: u64) -> bool {
        self.process.is_some() && self.starts == process
    }

    /// Drops the connection and makes a new one.
    pub(crate) fn reconnect(&mut self) {
        if let Some(process) = &self.process
            && let Some(connection) = process.connection
        {
            process.link.reconnect(connection);
        }
    }

    /// Writes receipts down and says goodbye; the link's events end soon.
    pub(crate) fn end(&mut self, now: &Moment) {
        if let Some(process) = &mut self.process {
            // What is not written down costs a resend.
            let _ = process.uplink.compact(now.wall);
            process.link.shutdown();
        }
    }

    /// Gives what is left after the end: the disk, what was noted, and the times of the schedule.
    pub(crate) fn into_parts(mut self) -> Ended<B> {
        self.process = None;
        Ended {
            device: self.device,
            disk: self.disk,
            noted: self.noted,
            times: self.times,
        }
    }
}

/// What is left of a bench.
pub(crate) struct Ended<B> {
    pub(crate) device: DeviceId,
    pub(crate) disk: B,
    pub(crate) noted: Vec<Noted>,
    pub(crate) times: Vec<(SpoolId, SpoolTimes)>,
}

fn fresh_event_id() -> EventId {
    EventId(fleet_clock::new_uuid())
}

fn draft(id: EventId, vin: Option<String>, now: &Moment) -> EventDraft {
    EventDraft {
        id,
        vin,
        time: now.wall,
        traceparent: None,
    }
}

/// Which of these events lie in a spool.
fn find_events<D: Disk>(
    spools: &mut Spools<D>,
    mut wanted: BTreeSet<EventId>,
) -> Result<BTreeSet<EventId>, SpoolError> {
    #[derive(serde::Deserialize)]
    struct Id {
        id: EventId,
    }
    let mut found = BTreeSet::new();
    for held in spools.held().into_iter().rev() {
        for seq in (held.first_kept..held.next_seq).rev() {
            if wanted.is_empty() {
                return Ok(found);
            }
            if let Read::Event(bytes) = spools.read(held.spool, seq)?
                && let Ok(Id { id }) = serde_json::from_slice(&bytes)
                && wanted.remove(&id)
            {
                found.insert(id);
            }
        }
    }
    Ok(found)
}
