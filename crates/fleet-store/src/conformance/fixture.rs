//! A bench's side of the story, in few words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleet_domain::report::StepReport;
use fleet_domain::{
    AttemptRef, BenchReport, DeviceId, Digest, Equipment, EventId, HeldSpool, JobId, JobKind, Outcome, Place,
    Predecessor, PresenceFacts, RunId, Seq, Slot, SpoolId, StoreGeneration, SyncFacts, Verdict, Vin,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{
    DesiredEntry, Inbound, InboundEvent, InboundMessage, IngestBatch, IngestOutcome, JobRow, NewJob,
    ProcedureUse, SlotTerm, Store,
};

/// A store, a clock and a counter for identifiers.
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The server's clock.
    pub now: Timestamp,
    /// The leases that batches are given under.
    pub terms: Vec<SlotTerm>,
    next: u128,
    numbers: BTreeMap<DeviceId, u64>,
}

/// A bench with one spool that is being written.
#[derive(Debug, Clone)]
pub struct Bench {
    /// Its name.
    pub device: DeviceId,
    /// The spool that it writes.
    pub spool: SpoolId,
    /// Its process.
    pub run: RunId,
    /// Position of its next event.
    pub next_seq: Seq,
    /// The spool before.
    pub predecessor: Option<Predecessor>,
}

impl Bench {
    fn take(&mut self) -> Place {
        let seq = self.next_seq;
        self.next_seq += 1;
        Place {
            spool: self.spool,
            seq,
            predecessor: self.predecessor.filter(|_| seq == 1),
            hole_to: None,
        }
    }
}

/// A stand-in for SHA-256, which this crate does not need: equal bytes, equal digest.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    let mut state = [0x5au8; 32];
    for (at, byte) in bytes.iter().enumerate() {
        let slot = at % 32;
        state[slot] = state[slot].rotate_left(3) ^ byte.wrapping_add(u8::try_from(at % 251).unwrap());
    }
    Digest(state)
}

