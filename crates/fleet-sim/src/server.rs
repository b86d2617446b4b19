//! The server: its database, driven by the shipped ingest planner, and the transaction around it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleet_domain::ledger::{
    Arrival, Decision, DeviceLedger, Digest, Place, Predecessor, RejectCode, SyncFacts,
};
use fleet_domain::{DeviceId, PlantId, RunId, Seq, SpoolId, StoreGeneration};
use fleet_wire::receipt::{Receipt, RejectCode as WireCode, Rejection, SpoolAnswer, SyncAnswer};
use fleet_wire::{Channel, DecodedEvent, EventBody, EventProperties, Topic, decode_event};

use crate::plan::Mutant;

/// What a bench publishes.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Event {
        /// None: something on the way has lost them.
        properties: Option<EventProperties>,
        payload: Vec<u8>,
    },
    Sync(SyncFacts),
}

/// A message of a bench on its way to the server.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) bench: usize,
    pub(crate) body: Body,
}

/// A message of the server to a bench.
#[derive(Debug, Clone)]
pub(crate) enum Down {
    Receipt(Receipt),
    Answer(SyncAnswer),
}

/// Place of an event over all benches.
pub(crate) type Key = (usize, SpoolId, Seq);

/// What is stored at a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) digest: Digest,
    pub(crate) marker: u64,
}

/// The database. A clone is a backup.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) generation: StoreGeneration,
    pub(crate) ledgers: Vec<DeviceLedger>,
    pub(crate) stored: BTreeMap<Key, Stored>,
    pub(crate) rejected: BTreeSet<Key>,
    pub(crate) holes: Vec<(usize, SpoolId, Seq, Seq)>,
    /// Positions in the order they were settled, by bench.
    pub(crate) order: Vec<Vec<(SpoolId, Seq)>>,
    runs: Vec<(RunId, u64)>,
    old_runs: BTreeSet<RunId>,
}

/// What a transaction leaves to be sent after it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) down: Vec<(usize, Down)>,
    /// The planner broke its word.
    pub(crate) complaint: Option<String>,
    /// A restore that nobody declared was found (rule 18).
    pub(crate) new_generation: bool,
}

impl Database {
    pub(crate) fn new(benches: usize, generation: StoreGeneration) -> Self {
        Self {
            generation,
            ledgers: vec![DeviceLedger::default(); benches],
            stored: BTreeMap::new(),
            rejected: BTreeSet::new(),
            holes: Vec::new(),
            order: vec![Vec::new(); benches],
            runs: vec![(RunId(uuid::Uuid::nil()), 0); benches],
            old_runs: BTreeSet::new(),
        }
    }

    /// One transaction. `mint` makes the generation of an undeclared restore.
    pub(crate) fn commit(
        &mut self,
        batch: &[Message],
        mutant: Option<Mutant>,
        mut mint: impl FnMut() -> StoreGeneration,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let mut touched: BTreeMap<(usize, SpoolId), (bool, bool)> = BTreeMap::new();
        let mut answers = Vec::new();
        for message in batch {
            match &message.body {
                Body::Event {
                    properties: Some(properties),
                    payload,
                } => {
                    let gap = self.event(message.bench, properties, payload, mutant, &mut outcome);
                    touched.entry((message.bench, properties.spool)).or_default().0 |= gap;
                }
                Body::Event { properties: None, .. } => {
                    if let Some(spool) = self.ledgers[message.bench].newest() {
                        touched.entry((message.bench, spool)).or_default().1 = true;
                    }
                }
                Body::Sync(facts) => answers.push(self.sync(message.bench, facts, &mut mint, &mut outcome)),
            }
        }
        // Before the receipts: an answer says what was so when its sync came, and is obeyed even if lower.
        for (bench, mut answer) in answers {
            answer.store_generation = self.generation;
            outcome.down.push((bench, Down::Answer(answer)));
        }
        for ((bench, spool), (gap, unattributed)) in touched {
            let rejections = self.ledgers[bench]
                .spool(spool)
                .map(fleet_domain::ledger::SpoolLedger::rejections)
                .unwrap_or_default();
            let receipt = Receipt {
                store_generation: self.generation,
                spool_id: spool,
                through: self.ledgers[bench].through(spool),
                rejected: rejections.into_iter().map(|r| rejection(r.seq, r.code)).collect(),
                gap,
                unattributed,
            };
            outcome.down.push((bench, Down::Receipt(receipt)));
        }
        outcome
    }

