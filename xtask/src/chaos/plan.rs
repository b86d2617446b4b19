//! What is broken when: a pure function of seed, kills and seconds, so that a run can be made again.

use std::fmt;

use serde::Serialize;

/// A second after a fault has ended its target may be broken again.
const REST_MS: u64 = 1000;
/// A process that stands still so long has lost its leases (6 s) when it wakes up.
const BEYOND_THE_LEASE_MS: (u64, u64) = (8_000, 11_000);
/// From so many kills on a plan also puts back an older database and an older disk.
const RESTORES_FROM_KILLS: u32 = 10;
/// Other faults for each kill, in tenths.
const OTHERS_PER_KILL_TENTHS: u32 = 8;

/// Which services stand behind the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// PostgreSQL, Mosquitto, two servers.
    Plant,
    /// One server with its own broker and SQLite.
    Embedded,
}

/// How many there are of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowd {
    pub(crate) benches: usize,
    pub(crate) agents: usize,
    pub(crate) servers: usize,
}

/// A kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Component {
    /// A process with some simulated benches.
    Benches,
    /// A real `device-agent`.
    Agent,
    /// A `fleet-server`.
    Server,
    /// Mosquitto.
    Broker,
    /// PostgreSQL.
    Database,
    /// Kafka.
    Kafka,
}

impl Component {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Benches => "benches",
            Self::Agent => "agent",
            Self::Server => "server",
            Self::Broker => "broker",
            Self::Database => "database",
            Self::Kafka => "kafka",
        }
    }

    /// The kinds of a mode.
    pub(crate) fn all(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::Plant => &[
                Self::Benches,
                Self::Agent,
                Self::Server,
                Self::Broker,
                Self::Database,
                Self::Kafka,
            ],
            Mode::Embedded => &[Self::Benches, Self::Agent, Self::Server, Self::Kafka],
        }
    }
}

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Target(pub(crate) Component, pub(crate) usize);

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.name(), self.1 + 1)
    }
}

/// A connection with a fault proxy in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Link {
    /// Of a process with benches to the broker.
    BenchesToBroker(usize),
    /// Of an agent to the broker.
    AgentToBroker(usize),
    /// Of the agents to the server's REST API.
    AgentsToServer,
    /// Of the servers to the broker.
    ServersToBroker,
    /// Of the servers to PostgreSQL.
    ServersToDatabase,
    /// Of everybody to Kafka.
    ToKafka,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BenchesToBroker(of) => write!(f, "benches {} to broker", of + 1),
            Self::AgentToBroker(of) => write!(f, "agent {} to broker", of + 1),
            Self::AgentsToServer => f.write_str("agents to server"),
            Self::ServersToBroker => f.write_str("servers to broker"),
            Self::ServersToDatabase => f.write_str("servers to database"),
            Self::ToKafka => f.write_str("servers to kafka"),
        }
    }
}

/// What a proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LinkFault {
    /// All connections are reset at once.
    Reset,
    /// Each connection is reset after so many bytes of its client.
    ResetAfter(u64),
    /// The server's side of all connections is gone, the client is not told.
    ServerGone,
    /// The client's side of all connections is gone, the server is not told.
    ClientGone,
    /// Byte by byte.
    ByteWise,
    /// Nothing passes, nobody is told.
    BlackHole,
    /// No connection is taken.
    Refused,
}

impl LinkFault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::ResetAfter(_) => "reset after bytes",
            Self::ServerGone | Self::ClientGone => "half-open",
            Self::ByteWise => "byte-wise",
            Self::BlackHole => "black hole",
            Self::Refused => "refused",
        }
    }
}

/// A disk that can be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SmallDisk {
    /// That of the first process with benches.
    Benches,
    /// That of PostgreSQL.
    Database,
    /// That of the embedded server: database and sessions of its broker.
    Server,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// SIGKILL; started again at the end.
    Kill(Target),
    /// SIGSTOP; SIGCONT at the end.
    Freeze(Target),
    /// A fault of a link.
    Link(Link, LinkFault),
    /// No free byte; freed at the end.
    DiskFull(SmallDisk),
    /// A backup of the database is made.
    Backup,
    /// The backup is put back under the running plant, or while the embedded server is down; the relay is reconciled.
    /// `true`: the restore is declared.
    RestoreDatabase(bool),
    /// The disk of a process with benches is copied while it is down.
    Image(usize),
    /// The disk is put back to the copy.
    RestoreDisk(usize),
}

