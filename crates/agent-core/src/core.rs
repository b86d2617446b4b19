//! The state machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_domain::{EventId, RunId, StoreGeneration, Vin};
use fleet_wire::EventBody;
use fleet_wire::event::{JobStarted, StepFinished};
use fleet_wire::presence::Presence;
use fleet_wire::sync::BenchJobState;
use jiff::Timestamp;

use crate::event::{Append, AttemptKey, Effect, Event, JobResult, Times};
use crate::state::{JobView, Offer, OpenJob, Saved};

mod sync;

/// How long to wait before a state that could not be written is tried again.
const PERSIST_RETRY: Duration = Duration::from_secs(5);

/// What the core needs to know about the process.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The process.
    pub run_id: RunId,
    /// Identity of the machine's boot; boot times of another one mean nothing.
    pub boot_id: String,
    /// Number of the first sync: random and below 2^32, so that a late answer to an earlier process matches
    /// nothing.
    pub first_sync_number: u64,
    /// Seed of the sync's jitter.
    pub seed: u64,
    /// Of [`Saved::unconfirmed`], those that were found in a spool.
    pub found: BTreeSet<EventId>,
}

/// How far procedure and files of an attempt are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Preparation {
    /// Not asked for.
    #[default]
    None,
    /// Asked for once.
    Asked,
    /// Here and checked.
    Ready,
}

/// What is known of an attempt in this process only.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Volatile {
    pub(crate) preparation: Preparation,
    /// Was open when an earlier process ended, and is not decided yet.
    pub(crate) carried: bool,
    pub(crate) point_of_no_return: bool,
    /// Taken away from this bench.
    pub(crate) fenced: bool,
}

/// The end of an attempt: the job before it, the result, and the trace context of the work.
pub(crate) type Final = (OpenJob, JobResult, Option<String>);

/// The core of an agent. One owner; see the crate's documentation.
#[derive(Debug)]
pub struct AgentCore {
    pub(crate) state: Saved,
    /// As on disk.
    pub(crate) durable: Saved,
    pub(crate) volatile: BTreeMap<AttemptKey, Volatile>,
    pub(crate) stopping: bool,
    run_id: RunId,
    boot_id: String,
    revision: u64,
    /// The state changed in this event and has to be saved before any other effect.
    pub(crate) dirty: bool,
    /// Finals since the last save, should it fail.
    pub(crate) finals: Vec<Final>,
    /// Finals whose save has failed: they go with the next one.
    pub(crate) held: Vec<Final>,
    /// Handed out to be saved, not yet known to be on disk.
    saving: Option<(u64, Saved)>,
    pub(crate) persist_failed: Option<(String, Duration)>,
    pub(crate) spool_failed: Option<String>,
    pub(crate) room: Option<String>,
    /// Connects of this process, while connected.
    connected: Option<u64>,
    sync_number: u64,
    sync_answered: u64,
    sync_at: Option<Duration>,
    pub(crate) sync_now: bool,
    jitter: u64,
}

/// Where effects go, and where ids come from.
pub(crate) struct Out<'a> {
    /// What does not depend on the save of this event's state.
    pub(crate) first: Vec<Effect>,
    /// What does.
    pub(crate) then: Vec<Effect>,
    pub(crate) ids: &'a mut dyn FnMut() -> EventId,
}

impl<'a> Out<'a> {
    fn new(ids: &'a mut dyn FnMut() -> EventId) -> Self {
        Self {
            first: Vec::new(),
            then: Vec::new(),
            ids,
        }
    }
}

