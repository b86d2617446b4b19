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

use crate::server::{self, Key};

/// The wall clock of a moment of the run.
pub(crate) fn wall(now: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::try_from(now).unwrap_or_default()
}

/// What must be true of a bench's events in the end.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Counted: must be stored.
    pub(crate) counted: BTreeMap<Key, u64>,
    /// Counted once, then its disk was restored to an older state: may be stored.
    pub(crate) forgiven: BTreeSet<Key>,
    /// Every content that was ever tried at a place.
    pub(crate) tried: BTreeMap<Key, BTreeSet<u64>>,
    /// Spools by age, by bench.
    pub(crate) begun: Vec<Vec<SpoolId>>,
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
            image: None,
            limits,
        }
    }

    /// Starts the agent: what the disk holds, then a new spool with its first event.
    pub(crate) fn start(
        &mut self,
        number: u64,
        ids: &mut impl FnMut() -> Uuid,
        now: Duration,
        truth: &mut Truth,
    ) -> Result<(), Dies> {
        let (spools, _) = Spools::open(self.disk.clone(), self.limits, wall(now)).map_err(|_| Dies)?;
        let config = UplinkConfig {
            plant: server::plant(),
            device: server::device(self.index),
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
        truth.begun[self.index].push(spool);
        truth.markers += 1;
        let marker = truth.markers;
        let body = EventBody::AgentStarted(AgentStarted {
            run_id: process.run_id,
            agent_version: marker.to_string(),
            public_key: String::new(),
            equipment: Equipment::default(),
            reason: reason.to_owned(),
        });
        self.append(marker, &body, ids, now, truth)?;
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
        if marker.is_multiple_of(50) {
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
        self.append(marker, &body, ids, now, truth)
    }

    fn append(
        &mut self,
        marker: u64,
        body: &EventBody,
        ids: &mut impl FnMut() -> Uuid,
        now: Duration,
        truth: &mut Truth,
    ) -> Result<(), Dies> {
        let process = self.process.as_mut().ok_or(Dies)?;
        let draft = EventDraft {
            id: EventId(ids()),
            vin: None,
            time: wall(now),
            traceparent: None,
        };
        if let Some(next) = process.uplink.spools().next_position() {
            truth
                .tried
                .entry((self.index, next.spool, next.seq))
                .or_default()
                .insert(marker);
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
                    truth
                        .counted
                        .insert((self.index, position.spool, position.seq), marker);
                }
                Ok(())
            }
            Err(SpoolError::Disk { .. }) if !self.disk.is_off() => Ok(()),
            Err(_) => Err(Dies),
        }
    }

    pub(crate) fn handle(&mut self, input: LinkInput, now: Duration) -> Vec<LinkEffect> {
        let Some(process) = self.process.as_mut() else {
            return Vec::new();
        };
        process.uplink.handle(input, now, wall(now))
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