impl Act {
    /// The kind, for counting.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill -9",
            Self::Freeze(Target(Component::Kafka, _)) => "hanging kafka",
            Self::Freeze(_) => "stop and continue",
            Self::Link(_, fault) => fault.name(),
            Self::DiskFull(_) => "disk full",
            Self::Backup => "backup",
            Self::RestoreDatabase(_) => "older database",
            Self::Image(_) => "image",
            Self::RestoreDisk(_) => "older bench disk",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(target) => write!(f, "kill -9 {target}"),
            Self::Freeze(target) => write!(f, "stop {target}"),
            Self::Link(link, LinkFault::ResetAfter(bytes)) => write!(f, "reset after {bytes} bytes: {link}"),
            Self::Link(link, LinkFault::ServerGone) => write!(f, "half-open, server gone: {link}"),
            Self::Link(link, LinkFault::ClientGone) => write!(f, "half-open, client gone: {link}"),
            Self::Link(link, fault) => write!(f, "{}: {link}", fault.name()),
            Self::DiskFull(SmallDisk::Benches) => f.write_str("disk full: benches 1"),
            Self::DiskFull(SmallDisk::Database) => f.write_str("disk full: database"),
            Self::DiskFull(SmallDisk::Server) => f.write_str("disk full: server"),
            Self::Backup => f.write_str("backup of the database"),
            Self::RestoreDatabase(true) => f.write_str("older database put back, declared"),
            Self::RestoreDatabase(false) => f.write_str("older database put back, not declared"),
            Self::Image(of) => write!(f, "image of the disk of benches {}", of + 1),
            Self::RestoreDisk(of) => write!(f, "older disk put back: benches {}", of + 1),
        }
    }
}

/// An act, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Milliseconds since the load began.
    pub(crate) at_ms: u64,
    /// How long it lasts, milliseconds; 0: it is over at once.
    pub(crate) for_ms: u64,
    /// What.
    pub(crate) act: Act,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| format!("{}.{}", ms / 1000, ms % 1000 / 100);
        write!(f, "{:>7} s  {}", seconds(self.at_ms), self.act)?;
        if self.for_ms > 0 {
            write!(f, ", for {} s", seconds(self.for_ms))?;
        }
        Ok(())
    }
}

/// `SplitMix64`: a seed is a whole plan.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap_or(0)
    }

    fn between(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.below(most - least + 1)
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            let other = self.place(end + 1);
            list.swap(end, other);
        }
    }
}

/// The plan of a run, by time.
pub(crate) fn plan(seed: u64, kills: u32, seconds: u64, mode: Mode, crowd: Crowd) -> Vec<Step> {
    let mut rng = Rng(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ u64::from(kills) << 32 ^ seconds);
    let mut acts = Vec::new();
    let kinds = Component::all(mode);
    let mut of_kinds: Vec<_> = (0..kills as usize)
        .filter_map(|n| kinds.get(n % kinds.len()))
        .collect();
    rng.shuffle(&mut of_kinds);
    for kind in of_kinds {
        acts.push((
            Act::Kill(target(&mut rng, *kind, crowd)),
            rng.between((300, 4_000)),
        ));
    }
    let others = usize::try_from(kills * OTHERS_PER_KILL_TENTHS / 10).unwrap_or(0);
    let mut others: Vec<_> = (0..others).map(|n| other(&mut rng, n, mode, crowd)).collect();
    acts.append(&mut others);
    rng.shuffle(&mut acts);
    let restores = restores(&mut rng, kills, seconds, crowd);
    spread(&mut rng, &acts, seconds * 1000, restores)
}

fn target(rng: &mut Rng, kind: Component, crowd: Crowd) -> Target {
    let count = match kind {
        Component::Benches => crowd.benches,
        Component::Agent => crowd.agents,
        Component::Server => crowd.servers,
        Component::Broker | Component::Database | Component::Kafka => 1,
    };
    Target(kind, rng.place(count))
}

