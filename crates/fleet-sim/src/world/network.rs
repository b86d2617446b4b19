//! The broker between benches and servers.

use agent_link::LinkInput;
use fleet_domain::Slot;

use super::{Action, World};
use crate::broker::EXPIRY;
use crate::message::{Down, Message, device};
use crate::plan::Mutant;

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
        if !self.broker.up {
            return;
        }
        let slot = Slot::of(&device(message.bench));
        if !self.broker.enqueue(slot, message) {
            self.figures.dropped += 1;
        }
        self.serve(slot);
    }

    /// Delivers to the owner of a slot what waits, in order.
    pub(super) fn serve(&mut self, slot: Slot) {
        if !self.broker.up {
            return;
        }
        let window = self.plan.window;
        loop {
            let latency = self.latency();
            let Some(session) = self.broker.slots.get_mut(&slot) else {
                return;
            };
            let Some((replica, connection)) = session.connection else {
                return;
            };
            let Some(message) = session.deliver(window) else {
                return;
            };
            let time = (self.now + latency).max(session.last);
            session.last = time;
            self.at(
                time,
                Action::ToServer {
                    replica,
                    slot,
                    connection,
                    message,
                },
            );
        }
    }

    /// A replica connects with a slot's client id: whoever had it is thrown out.
    pub(super) fn take_over(&mut self, replica: usize, slot: Slot) -> u64 {
        self.disconnect(slot);
        self.ids += 1;
        let connection = self.ids;
        let session = self.broker.slots.entry(slot).or_default();
        session.connection = Some((replica, connection));
        self.serve(slot);
        connection
    }

    /// Ends a slot's connection from the broker's side. Its replica hears of it behind what is on the way.
    pub(super) fn disconnect(&mut self, slot: Slot) {
        let Some(session) = self.broker.slots.get_mut(&slot) else {
            return;
        };
        let last = session.last;
        if let Some((replica, connection)) = session.disconnect() {
            let time = (self.now + self.latency()).max(last);
            self.at(
                time,
                Action::Gone {
                    replica,
                    slot,
                    connection,
                },
            );
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
