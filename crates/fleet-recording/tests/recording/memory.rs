//! A storage in memory: it loads what a batch wants, and writes what it led to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fleet_domain::report::StepReport;
use fleet_domain::{
    AttemptRef, BenchReport, DeviceId, Digest, EventId, JobId, OfferId, Outcome, Place, Seq, Slot, SpoolId,
    SpoolLedger, StoreGeneration, Verdict,
};
use fleet_recording::{
    AttemptWrite, Blamed, DeviceRow, DeviceState, Digests, Loaded, Messages, StepKey, StoredJob, record,
    wants,
};
use fleet_store::{AlarmKind, EventStanding, Inbound, InboundEvent, InboundMessage, IngestOutcome};
use jiff::Timestamp;
use uuid::Uuid;

pub(crate) const VIN: &str = "WDB1110101A000001";

pub(crate) fn now() -> Timestamp {
    "2026-05-04T06:00:00Z".parse().unwrap()
}

pub(crate) fn device(n: u8) -> DeviceId {
    format!("bench-{n}").parse().unwrap()
}

pub(crate) fn spool(n: u8) -> SpoolId {
    SpoolId(Uuid::from_u128(0x5000 + u128::from(n)))
}

pub(crate) fn attempt(job: u8, fence: u64) -> AttemptRef {
    AttemptRef {
        job: JobId(Uuid::from_u128(0x7000 + u128::from(job))),
        attempt: 1,
        fence,
    }
}

pub(crate) fn accepted(of: AttemptRef) -> BenchReport {
    BenchReport::JobAccepted {
        of,
        offer_id: OfferId(Uuid::from_u128(3)),
        generation: StoreGeneration(Uuid::from_u128(1)),
        desired_version: 1,
    }
}

pub(crate) fn finished(of: AttemptRef) -> BenchReport {
    BenchReport::JobFinished {
        of,
        verdict: Verdict::Passed,
        reason_code: "ok".to_owned(),
        detail: None,
        software: BTreeMap::from([("ESP".to_owned(), "2.0".to_owned())]),
        record: None,
    }
}

pub(crate) fn step(of: AttemptRef, index: u32) -> StepReport {
    StepReport {
        of,
        index,
        step: format!("step-{index}"),
        name: format!("Step {index}"),
        outcome: Outcome::Passed,
        started_at: now(),
        finished_at: now(),
        duration_ms: 12,
        retries: 0,
        nrc: None,
        detail: None,
        measurements_json: "[]".to_owned(),
    }
}

/// An event of a bench's only spool. Equal content has an equal digest.
pub(crate) fn event(bench: u8, seq: Seq, content: u8, report: BenchReport) -> Inbound {
    Inbound {
        slot: Slot::of(&device(bench)),
        device: device(bench),
        message: InboundMessage::Event(InboundEvent {
            place: Place {
                spool: spool(bench),
                seq,
                predecessor: None,
                hole_to: match &report {
                    BenchReport::Hole { to, .. } => Some(*to),
                    _ => None,
                },
            },
            digest: Digest([content; 32]),
            bytes: Bytes::from(vec![content; 3]),
            id: EventId(Uuid::from_u128(u128::from(seq))),
            r#type: "vds.any.v1".to_owned(),
            vin: Some(VIN.to_owned()),
            time: now(),
            traceparent: None,
            report,
        }),
    }
}

