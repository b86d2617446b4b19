//! The benches: agents that start, work, connect and die.

use std::time::Duration;

use agent_link::{AlarmKind, LinkEffect, LinkInput};
use spool::{HoleReason, Position};
use uuid::Uuid;

use super::{Action, World};
use crate::bench::Dies;
use crate::message::{Body, Message};
use crate::plan::Mutant;

impl World {
    pub(super) fn start(&mut self, bench: usize) {
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
    pub(super) fn dies(&mut self, bench: usize) {
        self.kill(bench, false);
    }

    pub(super) fn kill(&mut self, bench: usize, power: bool) {
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

    pub(super) fn process(&self, bench: usize, number: u64) -> bool {
        self.benches[bench]
            .process
            .as_ref()
            .is_some_and(|process| process.number == number)
    }

    pub(super) fn produce(&mut self, bench: usize) {
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
        if result.is_ok() && !self.plan.quiet && self.chance(5) {
            return self.kill(bench, true);
        }
        match result.and_then(|()| self.benches[bench].sync(&mut self.truth)) {
            Ok(()) => self.input(bench, LinkInput::Tick),
            Err(Dies) => self.dies(bench),
        }
    }

    pub(super) fn input(&mut self, bench: usize, input: LinkInput) {
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

    pub(super) fn tick(&mut self, bench: usize, process: u64) {
        if self.process(bench, process) {
            self.input(bench, LinkInput::Tick);
        }
    }

    pub(super) fn effect(&mut self, bench: usize, effect: LinkEffect) {
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

    pub(super) fn send(&mut self, bench: usize, connection: u64, body: Body, position: Option<Position>) {
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

    pub(super) fn latency(&mut self) -> Duration {
        let most = self.plan.latency_ms;
        self.rng.millis(0, most)
    }

    pub(super) fn connect(&mut self, bench: usize, process: u64) {
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
    pub(super) fn cut(&mut self, bench: usize, again: bool) {
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

    pub(super) fn sync(&mut self, bench: usize, process: u64) {
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

    pub(super) fn compact(&mut self, bench: usize, process: u64) {
        if !self.process(bench, process) {
            return;
        }
        let wall = self.benches[bench].wall(self.now);
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

    pub(super) fn mutant_puback(&mut self, bench: usize, position: Position, reason: u8) {
        if self.plan.mutant == Some(Mutant::DeleteOnPuback) && reason == 0 {
            let generation = self.benches[bench]
                .process
                .as_ref()
                .and_then(|p| p.uplink.generation());
            let receipt = fleet_wire::receipt::Receipt {
                store_generation: generation.unwrap_or(self.database.generation()),
                spool_id: position.spool,
                through: position.seq,
                rejected: Vec::new(),
                gap: false,
                unattributed: false,
            };
            self.input(bench, LinkInput::Receipt(receipt));
        }
    }
}
