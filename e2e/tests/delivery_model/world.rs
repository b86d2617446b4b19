//! One run: simulated time, the faults, and the judgement at the end.
//!
//! Faults: connections cut with messages in flight, half-open links, messages of an old connection that
//! arrive after those of a new one, PUBACK and then dropped, PUBACK with an error, no PUBACK, user properties
//! lost, receipts lost and repeated, the broker's data lost, the server killed at each point around its
//! commit, its database restored to an older state with and without saying so, the agent killed, power lost
//! in the middle of a write, disk errors, a failed fsync, the bench's disk restored to an older image.
//!
//! Not modelled: two agents on one disk (unit tests of agent-link), two owners of a slot (the store's tests),
//! bytes changed on the disk (tests of spool).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use agent_link::{AlarmKind, LinkEffect, LinkInput};
use fleet_domain::StoreGeneration;
use spool::sim::Fault;
use spool::{HoleReason, Limits, Position};
use uuid::Uuid;

use crate::bench::{Bench, Dies, Truth};
use crate::broker::{Broker, EXPIRY};
use crate::plan::{Mutant, Plan};
use crate::rng::Rng;
use crate::server::{Body, Database, Down, Message};

/// All must be settled so long after the last fault.
const SETTLED_WITHIN: Duration = Duration::from_mins(20);
/// A batch closes after this time.
const BATCH: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) enum Action {
    Start(usize),
    Produce(usize),
    Tick(usize, u64),
    Sync(usize, u64),
    Compact(usize, u64),
    Connect(usize, u64),
    Arrive {
        bench: usize,
        connection: u64,
        message: Message,
    },
    LateArrive(Message),
    PubAck {
        bench: usize,
        connection: u64,
        position: Position,
        reason: u8,
    },
    Deliver {
        bench: usize,
        connection: u64,
        down: Down,
    },
    ToServer {
        connection: u64,
        message: Message,
    },
    Commit(u64),
    StartServer,
    StartBroker,
    Fault,
}

#[derive(Debug)]
struct Entry(Duration, u64, Action);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Figures of a run.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) events: u64,
    pub(crate) published: u64,
    pub(crate) stored: u64,
    pub(crate) holes: u64,
    pub(crate) restarts: u64,
    pub(crate) power_losses: u64,
    pub(crate) server_crashes: u64,
    pub(crate) database_restores: u64,
    pub(crate) disk_restores: u64,
    pub(crate) connects: u64,
    pub(crate) settled_after: Duration,
    stripped: u64,
    unattributed: u64,
    failed_syncs: u64,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) now: Duration,
    pub(crate) calm: bool,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
    ids: u64,
    pub(crate) benches: Vec<Bench>,
    pub(crate) broker: Broker,
    pub(crate) database: Database,
    backups: Vec<Database>,
    server_up: bool,
    batch: Vec<(u64, Message)>,
    commit_due: bool,
    server_process: u64,
    pub(crate) truth: Truth,
    pub(crate) figures: Figures,
    complaint: Option<String>,
}

impl World {
    pub(crate) fn new(mut rng: Rng, plan: Plan) -> Self {
        let limits = Limits {
            segment_bytes: plan.segment_bytes,
            keep_receipted: plan.keep_receipted,
            ..Limits::default()
        };
        let benches = (0..plan.benches)
            .map(|index| Bench::new(index, rng.next(), limits))
            .collect();
        let mut world = Self {
            broker: Broker::new(plan.benches),
            database: Database::new(plan.benches, StoreGeneration(Uuid::from_u128(1))),
            truth: Truth {
                begun: vec![Vec::new(); plan.benches],
                ..Truth::default()
            },
            rng,
            now: Duration::ZERO,
            calm: false,
            queue: BinaryHeap::new(),
            order: 0,
            ids: 1,
            benches,
            backups: Vec::new(),
            server_up: true,
            batch: Vec::new(),
            commit_due: false,
            server_process: 0,
            figures: Figures::default(),
            complaint: None,
            plan,
        };
        for bench in 0..world.benches.len() {
            world.at(Duration::ZERO, Action::Start(bench));
            world.at(Duration::from_millis(10), Action::Produce(bench));
        }
        if !world.plan.quiet {
            world.at(Duration::from_secs(1), Action::Fault);
        }
        world
    }