impl AgentCore {
    /// The core of a process that begins, and what it has to do first. `saved` is what an earlier process saved.
    pub fn boot(
        saved: Option<Saved>,
        boot: Boot,
        now: Times,
        ids: &mut dyn FnMut() -> EventId,
    ) -> (Self, Vec<Effect>) {
        let rebooted = saved.as_ref().is_none_or(|saved| saved.boot_id != boot.boot_id);
        let durable = saved.unwrap_or_default();
        let mut core = Self {
            state: durable.clone(),
            durable,
            volatile: BTreeMap::new(),
            stopping: false,
            run_id: boot.run_id,
            boot_id: boot.boot_id,
            revision: 0,
            dirty: false,
            finals: Vec::new(),
            held: Vec::new(),
            saving: None,
            persist_failed: None,
            spool_failed: None,
            room: None,
            connected: None,
            sync_number: boot.first_sync_number,
            sync_answered: 0,
            sync_at: None,
            sync_now: false,
            jitter: boot.seed | 1,
        };
        core.durable.confirm(&boot.found);
        core.state.confirm(&boot.found);
        let mut out = Out::new(ids);
        for pending in &core.state.outbox {
            out.first.push(Effect::AppendEvent(pending.append()));
        }
        core.restore(rebooted, &mut out);
        let effects = core.finish_event(now, out);
        (core, effects)
    }

    /// A reboot voids offers that were not accepted; what was accepted waits for the first answered sync.
    fn restore(&mut self, rebooted: bool, out: &mut Out<'_>) {
        for job in &self.state.open {
            if !job.is_over() {
                let volatile = self.volatile.entry(job.key()).or_default();
                volatile.carried = true;
            }
        }
        if rebooted {
            let void: Vec<Offer> = self.state.unanswered().cloned().collect();
            for offer in void {
                let detail = "the bench was restarted before it accepted the offer";
                self.reject(&offer, "offer_void", detail, out);
            }
            self.state.boot_id.clone_from(&self.boot_id);
            // A limit of another boot can't be counted on: what has not started by now will not.
            for job in &mut self.state.open {
                job.start_by = Duration::ZERO;
            }
            self.dirty = true;
        }
    }

    /// Takes an event and says what to do. `ids` makes event ids.
    pub fn apply(&mut self, event: Event, now: Times, ids: &mut dyn FnMut() -> EventId) -> Vec<Effect> {
        let mut out = Out::new(ids);
        let out_ref = &mut out;
        match event {
            Event::Persisted { revision } => self.on_persisted(revision),
            Event::PersistFailed { detail } => {
                self.on_persist_failed(detail, now);
                // Nothing else is decided on a state that can't be saved: it would fail again at once.
                return Vec::new();
            }
            Event::EventsDurable(ids) => {
                let ids = ids.into_iter().collect();
                self.state.confirm(&ids);
                self.durable.confirm(&ids);
                if let Some((_, saving)) = &mut self.saving {
                    saving.confirm(&ids);
                }
            }
            Event::SpoolFailed { detail } => self.spool_failed = Some(detail),
            Event::Room { refusing } => self.room = refusing,
            Event::Connected { connect_counter } => {
                self.connected = Some(connect_counter);
                self.sync_now = true;
            }
            Event::Disconnected => {
                self.connected = None;
                self.sync_at = None;
            }
            Event::Commands(list) => self.on_commands(list, now, out_ref),
            Event::GenerationChanged(generation) => self.on_generation(generation, out_ref),
            Event::BenchRestored => self.on_bench_restored(out_ref),
            Event::SyncAnswered { number } => {
                self.sync_answered = number;
                self.on_sync_answered(out_ref);
            }
            Event::SyncWanted => self.sync_now = true,
            Event::Tick => {}
            Event::Prepared(key) => {
                if let Some(volatile) = self.volatile.get_mut(&key) {
                    volatile.preparation = Preparation::Ready;
                }
            }
            Event::PreparationFailed { key, code, detail } => {
                self.on_preparation_failed(key, &code, detail, out_ref);
            }
            Event::Started {
                key,
                steps_total,
                traceparent,
            } => self.on_started(key, steps_total, traceparent, out_ref),
            Event::StepReported { step, traceparent } => self.on_step(step, traceparent, out_ref),
            Event::PointOfNoReturn(key) => {
                if let Some(volatile) = self.volatile.get_mut(&key) {
                    volatile.point_of_no_return = true;
                }
            }
            Event::Finished {
                key,
                result,
                traceparent,
            } => self.finish(key, result, traceparent, out_ref),
            Event::Stop => self.on_stop(out_ref),
        }
        self.finish_event(now, out)
    }