    /// Takes an event; says whether the receipt must report a gap.
    fn event(
        &mut self,
        bench: usize,
        properties: &EventProperties,
        payload: &[u8],
        mutant: Option<Mutant>,
        outcome: &mut Outcome,
    ) -> bool {
        let topic = Topic::new(plant(), device(bench), Channel::Events);
        let (marker, rejected) = match decode_event(&topic, properties, payload) {
            Ok(event) => marker(&event),
            Err(error) => {
                outcome.complaint = Some(format!("a bench sent what can't be read: {error}"));
                return false;
            }
        };
        let place = Place {
            spool: properties.spool,
            seq: properties.seq,
            predecessor: properties
                .predecessor
                .filter(|_| mutant != Some(Mutant::NoPredecessor))
                .map(|p| Predecessor {
                    spool: p.spool,
                    last_seq: p.last_seq,
                }),
            hole_to: properties.hole_to,
        };
        let stored = &self.stored;
        let digest = digest(payload);
        let arrival = Arrival {
            place,
            digest,
            rejected: rejected.then_some(RejectCode::Malformed),
        };
        let decision = self.ledgers[bench].decide(&arrival, |spool, seq| {
            stored.get(&(bench, spool, seq)).map(|stored| stored.digest)
        });
        let key = (bench, place.spool, place.seq);
        match decision {
            Decision::Stored => self.store(key, Stored { digest, marker }, outcome),
            Decision::Rejected(_) => {
                self.rejected.insert(key);
                self.order[bench].push((place.spool, place.seq));
            }
            Decision::Hole { from, to } => {
                self.holes.push((bench, place.spool, from, to));
                self.order[bench].push((place.spool, from));
            }
            Decision::Duplicate if mutant == Some(Mutant::StoreDuplicates) && place.hole_to.is_none() => {
                self.store(key, Stored { digest, marker }, outcome);
            }
            Decision::Gap if mutant == Some(Mutant::TakeGaps) && place.hole_to.is_none() => {
                let row = self.ledgers[bench].spool(place.spool).cloned();
                if let Some(mut row) = row {
                    row.through = place.seq;
                    let rows = self.ledgers[bench]
                        .spools()
                        .filter(|r| r.spool != place.spool)
                        .cloned();
                    let rows: Vec<_> = rows.chain([row]).collect();
                    let (last, newest) = (self.ledgers[bench].last_ordinal(), self.ledgers[bench].newest());
                    self.ledgers[bench] = DeviceLedger::from_rows(rows, last, newest);
                    self.store(key, Stored { digest, marker }, outcome);
                }
            }
            Decision::Conflict => {
                outcome.complaint = Some(format!("two contents for {key:?}"));
            }
            Decision::Duplicate | Decision::Gap | Decision::Waiting { .. } => {}
        }
        matches!(decision, Decision::Gap | Decision::Waiting { .. })
    }

    fn store(&mut self, key: Key, stored: Stored, outcome: &mut Outcome) {
        if self.stored.insert(key, stored).is_some() {
            outcome.complaint = Some(format!("{key:?} is stored twice"));
        }
        self.order[key.0].push((key.1, key.2));
    }

