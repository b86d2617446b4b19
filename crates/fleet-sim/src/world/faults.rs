//! The faults that come from outside.

use std::collections::BTreeSet;

use fleet_domain::{Slot, StoreGeneration};
use jiff::SignedDuration;
use spool::sim::Fault;
use uuid::Uuid;

use super::{Action, World};
use crate::bench::wall;
use crate::message::device;

impl World {
    pub(super) fn fault(&mut self) {
        if self.calm {
            return;
        }
        let (least, most) = (self.plan.fault_every_ms / 2, self.plan.fault_every_ms * 2);
        let pause = self.rng.millis(least, most);
        self.after(pause, Action::Fault);
        let bench = usize::try_from(self.rng.below(self.benches.len() as u64)).unwrap_or(0);
        match self.rng.below(18) {
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
            8 => {
                let replica = self.some_replica();
                if self.replicas[replica].up {
                    self.crash_server(replica);
                }
            }
            9 if self.rng.chance(300) => self.crash_broker(),
            10 => {
                // A slot's connection alone: acknowledgements of what its owner has are lost.
                let slot = Slot::of(&device(bench));
                self.disconnect(slot);
            }
            11 => self.backups.push(self.database.clone()),
            12 if self.plan.restores_database => self.restore_database(),
            13 if self.plan.restores_disk => self.restore_disk(bench),
            14 if self.plan.freezes => {
                let replica = self.some_replica();
                self.freeze(replica);
            }
            15 => {
                let replica = self.some_replica();
                self.hand_over(replica);
            }
            16 if self.plan.clock_jumps => {
                let off = i64::try_from(self.rng.below(2 * 400 * 24 * 3_600)).unwrap_or(0);
                let off = SignedDuration::from_secs(off - 400 * 24 * 3_600);
                let off = if self.rng.chance(300) {
                    SignedDuration::ZERO
                } else {
                    off
                };
                self.trace.line(self.now, || {
                    format!("the clock of bench {bench} is off by {off:#}")
                });
                self.benches[bench].clock_off = off;
            }
            17 => self.database_away_until = self.now + self.rng.millis(0, 15_000),
            _ => {}
        }
    }

    fn some_replica(&mut self) -> usize {
        usize::try_from(self.rng.below(self.replicas.len() as u64)).unwrap_or(0)
    }

    pub(super) fn crash_broker(&mut self) {
        self.trace
            .line(self.now, || "the broker dies and loses everything".to_owned());
        let slots: Vec<Slot> = self.broker.slots.keys().copied().collect();
        for slot in slots {
            self.disconnect(slot);
        }
        self.broker.crash();
        for bench in 0..self.benches.len() {
            self.cut(bench, true);
        }
        let pause = self.rng.millis(100, 10_000);
        self.after(pause, Action::StartBroker);
    }

    pub(super) fn restore_database(&mut self) {
        if self.backups.is_empty() {
            return;
        }
        let which = usize::try_from(self.rng.below(self.backups.len() as u64)).unwrap_or(0);
        self.figures.database_restores += 1;
        // Who restores a database stops its servers.
        for replica in 0..self.replicas.len() {
            if self.replicas[replica].up {
                self.crash_server(replica);
            }
        }
        let generation = self.database.generation();
        self.database = self.backups[which].clone().restored_over(&self.database);
        // Nobody may say so: then the generation is the one of the backup. But one that was given out already, for
        // another life, can't be told from it by anybody.
        let declared = self.rng.chance(700) || self.database.generation() != generation;
        if declared {
            self.ids += 1;
            let candidate = StoreGeneration(Uuid::from_u128(u128::from(self.ids)));
            self.database.declare_restored(candidate, wall(self.now));
        }
        self.trace.line(self.now, || {
            let said = if declared {
                "and says so"
            } else {
                "and says nothing"
            };
            format!("somebody restores the database {said}")
        });
        // Backups of the life that ended stay what they are.
    }

    pub(super) fn restore_disk(&mut self, bench: usize) {
        let counted: BTreeSet<_> = self
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
                self.trace.line(self.now, || {
                    format!("the disk of bench {bench} is put back to an old image")
                });
                self.benches[bench].disk.restore(&image);
                for key in counted.difference(&then) {
                    self.truth.counted.remove(key);
                    self.truth.forgiven.insert(*key);
                }
            }
        }
    }
}
