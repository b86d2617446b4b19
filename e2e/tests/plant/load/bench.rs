//! One simulated bench: the product's spool, sender and link on a disk in memory. Only what it tells is made up.

use std::collections::VecDeque;
use std::time::Duration;

use agent_link::link::{self, PresenceDocuments};
use agent_link::{
    EventDraft, LinkConfig, LinkEffect, LinkEvent, LinkHandle, LinkInput, SenderConfig, Uplink, UplinkConfig,
};
use anyhow::{Context as _, bail};
use fleet_domain::{DeviceId, EventId, PlantId, RunId, SpoolId, StoreGeneration};
use fleet_wire::event::{AgentStarted, Equipment};
use fleet_wire::presence::Presence;
use fleet_wire::sync::Sync;
use fleet_wire::{EventBody, EventContext, encode_event};
use spool::sim::SimDisk;
use spool::{Limits, Position, Spools};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::work::{Told, Work};
use super::{Pace, Standing};
use crate::history::{Made, Noted, Place, hash, read_disk};
use crate::rng::Rng;

/// Longest sleep without looking at the uplink's deadline again.
const LOOK: Duration = Duration::from_millis(500);
const SYNC_EVERY_MS: (u64, u64) = (48_000, 72_000);
/// The product's wait between two attempts to connect grows to 10 s; a test has less time.
const RECONNECT_AT_MOST: Duration = Duration::from_secs(1);

pub(super) struct Bench {
    pub(super) plant: PlantId,
    pub(super) device: DeviceId,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) rng: Rng,
    pub(super) work: Work,
    pub(super) pace: watch::Receiver<Pace>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) disk: SimDisk,
    /// Everything that was durable when it was noted.
    pub(super) noted: Vec<Noted>,
    pub(super) acknowledged: u64,
    /// Version of the list of jobs that came last; no job is ever taken.
    pub(super) list: Option<(StoreGeneration, u64)>,
}

/// One process of the bench.
struct Process {
    uplink: Uplink<SimDisk>,
    link: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    run_id: RunId,
    connect_counter: u64,
    sync_number: u64,
    answered: u64,
    sync_at: Option<Instant>,
    append_at: Instant,
    unsynced: Vec<Noted>,
    /// Durable and without receipt, oldest first.
    open: VecDeque<(Position, Instant)>,
}

/// How a process of a bench ended.
enum End {
    Restart,
    Over,
}

impl Bench {
    /// Lives until the load ends; gives everything that counts.
    pub(super) async fn run(mut self) -> anyhow::Result<Vec<Made>> {
        loop {
            let mut process = self.start()?;
            match self.live(&mut process).await? {
                End::Restart => self.die(process)?,
                End::Over => {
                    process.link.shutdown();
                    let goodbye = async { while process.events.recv().await.is_some() {} };
                    // The will says the same.
                    let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
                    break;
                }
            }
        }
        read_disk(&self.device, &self.disk, &self.noted)
    }

    fn start(&mut self) -> anyhow::Result<Process> {
        let (spools, opened) = Spools::open(self.disk.clone(), Limits::default(), fleet_clock::wall_now())?;
        let torn = |damage: &spool::Damage| !matches!(damage.kind, spool::DamageKind::Lost { .. });
        if !opened.damage.iter().all(torn) {
            bail!("{} lost counted events: {:?}", self.device, opened.damage);
        }
        let config = UplinkConfig {
            plant: self.plant.clone(),
            device: self.device.clone(),
            sender: SenderConfig::default(),
        };
        let mut uplink = Uplink::new(spools, config, self.rng.next());
        let run_id = RunId(fleet_clock::new_uuid());
        uplink.begin(SpoolId(fleet_clock::new_uuid()))?;
        let mut config = LinkConfig::new(
            self.plant.clone(),
            self.device.clone(),
            self.host.clone(),
            self.port,
            self.rng.next(),
        );
        config.reconnect_at_most = RECONNECT_AT_MOST;
        let (link, events) = link::spawn(config, move |counter| presence(run_id, counter));
        let mut process = Process {
            uplink,
            link,
            events,
            run_id,
            connect_counter: 0,
            sync_number: self.rng.below(1 << 32),
            answered: 0,
            sync_at: None,
            append_at: Instant::now() + self.wait(),
            unsynced: Vec::new(),
            open: VecDeque::new(),
        };
        self.began(&mut process, "start")?;
        Ok(process)
    }

