//! One run: simulated time, the faults, and the judgement at the end.
//!
//! Faults: connections cut with messages in flight, half-open links, messages of an old connection that
//! arrive after those of a new one, PUBACK and then dropped, PUBACK with an error, no PUBACK, user properties
//! lost, receipts lost and repeated, the broker's data lost, the server killed at each point around its
//! commit, its database restored to an older state with and without saying so, a bench's clock off, the agent killed, power lost
//! in the middle of a write, disk errors, a failed fsync, the bench's disk restored to an older image.
//!
//! Of servers there may be two that share the slots: they die at each point around a commit, stand still and go on with
//! an old term, give their slots back, wait for a database that is away or slow.
//!
//! Not modelled: two agents on one disk and cloned disks (unit tests of agent-link), bytes changed on the disk (tests of
//! spool).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use agent_link::LinkInput;
use fleet_domain::{Slot, StoreGeneration};
use fleet_store_memory::Database;
use spool::sim::Fault;
use spool::{Limits, Position};
use uuid::Uuid;

use crate::bench::{Bench, Truth};
use crate::broker::Broker;
use crate::message::{Down, Message, device, plant};
use crate::plan::Plan;
use crate::replica::Replica;
use crate::rng::Rng;
use crate::trace::Trace;

mod agents;
mod faults;
mod judgement;
mod network;
mod servers;

/// All must be settled so long after the last fault.
const SETTLED_WITHIN: Duration = Duration::from_mins(20);

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
        replica: usize,
        slot: Slot,
        connection: u64,
        message: Message,
    },
    Gone {
        replica: usize,
        slot: Slot,
        connection: u64,
    },
    Keep {
        replica: usize,
        process: u64,
    },
    Commit {
        replica: usize,
        process: u64,
    },
    End {
        replica: usize,
        process: u64,
    },
    GiveUp {
        replica: usize,
        number: u64,
    },
    Thaw {
        replica: usize,
        process: u64,
    },
    StartServer(usize),
    StartBroker,
    Fault,
}

impl Action {
    /// The server that has to be running for it.
    fn of_server(&self) -> Option<usize> {
        match self {
            Self::ToServer { replica, .. }
            | Self::Gone { replica, .. }
            | Self::Keep { replica, .. }
            | Self::Commit { replica, .. }
            | Self::End { replica, .. } => Some(*replica),
            _ => None,
        }
    }

    /// For the trace.
    fn describe(&self) -> Option<String> {
        Some(match self {
            Self::Start(bench) => format!("bench {bench} starts"),
            Self::Connect(bench, _) => format!("bench {bench} connects"),
            Self::Arrive { bench, message, .. } => format!("bench {bench} -> broker: {}", message.describe()),
            Self::LateArrive(message) => format!("late -> broker: {}", message.describe()),
            Self::PubAck {
                bench,
                position,
                reason,
                ..
            } => format!(
                "broker -> bench {bench}: PUBACK {} reason {reason:#x}",
                position.seq
            ),
            Self::Deliver { bench, down, .. } => format!("broker -> bench {bench}: {}", down.describe()),
            Self::ToServer { replica, message, .. } => {
                format!(
                    "broker -> server {replica}: bench {} {}",
                    message.bench,
                    message.describe()
                )
            }
            Self::StartServer(replica) => format!("server {replica} starts"),
            Self::StartBroker => "the broker starts".to_owned(),
            _ => return None,
        })
    }
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
#[expect(missing_docs, reason = "the names say it")]
pub struct Figures {
    pub events: u64,
    pub published: u64,
    pub stored: u64,
    pub holes: u64,
    pub restarts: u64,
    pub power_losses: u64,
    pub server_crashes: u64,
    pub database_restores: u64,
    pub disk_restores: u64,
    pub connects: u64,
    /// Leases of slots that were taken.
    pub claims: u64,
    /// Slots that were left out of a commit because their term had ended.
    pub fenced: u64,
    pub freezes: u64,
    /// Dropped by the broker after their PUBACK.
    pub dropped: u64,
    /// Depends on everything that happened, in its order.
    pub trace_hash: u64,
    /// How long the last fault was ago when everything was settled.
    pub settled_after: Duration,
    stripped: u64,
    unattributed: u64,
    failed_syncs: u64,
}

impl Figures {
    /// Adds the figures of another run; times and hashes are of one run only.
    pub fn add(&mut self, other: &Self) {
        for (sum, add) in [
            (&mut self.events, other.events),
            (&mut self.published, other.published),
            (&mut self.stored, other.stored),
            (&mut self.holes, other.holes),
            (&mut self.restarts, other.restarts),
            (&mut self.power_losses, other.power_losses),
            (&mut self.server_crashes, other.server_crashes),
            (&mut self.database_restores, other.database_restores),
            (&mut self.disk_restores, other.disk_restores),
            (&mut self.connects, other.connects),
            (&mut self.claims, other.claims),
            (&mut self.fenced, other.fenced),
            (&mut self.freezes, other.freezes),
            (&mut self.dropped, other.dropped),
        ] {
            *sum += add;
        }
    }
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
    pub(crate) replicas: Vec<Replica>,
    database_away_until: Duration,
    /// The bench's write at which its disk fails, and how.
    pub(crate) power_at: Option<(u64, Fault)>,
    pub(crate) trace: Trace,
    pub(crate) truth: Truth,
    pub(crate) figures: Figures,
    complaint: Option<String>,
}

impl World {
    pub(crate) fn new(mut rng: Rng, plan: Plan, traced: bool) -> Self {
        let limits = Limits {
            segment_bytes: plan.segment_bytes,
            keep_receipted: plan.keep_receipted,
            ..Limits::default()
        };
        let benches = (0..plan.benches)
            .map(|index| Bench::new(index, rng.next(), limits))
            .collect();
        let mut world = Self {
            broker: Broker::new(plan.benches, plan.queue_limit),
            database: Database::new(plant(), StoreGeneration(Uuid::from_u128(1))),
            truth: Truth::default(),
            rng,
            now: Duration::ZERO,
            calm: false,
            queue: BinaryHeap::new(),
            order: 0,
            ids: 1,
            benches,
            backups: Vec::new(),
            replicas: (0..plan.replicas).map(|_| Replica::default()).collect(),
            database_away_until: Duration::ZERO,
            power_at: None,
            trace: Trace::new(traced),
            figures: Figures::default(),
            complaint: None,
            plan,
        };
        for bench in 0..world.benches.len() {
            world.at(Duration::ZERO, Action::Start(bench));
            world.at(Duration::from_millis(10), Action::Produce(bench));
        }
        for replica in 0..world.replicas.len() {
            world.at(Duration::ZERO, Action::StartServer(replica));
        }
        if !world.plan.quiet {
            world.at(Duration::from_secs(1), Action::Fault);
        }
        world
    }