/// What is kept of everything that was recorded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Memory {
    pub(crate) generation: StoreGeneration,
    pub(crate) devices: BTreeMap<DeviceId, DeviceRow>,
    pub(crate) spools: BTreeMap<(DeviceId, SpoolId), SpoolLedger>,
    pub(crate) events: Vec<(DeviceId, Seq, EventStanding)>,
    pub(crate) digests: Digests,
    pub(crate) jobs: BTreeMap<JobId, StoredJob>,
    pub(crate) attempts: BTreeMap<(JobId, u32, u64), AttemptWrite>,
    pub(crate) steps: BTreeSet<StepKey>,
    pub(crate) alarms: BTreeMap<(&'static str, String), u64>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            generation: StoreGeneration(Uuid::from_u128(1)),
            devices: BTreeMap::new(),
            spools: BTreeMap::new(),
            events: Vec::new(),
            digests: Digests::new(),
            jobs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            steps: BTreeSet::new(),
            alarms: BTreeMap::new(),
        }
    }

    /// Only what is wanted, as a database would read it.
    pub(crate) fn load(&self, items: &[&Inbound]) -> Loaded {
        let heard = wants::heard(items);
        let mut devices: BTreeMap<DeviceId, DeviceState> = wants::benches(items)
            .into_iter()
            .map(|device| {
                let row = self.devices.get(&device).cloned().unwrap_or_default();
                let heard = heard.contains(&device);
                (device, DeviceState::new(row, heard, now()))
            })
            .collect();
        let named = wants::spools(items, &devices);
        for (device, state) in &mut devices {
            let rows = self
                .spools
                .iter()
                .filter(|(name, _)| name.0 == *device && named.contains(name));
            state.with_spools(rows.map(|(_, row)| row.clone()));
        }
        let digests = wants::digests(items, &devices)
            .into_iter()
            .filter_map(|(device, spool, seq)| {
                let place = (device.clone(), spool, seq);
                self.digests.get(&place).map(|digest| (place, *digest))
            })
            .collect();
        let wanted = wants::jobs(items);
        Loaded {
            generation: self.generation,
            devices,
            digests,
            jobs: self
                .jobs
                .iter()
                .filter(|(id, _)| wanted.contains(id))
                .map(|(id, stored)| (*id, stored.clone()))
                .collect(),
            steps: wants::steps(items).intersection(&self.steps).copied().collect(),
        }
    }

    /// Records a batch.
    pub(crate) fn take(&mut self, items: &[Inbound]) -> IngestOutcome {
        self.take_but(items, &Blamed::new())
    }

    /// As [`Memory::take`], where the database has refused some.
    pub(crate) fn take_but(&mut self, items: &[Inbound], blamed: &Blamed) -> IngestOutcome {
        let items: Vec<&Inbound> = items.iter().collect();
        let messages = Messages {
            items: &items,
            misplaced: &[],
            received_at: now(),
            spare_generation: StoreGeneration(Uuid::from_u128(1000)),
        };
        let recorded = record(self.load(&items), messages, blamed);
        if let Some(begun) = recorded.begun {
            self.generation = begun;
        }
        for new in &recorded.events {
            let place = (new.device.clone(), new.event.place.spool, new.event.place.seq);
            assert_eq!(self.digests.insert(place, new.event.digest), None, "stored twice");
            self.events
                .push((new.device.clone(), new.event.place.seq, new.standing.clone()));
        }
        for (device, row) in &recorded.spools {
            let mut row = row.clone();
            row.rejections.clear();
            self.spools.insert((device.clone(), row.spool), row);
        }
        for write in &recorded.devices {
            self.devices.insert(write.device.clone(), write.state.row.clone());
        }
        for stored in &recorded.jobs {
            self.jobs.insert(stored.id(), stored.clone());
        }
        for attempt in &recorded.attempts {
            self.merge(attempt);
        }
        for step in &recorded.steps {
            assert!(
                self.steps.insert(StepKey::new(step.of, step.index)),
                "a step twice"
            );
        }
        for (alarm, times) in recorded.raised.iter() {
            *self
                .alarms
                .entry((alarm.kind.as_str(), alarm.subject.clone()))
                .or_default() += times;
        }
        recorded.outcome([], Vec::new(), [])
    }

    /// As the stores' upsert does it: what is not known stays.
    fn merge(&mut self, new: &AttemptWrite) {
        let key = (new.of.job, new.of.attempt, new.of.fence);
        let Some(row) = self.attempts.get_mut(&key) else {
            self.attempts.insert(key, new.clone());
            return;
        };
        row.accepted_at = new.accepted_at.or(row.accepted_at);
        row.started_at = new.started_at.or(row.started_at);
        row.finished_at = new.finished_at.or(row.finished_at);
        row.verdict = new.verdict.or(row.verdict);
        row.reason_code = new.reason_code.clone().or(row.reason_code.take());
        row.detail = new.detail.clone().or(row.detail.take());
        row.steps_total = new.steps_total.or(row.steps_total);
        row.software = new.software.clone().or(row.software.take());
        row.record = new.record.clone().or(row.record.take());
        row.fenced |= new.fenced;
    }

    pub(crate) fn raised(&self, kind: AlarmKind) -> u64 {
        let of_kind = self.alarms.iter().filter(|((word, _), _)| *word == kind.as_str());
        of_kind.map(|(_, times)| times).sum()
    }
}