    /// When to say [`Event::Tick`] at the latest, in boot time.
    pub fn next_deadline(&self) -> Option<Duration> {
        let sync = self.sync_at.filter(|_| self.connected.is_some());
        let retry = self.persist_failed.as_ref().map(|(_, at)| *at);
        let offers = self.state.unanswered().map(|offer| offer.start_by);
        let open = self
            .state
            .open
            .iter()
            .filter(|job| job.state == BenchJobState::Accepted && !self.of(job.key()).carried)
            .map(|job| job.start_by);
        offers.chain(open).chain(sync).chain(retry).min()
    }

    /// The jobs that are open, for a display.
    pub fn jobs(&self) -> Vec<JobView> {
        self.state.jobs()
    }

    /// Generation and version of the list that is on disk.
    pub fn durable_list(&self) -> Option<(StoreGeneration, u64)> {
        self.durable.list()
    }

    /// Why no job is taken, if so.
    pub fn refusing_jobs(&self) -> Option<String> {
        let save = self.persist_failed.as_ref().map(|(detail, _)| detail.clone());
        self.spool_failed.clone().or(save).or_else(|| self.room.clone())
    }

    /// The attempt that runs, if one does.
    pub fn running(&self) -> Option<AttemptKey> {
        self.state
            .open
            .iter()
            .find(|job| job.state == BenchJobState::Running)
            .map(OpenJob::key)
    }

    pub(crate) fn of(&self, key: AttemptKey) -> Volatile {
        self.volatile.get(&key).copied().unwrap_or_default()
    }

    fn on_persisted(&mut self, revision: u64) {
        if let Some((_, saved)) = self.saving.take_if(|(of, _)| *of == revision) {
            self.durable = saved;
            self.persist_failed = None;
            self.finals.clear();
        }
    }

    /// The disk holds the state before. What was decided since then is undone, but for results: those are
    /// facts. They are held until the disk takes them, because an event that is in a spool and not in the state
    /// would be said again after a restart.
    fn on_persist_failed(&mut self, detail: String, now: Times) {
        self.persist_failed = Some((detail, now.boot.saturating_add(PERSIST_RETRY)));
        self.saving = None;
        self.state = self.durable.clone();
        self.dirty = false;
        // What was said of a job that the disk does not know is decided again when the list comes again.
        let known = self.finals.drain(..);
        let known = known.filter(|(job, ..)| self.durable.open(job.key()).is_some());
        self.held.extend(known);
        for volatile in self.volatile.values_mut() {
            // The order to prepare may have been among the effects that were dropped.
            if volatile.preparation == Preparation::Asked {
                volatile.preparation = Preparation::None;
            }
        }
    }

    fn finish_held(&mut self, out: &mut Out<'_>) {
        for (job, result, traceparent) in std::mem::take(&mut self.held) {
            self.finish(job.key(), result, traceparent, out);
        }
    }

    fn on_generation(&mut self, generation: StoreGeneration, out: &mut Out<'_>) {
        if self.state.generation.is_some_and(|known| known >= generation) {
            return;
        }
        self.state.generation = Some(generation);
        self.state.desired_version = 0;
        self.dirty = true;
        // An old generation's offer must not be accepted after a sync of the new one was sent.
        self.withdraw_offers(&BTreeSet::new(), out);
        self.sync_now = true;
    }

    /// What this disk says about its jobs is older than what happened.
    fn on_bench_restored(&mut self, out: &mut Out<'_>) {
        for key in self.carried() {
            let detail = "the bench's disk is older than what it had reported";
            self.doubt(key, "bench_restored", detail, out);
        }
    }