    fn sync(
        &mut self,
        bench: usize,
        facts: &SyncFacts,
        mint: &mut impl FnMut() -> StoreGeneration,
        outcome: &mut Outcome,
    ) -> (usize, SyncAnswer) {
        let (run, number) = self.runs[bench];
        let fresh = if run == facts.run_id {
            facts.number > number
        } else {
            !self.old_runs.contains(&facts.run_id)
        };
        if fresh {
            self.old_runs.insert(run);
            self.runs[bench] = (facts.run_id, facts.number);
        }
        let decision = self.ledgers[bench].sync(facts, self.generation, fresh);
        if decision.undeclared_restore {
            self.generation = mint();
            outcome.new_generation = true;
        }
        for (spool, from, to) in decision.forgotten {
            self.holes.push((bench, spool, from, to));
            self.order[bench].push((spool, from));
        }
        let spools = decision.spools.into_iter().map(|answer| SpoolAnswer {
            spool_id: answer.spool,
            through: answer.through,
            rejected: answer
                .rejected
                .into_iter()
                .map(|r| rejection(r.seq, r.code))
                .collect(),
        });
        let answer = SyncAnswer {
            number: facts.number,
            store_generation: self.generation,
            spools: spools.collect(),
            bench_restored: decision.bench_restored,
        };
        (bench, answer)
    }

    pub(crate) fn in_hole(&self, key: Key) -> bool {
        let (bench, spool, seq) = key;
        self.holes
            .iter()
            .any(|(b, s, from, to)| (*b, *s) == (bench, spool) && (*from..=*to).contains(&seq))
    }

    /// Rule 23, and the order of what was stored.
    pub(crate) fn check(&self, begun: &[Vec<SpoolId>]) -> Result<(), String> {
        for (bench, ledger) in self.ledgers.iter().enumerate() {
            for row in ledger.spools() {
                let sum = row.stored + row.rejected + row.holes + row.outstanding();
                if sum != row.announced {
                    return Err(format!("bench {bench}: the ledger's sum is {sum} in {row:?}"));
                }
            }
            let age: HashMap<_, _> = begun[bench]
                .iter()
                .enumerate()
                .map(|(age, spool)| (*spool, age))
                .collect();
            let mut last = (0, 0);
            for (spool, seq) in &self.order[bench] {
                let now = (age.get(spool).copied().unwrap_or(usize::MAX), *seq);
                if now <= last && last != (0, 0) {
                    return Err(format!(
                        "bench {bench}: {now:?} was settled after {last:?} (spool, seq)"
                    ));
                }
                last = now;
            }
        }
        Ok(())
    }
}

pub(crate) fn plant() -> PlantId {
    "plant-1".parse().expect("a valid name")
}

pub(crate) fn device(bench: usize) -> DeviceId {
    format!("bench-{bench}").parse().expect("a valid name")
}

fn rejection(seq: Seq, code: RejectCode) -> Rejection {
    let code = match code {
        RejectCode::Conflict => WireCode::Conflict,
        _ => WireCode::Malformed,
    };
    Rejection { seq, code }
}

/// Which event it is, and whether the server refuses it; 0 for a hole.
fn marker(event: &DecodedEvent) -> (u64, bool) {
    let text = match &event.body {
        Ok(Some(EventBody::AgentStarted(body))) => body.agent_version.as_str(),
        Ok(Some(EventBody::JobRejected(body))) => body.code.as_str(),
        _ => return (0, false),
    };
    let (number, refused) = text.split_once('/').unwrap_or((text, ""));
    (number.parse().unwrap_or(0), refused == "refused")
}

/// Stands for SHA-256: the model has no adversary.
fn digest(payload: &[u8]) -> Digest {
    let mut lanes = [0xcbf2_9ce4_8422_2325_u64, 0x9ae1_6a3b_2f90_404f, 1, 2];
    for (index, byte) in payload.iter().enumerate() {
        let lane = &mut lanes[index % 4];
        *lane = (*lane ^ u64::from(*byte))
            .wrapping_mul(0x100_0000_01b3)
            .rotate_left(13);
    }
    let mut digest = [0; 32];
    for (chunk, lane) in digest.chunks_mut(8).zip(lanes) {
        chunk.copy_from_slice(&lane.to_le_bytes());
    }
    Digest(digest)
}
