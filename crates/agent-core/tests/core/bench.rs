//! A bench around the core: a disk for the state, a spool, and a runner that remembers what it started.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::{AgentCore, AttemptKey, Boot, Effect, Event, JobResult, Saved, SyncParts, Times};
use fleet_domain::{EventId, JobId, OfferId, RunId, StoreGeneration};
use fleet_wire::EventBody;
use fleet_wire::command::{Commands, DesiredJob, DesiredState, JobDocument, JobKind, ProcedureRef};
use fleet_wire::event::{AttemptRef, Verdict};
use uuid::Uuid;

pub(crate) const START_WITHIN_S: u32 = 60;

pub(crate) struct Bench {
    pub(crate) core: AgentCore,
    /// The state file.
    pub(crate) disk: Option<Vec<u8>>,
    /// Durable events.
    pub(crate) spool: Vec<(EventId, EventBody)>,
    /// What the runner was told to start, over all processes.
    pub(crate) started: Vec<AttemptKey>,
    pub(crate) syncs: Vec<SyncParts>,
    /// Effects of this process that the table looks at.
    pub(crate) asked: Vec<Effect>,
    pub(crate) preparing: BTreeSet<AttemptKey>,
    /// Effects that are carried out before the power goes; none: no power cut.
    pub(crate) power: Option<usize>,
    pub(crate) save_fails: bool,
    pub(crate) boot_s: u64,
    boots: u32,
    runs: u128,
    next_id: u128,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let mut bench = Self {
            core: boot(None, 1, 0, BTreeSet::new(), 0, &mut 0).0,
            disk: None,
            spool: Vec::new(),
            started: Vec::new(),
            syncs: Vec::new(),
            asked: Vec::new(),
            preparing: BTreeSet::new(),
            power: None,
            save_fails: false,
            boot_s: 1000,
            boots: 1,
            runs: 0,
            next_id: 0,
        };
        bench.restart();
        bench
    }

    /// The process ends without a word and another one begins.
    pub(crate) fn restart(&mut self) {
        self.power = None;
        self.preparing.clear();
        self.asked.clear();
        self.runs += 1;
        let saved = self
            .disk
            .as_ref()
            .map(|bytes| Saved::decode(bytes).expect("what was saved can be read"));
        let found = saved.as_ref().map(Saved::unconfirmed).unwrap_or_default();
        let found = found
            .into_iter()
            .filter(|id| self.spool.iter().any(|(known, _)| known == id))
            .collect();
        let (core, effects) = boot(
            saved,
            self.boots,
            self.runs,
            found,
            self.boot_s,
            &mut self.next_id,
        );
        self.core = core;
        self.carry_out(effects);
    }

    /// The machine is restarted: boot time begins again.
    pub(crate) fn reboot(&mut self) {
        self.boots += 1;
        self.boot_s = 1;
        self.restart();
    }

    pub(crate) fn apply(&mut self, event: Event) {
        let effects = {
            let next = &mut self.next_id;
            let mut ids = || fresh(next);
            self.core.apply(event, times(self.boot_s), &mut ids)
        };
        self.carry_out(effects);
    }

    /// Carries effects out as an agent does; stops for good when the power goes.
    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut durable = Vec::new();
        for effect in effects {
            if let Some(left) = &mut self.power {
                if *left == 0 {
                    return;
                }
                *left -= 1;
            }
            self.asked.push(effect.clone());
            match effect {
                Effect::PersistState { revision, bytes } => {
                    if self.save_fails {
                        self.apply(Event::PersistFailed {
                            detail: "no space left".to_owned(),
                        });
                        break;
                    }
                    self.disk = Some(bytes);
                    self.apply(Event::Persisted { revision });
                }
                Effect::AppendEvent(append) => {
                    self.spool.push((append.id, append.body));
                    durable.push(append.id);
                }
                Effect::Prepare { key, .. } => {
                    self.preparing.insert(key);
                }
                Effect::DropPreparation(key) => {
                    self.preparing.remove(&key);
                }
                Effect::StartAttempt { of, .. } => self.started.push(of.into()),
                Effect::SendSync(parts) => {
                    self.check_sync(&parts);
                    self.syncs.push(parts);
                }
                Effect::RecoverAttempt { .. } | Effect::StopAttempt { .. } => {}
            }
        }
        if !durable.is_empty() && self.power != Some(0) {
            self.apply(Event::EventsDurable(durable));
        }
    }

    /// What is stated is on disk.
    fn check_sync(&self, parts: &SyncParts) {
        let Some(stated) = parts.durable_list else { return };
        let saved = self
            .disk
            .as_ref()
            .expect("a version is stated, nothing was saved");
        let saved = Saved::decode(saved).expect("what was saved can be read");
        assert!(
            saved.list() >= Some(stated),
            "stated {stated:?}, on disk is {:?}",
            saved.list()
        );
    }

    pub(crate) fn list(&mut self, version: u64, jobs: Vec<DesiredJob>) {
        self.apply(Event::Commands(commands(1, version, jobs)));
    }

    pub(crate) fn prepared(&mut self, job: u128) {
        self.apply(Event::Prepared(key(job)));
    }

    pub(crate) fn finished(&mut self, job: u128, verdict: Verdict) {
        self.apply(Event::Finished {
            key: key(job),
            result: result(verdict),
            traceparent: None,
        });
    }

    pub(crate) fn answered(&mut self) {
        self.apply(Event::SyncAnswered { number: 1 });
    }

    /// The names of the durable events of a job, with the verdict or code.
    pub(crate) fn told(&self, job: u128) -> Vec<String> {
        self.spool
            .iter()
            .filter_map(|(_, body)| match body {
                EventBody::JobAccepted(body) if of(body.of, job) => Some("accepted".to_owned()),
                EventBody::JobRejected(body) if of(body.of, job) => Some(format!("rejected {}", body.code)),
                EventBody::JobStarted(body) if of(body.of, job) => Some("started".to_owned()),
                EventBody::JobFinished(body) if of(body.of, job) => {
                    Some(format!("{:?} {}", body.verdict, body.reason_code).to_lowercase())
                }
                _ => None,
            })
            .collect()
    }

    pub(crate) fn state(&self, job: u128) -> String {
        let jobs = self.core.jobs();
        let found = jobs
            .iter()
            .find(|view| view.job_id == JobId(Uuid::from_u128(job)));
        found.map_or_else(|| "absent".to_owned(), |view| view.state.clone())
    }

    pub(crate) fn final_events(&self) -> BTreeMap<AttemptKey, usize> {
        let mut count = BTreeMap::new();
        for (_, body) in &self.spool {
            if let EventBody::JobFinished(body) = body {
                *count.entry(body.of.into()).or_default() += 1;
            }
        }
        count
    }

    pub(crate) fn was_asked(&self, wanted: impl Fn(&Effect) -> bool) -> bool {
        self.asked.iter().any(wanted)
    }
}

