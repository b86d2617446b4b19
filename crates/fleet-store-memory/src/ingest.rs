//! Recording a batch: what it names is read, `fleet-recording` decides, the rows are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet_domain::{DeviceId, JobState, Seq, Slot, SpoolId, SpoolLedger};
use fleet_recording::wants::{self, Named};
use fleet_recording::{
    AttemptWrite, Blamed, DeadLetter, DeviceRow, DeviceState, Digests, Loaded, Messages, Recorded, StepWrite,
    record,
};
use fleet_store::{
    AttemptRow, ChangeKind, DeadLetterRow, EventRow, Inbound, IngestBatch, IngestOutcome, Misplaced, StepRow,
    outbox_topic,
};
use jiff::Timestamp;

use crate::Database;
use crate::database::{Device, Event, Outgoing, Spool};
use crate::work::Work;

/// The ingest of a batch that has begun and not ended: it has read the terms of its slots and what the batch names, and
/// nobody else gets a new term of one of the slots before it ends. As on PostgreSQL, where their rows are locked.
#[derive(Debug)]
#[must_use = "the slots stay locked until the transaction is committed or given up"]
pub struct Transaction {
    batch: IngestBatch,
    lost: BTreeSet<Slot>,
    locked: BTreeSet<Slot>,
    loaded: Loaded,
    life: u64,
}

/// The messages of a batch without those of the slots that were lost.
fn kept<'a>(batch: &'a IngestBatch, lost: &BTreeSet<Slot>) -> (Vec<&'a Inbound>, Vec<&'a Misplaced>) {
    let items = batch.items.iter().filter(|item| !lost.contains(&item.slot));
    let misplaced = batch
        .misplaced
        .iter()
        .filter(|message| !lost.contains(&message.slot));
    (items.collect(), misplaced.collect())
}

impl Database {
    /// Records a batch in a transaction of its own.
    pub fn ingest(&mut self, batch: IngestBatch) -> IngestOutcome {
        let transaction = self.begin_ingest(batch);
        self.commit(transaction).unwrap_or_default()
    }

    /// Begins the transaction of a batch: leases first.
    pub fn begin_ingest(&mut self, batch: IngestBatch) -> Transaction {
        let current: Vec<_> = self
            .slots
            .iter()
            .map(|(slot, lease)| fleet_store::SlotTerm {
                slot: *slot,
                term: lease.term,
            })
            .collect();
        let lost = batch.lost_slots(&current);
        let locked: BTreeSet<Slot> = batch.slots().collect();
        for slot in &locked {
            *self.locked.entry(*slot).or_default() += 1;
        }
        let loaded = self.load(&kept(&batch, &lost).0, batch.received_at);
        Transaction {
            batch,
            lost,
            locked,
            loaded,
            life: self.life,
        }
    }

    /// Ends a transaction and leaves nothing of it.
    pub fn roll_back(&mut self, transaction: &Transaction) {
        if transaction.life != self.life {
            return;
        }
        for slot in &transaction.locked {
            if let Some(count) = self.locked.get_mut(slot) {
                *count -= 1;
            }
        }
        self.locked.retain(|_, count| *count > 0);
    }

    /// Whether a running transaction holds the slot's row: who wants a new term of it has to wait.
    pub fn is_locked(&self, slot: Slot) -> bool {
        self.locked.contains_key(&slot)
    }

    /// Ends a transaction: everything of it is there. None: the database was restored since it began.
    pub fn commit(&mut self, transaction: Transaction) -> Option<IngestOutcome> {
        if transaction.life != self.life {
            return None;
        }
        self.roll_back(&transaction);
        let Transaction {
            batch,
            lost,
            mut loaded,
            ..
        } = transaction;
        let (items, misplaced) = kept(&batch, &lost);
        let messages = Messages {
            items: &items,
            misplaced: &misplaced,
            received_at: batch.received_at,
            spare_generation: batch.spare_generation,
        };
        self.hear(&items, batch.received_at);
        loaded.generation = self.generation;
        let mut recorded = record(loaded, messages, &Blamed::new());
        let mut work = Work::new(batch.received_at);
        self.write(&mut recorded, &mut work);
        let alarms = work.finish(self);
        let everybody: Vec<DeviceId> = match recorded.begun {
            Some(_) => self.online().cloned().collect(),
            None => Vec::new(),
        };
        Some(recorded.outcome(lost, alarms, everybody))
    }

