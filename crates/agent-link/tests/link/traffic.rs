//! What outages and a slow server cost in traffic: publishes per event (rules 5 and 6, at most 1.2).
//!
//! Benches with the shipped uplink, a broker that acknowledges at once and keeps order, a server that commits in
//! batches. Time is simulated, a run is a function of its seed. Not modelled: a broker's queue limits (a broker
//! that drops stands for it), lost receipts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agent_link::{LinkEffect, LinkInput};
use fleet_domain::Seq;
use spool::Position;

use crate::bench::{Bench, receipt};
use spool::sim::SimDisk;

/// Length of a step.
const STEP_MS: u64 = 50;
const BENCHES: usize = 40;
/// Events of a bench in working hours: 370/s over 1,000 benches.
const EVENT_EVERY_MS: u64 = 2_700;
/// Way to the broker and back, steps.
const WAY: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    /// Connections are cut and can't be made.
    Cut,
    /// The server stands still; the broker keeps everything for it.
    Server,
    /// The broker acknowledges and drops.
    Dropping,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    outage: Outage,
    seconds: u64,
    /// Time between two commits.
    batch_ms: u64,
    /// Events that the server takes per second, in percent of what the benches make.
    capacity: u64,
}

struct Message {
    bench: usize,
    seq: Seq,
}

struct World {
    plan: Plan,
    benches: Vec<Bench>,
    up: Vec<bool>,
    made: u64,
    published: u64,
    /// What is on its way: due step, bench, input.
    pubacks: VecDeque<(u64, usize, LinkInput)>,
    receipts: VecDeque<(u64, usize, Seq, bool)>,
    queue: VecDeque<Message>,
    through: Vec<Seq>,
    random: u64,
}