/// The `n`th fault that is no kill: the kinds take turns, so that each comes in a long plan.
fn other(rng: &mut Rng, n: usize, mode: Mode, crowd: Crowd) -> (Act, u64) {
    match n % 10 {
        0 => (
            Act::Freeze(target(rng, Component::Server, crowd)),
            rng.between(BEYOND_THE_LEASE_MS),
        ),
        1 => (Act::Link(link(rng, mode, crowd), LinkFault::Reset), 0),
        2 => (
            Act::Freeze(Target(Component::Kafka, 0)),
            rng.between((3_000, 12_000)),
        ),
        3 => {
            let side = [LinkFault::ServerGone, LinkFault::ClientGone][rng.place(2)];
            (Act::Link(link(rng, mode, crowd), side), 0)
        }
        4 => {
            let kinds = Component::all(mode);
            let kind = kinds[rng.place(kinds.len())];
            (Act::Freeze(target(rng, kind, crowd)), rng.between((200, 5_000)))
        }
        5 => (
            Act::Link(link(rng, mode, crowd), LinkFault::ByteWise),
            rng.between((1_000, 4_000)),
        ),
        6 => (Act::DiskFull(SmallDisk::Benches), rng.between((1_000, 5_000))),
        7 => (
            Act::Link(link(rng, mode, crowd), LinkFault::BlackHole),
            rng.between((2_000, 8_000)),
        ),
        8 => {
            let disk = match mode {
                Mode::Plant => SmallDisk::Database,
                Mode::Embedded => SmallDisk::Server,
            };
            (Act::DiskFull(disk), rng.between((1_000, 5_000)))
        }
        _ => {
            let fault = match rng.place(2) {
                0 => LinkFault::ResetAfter(rng.between((1, 60_000))),
                _ => LinkFault::Refused,
            };
            (
                Act::Link(link(rng, mode, crowd), fault),
                rng.between((1_000, 5_000)),
            )
        }
    }
}

fn link(rng: &mut Rng, mode: Mode, crowd: Crowd) -> Link {
    match (rng.below(8), mode) {
        (0..=2, _) => Link::BenchesToBroker(rng.place(crowd.benches)),
        (3, _) => Link::AgentToBroker(rng.place(crowd.agents)),
        (4, Mode::Plant) => Link::ServersToDatabase,
        (5, Mode::Plant) => Link::ServersToBroker,
        (6, _) => Link::AgentsToServer,
        _ => Link::ToKafka,
    }
}

/// Backup and restore of the database in the first half, image and restore of a disk in the second. They never
/// overlap: what an older database and an older disk have both lost is nowhere, and nobody can be blamed for it.
fn restores(rng: &mut Rng, kills: u32, seconds: u64, crowd: Crowd) -> Vec<Step> {
    if kills < RESTORES_FROM_KILLS {
        return Vec::new();
    }
    let disk = rng.place(crowd.benches);
    let acts = [
        (18, Act::Backup),
        (33, Act::RestoreDatabase(rng.below(2) == 0)),
        (58, Act::Image(disk)),
        (73, Act::RestoreDisk(disk)),
    ];
    let step = |(percent, act)| Step {
        at_ms: seconds * 10 * percent,
        for_ms: 0,
        act,
    };
    acts.into_iter().map(step).collect()
}