    fn online(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices
            .iter()
            .filter(|(_, device)| device.row.presence.is_some_and(|presence| presence.online))
            .map(|(name, _)| name)
    }

    /// The benches of the messages have rows, and those that were heard themselves were seen.
    fn hear(&mut self, items: &[&Inbound], now: Timestamp) {
        let heard = wants::heard(items);
        for name in wants::benches(items) {
            let is_heard = heard.contains(&name);
            let device = self.devices.entry(name).or_insert_with(|| Device {
                row: DeviceRow::default(),
                last_seen: now,
                released_generation: None,
            });
            if is_heard {
                device.last_seen = now;
            }
        }
    }

    fn load(&self, items: &[&Inbound], now: Timestamp) -> Loaded {
        let (benches, heard) = (wants::benches(items), wants::heard(items));
        let state = |name: &DeviceId| {
            let row = self.devices.get(name).map(|device| device.row.clone());
            DeviceState::new(row.unwrap_or_default(), heard.contains(name), now)
        };
        let mut devices = benches.iter().map(|name| (name.clone(), state(name))).collect();
        let named = wants::spools(items, &devices);
        self.load_spools(&named, wants::successors(items), &mut devices);
        let digests: Digests = wants::digests(items, &devices)
            .into_iter()
            .filter_map(|(device, spool, seq)| {
                let stored = self.places.get(&(device.clone(), spool))?.get(&seq)?;
                Some(((device.clone(), spool, seq), stored.row.digest))
            })
            .collect();
        let asked = wants::jobs(items);
        let of_bench = |device: Option<&DeviceId>| device.is_some_and(|device| benches.contains(device));
        let jobs = self
            .jobs
            .values()
            .filter(|stored| {
                let job = &stored.row.job;
                asked.contains(&job.id)
                    || (job.state == JobState::Withdrawing && of_bench(job.device.as_ref()))
                    || of_bench(stored.fenced.as_ref().map(|(device, _)| device))
            })
            .map(|stored| (stored.id(), stored.clone()))
            .collect();
        let mut steps = wants::steps(items);
        steps.retain(|step| self.steps.contains_key(step));
        Loaded {
            generation: self.generation,
            devices,
            digests,
            jobs,
            steps,
        }
    }

    fn load_spools(
        &self,
        named: &Named,
        with_successors: bool,
        devices: &mut BTreeMap<DeviceId, DeviceState>,
    ) {
        let mut rows: BTreeMap<(DeviceId, SpoolId), SpoolLedger> = BTreeMap::new();
        for (device, spool) in named {
            let Some(spools) = self.spools.get(device) else {
                continue;
            };
            let follows = |row: &SpoolLedger| row.predecessor.is_some_and(|prev| prev.spool == *spool);
            for (id, row) in spools {
                if id == spool || (with_successors && follows(&row.ledger)) {
                    rows.insert((device.clone(), *id), row.ledger.clone());
                }
            }
        }
        let list: Vec<_> = rows
            .iter()
            .map(|((device, _), row)| (device.clone(), row.clone()))
            .collect();
        for (device, spool) in wants::predecessors(&list, named) {
            if let Some(row) = self.spools.get(&device).and_then(|spools| spools.get(&spool)) {
                rows.insert((device, spool), row.ledger.clone());
            }
        }
        let mut by_device: BTreeMap<DeviceId, Vec<SpoolLedger>> = BTreeMap::new();
        for ((device, spool), mut row) in rows {
            row.rejections = self.unknown_rejections(&device, spool, row.rejections_known);
            by_device.entry(device).or_default().push(row);
        }
        for (device, rows) in by_device {
            if let Some(state) = devices.get_mut(&device) {
                state.with_spools(rows);
            }
        }
    }