impl Fixture {
    /// A fixture without leases: see [`Fixture::lease_all`].
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            now: "2026-05-04T06:00:00Z".parse().unwrap(),
            terms: Vec::new(),
            next: 0x0196_9999_0000_7000_8000_0000_0000_0000,
            numbers: BTreeMap::new(),
        }
    }

    /// The next identifier.
    pub fn uuid(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u128(self.next)
    }

    /// A generation that is higher than every one before.
    pub fn generation(&mut self) -> StoreGeneration {
        StoreGeneration(self.uuid())
    }

    /// Time goes on.
    pub fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// Takes the lease of every slot.
    pub async fn lease_all(&mut self) {
        self.terms.clear();
        for slot in Slot::all() {
            let term = self
                .store
                .claim_slot(slot, "replica-1", self.now, Duration::from_secs(30))
                .await
                .unwrap()
                .unwrap();
            self.terms.push(term);
        }
    }

    /// A bench that nobody has heard of.
    pub fn bench(&mut self, name: &str) -> Bench {
        Bench {
            device: name.parse().unwrap(),
            spool: SpoolId(self.uuid()),
            run: RunId(self.uuid()),
            next_seq: 1,
            predecessor: None,
        }
    }

    /// The bench starts again: a new run and a new spool.
    pub fn restart(&mut self, bench: &mut Bench) {
        bench.predecessor = Some(Predecessor {
            spool: bench.spool,
            last_seq: bench.next_seq - 1,
        });
        bench.spool = SpoolId(self.uuid());
        bench.run = RunId(self.uuid());
        bench.next_seq = 1;
    }

    /// An event at a place.
    pub fn event_at(
        &mut self,
        device: &DeviceId,
        place: Place,
        vin: Option<&str>,
        report: BenchReport,
    ) -> Inbound {
        let bytes = Bytes::from(format!("{device} {} {} {report:?}", place.spool, place.seq));
        Inbound {
            slot: Slot::of(device),
            device: device.clone(),
            message: InboundMessage::Event(InboundEvent {
                place,
                digest: digest(&bytes),
                bytes,
                id: EventId(self.uuid()),
                r#type: event_type(&report).to_owned(),
                vin: vin.map(str::to_owned),
                time: self.now,
                traceparent: None,
                report,
            }),
        }
    }

    /// The bench's next event.
    pub fn event(&mut self, bench: &mut Bench, report: BenchReport) -> Inbound {
        let place = bench.take();
        self.event_at(&bench.device, place, Some(VIN), report)
    }

    /// The bench's next event: its agent has started, with a vehicle in front of it.
    pub fn started(&mut self, bench: &mut Bench, vin: &str, ecus: &[&str]) -> Inbound {
        let run_id = bench.run;
        self.event(
            bench,
            BenchReport::AgentStarted {
                run_id,
                agent_version: "0.1.0".to_owned(),
                public_key: "key".to_owned(),
                equipment: Equipment {
                    transports: vec!["doip".to_owned()],
                    ecus: ecus.iter().map(|&ecu| ecu.to_owned()).collect(),
                    station: Some("station 7".to_owned()),
                    vin: Some(vin.to_owned()),
                },
            },
        )
    }

    /// `count` steps of an attempt.
    pub fn steps(&mut self, bench: &mut Bench, of: AttemptRef, count: u32) -> Vec<Inbound> {
        (0..count)
            .map(|index| {
                let report = self.step(of, index);
                self.event(bench, report)
            })
            .collect()
    }

    /// A step.
    pub fn step(&mut self, of: AttemptRef, index: u32) -> BenchReport {
        BenchReport::StepFinished(StepReport {
            of,
            index,
            step: format!("step-{index}"),
            name: format!("Step {index}"),
            outcome: Outcome::Passed,
            started_at: self.now,
            finished_at: self.now,
            duration_ms: 12,
            retries: 0,
            nrc: None,
            detail: None,
            measurements_json: "[]".to_owned(),
        })
    }

    /// A presence of the bench.
    pub fn presence(bench: &Bench, connect_counter: u64, online: bool, will: bool) -> Inbound {
        Inbound {
            slot: Slot::of(&bench.device),
            device: bench.device.clone(),
            message: InboundMessage::Presence(PresenceFacts {
                run_id: bench.run,
                connect_counter,
                online,
                will,
            }),
        }
    }

    /// What a sync of the bench states, with everything receipted that the store has.
    pub fn facts(
        &mut self,
        bench: &Bench,
        generation: Option<StoreGeneration>,
        desired_version: u64,
    ) -> SyncFacts {
        let number = self.numbers.entry(bench.device.clone()).or_default();
        *number += 1;
        SyncFacts {
            number: *number,
            run_id: bench.run,
            connect_counter: 1,
            generation,
            desired_version,
            held: vec![HeldSpool {
                spool: bench.spool,
                predecessor: bench.predecessor,
                first_kept: 1,
                next_seq: bench.next_seq,
                receipted: 0,
                rejections_known: 0,
            }],
            complete: true,
            former: bench.predecessor.into_iter().collect(),
            jobs: Vec::new(),
            refusing_jobs: None,
        }
    }

    /// A sync as a message.
    pub fn sync(bench: &Bench, facts: SyncFacts) -> Inbound {
        Inbound {
            slot: Slot::of(&bench.device),
            device: bench.device.clone(),
            message: InboundMessage::Sync(facts),
        }
    }

    /// Gives a batch to the store.
    pub async fn ingest(&mut self, items: Vec<Inbound>) -> IngestOutcome {
        let spare_generation = self.generation();
        self.store
            .ingest(IngestBatch {
                terms: self.terms.clone(),
                items,
                misplaced: Vec::new(),
                received_at: self.now,
                spare_generation,
            })
            .await
            .unwrap()
    }

    /// A bench that is connected, has a vehicle in front of it and has stated the current list.
    pub async fn online(&mut self, name: &str, vin: &str, ecus: &[&str]) -> Bench {
        let mut bench = self.bench(name);
        let started = self.started(&mut bench, vin, ecus);
        let generation = self.store.generation();
        let facts = self.facts(&bench, Some(generation), 0);
        self.ingest(vec![started, Self::sync(&bench, facts)]).await;
        bench
    }

    /// A request for a job.
    pub fn request(&mut self, vin: &str, ecu: &str) -> NewJob {
        NewJob {
            id: JobId(self.uuid()),
            request_id: None,
            kind: JobKind::Flash,
            vin: vin.parse::<Vin>().unwrap(),
            ecu: ecu.to_owned(),
            procedure: ProcedureUse {
                id: "flash.esp.app".to_owned(),
                version: "1.0".to_owned(),
                sha256: "00".repeat(32),
            },
            artifacts: Vec::new(),
            parameters: BTreeMap::from([("mode".to_owned(), "full".to_owned())]),
            device: None,
            start_within_s: 600,
            deadline: None,
            priority: 0,
            requested_by: "operator".to_owned(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            retry: None,
        }
    }

    /// Records a job and has it offered.
    pub async fn offered(&mut self, vin: &str) -> JobRow {
        let request = self.request(vin, "ESP");
        let job = request.id;
        self.store.create_job(request, self.now).await.unwrap();
        self.dispatch().await;
        self.job(job).await
    }

    /// A round of dispatch.
    pub async fn dispatch(&mut self) -> crate::DispatchOutcome {
        let mut next = self.next;
        let mut mint = || {
            next += 1;
            Uuid::from_u128(next)
        };
        let outcome = self.store.dispatch(self.now, &mut mint).await.unwrap();
        self.next = next;
        outcome
    }

    /// A job that is there.
    pub async fn job(&self, job: JobId) -> JobRow {
        self.store.job(job).await.unwrap().unwrap()
    }

    /// The entries of a bench's list.
    pub async fn list(&self, device: &DeviceId) -> Vec<DesiredEntry> {
        self.store.desired_list(device).await.unwrap().entries
    }
}