    fn at(&mut self, time: Duration, action: Action) {
        self.order += 1;
        self.queue.push(Reverse(Entry(time, self.order, action)));
    }

    fn after(&mut self, pause: Duration, action: Action) {
        self.at(self.now + pause, action);
    }

    fn chance(&mut self, permille: u64) -> bool {
        !self.calm && self.rng.chance(permille)
    }

    /// Runs until everything is settled.
    pub(crate) fn run(&mut self) -> Result<Figures, String> {
        let mut at_once = 0_u32;
        while let Some(Reverse(Entry(time, _, action))) = self.queue.pop() {
            at_once = if time > self.now { 0 } else { at_once + 1 };
            if at_once > 100_000 {
                return Err(format!("time stands still at {time:?}: {action:?}"));
            }
            self.now = time;
            if !self.calm && time >= self.plan.disturbed {
                self.calm_down();
            }
            self.apply(action);
            if let Some(complaint) = self.complaint.take() {
                return Err(complaint);
            }
            if self.calm && self.settled() {
                self.figures.settled_after = self.now.saturating_sub(self.plan.disturbed);
                return self.judge().map(|()| self.figures);
            }
            if self.now > self.plan.disturbed + SETTLED_WITHIN {
                return Err(format!(
                    "not settled {SETTLED_WITHIN:?} after the last fault: {}",
                    self.stuck()
                ));
            }
        }
        Err("nothing is left to happen".to_owned())
    }

    /// No more faults; what is down comes back by itself.
    fn calm_down(&mut self) {
        self.calm = true;
        for bench in &mut self.benches {
            bench.half_open = false;
            bench.disk.clear_faults();
        }
    }

    fn settled(&self) -> bool {
        self.server_up
            && self.benches.iter().all(|bench| {
                bench
                    .process
                    .as_ref()
                    .is_some_and(|process| process.uplink.outstanding() == 0)
                    && bench.connection.is_some()
            })
            && self.batch.is_empty()
    }

