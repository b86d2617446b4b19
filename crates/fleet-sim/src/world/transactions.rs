//! The server: one transaction after the other, and the points where it dies.

use fleet_domain::StoreGeneration;
use uuid::Uuid;

use super::{Action, World};
use crate::plan::Mutant;

impl World {
    pub(super) fn commit(&mut self, process: u64) {
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
        if outcome.new_generation && self.figures.database_restores == 0 {
            self.complaint = Some("a restored database was detected, nobody restored it".to_owned());
        }
        if let Some(before) = before
            && self.chance(crash.max(30))
        {
            for (bench, down) in outcome.down {
                self.send_down(bench, down);
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
            self.send_down(bench, down);
        }
    }

    pub(super) fn crash_server(&mut self) {
        self.figures.server_crashes += 1;
        self.server_process += 1;
        self.server_up = false;
        self.batch.clear();
        self.commit_due = false;
        self.broker.server_gone();
        let pause = self.rng.millis(100, 20_000);
        self.after(pause, Action::StartServer);
    }
}