/// Gives each act a time. What is broken is not broken again before it has come back.
fn spread(rng: &mut Rng, acts: &[(Act, u64)], length_ms: u64, restores: Vec<Step>) -> Vec<Step> {
    let gap = length_ms / (acts.len() as u64 + 1);
    let mut steps = restores;
    for (place, (act, for_ms)) in acts.iter().enumerate() {
        let jitter = rng.below(gap.max(2) / 2);
        let mut at_ms = gap * (place as u64 + 1) - gap / 4 + jitter;
        while let Some(free) = steps
            .iter()
            .filter(|other| collide(&other.act, act))
            .filter(|other| {
                at_ms < other.at_ms + other.for_ms + REST_MS && other.at_ms < at_ms + for_ms + REST_MS
            })
            .map(|other| other.at_ms + other.for_ms + REST_MS)
            .max()
        {
            at_ms = free;
        }
        steps.push(Step {
            at_ms,
            for_ms: *for_ms,
            act: *act,
        });
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

/// Both break the same thing.
fn collide(a: &Act, b: &Act) -> bool {
    broken(a) == broken(b)
}

#[derive(Debug, PartialEq, Eq)]
enum Broken {
    Process(Target),
    Link(Link),
    /// Everything is whole while something is put back.
    All,
}

fn broken(act: &Act) -> Broken {
    match act {
        Act::Kill(target) | Act::Freeze(target) => Broken::Process(*target),
        Act::Link(link, _) => Broken::Link(*link),
        // A program on a full disk may be killed, but not started.
        Act::DiskFull(SmallDisk::Benches) => Broken::Process(Target(Component::Benches, 0)),
        Act::DiskFull(SmallDisk::Database) => Broken::Process(Target(Component::Database, 0)),
        Act::DiskFull(SmallDisk::Server) => Broken::Process(Target(Component::Server, 0)),
        Act::Backup | Act::RestoreDatabase(_) | Act::Image(_) | Act::RestoreDisk(_) => Broken::All,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const CROWD: Crowd = Crowd {
        benches: 3,
        agents: 3,
        servers: 2,
    };

    fn of(seed: u64, kills: u32, seconds: u64, mode: Mode) -> Vec<Step> {
        plan(seed, kills, seconds, mode, CROWD)
    }

    #[test]
    fn the_same_arguments_are_the_same_plan_and_another_seed_is_another() {
        assert_eq!(of(1, 50, 300, Mode::Plant), of(1, 50, 300, Mode::Plant));
        assert_ne!(of(1, 50, 300, Mode::Plant), of(2, 50, 300, Mode::Plant));
    }

    #[test]
    fn every_kind_of_component_is_killed_at_least_five_times_in_fifty_kills() {
        for mode in [Mode::Plant, Mode::Embedded] {
            for seed in 0..50 {
                let mut kills = BTreeMap::new();
                for step in of(seed, 50, 300, mode) {
                    if let Act::Kill(Target(kind, _)) = step.act {
                        *kills.entry(kind).or_insert(0) += 1;
                    }
                }
                assert_eq!(kills.len(), Component::all(mode).len());
                assert!(kills.values().all(|count| *count >= 5), "{kills:?}");
                assert_eq!(kills.values().sum::<i32>(), 50);
            }
        }
    }

    #[test]
    fn a_long_plan_has_every_kind_of_fault() {
        for mode in [Mode::Plant, Mode::Embedded] {
            for seed in 0..50 {
                let kinds: std::collections::BTreeSet<_> = of(seed, 50, 300, mode)
                    .iter()
                    .map(|step| step.act.kind())
                    .collect();
                for kind in [
                    "kill -9",
                    "hanging kafka",
                    "stop and continue",
                    "reset",
                    "half-open",
                    "byte-wise",
                    "black hole",
                    "disk full",
                    "older database",
                    "older bench disk",
                ] {
                    assert!(kinds.contains(kind), "no {kind} with seed {seed} in {kinds:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_broken_twice_at_a_time() {
        for seed in 0..50 {
            let steps = of(seed, 50, 300, Mode::Plant);
            for (n, a) in steps.iter().enumerate() {
                for b in steps.iter().skip(n + 1).filter(|b| collide(&a.act, &b.act)) {
                    assert!(b.at_ms >= a.at_ms + a.for_ms, "{a} and {b}");
                }
            }
        }
    }

    #[test]
    fn an_older_disk_is_put_back_long_after_an_older_database() {
        let steps = of(3, 50, 300, Mode::Plant);
        let at = |kind: &str| {
            let found = steps.iter().find(|step| step.act.kind() == kind);
            found.expect("it is there").at_ms
        };
        assert!(at("backup") < at("older database") && at("older database") + 30_000 < at("image"));
        assert!(at("image") < at("older bench disk"));
    }
}