    fn unknown_rejections(
        &self,
        device: &DeviceId,
        spool: SpoolId,
        known: Seq,
    ) -> BTreeMap<Seq, fleet_domain::RejectCode> {
        let most = usize::try_from(wants::REJECTIONS_READ).unwrap_or(usize::MAX);
        let Some(first) = known.checked_add(1) else {
            return BTreeMap::new();
        };
        self.rejections
            .get(&(device.clone(), spool))
            .into_iter()
            .flat_map(|rejected| rejected.range(first..))
            .take(most)
            .map(|(seq, code)| (*seq, *code))
            .collect()
    }

    fn write(&mut self, recorded: &mut Recorded<'_>, work: &mut Work) {
        if let Some(begun) = recorded.begun {
            self.begin_generation(begun);
        }
        for new in &recorded.events {
            let event = new.event;
            let row = EventRow {
                device: new.device.clone(),
                spool: event.place.spool,
                seq: event.place.seq,
                id: event.id,
                r#type: event.r#type.clone(),
                vin: event.vin.clone(),
                time: event.time,
                received_at: work.now,
                digest: event.digest,
                bytes: event.bytes.clone(),
                standing: new.standing.clone(),
            };
            self.store_event(row, event.traceparent.clone());
        }
        for &step in &recorded.steps {
            self.write_step(step);
        }
        for attempt in &recorded.attempts {
            self.write_attempt(attempt);
        }
        for stored in &recorded.jobs {
            self.save_job(stored, work);
        }
        for hole in &recorded.holes {
            let same = |known: &Arc<fleet_recording::Aside>| {
                (&known.device, known.spool, known.from) == (&hole.device, hole.spool, hole.from)
            };
            if !self.holes.iter().any(same) {
                self.holes.push(Arc::new(hole.clone()));
            }
        }
        for conflict in &recorded.conflicts {
            let same = |known: &Arc<fleet_recording::Aside>| {
                (&known.device, known.spool, known.from, known.digest)
                    == (&conflict.device, conflict.spool, conflict.from, conflict.digest)
            };
            if !self.conflicts.iter().any(same) {
                self.conflicts.push(Arc::new(conflict.clone()));
            }
        }
        for row in &recorded.rejections {
            let rejected = self
                .rejections
                .entry((row.device.clone(), row.spool))
                .or_default();
            rejected.entry(row.seq).or_insert(row.code);
        }
        for letter in &recorded.dead {
            self.bury(letter, work);
        }
        for (device, ledger) in &recorded.spools {
            self.write_spool(device, ledger, work.now);
        }
        for write in &recorded.devices {
            let Some(device) = self.devices.get_mut(&write.device) else {
                continue;
            };
            let told_at = device.row.told_at;
            if write.changed {
                device.row = write.state.row.clone();
            }
            device.row.told_at = if write.told { work.now } else { told_at };
        }
        work.take(
            std::mem::take(&mut recorded.changes),
            std::mem::take(&mut recorded.raised),
        );
    }