    /// The first event of a spool.
    fn began(&mut self, process: &mut Process, reason: &str) -> anyhow::Result<()> {
        let body = EventBody::AgentStarted(AgentStarted {
            run_id: process.run_id,
            agent_version: "load".to_owned(),
            public_key: String::new(),
            equipment: Equipment::default(),
            reason: reason.to_owned(),
        });
        self.append(process, &Told { vin: None, body })?;
        self.sync(process)
    }

    /// Ends like a killed process, or as if the power had gone: then what was not synced may be lost.
    fn die(&mut self, mut process: Process) -> anyhow::Result<()> {
        if self.rng.chance(500) {
            let told = self.work.next(&mut self.rng);
            self.append(&mut process, &told)?;
            drop(process);
            self.disk.power_off();
            self.disk.power_on();
        }
        Ok(())
    }

    async fn live(&mut self, process: &mut Process) -> anyhow::Result<End> {
        loop {
            let pace = self.pace.borrow_and_update().clone();
            if pace.over {
                return Ok(End::Over);
            }
            let at = next_at(process, pace.every.is_some());
            tokio::select! {
                changed = self.pace.changed() => {
                    changed.context("the load is gone")?;
                    process.append_at = Instant::now() + self.wait();
                }
                event = process.events.recv() => {
                    let event = event.context("the link has ended by itself")?;
                    self.take(process, event)?;
                }
                () = sleep_until(at) => {
                    if pace.every.is_some() && Instant::now() >= process.append_at {
                        if self.rng.chance(pace.restart_permille) {
                            return Ok(End::Restart);
                        }
                        let told = self.work.next(&mut self.rng);
                        self.append(process, &told)?;
                        self.sync(process)?;
                        process.append_at = Instant::now() + self.wait();
                    }
                    if process.sync_at.is_some_and(|at| Instant::now() >= at) {
                        self.send_sync(process);
                    }
                    self.uplink(process, LinkInput::Tick)?;
                }
            }
            self.say(process);
        }
    }

    /// Time to the next event.
    fn wait(&mut self) -> Duration {
        let every = self.pace.borrow().every.unwrap_or(Duration::from_secs(1));
        let millis = u64::try_from(every.as_millis()).unwrap_or(1000);
        self.rng.millis(millis / 2, millis * 3 / 2)
    }

    fn append(&mut self, process: &mut Process, told: &Told) -> anyhow::Result<()> {
        let draft = EventDraft {
            id: EventId(fleet_clock::new_uuid()),
            vin: told.vin.clone(),
            time: fleet_clock::wall_now(),
            traceparent: None,
        };
        let position = process.uplink.append(&draft, &told.body)?;
        let context = EventContext {
            id: draft.id,
            plant: self.plant.clone(),
            device: self.device.clone(),
            vin: draft.vin,
            time: draft.time,
            spool: position.spool,
            seq: position.seq,
            traceparent: None,
        };
        process.unsynced.push(Noted {
            place: Place {
                device: self.device.to_string(),
                spool: position.spool,
                seq: position.seq,
            },
            id: draft.id,
            hash: hash(&encode_event(&context, &told.body)?),
        });
        process.open.push_back((position, Instant::now()));
        Ok(())
    }

    /// From here on what was appended counts.
    fn sync(&mut self, process: &mut Process) -> anyhow::Result<()> {
        process.uplink.sync()?;
        self.noted.append(&mut process.unsynced);
        self.uplink(process, LinkInput::Tick)
    }

    fn take(&mut self, process: &mut Process, event: LinkEvent) -> anyhow::Result<()> {
        let input = match event {
            LinkEvent::Up {
                connection,
                connect_counter,
                receive_maximum,
                maximum_packet_size,
                session_present: _,
            } => {
                process.connect_counter = connect_counter;
                self.uplink(
                    process,
                    LinkInput::Connected {
                        connection,
                        receive_maximum,
                        maximum_packet_size,
                    },
                )?;
                self.send_sync(process);
                return Ok(());
            }
            LinkEvent::Down { connection, .. } => {
                process.connect_counter = 0;
                process.sync_at = None;
                LinkInput::Disconnected { connection }
            }
            LinkEvent::PubAck {
                connection,
                position,
                reason,
            } => LinkInput::PubAck {
                connection,
                position,
                reason,
            },
            LinkEvent::Receipt(receipt) => LinkInput::Receipt(receipt),
            LinkEvent::SyncAnswer(answer) => {
                if answer.number == process.sync_number {
                    process.answered = answer.number;
                }
                LinkInput::SyncAnswer(answer)
            }
            LinkEvent::Commands(list) => {
                let newer = Some((list.store_generation, list.desired_version)) > self.list;
                if newer {
                    self.list = Some((list.store_generation, list.desired_version));
                }
                return Ok(());
            }
            LinkEvent::Undecodable { channel, error } => bail!("{} got {channel:?}: {error}", self.device),
        };
        self.uplink(process, input)
    }

