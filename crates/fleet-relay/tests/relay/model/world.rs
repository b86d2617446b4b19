//! Two relays, a person who reconciles, and everything that can go wrong between them.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_domain::StoreGeneration;
use fleet_relay::core::{Core, CoreSettings, KafkaFault, Outcome, Step, StoreFault, TopicsFound};
use fleet_relay::{KafkaCursor, RelayLag, RelayState};
use uuid::Uuid;

use super::db::{Db, spool_of};
use super::kafka::{Kafka, Producer, What};
use super::person::Person;

const SPOOLS: usize = 4;
pub(super) const LEASE: Duration = Duration::from_secs(6);
const TRANSACTION: Duration = Duration::from_secs(15);

/// A rule that is taken away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mutation {
    /// The cursor is written after the transaction, not in it.
    CursorOutside,
    /// The cursor's token is not compared with the row's.
    NoToken,
    /// The cursor is read before `init_transactions`.
    CursorBeforeInit,
    /// Every process has a `transactional.id` of its own.
    NoFencing,
    /// `init_transactions` does not wait for the end of a transaction that is being committed.
    NoWaitForMarkers,
    /// What a reconciliation found is not looked at.
    NoHighs,
    /// A reconciliation does not fence.
    ReconcileWithoutInit,
    /// The cursor does not say what the database knew Kafka to have already.
    NoDigest,
}

impl Mutation {
    pub(crate) const ALL: [Self; 8] = [
        Self::CursorOutside,
        Self::NoToken,
        Self::CursorBeforeInit,
        Self::NoFencing,
        Self::NoWaitForMarkers,
        Self::NoHighs,
        Self::ReconcileWithoutInit,
        Self::NoDigest,
    ];
}

/// What happened in a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) crashes: u64,
    pub(crate) restores: u64,
    pub(crate) reconciled: u64,
    pub(crate) fenced: u64,
    pub(crate) refused: u64,
    pub(crate) already: u64,
    pub(crate) aborted: u64,
    pub(crate) transactions: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.restores += other.restores;
        self.reconciled += other.reconciled;
        self.fenced += other.fenced;
        self.refused += other.refused;
        self.already += other.already;
        self.aborted += other.aborted;
        self.transactions += other.transactions;
    }
}

pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub(super) struct Relay {
    pub(super) core: Core,
    owner: String,
    producer: Option<Producer>,
    /// Of a mutation: the cursor as it was when the producer was made.
    early: Option<KafkaCursor>,
    /// Of a mutation: the cursor that is still to be written.
    late: Option<KafkaCursor>,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: Duration,
    pub(super) kafka: Kafka,
    pub(super) db: Db,
    backup: Option<Db>,
    pub(super) db_down: bool,
    pub(super) relays: [Relay; 2],
    pub(super) person: Option<Person>,
    /// What the benches have; they send again what the database lacks.
    benches: [u64; SPOOLS],
    poison: BTreeSet<(usize, u64)>,
    pub(super) processes: u64,
    pub(super) mutation: Option<Mutation>,
    pub(super) seen: Seen,
}

/// Runs one seed. An error says which property does not hold.
pub(crate) fn run(seed: u64, mutation: Option<Mutation>) -> Result<Seen, String> {
    let mut world = World::new(seed, mutation);
    for _ in 0..500 {
        world.act();
    }
    world.heal()?;
    world.judge()?;
    Ok(world.seen)
}