fn of(of: AttemptRef, job: u128) -> bool {
    of.job_id == JobId(Uuid::from_u128(job))
}

fn fresh(next: &mut u128) -> EventId {
    *next += 1;
    EventId(Uuid::from_u128(*next))
}

fn times(boot_s: u64) -> Times {
    Times {
        boot: Duration::from_secs(boot_s),
        wall: "2026-03-04T05:06:07Z".parse().expect("a time"),
    }
}

fn boot(
    saved: Option<Saved>,
    boot_number: u32,
    run: u128,
    found: BTreeSet<EventId>,
    now_s: u64,
    next_id: &mut u128,
) -> (AgentCore, Vec<Effect>) {
    let process = Boot {
        run_id: RunId(Uuid::from_u128(run)),
        boot_id: format!("boot {boot_number}"),
        first_sync_number: 1,
        seed: 7,
        found,
    };
    AgentCore::boot(saved, process, times(now_s), &mut || fresh(next_id))
}

pub(crate) fn key(job: u128) -> AttemptKey {
    AttemptKey {
        job_id: JobId(Uuid::from_u128(job)),
        attempt: 1,
    }
}

pub(crate) fn generation(number: u128) -> StoreGeneration {
    StoreGeneration(Uuid::from_u128(number))
}

pub(crate) fn result(verdict: Verdict) -> JobResult {
    JobResult {
        verdict,
        reason_code: "by_runner".to_owned(),
        detail: None,
        software: BTreeMap::from([("ESP".to_owned(), "2.4.0".to_owned())]),
        record: Some("a.b.c".to_owned()),
    }
}

pub(crate) fn document() -> JobDocument {
    JobDocument {
        kind: JobKind::Flash,
        vin: "WDB1110101A000001".parse().expect("a VIN"),
        ecu: "ESP".to_owned(),
        procedure: ProcedureRef {
            id: "flash.esp.app".to_owned(),
            version: "1.0".to_owned(),
            sha256: "0".repeat(64),
            path: "/api/v1/procedures/flash.esp.app/1.0".to_owned(),
        },
        artifacts: Vec::new(),
        parameters: BTreeMap::new(),
        start_within_s: START_WITHIN_S,
        priority: 0,
        requested_by: "local".to_owned(),
    }
}

/// An entry of the list. The offer's id is the job's number.
pub(crate) fn entry(job: u128, state: DesiredState) -> DesiredJob {
    let offered = state == DesiredState::Offered;
    DesiredJob {
        job_id: JobId(Uuid::from_u128(job)),
        attempt: 1,
        fence: 7,
        offer_id: offered.then(|| OfferId(Uuid::from_u128(job))),
        state,
        traceparent: None,
        job: Some(document()),
    }
}

pub(crate) fn offered(job: u128) -> DesiredJob {
    entry(job, DesiredState::Offered)
}

pub(crate) fn commands(of: u128, version: u64, jobs: Vec<DesiredJob>) -> Commands {
    Commands {
        store_generation: generation(of),
        desired_version: version,
        jobs,
        time: "2026-03-04T05:06:07Z".parse().expect("a time"),
    }
}
