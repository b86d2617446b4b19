//! A bench: the shipped uplink and spool on a disk that loses power.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_link::{AppendError, EventDraft, LinkEffect, LinkInput, SenderConfig, Uplink, UplinkConfig};
use fleet_domain::ledger::{HeldSpool, Predecessor, SyncFacts};
use fleet_domain::{EventId, JobId, OfferId, RunId, SpoolId};
use fleet_wire::EventBody;
use fleet_wire::event::{AgentStarted, AttemptRef, Equipment, JobRejected};
use fleet_wire::limits::MAX_SPOOLS;
use jiff::{SignedDuration, Timestamp};
use spool::sim::{Image, SimDisk};
use spool::{Limits, Position, SpoolError, Spools};
use uuid::Uuid;

use crate::message::{self, Key};

/// The true wall clock of a moment of the run.
pub(crate) fn wall(now: Duration) -> Timestamp {
    Timestamp::constant(1_780_000_000, 0) + SignedDuration::try_from(now).unwrap_or_default()
}

/// What was done about an event, for the judge.
#[derive(Debug)]
pub(crate) enum Note {
    Begun {
        key: Key,
        id: EventId,
        marker: u64,
        refused: bool,
    },
    Counted(Key),
}

/// What must be true of the benches' events in the end.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// What the benches did, in order.
    pub(crate) notes: Vec<Note>,
    /// Counted: must be stored.
    pub(crate) counted: BTreeMap<Key, u64>,
    /// Counted once, then its disk was restored to an older state, or nobody could say which event it was: may be
    /// missing.
    pub(crate) forgiven: BTreeSet<Key>,
    /// Markers of events that the server refuses.
    pub(crate) refused: BTreeSet<u64>,
    pub(crate) markers: u64,
}

/// A run of the agent.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) number: u64,
    pub(crate) uplink: Uplink<SimDisk>,
    pub(crate) run_id: RunId,
    pub(crate) sync_number: u64,
    pub(crate) ticks_at: Option<Duration>,
    appended: Vec<(Position, u64)>,
}

#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) index: usize,
    pub(crate) disk: SimDisk,
    pub(crate) process: Option<Process>,
    pub(crate) connection: Option<u64>,
    pub(crate) half_open: bool,
    /// It is down, and its start is on the way.
    pub(crate) starting: bool,
    /// How far its wall clock is off.
    pub(crate) clock_off: SignedDuration,
    /// An old image of the disk, and what had counted then.
    pub(crate) image: Option<(Image, BTreeSet<Key>)>,
    limits: Limits,
}

/// The agent has to end.
#[derive(Debug)]
pub(crate) struct Dies;

impl Bench {
    pub(crate) fn new(index: usize, seed: u64, limits: Limits) -> Self {
        Self {
            index,
            disk: SimDisk::new(seed),
            process: None,
            connection: None,
            half_open: false,
            starting: false,
            clock_off: SignedDuration::ZERO,
            image: None,
            limits,
        }
    }

    /// Its own clock.
    pub(crate) fn wall(&self, now: Duration) -> Timestamp {
        wall(now)
            .checked_add(self.clock_off)
            .unwrap_or_else(|_| wall(now))
    }

    /// Starts the agent: what the disk holds, then a new spool with its first event.
    pub(crate) fn start(
        &mut self,
        number: u64,
        ids: &mut impl FnMut() -> Uuid,
        now: Duration,
        truth: &mut Truth,
    ) -> Result<(), Dies> {
        let (spools, _) = Spools::open(self.disk.clone(), self.limits, self.wall(now)).map_err(|_| Dies)?;
        let config = UplinkConfig {
            plant: message::plant(),
            device: message::device(self.index),
            sender: SenderConfig::default(),
        };
        let run_id = ids();
        self.process = Some(Process {
            number,
            uplink: Uplink::new(spools, config, run_id.as_u64_pair().1),
            run_id: RunId(run_id),
            sync_number: 0,
            ticks_at: None,
            appended: Vec::new(),
        });
        self.begin("start", ids, now, truth)
    }

    pub(crate) fn begin(
        &mut self,
        reason: &str,
        ids: &mut impl FnMut() -> Uuid,
        now: Duration,
        truth: &mut Truth,
    ) -> Result<(), Dies> {
        let process = self.process.as_mut().ok_or(Dies)?;
        let spool = SpoolId(ids());
        process.uplink.begin(spool).map_err(|_| Dies)?;
        truth.markers += 1;
        let marker = truth.markers;
        let body = EventBody::AgentStarted(AgentStarted {
            run_id: process.run_id,
            agent_version: marker.to_string(),
            public_key: String::new(),
            equipment: Equipment::default(),
            reason: reason.to_owned(),
        });
        self.append((marker, false), &body, ids, now, truth)?;
        self.sync(truth)
    }

