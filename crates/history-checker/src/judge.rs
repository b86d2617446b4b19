//! The comparison. Pure: hand-made histories can be given to it.

use std::collections::HashMap;
use std::ops::BitOr;

use fleet_domain::{EventId, Seq, SpoolId};

use crate::judgement::{Fault, Judgement, Kind};
use crate::{Arrived, Hash, Made, Place};

/// Where events arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The plant's database.
    Database,
    /// The topics of Kafka, read with `read_committed`.
    Kafka,
}

impl Source {
    const ALL: [Self; 2] = [Self::Database, Self::Kafka];

    fn seen(self) -> Flags {
        match self {
            Self::Database => Flags::IN_DATABASE,
            Self::Kafka => Flags::IN_KAFKA,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Database => "the database",
            Self::Kafka => "Kafka",
        }
    }
}

/// What is known of an event, one bit each.
#[derive(Debug, Clone, Copy, Default)]
struct Flags(u8);

impl Flags {
    const COUNTED: Self = Self(1);
    const RECEIPTED: Self = Self(2);
    const REFUSED: Self = Self(4);
    const EXCUSED: Self = Self(8);
    const IN_DATABASE: Self = Self(16);
    const IN_KAFKA: Self = Self(32);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn set(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[derive(Debug)]
struct Fact {
    id: EventId,
    hash: Hash,
    flags: Flags,
}

#[derive(Debug)]
struct Spool {
    device: u32,
    id: SpoolId,
    /// Among the spools of its bench.
    ordinal: usize,
}

/// Names that come again and again, as numbers.
#[derive(Debug, Default)]
struct Names(HashMap<String, u32>, Vec<String>);

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.0.get(name) {
            return *number;
        }
        let number = u32::try_from(self.1.len()).unwrap_or(u32::MAX);
        self.0.insert(name.to_owned(), number);
        self.1.push(name.to_owned());
        number
    }

    fn name(&self, number: u32) -> &str {
        let name = usize::try_from(number).ok().and_then(|number| self.1.get(number));
        name.map_or("", String::as_str)
    }
}

/// Takes a history piece by piece. First everything that was made, then what arrived, each source in its order.
#[derive(Debug, Default)]
pub struct Judge {
    devices: Names,
    lanes: Names,
    spools: Vec<Spool>,
    spool_numbers: HashMap<(u32, SpoolId), u32>,
    /// How many spools of each bench are known.
    spools_of: HashMap<u32, usize>,
    facts: HashMap<(u32, Seq), Fact>,
    /// Newest place of each bench in each lane of a source.
    newest: HashMap<(Source, u32, u32), (usize, Seq)>,
    found: Judgement,
}

impl Judge {
    /// A judge who knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client is about to write this event. Until [`Judge::counted`] it may be there or not. Says whether the place
    /// was free: one that was counted before must not get another content.
    pub fn begun(&mut self, event: &Begun<'_>) -> bool {
        let place = (self.spool(event.device, event.spool, None), event.seq);
        let mut flags = Flags::default();
        if event.refused {
            flags.set(Flags::REFUSED);
        }
        let fact = Fact {
            id: event.id,
            hash: event.hash,
            flags,
        };
        let before = self.facts.get(&place);
        if before.is_some_and(|before| {
            before.flags.has(Flags::COUNTED) && (before.id != fact.id || before.hash != fact.hash)
        }) {
            return false;
        }
        self.facts.insert(place, fact);
        true
    }

    /// This event is on the disk, fsynced. Says whether it was begun.
    pub fn counted(&mut self, device: &str, spool: SpoolId, seq: Seq) -> bool {
        self.flag(device, spool, seq, Flags::COUNTED)
    }

    /// This event has its receipt. Says whether it was begun.
    pub fn receipted(&mut self, device: &str, spool: SpoolId, seq: Seq) -> bool {
        self.flag(device, spool, seq, Flags::RECEIPTED)
    }