    fn carried(&self) -> Vec<AttemptKey> {
        let carried = self.volatile.iter().filter(|(_, volatile)| volatile.carried);
        carried.map(|(key, _)| *key).collect()
    }

    fn on_preparation_failed(&mut self, key: AttemptKey, code: &str, detail: String, out: &mut Out<'_>) {
        if let Some(offer) = self.state.offer(key).cloned() {
            self.reject(&offer, code, &detail, out);
        } else if self
            .state
            .open(key)
            .is_some_and(|job| job.state == BenchJobState::Accepted)
        {
            self.abort(key, code, detail, out);
        }
    }

    fn on_started(
        &mut self,
        key: AttemptKey,
        steps_total: u32,
        traceparent: Option<String>,
        out: &mut Out<'_>,
    ) {
        let Some(job) = self.state.open(key) else { return };
        if job.state == BenchJobState::Running {
            let body = EventBody::JobStarted(JobStarted {
                of: job.of,
                steps_total,
            });
            let traceparent = traceparent.or_else(|| job.traceparent.clone());
            append(job.vin(), traceparent, body, out);
        }
    }

    fn on_step(&mut self, step: StepFinished, traceparent: Option<String>, out: &mut Out<'_>) {
        let Some(job) = self.state.open(step.of.into()) else {
            return;
        };
        if job.state == BenchJobState::Running {
            let traceparent = traceparent.or_else(|| job.traceparent.clone());
            append(job.vin(), traceparent, EventBody::StepFinished(step), out);
        }
    }

    fn on_stop(&mut self, out: &mut Out<'_>) {
        self.stopping = true;
        // What is known to be in a spool by now need not be looked for at the next start.
        self.dirty = true;
        if let Some(key) = self.running()
            && !self.of(key).point_of_no_return
        {
            out.first.push(Effect::StopAttempt {
                key,
                reason: "agent_stopping",
            });
        }
        let preparing = self
            .volatile
            .iter()
            .filter(|(_, volatile)| volatile.preparation == Preparation::Asked);
        out.first
            .extend(preparing.map(|(key, _)| Effect::DropPreparation(*key)));
    }

    /// What follows from every event: limits, preparation, acceptance, start, sync, and the save before all.
    fn finish_event(&mut self, now: Times, mut out: Out<'_>) -> Vec<Effect> {
        self.expire(now, &mut out);
        self.prepare(&mut out);
        self.accept(&mut out);
        self.start(now, &mut out);
        let retry = self
            .persist_failed
            .as_ref()
            .is_some_and(|(_, at)| *at <= now.boot);
        if self.dirty || retry {
            self.finish_held(&mut out);
        }
        let mut effects = std::mem::take(&mut out.first);
        if self.dirty || retry {
            self.revision = self.revision.saturating_add(1);
            self.dirty = false;
            effects.push(Effect::PersistState {
                revision: self.revision,
                bytes: self.state.encode(),
            });
            self.saving = Some((self.revision, self.state.clone()));
            if let Some((_, at)) = &mut self.persist_failed {
                *at = now.boot.saturating_add(PERSIST_RETRY);
            }
        }
        self.sync_if_due(now, &mut out);
        effects.append(&mut out.then);
        effects
    }
}

fn append(vin: Option<Vin>, traceparent: Option<String>, body: EventBody, out: &mut Out<'_>) {
    let id = (out.ids)();
    out.first.push(Effect::AppendEvent(Append {
        id,
        vin,
        traceparent,
        body,
    }));
}

/// The presence of a process: what it publishes after a connect, as its will, and at an orderly end.
pub fn presence(run_id: RunId, connect_counter: u64, online: bool, will: bool, time: Timestamp) -> Presence {
    Presence {
        run_id,
        connect_counter,
        online,
        will,
        time,
    }
}