    fn store_event(&mut self, row: EventRow, traceparent: Option<String>) {
        let place = (row.device.clone(), row.spool);
        let (seq, topic) = (row.seq, outbox_topic(&row.r#type));
        let event = Arc::new(Event { row, traceparent });
        self.last_event += 1;
        self.events.insert(self.last_event, Arc::clone(&event));
        self.places
            .entry(place)
            .or_default()
            .insert(seq, Arc::clone(&event));
        self.last_outgoing += 1;
        let outgoing = Outgoing {
            token: self.token(),
            topic,
            event,
            refused: None,
        };
        self.outbox.insert(self.last_outgoing, outgoing);
    }

    /// What the relay counts in the same row stays. Rejections have rows of their own.
    fn write_spool(&mut self, device: &DeviceId, ledger: &SpoolLedger, now: Timestamp) {
        let mut ledger = ledger.clone();
        ledger.rejections.clear();
        let spools = self.spools.entry(device.clone()).or_default();
        if let Some(spool) = spools.get_mut(&ledger.spool) {
            let before = spool
                .outstanding_since
                .filter(|_| spool.ledger.through == ledger.through);
            spool.outstanding_since = (ledger.announced > ledger.through).then(|| before.unwrap_or(now));
            spool.ledger = ledger;
        } else {
            let spool = Spool {
                outstanding_since: (ledger.announced > ledger.through).then_some(now),
                ledger,
                in_kafka: 0,
                already_in_kafka: 0,
                unrelayable: 0,
                expired: 0,
            };
            spools.insert(spool.ledger.spool, spool);
        }
    }

    fn bury(&mut self, letter: &DeadLetter, work: &mut Work) {
        let pairs = serde_json::to_string(&letter.user_properties);
        self.add_dead_letter(
            DeadLetterRow {
                id: 0,
                device: letter.device.clone(),
                channel: letter.channel.clone(),
                spool: letter.place.map(|place| place.spool),
                seq: letter.place.map(|place| place.seq),
                code: letter.code.to_owned(),
                reason: letter.reason.clone(),
                user_properties_json: pairs.unwrap_or_else(|_| "[]".to_owned()),
                bytes: letter.bytes.clone(),
                received_at: work.now,
            },
            work,
        );
    }

    pub(crate) fn add_dead_letter(&mut self, mut letter: DeadLetterRow, work: &mut Work) {
        letter.id = self.dead.len() as u64 + 1;
        work.changed(ChangeKind::DeadLetter, &letter.id);
        self.dead.insert(letter.id, Arc::new(letter));
    }

    fn write_step(&mut self, step: StepWrite<'_>) {
        let row = StepRow {
            index: step.index,
            step: step.step.clone(),
            name: step.name.clone(),
            outcome: step.outcome,
            started_at: step.started_at,
            finished_at: step.finished_at,
            duration_ms: step.duration_ms,
            retries: step.retries,
            nrc: step.nrc,
            detail: step.detail.clone(),
            measurements_json: step.measurements_json.clone(),
        };
        let key = fleet_recording::StepKey::new(step.of, step.index);
        self.steps.insert(key, row);
    }

    fn write_attempt(&mut self, write: &AttemptWrite) {
        let of = write.of;
        let row = self
            .attempts
            .entry((of.job, of.attempt, of.fence))
            .or_insert_with(|| blank_attempt(of, write.device.clone()));
        let time = |new: Option<Timestamp>, old: Option<Timestamp>| new.or(old);
        row.accepted_at = time(write.accepted_at, row.accepted_at);
        row.started_at = time(write.started_at, row.started_at);
        row.finished_at = time(write.finished_at, row.finished_at);
        row.verdict = write.verdict.or(row.verdict);
        row.steps_total = write.steps_total.or(row.steps_total);
        row.fenced |= write.fenced;
        for (new, old) in [
            (&write.reason_code, &mut row.reason_code),
            (&write.detail, &mut row.detail),
            (&write.record, &mut row.record),
        ] {
            if new.is_some() {
                old.clone_from(new);
            }
        }
        if let Some(software) = &write.software {
            row.software.clone_from(software);
        }
    }
}

/// The row of an attempt of which nothing is known yet.
pub(crate) fn blank_attempt(of: fleet_domain::AttemptRef, device: DeviceId) -> AttemptRow {
    AttemptRow {
        job: of.job,
        attempt: of.attempt,
        fence: of.fence,
        device,
        offer_id: None,
        offered_at: None,
        accepted_at: None,
        started_at: None,
        finished_at: None,
        verdict: None,
        reason_code: None,
        detail: None,
        steps_total: None,
        software: BTreeMap::new(),
        record: None,
        fenced: false,
    }
}