    /// The disk with this event was put back to an image from before it: without a receipt it may be missing. Says
    /// whether it was begun.
    pub fn removed(&mut self, device: &str, spool: SpoolId, seq: Seq) -> bool {
        self.flag(device, spool, seq, Flags::EXCUSED)
    }

    /// An event that counts, as it lies on a disk.
    pub fn made(&mut self, made: &Made) {
        let spool = self.spool(&made.place.device, made.place.spool, Some(made.ordinal));
        let mut flags = Flags::COUNTED;
        if made.refused {
            flags.set(Flags::REFUSED);
        }
        let fact = Fact {
            id: made.id,
            hash: made.hash,
            flags,
        };
        self.facts.insert((spool, made.place.seq), fact);
    }

    /// This source is part of the history, also when nothing is in it.
    pub fn looks_at(&mut self, source: Source) {
        let count = match source {
            Source::Database => &mut self.found.in_database,
            Source::Kafka => &mut self.found.in_kafka,
        };
        count.get_or_insert(0);
    }

    /// An event is in a source. Events of a lane come in the order in which they lie there.
    pub fn arrived(&mut self, source: Source, event: &Arrived) {
        self.looks_at(source);
        let count = match source {
            Source::Database => &mut self.found.in_database,
            Source::Kafka => &mut self.found.in_kafka,
        };
        *count.get_or_insert(0) += 1;
        let device = self.devices.number(&event.place.device);
        let known = self.spool_numbers.get(&(device, event.place.spool)).copied();
        let fact = known.and_then(|spool| self.facts.get_mut(&(spool, event.place.seq)));
        let (Some(spool), Some(fact)) = (known, fact) else {
            self.found.phantoms.add(|| of(event, event.id, source));
            return;
        };
        let id = fact.id;
        if fact.hash != event.hash || fact.id != event.id {
            self.found.changed.add(|| of(event, id, source));
        }
        if fact.flags.has(Flags::REFUSED) {
            self.found.refused.add(|| of(event, id, source));
        }
        if fact.flags.has(source.seen()) {
            self.found.duplicates.add(|| of(event, id, source));
            return;
        }
        fact.flags.set(source.seen());
        if !event.lane.is_empty() {
            self.in_order(source, &event.lane, spool, &event.place, id, &event.at);
        }
    }

    /// Order alone: this event of a known place is the next one in a lane of a source.
    pub fn next_in_lane(&mut self, source: Source, lane: &str, place: &Place, at: &str) {
        let device = self.devices.number(&place.device);
        let Some(spool) = self.spool_numbers.get(&(device, place.spool)).copied() else {
            return;
        };
        let Some(fact) = self.facts.get(&(spool, place.seq)) else {
            return;
        };
        let id = fact.id;
        self.in_order(source, lane, spool, place, id, at);
    }

    fn in_order(&mut self, source: Source, lane: &str, spool: u32, place: &Place, id: EventId, at: &str) {
        let lane = self.lanes.number(lane);
        let Some(of_spool) = usize::try_from(spool)
            .ok()
            .and_then(|spool| self.spools.get(spool))
        else {
            return;
        };
        let here = (of_spool.ordinal, place.seq);
        let newest = self.newest.entry((source, lane, of_spool.device)).or_insert(here);
        if *newest > here {
            self.found.reordered.add(|| Fault {
                device: place.device.clone(),
                spool: place.spool,
                seq: place.seq,
                id,
                at: format!("in {} at {at}", source.name()),
            });
        }
        *newest = here.max(*newest);
    }