    fn stuck(&self) -> String {
        let of = |bench: &Bench| {
            let process = bench.process.as_ref();
            let order: Vec<_> = process
                .iter()
                .flat_map(|p| p.uplink.spools().order())
                .filter(|o| o.1 != o.2)
                .collect();
            let ledger: Vec<_> = order
                .iter()
                .map(|o| self.database.ledgers[bench.index].spool(o.0))
                .collect();
            format!("{order:?} connection {:?} ledger {ledger:?}", bench.connection)
        };
        let benches: Vec<_> = self.benches.iter().map(of).collect();
        benches.join("\n")
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Start(bench) => self.start(bench),
            Action::Produce(bench) => self.produce(bench),
            Action::Tick(bench, process) => self.tick(bench, process),
            Action::Sync(bench, process) => self.sync(bench, process),
            Action::Compact(bench, process) => self.compact(bench, process),
            Action::Connect(bench, process) => self.connect(bench, process),
            Action::Arrive {
                bench,
                connection,
                message,
            } => self.arrive(bench, connection, message),
            Action::LateArrive(message) => self.enqueue(message),
            Action::PubAck {
                bench,
                connection,
                position,
                reason,
            } => {
                if self.benches[bench].connection == Some(connection) {
                    self.input(
                        bench,
                        LinkInput::PubAck {
                            connection,
                            position,
                            reason,
                        },
                    );
                    self.mutant_puback(bench, position, reason);
                }
            }
            Action::Deliver {
                bench,
                connection,
                down,
            } => self.deliver(bench, connection, down),
            Action::ToServer { connection, message } => {
                if self.server_up && connection == self.broker.server_connection {
                    self.batch.push((connection, message));
                    if !std::mem::replace(&mut self.commit_due, true) {
                        let process = self.server_process;
                        self.after(BATCH, Action::Commit(process));
                    }
                }
            }
            Action::Commit(process) => self.commit(process),
            Action::StartServer => {
                self.server_up = true;
                self.serve();
            }
            Action::StartBroker => {
                self.broker.up = true;
                self.serve();
            }
            Action::Fault => self.fault(),
        }
    }

    // The bench.

    fn start(&mut self, bench: usize) {
        self.figures.restarts += 1;
        self.benches[bench].starting = false;
        self.ids += 1;
        let process = self.ids;
        let ids = &mut self.ids;
        let mut mint = || {
            *ids += 1;
            Uuid::from_u128(u128::from(*ids) << 64 | 0x8000_0000_0000_0000)
        };
        let result = self.benches[bench].start(process, &mut mint, self.now, &mut self.truth);
        if result.is_err() {
            return self.dies(bench);
        }
        let (connect, compact) = (self.rng.millis(0, 3_000), self.rng.millis(10_000, 70_000));
        self.after(connect, Action::Connect(bench, process));
        self.after(compact, Action::Compact(bench, process));
    }

    /// The agent ends by itself: power lost, or its spool counts nothing more.
    fn dies(&mut self, bench: usize) {
        self.kill(bench, false);
    }

    fn kill(&mut self, bench: usize, power: bool) {
        if power || self.benches[bench].disk.is_off() {
            self.figures.power_losses += 1;
        }
        if std::mem::replace(&mut self.benches[bench].starting, true) {
            return;
        }
        self.cut(bench, false);
        self.benches[bench].kill(power);
        let pause = self.rng.millis(100, 30_000);
        self.after(pause, Action::Start(bench));
    }

    fn process(&self, bench: usize, number: u64) -> bool {
        self.benches[bench]
            .process
            .as_ref()
            .is_some_and(|process| process.number == number)
    }

    fn produce(&mut self, bench: usize) {
        let pause = self.rng.millis(self.plan.pause_ms / 2, self.plan.pause_ms * 2);
        if !self.calm {
            self.after(pause, Action::Produce(bench));
        }
        if self.benches[bench].process.is_none() {
            return;
        }
        let events = 1 + self.rng.below(4);
        let mut result: Result<(), Dies> = Ok(());
        for _ in 0..events {
            let ids = &mut self.ids;
            let mut mint = || {
                *ids += 1;
                Uuid::from_u128(u128::from(*ids) << 64 | 0x8000_0000_0000_0000)
            };
            result =
                result.and_then(|()| self.benches[bench].append_event(&mut mint, self.now, &mut self.truth));
        }
        // A power cut may come before the sync.
        if result.is_ok() && self.chance(5) {
            return self.kill(bench, true);
        }
        match result.and_then(|()| self.benches[bench].sync(&mut self.truth)) {
            Ok(()) => self.input(bench, LinkInput::Tick),
            Err(Dies) => self.dies(bench),
        }
    }

    fn input(&mut self, bench: usize, input: LinkInput) {
        let effects = self.benches[bench].handle(input, self.now);
        for effect in effects {
            self.effect(bench, effect);
        }
        if self.benches[bench].disk.is_off() {
            return self.dies(bench);
        }
        let Some(process) = self.benches[bench].process.as_mut() else {
            return;
        };
        let due = process.uplink.next_deadline();
        if let Some(due) = due
            && process.ticks_at.is_none_or(|at| due < at || at <= self.now)
        {
            process.ticks_at = Some(due);
            let number = process.number;
            self.at(due.max(self.now), Action::Tick(bench, number));
        }
    }

    fn tick(&mut self, bench: usize, process: u64) {
        if self.process(bench, process) {
            self.input(bench, LinkInput::Tick);
        }
    }

    fn effect(&mut self, bench: usize, effect: LinkEffect) {
        match effect {
            LinkEffect::Publish {
                connection,
                position,
                properties,
                payload,
            } => {
                self.figures.published += 1;
                let stripped = self.plan.stripped;
                let properties = if self.chance(stripped) {
                    self.figures.stripped += 1;
                    None
                } else {
                    Some(properties)
                };
                self.send(
                    bench,
                    connection,
                    Body::Event { properties, payload },
                    Some(position),
                );
            }
            LinkEffect::Reconnect { connection, .. } => {
                if self.benches[bench].connection == Some(connection) {
                    self.cut(bench, true);
                }
            }
            LinkEffect::SealSpool { .. } => {
                self.complaint = Some(format!("bench {bench} sealed its spool, nobody cloned its disk"));
            }
            LinkEffect::BenchRestored => {
                if self.figures.disk_restores == 0 && self.figures.failed_syncs == 0 {
                    self.complaint = Some(format!("bench {bench} was told of a restored disk, it has none"));
                }
            }
            LinkEffect::SyncWanted => {
                if let Some(process) = &self.benches[bench].process {
                    let number = process.number;
                    self.after(Duration::from_millis(1), Action::Sync(bench, number));
                }
            }
            LinkEffect::Alarm(AlarmKind::Hole {
                reason,
                spool,
                from,
                to,
            }) => {
                self.figures.holes += 1;
                if reason == HoleReason::Unattributed {
                    self.figures.unattributed += 1;
                    for seq in from..=to {
                        self.truth.forgiven.insert((bench, spool, seq));
                    }
                }
            }
            LinkEffect::Alarm(AlarmKind::Disk { .. }) => {
                // What the agent does: ask whether anything can still count.
                if self.benches[bench].sync(&mut self.truth).is_err() && !self.benches[bench].disk.is_off() {
                    self.benches[bench].disk.power_off();
                }
            }
            LinkEffect::GenerationChanged { .. } | LinkEffect::Alarm(_) => {}
        }
    }

    fn send(&mut self, bench: usize, connection: u64, body: Body, position: Option<Position>) {
        self.ids += 1;
        let message = Message {
            id: self.ids,
            bench,
            body,
        };
        let served = self.broker.up && self.benches[bench].connection == Some(connection);
        if !served || self.benches[bench].half_open {
            return;
        }
        let latency = self.latency();
        let session = &mut self.broker.sessions[bench];
        let time = (self.now + latency).max(session.last_up);
        session.last_up = time;
        self.at(
            time,
            Action::Arrive {
                bench,
                connection,
                message,
            },
        );
        let Some(position) = position else { return };
        let (refused, missing) = (self.plan.puback_refused, self.plan.puback_missing);
        let reason = if self.chance(refused) { 0x97 } else { 0 };
        if self.chance(missing) {
            return;
        }
        let back = self.latency();
        self.at(
            time + back,
            Action::PubAck {
                bench,
                connection,
                position,
                reason,
            },
        );
    }

    fn latency(&mut self) -> Duration {
        let most = self.plan.latency_ms;
        self.rng.millis(0, most)
    }

    fn connect(&mut self, bench: usize, process: u64) {
        if !self.process(bench, process) || self.benches[bench].connection.is_some() {
            return;
        }
        if !self.broker.up {
            let pause = self.rng.millis(0, 10_000);
            return self.after(pause, Action::Connect(bench, process));
        }
        self.figures.connects += 1;
        self.ids += 1;
        let connection = self.ids;
        self.benches[bench].connection = Some(connection);
        self.benches[bench].half_open = false;
        let session = &mut self.broker.sessions[bench];
        session.connection = Some(connection);
        session.last_up = self.now;
        session.last_down = self.now;
        self.flush(bench);
        let receive_maximum = self.plan.receive_maximum;
        self.input(
            bench,
            LinkInput::Connected {
                connection,
                receive_maximum,
                maximum_packet_size: None,
            },
        );
        self.sync(bench, process);
    }

    /// The connection ends; the agent connects again.
    fn cut(&mut self, bench: usize, again: bool) {
        let Some(connection) = self.benches[bench].connection.take() else {
            return;
        };
        self.broker.sessions[bench].connection = None;
        self.input(bench, LinkInput::Disconnected { connection });
        if again && let Some(process) = &self.benches[bench].process {
            let number = process.number;
            let pause = self.rng.millis(0, 10_000);
            self.after(pause, Action::Connect(bench, number));
        }
    }

    fn sync(&mut self, bench: usize, process: u64) {
        if !self.process(bench, process) {
            return;
        }
        let pause = self.rng.millis(48_000, 72_000);
        self.after(pause, Action::Sync(bench, process));
        let Some(connection) = self.benches[bench].connection else {
            return;
        };
        if let Some(facts) = self.benches[bench].sync_facts() {
            self.send(bench, connection, Body::Sync(facts), None);
        }
    }

    fn compact(&mut self, bench: usize, process: u64) {
        if !self.process(bench, process) {
            return;
        }
        let wall = crate::bench::wall(self.now);
        if let Some(process) = self.benches[bench].process.as_mut() {
            // An error is an alarm; the next sync says whether anything still counts.
            let _ = process.uplink.compact(wall);
        }
        if self.benches[bench].disk.is_off() {
            return self.dies(bench);
        }
        let pause = self.rng.millis(20_000, 60_000);
        self.after(pause, Action::Compact(bench, process));
    }

    fn mutant_puback(&mut self, bench: usize, position: Position, reason: u8) {
        if self.plan.mutant == Some(Mutant::DeleteOnPuback) && reason == 0 {
            let generation = self.benches[bench]
                .process
                .as_ref()
                .and_then(|p| p.uplink.generation());
            let receipt = fleet_wire::receipt::Receipt {
                store_generation: generation.unwrap_or(self.database.generation),
                spool_id: position.spool,
                through: position.seq,
                rejected: Vec::new(),
                gap: false,
                unattributed: false,
            };
            self.input(bench, LinkInput::Receipt(receipt));
        }
    }

    // The broker.

    fn arrive(&mut self, bench: usize, connection: u64, message: Message) {
        if !self.broker.up {
            return;
        }
        if self.broker.sessions[bench].connection != Some(connection) {
            let late = self.plan.late_from_old_connection;
            if self.chance(late) {
                let pause = self.rng.millis(0, 30_000);
                self.after(pause, Action::LateArrive(message));
            }
            return;
        }
        let lost = self.plan.lost_after_puback;
        if !self.chance(lost) {
            self.enqueue(message);
        }
    }

    fn enqueue(&mut self, message: Message) {
        if self.broker.up {
            self.broker.waiting.push_back(message);
            self.serve();
        }
    }

    /// Delivers to the server what waits, in order.
    fn serve(&mut self) {
        if !self.server_up || !self.broker.up {
            return;
        }
        while let Some(message) = self.broker.waiting.pop_front() {
            self.broker.unacknowledged.push_back(message.clone());
            let latency = self.latency();
            let time = (self.now + latency).max(self.broker.last_to_server);
            self.broker.last_to_server = time;
            let connection = self.broker.server_connection;
            self.at(time, Action::ToServer { connection, message });
        }
    }

    fn to_bench(&mut self, bench: usize, down: Down) {
        let lost = self.plan.receipt_lost;
        if !self.broker.up || self.chance(lost) {
            return;
        }
        self.broker.sessions[bench]
            .waiting
            .push_back((self.now + EXPIRY, down));
        self.flush(bench);
    }

    fn flush(&mut self, bench: usize) {
        let Some(connection) = self.broker.sessions[bench].connection else {
            return;
        };
        while let Some((expires, down)) = self.broker.sessions[bench].waiting.pop_front() {
            if expires < self.now {
                continue;
            }
            let latency = self.latency();
            let session = &mut self.broker.sessions[bench];
            let time = (self.now + latency).max(session.last_down);
            session.last_down = time;
            self.at(
                time,
                Action::Deliver {
                    bench,
                    connection,
                    down,
                },
            );
        }
    }

    fn deliver(&mut self, bench: usize, connection: u64, down: Down) {
        let current = self.benches[bench].connection == Some(connection);
        if !current || self.benches[bench].half_open {
            // Not acknowledged: it waits in the session.
            let expires = self.now + EXPIRY / 2;
            self.broker.sessions[bench].waiting.push_back((expires, down));
            return;
        }
        let again = self.plan.receipt_again;
        if self.chance(again) {
            let expires = self.now + EXPIRY;
            self.broker.sessions[bench]
                .waiting
                .push_back((expires, down.clone()));
        }
        match down {
            Down::Receipt(receipt) => self.input(bench, LinkInput::Receipt(receipt)),
            Down::Answer(mut answer) => {
                if self.plan.mutant == Some(Mutant::IgnoreLowerThrough)
                    && let Some(process) = &self.benches[bench].process
                {
                    let spools = process.uplink.spools();
                    answer
                        .spools
                        .retain(|told| spools.receipted(told.spool_id).is_none_or(|r| told.through >= r));
                }
                self.input(bench, LinkInput::SyncAnswer(answer));
            }
        }
    }

    // The server.

    fn commit(&mut self, process: u64) {
        if process != self.server_process || !self.server_up {
            return;
        }
        self.commit_due = false;
        let batch = std::mem::take(&mut self.batch);
        let messages: Vec<_> = batch.iter().map(|(_, message)| message.clone()).collect();
        let crash = self.plan.crash_in_commit;
        let early = self.plan.mutant == Some(Mutant::ReceiptBeforeCommit);
        let before = early.then(|| self.database.clone());
        if !early && self.chance(crash) {
            return self.crash_server();
        }
        let ids = &mut self.ids;
        let outcome = self.database.commit(&messages, self.plan.mutant, || {
            *ids += 1;
            StoreGeneration(Uuid::from_u128(u128::from(*ids)))
        });
        self.complaint = outcome.complaint;
        if let Some(before) = before
            && self.chance(crash.max(30))
        {
            for (bench, down) in outcome.down {
                self.to_bench(bench, down);
            }
            self.database = before;
            return self.crash_server();
        }
        if self.chance(crash) {
            return self.crash_server();
        }
        for (connection, message) in &batch {
            self.broker.acknowledged(*connection, message.id);
        }
        if self.chance(crash) {
            return self.crash_server();
        }
        for (bench, down) in outcome.down {
            self.to_bench(bench, down);
        }
    }

    fn crash_server(&mut self) {
        self.figures.server_crashes += 1;
        self.server_process += 1;
        self.server_up = false;
        self.batch.clear();
        self.commit_due = false;
        self.broker.server_gone();
        let pause = self.rng.millis(100, 20_000);
        self.after(pause, Action::StartServer);
    }

    // Faults.

    fn fault(&mut self) {
        if self.calm {
            return;
        }
        let (least, most) = (self.plan.fault_every_ms / 2, self.plan.fault_every_ms * 2);
        let pause = self.rng.millis(least, most);
        self.after(pause, Action::Fault);
        let bench = usize::try_from(self.rng.below(self.benches.len() as u64)).unwrap_or(0);
        match self.rng.below(14) {
            0..=2 => self.cut(bench, true),
            3 => self.benches[bench].half_open = self.benches[bench].connection.is_some(),
            4 if self.benches[bench].process.is_some() => self.kill(bench, false),
            5 if self.benches[bench].process.is_some() => self.kill(bench, true),
            6 => {
                let operations = self.rng.below(12);
                self.benches[bench].disk.fault_in(operations, Fault::PowerLoss);
            }
            7 if self.plan.disk_errors => {
                let operations = self.rng.below(12);
                let fault = [Fault::NoSpace, Fault::Io, Fault::SyncFails]
                    [usize::try_from(self.rng.below(3)).unwrap_or(0)];
                self.figures.failed_syncs += u64::from(fault != Fault::NoSpace);
                self.benches[bench].disk.fault_in(operations, fault);
            }
            8 if self.server_up => self.crash_server(),
            9 if self.rng.chance(300) => self.crash_broker(),
            10 => {
                // The server's connection alone: acknowledgements of what it has are lost.
                self.broker.server_gone();
                self.serve();
            }
            11 => self.backups.push(self.database.clone()),
            12 if self.plan.restores_database => self.restore_database(),
            13 if self.plan.restores_disk => self.restore_disk(bench),
            _ => {}
        }
    }

    fn crash_broker(&mut self) {
        self.broker.crash();
        for bench in 0..self.benches.len() {
            self.cut(bench, true);
        }
        self.broker.server_gone();
        let pause = self.rng.millis(100, 10_000);
        self.after(pause, Action::StartBroker);
    }

    fn restore_database(&mut self) {
        if self.backups.is_empty() {
            return;
        }
        let which = usize::try_from(self.rng.below(self.backups.len() as u64)).unwrap_or(0);
        self.figures.database_restores += 1;
        if self.server_up {
            self.crash_server();
        }
        let generation = self.database.generation;
        self.database = self.backups[which].clone();
        // Nobody may say so: then the generation is the one of the backup.
        if self.rng.chance(700) {
            self.ids += 1;
            self.database.generation = StoreGeneration(Uuid::from_u128(u128::from(self.ids)));
        } else if self.database.generation != generation {
            // A generation that was given out already, for another life, can't be told from it by anybody.
            self.ids += 1;
            self.database.generation = StoreGeneration(Uuid::from_u128(u128::from(self.ids)));
        }
        // Backups of the life that ended stay what they are.
    }

    fn restore_disk(&mut self, bench: usize) {
        let counted: std::collections::BTreeSet<_> = self
            .truth
            .counted
            .keys()
            .filter(|key| key.0 == bench)
            .copied()
            .collect();
        match self.benches[bench].image.take() {
            None => {
                let image = self.benches[bench].disk.image();
                self.benches[bench].image = Some((image, counted));
            }
            Some((image, then)) => {
                self.figures.disk_restores += 1;
                self.kill(bench, true);
                self.benches[bench].disk.restore(&image);
                for key in counted.difference(&then) {
                    self.truth.counted.remove(key);
                    self.truth.forgiven.insert(*key);
                }
            }
        }
    }

    // The judgement.

    fn judge(&mut self) -> Result<(), String> {
        self.figures.events = self.truth.counted.len() as u64;
        self.figures.stored = self.database.stored.len() as u64;
        self.database.check(&self.truth.begun)?;
        for (key, stored) in &self.database.stored {
            if !self
                .truth
                .tried
                .get(key)
                .is_some_and(|tried| tried.contains(&stored.marker))
            {
                return Err(format!(
                    "{key:?} holds {} which was never written there",
                    stored.marker
                ));
            }
        }
        let expires = self.plan.keep_receipted < self.plan.disturbed && self.figures.database_restores > 0;
        for (key, marker) in &self.truth.counted {
            let stored = self
                .database
                .stored
                .get(key)
                .is_some_and(|stored| stored.marker == *marker);
            let refused = self.database.rejected.contains(key) && self.truth.refused.contains(marker);
            let expired = expires && self.database.in_hole(*key);
            if !(stored || refused || expired || self.truth.forgiven.contains(key)) {
                let hole = self.database.in_hole(*key);
                return Err(format!(
                    "{key:?} (event {marker}) counted and is lost; in a hole: {hole}"
                ));
            }
        }
        if self.figures.unattributed > self.figures.stripped {
            return Err("more events were given up as unattributed than lost their properties".to_owned());
        }
        let sent = self.truth.counted.len() as u64;
        if self.plan.quiet && self.figures.published > sent {
            return Err(format!(
                "{} publishes for {sent} events without a fault",
                self.figures.published
            ));
        }
        Ok(())
    }
}
