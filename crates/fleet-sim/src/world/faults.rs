//! The faults that come from outside.

use std::collections::BTreeSet;

use fleet_domain::StoreGeneration;
use spool::sim::Fault;
use uuid::Uuid;

use super::{Action, World};

impl World {
    pub(super) fn fault(&mut self) {
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

    pub(super) fn crash_broker(&mut self) {
        self.broker.crash();
        for bench in 0..self.benches.len() {
            self.cut(bench, true);
        }
        self.broker.server_gone();
        let pause = self.rng.millis(100, 10_000);
        self.after(pause, Action::StartBroker);
    }

    pub(super) fn restore_database(&mut self) {
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
                self.benches[bench].disk.restore(&image);
                for key in counted.difference(&then) {
                    self.truth.counted.remove(key);
                    self.truth.forgiven.insert(*key);
                }
            }
        }
    }
}