impl World {
    fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut processes = 0;
        let mut relay = || {
            processes += 1;
            new_relay(processes, seed)
        };
        Self {
            random: Random(seed),
            now: Duration::ZERO,
            kafka: Kafka::default(),
            db: Db::new(SPOOLS),
            backup: None,
            db_down: false,
            relays: [relay(), relay()],
            person: None,
            benches: [0; SPOOLS],
            poison: BTreeSet::new(),
            processes: 2,
            mutation,
            seen: Seen::default(),
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn act(&mut self) {
        self.linger(40);
        let which = usize::try_from(self.random.below(2)).unwrap();
        match self.random.below(200) {
            0..=134 => self.step(which, true),
            135..=157 => self.ingest(),
            158 => self.crash(which),
            159..=160 => {
                self.step(which, false);
                self.crash(which);
            }
            161..=164 => self.kafka.hanging = self.random.percent(30),
            165..=167 => self.db_down = self.random.percent(30),
            168..=171 => self.db.prune(),
            172..=173 => self.back_up(),
            174..=175 => self.restore(),
            176..=179 => self.kafka.write_markers(),
            180..=182 => self.linger(9000),
            _ => self.reconcile(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        if !self.kafka.hanging {
            self.kafka.time_out(self.now, TRANSACTION);
        }
    }

    /// Time below so many milliseconds.
    fn linger(&mut self, below_ms: u64) {
        let time = Duration::from_millis(self.random.below(below_ms));
        self.pass(time);
    }

    fn ingest(&mut self) {
        let spool = usize::try_from(self.random.below(SPOOLS as u64)).unwrap();
        for _ in 0..=self.random.below(3) {
            if self.db.stored[spool] == self.benches[spool] {
                self.benches[spool] += 1;
                if self.random.percent(3) {
                    self.poison.insert((spool, self.benches[spool]));
                }
            }
            self.ingest_one(spool);
        }
    }

    fn ingest_one(&mut self, spool: usize) {
        let token = Uuid::from_u64_pair(self.random.next(), self.random.next());
        self.db.ingest(spool, token);
    }

    fn crash(&mut self, which: usize) {
        self.processes += 1;
        let seed = self.random.next();
        self.relays[which] = new_relay(self.processes, seed);
        self.seen.crashes += 1;
    }

    fn back_up(&mut self) {
        // An old one is worth more than a new one.
        if self.backup.is_none() || self.random.percent(20) {
            self.backup = Some(self.db.clone());
        }
    }

    fn restore(&mut self) {
        if let Some(backup) = self.backup.take() {
            self.db = backup;
            if std::env::var("RELAY_TRACE").is_ok() {
                println!("restored to {:?}", self.db.relayed());
            }
            self.seen.restores += 1;
        }
    }

    /// One step of a relay; its outcome is delivered or lost.
    fn step(&mut self, which: usize, deliver: bool) {
        let step = self.relays[which].core.next(self.now);
        if let Step::Wait(time) = step {
            // Time passes for all.
            let short = Duration::from_millis(self.random.below(400));
            self.pass(time.min(short));
            return;
        }
        let shown = format!("{step:?}");
        let outcome = match &step {
            Step::Claim
            | Step::Renew(_)
            | Step::Release(_)
            | Step::LookUp
            | Step::Measure
            | Step::Read { .. }
            | Step::Refuse { .. }
            | Step::Advance(_)
            | Step::ReportCursorLost { .. }
            | Step::Alarm(_) => self.store_step(which, step),
            _ => self.kafka_step(which, &step),
        };
        if std::env::var("RELAY_TRACE").is_ok() {
            println!("{:?} {which} {shown} -> {outcome:?}", self.now);
        }
        if deliver {
            let now = self.now;
            self.relays[which].core.done(outcome, now);
        }
    }

    fn store_step(&mut self, which: usize, step: Step) -> Outcome {
        let down = Outcome::Store(StoreFault {
            term_lost: false,
            detail: "down".to_owned(),
        });
        if self.db_down && self.random.percent(50) {
            return down;
        }
        let tokens = !self.is(Mutation::NoToken);
        let outcome = match step {
            Step::Claim => Outcome::Claimed(self.db.claim(&self.relays[which].owner, self.now, LEASE)),
            Step::Renew(term) => Outcome::Renewed(self.db.renew(term, self.now, LEASE)),
            Step::Release(term) => {
                self.db.release(term);
                Outcome::Done
            }
            Step::LookUp => {
                let mut look = self.db.look();
                if self.is(Mutation::NoHighs) {
                    look.highs.clear();
                }
                Outcome::LookedUp(Box::new(look))
            }
            Step::Measure => Outcome::Measured(RelayLag {
                rows: self.db.waiting(),
                age: Duration::ZERO,
            }),
            Step::Read { after, limit } => Outcome::Rows(self.db.after(after, limit, tokens)),
            Step::Refuse { term, row, .. } => {
                self.seen.refused += 1;
                Outcome::Advanced(self.db.refuse(term, row))
            }
            Step::Advance(advance) => {
                if let Some(cursor) = self.relays[which].late.take() {
                    self.kafka.append(What::Cursor(cursor));
                }
                self.seen.already += advance.already.len() as u64;
                Outcome::Advanced(self.db.advance(&advance, tokens))
            }
            Step::ReportCursorLost { term, generation, .. } => {
                if !self.db.holds(term) {
                    return Outcome::Store(StoreFault {
                        term_lost: true,
                        detail: "lost".to_owned(),
                    });
                }
                if self.db.generation <= generation {
                    self.db.generation = StoreGeneration(Uuid::from_u128(generation.0.as_u128() + 1));
                }
                Outcome::Generation(self.db.generation)
            }
            Step::Alarm(_) => Outcome::Done,
            other => panic!("{other:?} is not the store's"),
        };
        // Done, and the answer is lost.
        if self.db_down { down } else { outcome }
    }

    fn kafka_step(&mut self, which: usize, step: &Step) -> Outcome {
        if self.kafka.hanging && !matches!(step, Step::Connect | Step::Disconnect | Step::Begin) {
            // A hanging broker may have done it before it hung.
            if matches!(step, Step::Commit) && self.random.percent(30) {
                let _ = self.commit(which);
            }
            self.pass(Duration::from_secs(1));
            return Outcome::Pending(None);
        }
        let fenced = || Outcome::Kafka(KafkaFault::Fatal("fenced".to_owned()));
        let early = self.kafka.cursor();
        let (fence, waits) = (
            !self.is(Mutation::NoFencing),
            !self.is(Mutation::NoWaitForMarkers),
        );
        let relay = &mut self.relays[which];
        let result = match step {
            Step::Connect => {
                let id = if fence { "relay" } else { &relay.owner };
                relay.producer = Some(Producer::new(id.to_owned()));
                relay.early = early;
                Ok(())
            }
            Step::CheckTopics { .. } | Step::Probe => return Outcome::Topics(TopicsFound::Good),
            Step::Init => {
                self.kafka.init(relay.producer.as_mut().unwrap(), waits);
                Ok(())
            }
            Step::ReadCursor => {
                let cursor = if self.mutation == Some(Mutation::CursorBeforeInit) {
                    relay.early.take()
                } else {
                    early
                };
                let own = relay.core.highs_digest().map(str::to_owned);
                return Outcome::Cursor(cursor.map(|mut cursor| {
                    if matches!(self.mutation, Some(Mutation::NoDigest | Mutation::NoHighs)) {
                        cursor.highs = own;
                    }
                    cursor
                }));
            }
            Step::Begin => Ok(()),
            Step::Send => self.send(which),
            Step::Drain => return self.drain(which),
            Step::Commit => return self.commit(which),
            Step::Abort => {
                self.seen.aborted += 1;
                self.kafka.abort(self.relays[which].producer.as_ref().unwrap())
            }
            Step::Disconnect => {
                relay.producer = None;
                Ok(())
            }
            other => panic!("{other:?} is not Kafka's"),
        };
        if result.is_ok() {
            return Outcome::Done;
        }
        self.seen.fenced += 1;
        fenced()
    }

    fn send(&mut self, which: usize) -> Result<(), super::kafka::Fenced> {
        let outside = self.is(Mutation::CursorOutside);
        let relay = &mut self.relays[which];
        let batch = relay.core.batch();
        let events = batch.records().iter();
        let mut records: Vec<_> = events
            .map(|row| What::Event(spool_of(row.event.spool), row.event.seq))
            .collect();
        let through = batch.through().unwrap();
        let cursor = KafkaCursor {
            seq: through.seq,
            token: through.token,
            store_generation: relay.core.generation(),
            relay_term: 0,
            at: "2026-05-04T06:00:00Z".parse().unwrap(),
            highs: relay.core.highs_digest().map(str::to_owned),
        };
        if outside {
            relay.late = Some(cursor);
        } else {
            records.push(What::Cursor(cursor));
        }
        self.kafka
            .send(relay.producer.as_mut().unwrap(), records, self.now)
    }

    fn drain(&mut self, which: usize) -> Outcome {
        let relay = &self.relays[which];
        if self.kafka.alive(relay.producer.as_ref().unwrap()).is_err() {
            self.seen.fenced += 1;
            return Outcome::Kafka(KafkaFault::Fatal("fenced".to_owned()));
        }
        let mut events = relay.core.batch().records().iter();
        if events.any(|row| self.poison.contains(&(spool_of(row.event.spool), row.event.seq))) {
            return Outcome::Kafka(KafkaFault::Data {
                code: "too_large",
                reason: "poison".to_owned(),
            });
        }
        if self.random.percent(3) {
            return Outcome::Kafka(KafkaFault::Abort("a delivery failed".to_owned()));
        }
        Outcome::Done
    }

    fn commit(&mut self, which: usize) -> Outcome {
        if self.random.percent(2) {
            return Outcome::Kafka(KafkaFault::Abort("before the commit".to_owned()));
        }
        let producer = self.relays[which].producer.as_ref().unwrap();
        if self.kafka.commit(producer).is_err() {
            self.seen.fenced += 1;
            return Outcome::Kafka(KafkaFault::Fatal("fenced".to_owned()));
        }
        self.seen.transactions += 1;
        match self.random.below(100) {
            // Committed, and the answer says something else.
            0..=2 => Outcome::Kafka(KafkaFault::Abort("doubtful".to_owned())),
            3..=4 => Outcome::Kafka(KafkaFault::Fatal("doubtful".to_owned())),
            5..=7 => Outcome::Pending(None),
            _ => Outcome::Done,
        }
    }

    /// Faults end; what is left to do is done.
    fn heal(&mut self) -> Result<(), String> {
        self.kafka.hanging = false;
        self.db_down = false;
        for spool in 0..SPOOLS {
            while self.db.stored[spool] < self.benches[spool] {
                self.ingest_one(spool);
            }
        }
        for _ in 0..40_000 {
            let which = usize::try_from(self.random.below(2)).unwrap();
            self.linger(20);
            self.step(which, true);
            self.kafka.write_markers();
            let cursor_lost = self
                .relays
                .iter()
                .any(|relay| relay.core.health().state == RelayState::CursorLost);
            if cursor_lost || self.person.is_some() {
                self.reconcile();
            }
            let ok = self
                .relays
                .iter()
                .any(|relay| relay.core.health().state == RelayState::Ok);
            if ok && !cursor_lost && self.db.waiting() == 0 {
                return Ok(());
            }
        }
        let states = self.relays.each_ref().map(|relay| relay.core.health());
        Err(format!("{} rows are left, relays: {states:?}", self.db.waiting()))
    }

    fn judge(&self) -> Result<(), String> {
        let mut next = [1u64; SPOOLS];
        for what in self.kafka.visible() {
            let What::Event(spool, position) = what else {
                continue;
            };
            while self.poison.contains(&(*spool, next[*spool])) {
                next[*spool] += 1;
            }
            if *position != next[*spool] {
                return Err(format!(
                    "spool {spool}: position {position} where {} belongs",
                    next[*spool]
                ));
            }
            next[*spool] += 1;
        }
        for (spool, next) in next.iter_mut().enumerate() {
            while self.poison.contains(&(spool, *next)) {
                *next += 1;
            }
            if *next != self.benches[spool] + 1 {
                return Err(format!(
                    "spool {spool}: nothing from position {next} on, of {}",
                    self.benches[spool]
                ));
            }
        }
        let (in_kafka, already, unrelayable, relayed) = self.db.counted();
        if in_kafka + already + unrelayable != relayed {
            return Err(format!(
                "counted {in_kafka} in Kafka, {already} already there, {unrelayable} refused of {relayed}"
            ));
        }
        Ok(())
    }
}

fn new_relay(process: u64, seed: u64) -> Relay {
    let settings = CoreSettings {
        batch_rows: 5,
        batch_bytes: 8,
        lease: LEASE,
        transaction_timeout: TRANSACTION,
        create_topics: true,
        poll: Duration::from_millis(200),
    };
    Relay {
        core: Core::new(settings, seed.wrapping_add(process)),
        owner: format!("relay-{process}"),
        producer: None,
        early: None,
        late: None,
    }
}