    fn uplink(&mut self, process: &mut Process, input: LinkInput) -> anyhow::Result<()> {
        let (now, wall) = (fleet_clock::boot_now(), fleet_clock::wall_now());
        for effect in process.uplink.handle(input, now, wall) {
            match effect {
                LinkEffect::Publish {
                    connection,
                    position,
                    properties,
                    payload,
                } => process
                    .link
                    .publish_event(connection, position, properties, payload),
                LinkEffect::Reconnect { connection, .. } => process.link.reconnect(connection),
                LinkEffect::SyncWanted => self.send_sync(process),
                LinkEffect::GenerationChanged { .. } | LinkEffect::Alarm(_) => {}
                // Disks here are neither cloned nor restored, so a server that says so is wrong.
                effect @ (LinkEffect::SealSpool { .. } | LinkEffect::BenchRestored) => {
                    bail!("{}: {effect:?} and nothing was restored here", self.device)
                }
            }
        }
        Ok(())
    }

    fn send_sync(&mut self, process: &mut Process) {
        if process.connect_counter == 0 {
            return;
        }
        // A disk in memory refuses nothing; what it did not write it writes the next time.
        let _ = process.uplink.compact(fleet_clock::wall_now());
        process.sync_number += 1;
        let (spools, former) = process.uplink.sync_spools(process.sync_number);
        let generation = process.uplink.generation();
        let sync = Sync {
            number: process.sync_number,
            answered: process.answered,
            run_id: process.run_id,
            connect_counter: process.connect_counter,
            store_generation: generation,
            desired_version: self
                .list
                .filter(|(of, _)| Some(*of) == generation)
                .map_or(0, |(_, version)| version),
            spools,
            former,
            jobs: Vec::new(),
            time: fleet_clock::wall_now(),
            refusing_jobs: None,
        };
        process.link.publish_sync(sync.encode());
        let (least, most) = SYNC_EVERY_MS;
        process.sync_at = Some(Instant::now() + self.rng.millis(least, most));
    }

    /// Tells the load how the bench stands.
    fn say(&mut self, process: &mut Process) {
        let mut slowest = Duration::ZERO;
        while let Some((position, since)) = process.open.front() {
            if !process.uplink.settled(*position) {
                break;
            }
            slowest = slowest.max(since.elapsed());
            self.acknowledged += 1;
            process.open.pop_front();
        }
        let standing = Standing {
            durable: self.noted.len() as u64,
            acknowledged: self.acknowledged,
            outstanding: process.uplink.outstanding(),
            connected: process.connect_counter > 0,
            generation: process.uplink.generation(),
            slowest: slowest.max(self.standing.borrow().slowest),
        };
        self.standing.send_if_modified(|known| {
            let changed = *known != standing;
            *known = standing;
            changed
        });
    }
}

fn presence(run_id: RunId, connect_counter: u64) -> PresenceDocuments {
    let document = |online| {
        let presence = Presence {
            run_id,
            connect_counter,
            online,
            will: !online,
            time: fleet_clock::wall_now(),
        };
        presence.encode()
    };
    PresenceDocuments {
        online: document(true),
        offline: document(false),
    }
}

fn next_at(process: &Process, appends: bool) -> Instant {
    let now = Instant::now();
    let deadline = process
        .uplink
        .next_deadline()
        .map(|at| now + at.saturating_sub(fleet_clock::boot_now()));
    let append = appends.then_some(process.append_at);
    let next = [deadline, append, process.sync_at].into_iter().flatten().min();
    // A deadline that is due and does not go away must not become a busy loop.
    next.unwrap_or(now + LOOK)
        .clamp(now + Duration::from_millis(1), now + LOOK)
}