    /// Lets a write of the first bench fail.
    pub(crate) fn failing(mut self, write: u64, fault: Fault) -> Self {
        self.power_at = Some((write, fault));
        self.figures.failed_syncs += u64::from(matches!(fault, Fault::Io | Fault::SyncFails));
        self.benches[0].disk.fault_at(write, fault);
        self
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
        let result = self.run_on();
        self.figures.trace_hash = self.trace.hash();
        result.map(|()| self.figures)
    }

    fn run_on(&mut self) -> Result<(), String> {
        let mut at_once = 0_u32;
        while let Some(Reverse(Entry(time, _, action))) = self.queue.pop() {
            at_once = if time > self.now { 0 } else { at_once + 1 };
            if at_once > 100_000 {
                return Err(format!("time stands still at {time:?}: {action:?}"));
            }
            self.now = time;
            self.trace.mix(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            self.trace.mix(self.rng.state());
            if !self.calm && time >= self.plan.disturbed {
                self.calm_down();
            }
            self.apply(action);
            if let Some(complaint) = self.complaint.take() {
                return Err(complaint);
            }
            if self.calm && self.settled() {
                self.figures.settled_after = self.now.saturating_sub(self.plan.disturbed);
                return self.judge();
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
        self.trace.line(self.now, || "no more faults".to_owned());
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
            let name = device(bench.index);
            let mut order = process.uplink.spools().order();
            let agreed = order.all(|(spool, last, _)| self.database.through(&name, spool) >= last);
            bench.connection.is_some() && process.uplink.outstanding() == 0 && agreed
        };
        let idle = |server: &Replica| server.batch.is_empty() && server.running.is_none();
        self.replicas.iter().all(idle) && self.benches.iter().all(done)
    }

    fn stuck(&self) -> String {
        let of = |bench: &Bench| {
            let process = bench.process.as_ref();
            let order: Vec<_> = process
                .iter()
                .flat_map(|p| p.uplink.spools().order())
                .filter(|o| o.1 != o.2)
                .collect();
            let of_bench = |row: &&fleet_domain::SpoolLedger| order.iter().any(|o| o.0 == row.spool);
            let ledger: Vec<_> = self
                .database
                .ledger(&device(bench.index))
                .filter(of_bench)
                .collect();
            format!("{order:?} connection {:?} ledger {ledger:?}", bench.connection)
        };
        let benches: Vec<_> = self.benches.iter().map(of).collect();
        benches.join("\n")
    }

    fn apply(&mut self, action: Action) {
        if let Some(replica) = action.of_server()
            && self.replicas[replica].frozen
        {
            return self.replicas[replica].deferred.push(action);
        }
        let now = self.now;
        if self.trace.is_wanted()
            && let Some(text) = action.describe()
        {
            self.trace.line(now, || text);
        }
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
            Action::ToServer {
                replica,
                slot,
                connection,
                message,
            } => self.receive(replica, slot, connection, message),
            Action::Gone {
                replica,
                slot,
                connection,
            } => self.gone(replica, slot, connection),
            Action::Keep { replica, process } => self.keep(replica, process),
            Action::Commit { replica, process } => self.commit(replica, process),
            Action::End { replica, process } => self.end(replica, process),
            Action::GiveUp { replica, number } => self.give_up(replica, number),
            Action::Thaw { replica, process } => self.thaw(replica, process),
            Action::StartServer(replica) => self.start_server(replica),
            Action::StartBroker => {
                self.broker.up = true;
            }
            Action::Fault => self.fault(),
        }
    }
}