impl World {
    fn new(plan: Plan) -> Self {
        let benches = (0..BENCHES)
            .map(|index| Bench::start(&SimDisk::new(index as u64), 1))
            .collect();
        Self {
            plan,
            benches,
            up: vec![false; BENCHES],
            made: 0,
            published: 0,
            pubacks: VecDeque::new(),
            receipts: VecDeque::new(),
            queue: VecDeque::new(),
            through: vec![0; BENCHES],
            random: 1,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn give(&mut self, bench: usize, input: LinkInput, step: u64, dropping: bool) {
        self.benches[bench].now = Duration::from_millis(step * STEP_MS);
        for effect in self.benches[bench].handle(input) {
            match effect {
                LinkEffect::Publish {
                    connection, position, ..
                } => {
                    self.published += 1;
                    let Position { seq, .. } = position;
                    if !dropping {
                        self.queue.push_back(Message { bench, seq });
                    }
                    let acknowledged = LinkInput::PubAck {
                        connection,
                        position,
                        reason: 0,
                    };
                    self.pubacks.push_back((step + WAY, bench, acknowledged));
                }
                LinkEffect::Reconnect { .. } => panic!("every publish is acknowledged"),
                _ => {}
            }
        }
    }

    /// A batch: receipts are given once per bench.
    fn commit(&mut self, step: u64) {
        let per_batch = BENCHES as u64 * self.plan.batch_ms * self.plan.capacity / (EVENT_EVERY_MS * 100);
        let mut told: BTreeMap<usize, bool> = BTreeMap::new();
        for _ in 0..per_batch.max(1) {
            let Some(Message { bench, seq }) = self.queue.pop_front() else {
                break;
            };
            let gap = told.entry(bench).or_default();
            if seq == self.through[bench] + 1 {
                self.through[bench] = seq;
            } else if seq > self.through[bench] {
                *gap = true;
            }
        }
        for (bench, gap) in told {
            self.receipts
                .push_back((step + WAY, bench, self.through[bench], gap));
        }
    }

    fn step(&mut self, step: u64, begun: u64, makes_events: bool) {
        let (now, end) = (step * STEP_MS, begun + self.plan.seconds * 1000);
        let out = (begun..end).contains(&now);
        let during = |outage| out && self.plan.outage == outage;
        let (cut, still, dropping) = (
            during(Outage::Cut),
            during(Outage::Server),
            during(Outage::Dropping),
        );
        for bench in 0..BENCHES {
            if cut && self.up[bench] {
                self.up[bench] = false;
                self.give(
                    bench,
                    LinkInput::Disconnected {
                        connection: connection(now, begun, end),
                    },
                    step,
                    dropping,
                );
            } else if !cut && !self.up[bench] && (now < begun || self.below(100) == 0) {
                // About 5 s of back-off on the mean.
                self.up[bench] = true;
                let connected = LinkInput::Connected {
                    connection: connection(now, begun, end),
                    receive_maximum: 65_535,
                    maximum_packet_size: None,
                };
                self.give(bench, connected, step, dropping);
            }
            let phase = bench as u64 * EVENT_EVERY_MS / BENCHES as u64;
            if makes_events && (now + phase) % EVENT_EVERY_MS < STEP_MS {
                self.benches[bench].write(1, 10);
                self.made += 1;
                self.give(bench, LinkInput::Tick, step, dropping);
            }
            if self.benches[bench]
                .uplink
                .next_deadline()
                .is_some_and(|at| at <= Duration::from_millis(now))
            {
                self.give(bench, LinkInput::Tick, step, dropping);
            }
        }
        while let Some((_, bench, input)) = self.pubacks.pop_front_if(|(due, ..)| *due <= step) {
            if self.up[bench] {
                self.give(bench, input, step, dropping);
            }
        }
        if !still && now.is_multiple_of(self.plan.batch_ms) {
            self.commit(step);
        }
        while let Some((_, bench, through, gap)) = self.receipts.pop_front_if(|(due, ..)| *due <= step) {
            if self.up[bench] {
                let mut told = receipt(1, through);
                told.gap = gap;
                self.give(bench, LinkInput::Receipt(told), step, dropping);
            }
        }
    }
}

/// One before the outage, another one after it.
fn connection(now: u64, begun: u64, end: u64) -> u64 {
    let _ = begun;
    1 + u64::from(now >= end)
}

/// Publishes per event, in hundredths, over a minute before the outage, the outage, ten minutes after it and until
/// the last event has its receipt.
fn cost(plan: Plan) -> u64 {
    let mut world = World::new(plan);
    let begun = 60_000;
    let calm = begun + plan.seconds * 1000 + 600_000;
    let mut step = 0;
    loop {
        let now = step * STEP_MS;
        world.step(step, begun, now < calm);
        step += 1;
        let open: u64 = world.benches.iter().map(|bench| bench.uplink.outstanding()).sum();
        if now > calm && open == 0 {
            break;
        }
        assert!(now < calm + 3_600_000, "{plan:?}: {open} events never arrive");
    }
    let hundredths = world.published * 100 / world.made;
    println!(
        "{plan:?}: {} events, {} publishes, {hundredths} per 100; done {} s after the outage",
        world.made,
        world.published,
        (step * STEP_MS).saturating_sub(begun) / 1000 - plan.seconds
    );
    hundredths
}

#[test]
fn an_outage_costs_at_most_a_fifth_more_publishes_than_events() {
    for outage in [Outage::Cut, Outage::Server, Outage::Dropping] {
        for seconds in [10, 60, 600] {
            let fast = Plan {
                outage,
                seconds,
                batch_ms: 50,
                capacity: 4_000,
            };
            let cost = cost(fast);
            assert!(cost <= 120, "{fast:?}: {cost}");
        }
    }
}

#[test]
fn a_server_that_is_merely_slow_is_not_sent_everything_again() {
    for outage in [Outage::Cut, Outage::Server, Outage::Dropping] {
        for seconds in [10, 60, 600] {
            for capacity in [120, 150, 300] {
                let slow = Plan {
                    outage,
                    seconds,
                    batch_ms: 2_000,
                    capacity,
                };
                let cost = cost(slow);
                assert!(cost <= 120, "{slow:?}: {cost}");
            }
        }
    }
}