/// The attempt that a job is in.
pub(super) fn attempt(job: &JobRow) -> AttemptRef {
    AttemptRef {
        job: job.job.id,
        attempt: job.job.attempt,
        fence: job.job.fence,
    }
}

/// An acceptance of the job's offer.
pub(super) fn accepted(job: &JobRow, generation: StoreGeneration) -> BenchReport {
    BenchReport::JobAccepted {
        of: attempt(job),
        offer_id: job.job.offer_id.unwrap(),
        generation,
        desired_version: 1,
    }
}

/// A final event.
pub(super) fn finished(of: AttemptRef, verdict: Verdict) -> BenchReport {
    BenchReport::JobFinished {
        of,
        verdict,
        reason_code: "ok".to_owned(),
        detail: None,
        software: BTreeMap::from([("ESP".to_owned(), "2.0".to_owned())]),
        record: Some("header.payload.signature".to_owned()),
    }
}

/// A vehicle.
pub(super) const VIN: &str = "WDB1110101A000001";
/// Another vehicle.
pub(super) const OTHER_VIN: &str = "WDB1110101A000002";

fn event_type(report: &BenchReport) -> &str {
    match report {
        BenchReport::AgentStarted { .. } => "vds.agent.started.v1",
        BenchReport::JobAccepted { .. } => "vds.job.accepted.v1",
        BenchReport::JobRejected { .. } => "vds.job.rejected.v1",
        BenchReport::JobStarted { .. } => "vds.job.started.v1",
        BenchReport::StepFinished(_) => "vds.step.finished.v1",
        BenchReport::JobFinished { .. } => "vds.job.finished.v1",
        BenchReport::Hole { .. } => "vds.spool.hole.v1",
        BenchReport::Unknown { r#type } | BenchReport::Unreadable { r#type, .. } => r#type,
    }
}
