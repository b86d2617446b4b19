//! The broker between benches and server.

use agent_link::LinkInput;

use super::{Action, World};
use crate::broker::EXPIRY;
use crate::plan::Mutant;
use crate::server::{Down, Message};

impl World {
    pub(super) fn arrive(&mut self, bench: usize, connection: u64, message: Message) {
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

    pub(super) fn enqueue(&mut self, message: Message) {
        if self.broker.up {
            self.broker.waiting.push_back(message);
            self.serve();
        }
    }

    /// Delivers to the server what waits, in order.
    pub(super) fn serve(&mut self) {
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

    pub(super) fn send_down(&mut self, bench: usize, down: Down) {
        let lost = self.plan.receipt_lost;
        if !self.broker.up || self.chance(lost) {
            return;
        }
        self.broker.sessions[bench]
            .waiting
            .push_back((self.now + EXPIRY, down));
        self.flush(bench);
    }

    pub(super) fn flush(&mut self, bench: usize) {
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

    pub(super) fn deliver(&mut self, bench: usize, connection: u64, down: Down) {
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
}
