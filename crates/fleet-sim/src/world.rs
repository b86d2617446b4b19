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

use agent_link::LinkInput;
use fleet_domain::StoreGeneration;
use spool::{Limits, Position};
use uuid::Uuid;

use crate::bench::{Bench, Truth};
use crate::broker::Broker;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::server::{Database, Down, Message};

mod agents;
mod faults;
mod judgement;
mod network;
mod transactions;

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

    /// The benches have nothing left to send, and the database agrees: it may have been restored after the
    /// last receipt, and nobody has told them yet.
    fn settled(&self) -> bool {
        let done = |bench: &Bench| {
            let Some(process) = &bench.process else {
                return false;
            };
            let ledger = &self.database.ledgers[bench.index];
            let mut order = process.uplink.spools().order();
            let agreed = order.all(|(spool, last, _)| ledger.through(spool) >= last);
            bench.connection.is_some() && process.uplink.outstanding() == 0 && agreed
        };
        self.server_up && self.batch.is_empty() && self.benches.iter().all(done)
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
}