    /// The judgement.
    pub fn judgement(mut self) -> Judgement {
        let mut missing = Vec::new();
        for (place, fact) in &self.facts {
            let flags = fact.flags;
            if !flags.has(Flags::COUNTED) {
                self.found.unknown += 1;
                continue;
            }
            if flags.has(Flags::REFUSED) {
                self.found.to_reject += 1;
                continue;
            }
            self.found.events += 1;
            let Some(source) = self.missing_in(flags) else {
                continue;
            };
            let is_nowhere = !flags.has(Flags::IN_DATABASE | Flags::IN_KAFKA);
            if flags.has(Flags::EXCUSED) && !flags.has(Flags::RECEIPTED) && is_nowhere {
                self.found.excused += 1;
            } else {
                missing.push((*place, fact.id, source));
            }
        }
        // The same history gives the same report.
        missing.sort_unstable_by_key(|(place, ..)| *place);
        for ((spool, seq), id, source) in missing {
            let of_spool = usize::try_from(spool)
                .ok()
                .and_then(|spool| self.spools.get(spool));
            let Some(of_spool) = of_spool else { continue };
            let device = self.devices.name(of_spool.device).to_owned();
            self.found.lost.add(|| Fault {
                device,
                spool: of_spool.id,
                seq,
                id,
                at: format!("not in {}", source.name()),
            });
        }
        self.found
    }

    fn looked_at(&self, source: Source) -> bool {
        match source {
            Source::Database => self.found.in_database.is_some(),
            Source::Kafka => self.found.in_kafka.is_some(),
        }
    }

    fn missing_in(&self, flags: Flags) -> Option<Source> {
        let missing = |source: &Source| self.looked_at(*source) && !flags.has(source.seen());
        Source::ALL.into_iter().find(missing)
    }

    fn flag(&mut self, device: &str, spool: SpoolId, seq: Seq, flag: Flags) -> bool {
        let spool = self.spool(device, spool, None);
        let fact = self.facts.get_mut(&(spool, seq));
        let known = fact.is_some();
        if let Some(fact) = fact {
            fact.flags.set(flag);
        }
        known
    }

    /// The number of a spool. Spools of a bench are heard of in the order in which they were begun, unless their
    /// place is given.
    fn spool(&mut self, device: &str, id: SpoolId, ordinal: Option<usize>) -> u32 {
        let device = self.devices.number(device);
        if let Some(number) = self.spool_numbers.get(&(device, id)) {
            return *number;
        }
        let known = self.spools_of.entry(device).or_default();
        let ordinal = ordinal.unwrap_or(*known);
        *known += 1;
        let number = u32::try_from(self.spools.len()).unwrap_or(u32::MAX);
        self.spools.push(Spool { device, id, ordinal });
        self.spool_numbers.insert((device, id), number);
        number
    }
}

/// An event that a client is about to write.
#[derive(Debug, Clone, Copy)]
pub struct Begun<'a> {
    /// Its bench.
    pub device: &'a str,
    /// Its spool.
    pub spool: SpoolId,
    /// Its position.
    pub seq: Seq,
    /// Its id.
    pub id: EventId,
    /// Of its bytes.
    pub hash: Hash,
    /// The server has to reject it.
    pub refused: bool,
}

fn of(event: &Arrived, id: EventId, source: Source) -> Fault {
    Fault {
        device: event.place.device.clone(),
        spool: event.place.spool,
        seq: event.place.seq,
        id,
        at: format!("in {} at {}", source.name(), event.at),
    }
}

/// Compares what was made with what arrived in one source. `arrived` lies in the order of its place; lanes are judged
/// each for itself.
pub fn judge(source: Source, made: &[Made], arrived: &[Arrived]) -> Judgement {
    let mut judge = Judge::new();
    for made in made {
        judge.made(made);
    }
    judge.looks_at(source);
    for event in arrived {
        judge.arrived(source, event);
    }
    judge.judgement()
}

/// A judgement's faults of a kind, for tests that plant one.
impl Judgement {
    /// Places of the named faults of a kind.
    pub fn places(&mut self, kind: Kind) -> Vec<Place> {
        self.of(kind).named.iter().map(Fault::place).collect()
    }
}