    /// A job's event. Every 50th is one that the server refuses.
    pub(crate) fn append_event(
        &mut self,
        ids: &mut impl FnMut() -> Uuid,
        now: Duration,
        truth: &mut Truth,
    ) -> Result<(), Dies> {
        truth.markers += 1;
        let marker = truth.markers;
        let mut code = marker.to_string();
        let refused = marker.is_multiple_of(50);
        if refused {
            truth.refused.insert(marker);
            code.push_str("/refused");
        }
        let body = EventBody::JobRejected(JobRejected {
            of: AttemptRef {
                job_id: JobId(Uuid::nil()),
                attempt: 1,
                fence: 1,
            },
            offer_id: OfferId(Uuid::nil()),
            code,
            detail: None,
        });
        self.append((marker, refused), &body, ids, now, truth)
    }

    fn append(
        &mut self,
        (marker, refused): (u64, bool),
        body: &EventBody,
        ids: &mut impl FnMut() -> Uuid,
        now: Duration,
        truth: &mut Truth,
    ) -> Result<(), Dies> {
        let (id, time) = (EventId(ids()), self.wall(now));
        let process = self.process.as_mut().ok_or(Dies)?;
        let draft = EventDraft {
            id,
            vin: None,
            time,
            traceparent: None,
        };
        if let Some(next) = process.uplink.spools().next_position() {
            truth.notes.push(Note::Begun {
                key: (self.index, next.spool, next.seq),
                id,
                marker,
                refused,
            });
        }
        match process.uplink.append(&draft, body) {
            Ok(position) => {
                process.appended.push((position, marker));
                Ok(())
            }
            // Not written: the bench tells its user, and goes on.
            Err(AppendError::Spool(SpoolError::Disk { .. })) if !self.disk.is_off() => Ok(()),
            Err(_) => Err(Dies),
        }
    }

    /// After this the events count.
    pub(crate) fn sync(&mut self, truth: &mut Truth) -> Result<(), Dies> {
        let process = self.process.as_mut().ok_or(Dies)?;
        match process.uplink.sync() {
            Ok(()) => {
                for (position, marker) in process.appended.drain(..) {
                    let key = (self.index, position.spool, position.seq);
                    truth.notes.push(Note::Counted(key));
                    truth.counted.insert(key, marker);
                }
                Ok(())
            }
            Err(SpoolError::Disk { .. }) if !self.disk.is_off() => Ok(()),
            Err(_) => Err(Dies),
        }
    }

    pub(crate) fn handle(&mut self, input: LinkInput, now: Duration) -> Vec<LinkEffect> {
        let wall = self.wall(now);
        let Some(process) = self.process.as_mut() else {
            return Vec::new();
        };
        process.uplink.handle(input, now, wall)
    }

    /// What the agent states.
    pub(crate) fn sync_facts(&mut self) -> Option<SyncFacts> {
        let process = self.process.as_mut()?;
        process.sync_number += 1;
        let (held, former) = process.uplink.sync_spools(process.sync_number);
        let predecessor = |p: fleet_wire::Predecessor| Predecessor {
            spool: p.spool,
            last_seq: p.last_seq,
        };
        Some(SyncFacts {
            number: process.sync_number,
            run_id: process.run_id,
            connect_counter: 1,
            generation: process.uplink.generation(),
            desired_version: 0,
            complete: held.len() < MAX_SPOOLS,
            held: held
                .iter()
                .map(|held| HeldSpool {
                    spool: held.spool_id,
                    predecessor: held.predecessor.map(predecessor),
                    first_kept: held.first_kept,
                    next_seq: held.next_seq,
                    receipted: held.receipted,
                    rejections_known: held.rejections_known,
                })
                .collect(),
            former: former
                .iter()
                .map(|former| Predecessor {
                    spool: former.spool_id,
                    last_seq: former.last_seq,
                })
                .collect(),
            jobs: Vec::new(),
            refusing_jobs: None,
        })
    }

    /// The agent ends; with `power` its disk loses what was not synced.
    pub(crate) fn kill(&mut self, power: bool) {
        self.process = None;
        self.connection = None;
        if power || self.disk.is_off() {
            self.disk.power_on();
        }
    }
}
