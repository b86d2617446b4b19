//! The servers: leases, batches, one transaction after the other, and the points where they die.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_domain::{Slot, StoreGeneration};
use fleet_store::{InboundMessage, IngestBatch, IngestOutcome, SlotTerm};
use uuid::Uuid;

use super::{Action, World};
use crate::bench::wall;
use crate::message::{self, Message, device};
use crate::plan::Mutant;
use crate::replica::{Arrival, LEASE, Owned, Running};

/// A batch closes after this time.
const BATCH: Duration = Duration::from_millis(20);
/// Pause between two looks at the leases.
const KEEP: Duration = Duration::from_secs(2);
/// The database gives up a transaction whose client says nothing for so long.
const IDLE: Duration = Duration::from_secs(30);

impl World {
    pub(super) fn start_server(&mut self, replica: usize) {
        if std::mem::replace(&mut self.replicas[replica].up, true) {
            return;
        }
        let process = self.replicas[replica].process;
        let pause = self.rng.millis(0, 500);
        self.after(pause, Action::Keep { replica, process });
    }

    fn lives(&self, replica: usize, process: u64) -> bool {
        let replica = &self.replicas[replica];
        replica.up && replica.process == process
    }

    /// The keeper: renews leases, takes slots that are free, connects with the slots that it has.
    pub(super) fn keep(&mut self, replica: usize, process: u64) {
        if !self.lives(replica, process) {
            return;
        }
        self.after(KEEP, Action::Keep { replica, process });
        if self.now < self.database_away_until {
            return;
        }
        let (now, owner) = (wall(self.now), self.replicas[replica].owner(replica));
        let lapsed: Vec<Slot> = self.replicas[replica]
            .owned
            .iter()
            .filter(|(_, owned)| self.now >= owned.since + LEASE)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in lapsed {
            self.lose(replica, slot);
        }
        let terms: Vec<SlotTerm> = self.replicas[replica]
            .owned
            .iter()
            .map(|(slot, owned)| SlotTerm {
                slot: *slot,
                term: owned.term,
            })
            .collect();
        let lost = self.database.renew_slots(&terms, now, LEASE);
        for term in terms {
            if lost.contains(&term.slot) {
                self.lose(replica, term.slot);
            } else if let Some(owned) = self.replicas[replica].owned.get_mut(&term.slot) {
                owned.since = self.now;
            }
        }
        let slots: BTreeSet<Slot> = (0..self.benches.len())
            .map(|bench| Slot::of(&device(bench)))
            .collect();
        for slot in slots {
            self.keep_slot(replica, slot, &owner);
        }
    }

    fn keep_slot(&mut self, replica: usize, slot: Slot, owner: &str) {
        if !self.replicas[replica].owned.contains_key(&slot) {
            let modest = self.now < self.replicas[replica].modest_until;
            // Who wants a new term waits for the transactions of the old one.
            let locked = self.database.is_locked(slot) && self.plan.mutant != Some(Mutant::TermWithoutLock);
            if modest || locked {
                return;
            }
            let Some(term) = self.database.claim_slot(slot, owner, wall(self.now), LEASE) else {
                return;
            };
            self.figures.claims += 1;
            self.trace.line(self.now, || {
                format!("server {replica} has slot {slot} in term {}", term.term)
            });
            let fresh = Owned {
                term: term.term,
                since: self.now,
                connection: None,
            };
            self.replicas[replica].owned.insert(slot, fresh);
        }
        let is_connected = self.replicas[replica]
            .owned
            .get(&slot)
            .is_some_and(|owned| owned.connection.is_some());
        if !is_connected && self.broker.up {
            let connection = self.take_over(replica, slot);
            if let Some(owned) = self.replicas[replica].owned.get_mut(&slot) {
                owned.connection = Some(connection);
            }
        }
    }

    /// The replica knows that it does not own the slot any more, and closes its connection.
    fn lose(&mut self, replica: usize, slot: Slot) {
        let Some(owned) = self.replicas[replica].owned.remove(&slot) else {
            return;
        };
        let mine = owned.connection.map(|connection| (replica, connection));
        let session = self.broker.slots.get(&slot);
        if mine.is_some() && session.is_some_and(|session| session.connection == mine) {
            self.disconnect(slot);
        }
    }

    /// Gives its slots back in good order, as at an update.
    pub(super) fn hand_over(&mut self, replica: usize) {
        if !self.replicas[replica].up
            || self.replicas[replica].frozen
            || self.replicas[replica].running.is_some()
        {
            return;
        }
        self.replicas[replica].modest_until = self.now + self.rng.millis(1_000, 20_000);
        let owned: Vec<_> = self.replicas[replica].owned.clone().into_iter().collect();
        for (slot, owned) in owned {
            self.lose(replica, slot);
            let term = owned.term;
            self.database.release_slots(&[SlotTerm { slot, term }]);
        }
        self.trace
            .line(self.now, || format!("server {replica} gives its slots back"));
    }

    pub(super) fn gone(&mut self, replica: usize, slot: Slot, connection: u64) {
        if let Some(owned) = self.replicas[replica].owned.get_mut(&slot)
            && owned.connection == Some(connection)
        {
            owned.connection = None;
        }
    }

    pub(super) fn receive(&mut self, replica: usize, slot: Slot, connection: u64, message: Message) {
        let server = &mut self.replicas[replica];
        let Some(owned) = server.owned.get(&slot) else {
            return;
        };
        if !server.up || owned.connection != Some(connection) {
            return;
        }
        server.batch.push(Arrival {
            slot,
            connection,
            term: owned.term,
            message,
        });
        self.commit_soon(replica, BATCH);
    }

    fn commit_soon(&mut self, replica: usize, pause: Duration) {
        let server = &mut self.replicas[replica];
        if server.running.is_none()
            && !server.batch.is_empty()
            && !std::mem::replace(&mut server.commit_due, true)
        {
            let process = server.process;
            self.after(pause, Action::Commit { replica, process });
        }
    }

    /// Begins the transaction of what was received.
    pub(super) fn commit(&mut self, replica: usize, process: u64) {
        if !self.lives(replica, process) {
            return;
        }
        self.replicas[replica].commit_due = false;
        if self.now < self.database_away_until {
            return self.commit_soon(replica, Duration::from_millis(500));
        }
        // It may have stood still behind this check: then the term in the transaction is all that keeps it out.
        let checked_before = self.plan.freezes && self.rng.chance(500);
        let server = &mut self.replicas[replica];
        let mut arrivals = std::mem::take(&mut server.batch);
        // What came under a term that has ended comes to the slot's next owner: its connection ends too.
        let ended: BTreeSet<(Slot, u64)> = arrivals
            .iter()
            .filter(|arrival| !checked_before && !server.is_current(arrival.slot, arrival.term, self.now))
            .map(|arrival| (arrival.slot, arrival.term))
            .collect();
        arrivals.retain(|arrival| !ended.contains(&(arrival.slot, arrival.term)));
        for (slot, term) in ended {
            let owned = self.replicas[replica].owned.get(&slot);
            if owned.is_some_and(|owned| owned.term == term) {
                self.lose(replica, slot);
            }
        }
        if arrivals.is_empty() {
            return;
        }
        let Some(batch) = self.batch_of(&arrivals) else {
            return;
        };
        if self.plan.mutant == Some(Mutant::AcknowledgeBeforeCommit) {
            self.acknowledge(&arrivals, &BTreeSet::new());
        }
        self.ids += 1;
        let number = self.ids;
        let transaction = self.database.begin_ingest(batch);
        self.replicas[replica].running = Some(Running {
            number,
            transaction: Some(transaction),
            arrivals,
        });
        let slow = self.plan.slow_commit;
        let most = if self.chance(slow) { 10_000 } else { 40 };
        let pause = self.rng.millis(0, most);
        self.after(pause, Action::End { replica, process });
        self.after(IDLE, Action::GiveUp { replica, number });
        let crash = self.plan.crash_in_commit;
        if self.chance(crash) {
            self.crash_server(replica);
        }
    }

    fn batch_of(&mut self, arrivals: &[Arrival]) -> Option<IngestBatch> {
        let terms: BTreeMap<Slot, u64> = arrivals
            .iter()
            .map(|arrival| (arrival.slot, arrival.term))
            .collect();
        let mut items = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            match message::inbound(&arrival.message) {
                Ok(item) => items.push(item),
                Err(complaint) => {
                    self.complaint = Some(complaint);
                    return None;
                }
            }
        }
        if self.plan.mutant == Some(Mutant::NoPredecessor) {
            for item in &mut items {
                if let InboundMessage::Event(event) = &mut item.message {
                    event.place.predecessor = None;
                }
            }
        }
        self.ids += 1;
        Some(IngestBatch {
            terms: terms
                .into_iter()
                .map(|(slot, term)| SlotTerm { slot, term })
                .collect(),
            items,
            misplaced: Vec::new(),
            received_at: wall(self.now),
            spare_generation: StoreGeneration(Uuid::from_u128(u128::from(self.ids))),
        })
    }

    /// The database ends the transaction of a client that says nothing.
    pub(super) fn give_up(&mut self, replica: usize, number: u64) {
        if let Some(running) = &mut self.replicas[replica].running
            && running.number == number
            && let Some(transaction) = running.transaction.take()
        {
            self.database.roll_back(&transaction);
        }
    }

    /// The transaction ends: committed, acknowledged, receipted, in this order.
    pub(super) fn end(&mut self, replica: usize, process: u64) {
        if !self.lives(replica, process) {
            return;
        }
        let Some(mut running) = self.replicas[replica].running.take() else {
            return;
        };
        let crash = self.plan.crash_in_commit;
        if self.plan.mutant == Some(Mutant::ReceiptBeforeCommit)
            && self.chance(crash.max(30))
            && let Some(transaction) = running.transaction.take()
        {
            if let Some(outcome) = self.database.clone().commit(transaction) {
                self.tell(outcome);
            }
            return self.crash_server(replica);
        }
        if self.chance(crash) {
            self.replicas[replica].running = Some(running);
            return self.crash_server(replica);
        }
        let Some(outcome) = running
            .transaction
            .take()
            .and_then(|transaction| self.database.commit(transaction))
        else {
            // It is tried again with what came meanwhile behind it.
            let server = &mut self.replicas[replica];
            running.arrivals.append(&mut server.batch);
            server.batch = running.arrivals;
            return self.commit_soon(replica, Duration::from_millis(100));
        };
        self.trace.line(self.now, || {
            let counts = outcome.counts;
            format!(
                "server {replica} commits: {} stored, {} duplicates, {} gaps, {} rejected, {} holes, {} lost slots",
                counts.stored,
                counts.duplicates,
                counts.gaps,
                counts.rejected,
                counts.holes,
                outcome.lost_slots.len()
            )
        });
        self.trace.mix(outcome.counts.stored);
        if outcome.counts.conflicts > 0 {
            self.complaint = Some("two contents for one place".to_owned());
        }
        if outcome.new_generation.is_some() && self.figures.database_restores == 0 {
            self.complaint = Some("a restored database was detected, nobody restored it".to_owned());
        }
        if self.chance(crash) {
            return self.crash_server(replica);
        }
        let mut lost: BTreeSet<Slot> = outcome.lost_slots.iter().copied().collect();
        self.figures.fenced += lost.len() as u64;
        for slot in &lost {
            self.lose(replica, *slot);
        }
        if self.plan.mutant == Some(Mutant::AcknowledgeLostSlots) {
            lost.clear();
        }
        self.acknowledge(&running.arrivals, &lost);
        if self.chance(crash) {
            return self.crash_server(replica);
        }
        self.tell(outcome);
        self.commit_soon(replica, BATCH);
    }

    /// Acknowledges what is recorded, but not of slots that were lost: their next owner gets it again.
    fn acknowledge(&mut self, arrivals: &[Arrival], lost: &BTreeSet<Slot>) {
        for arrival in arrivals {
            if !lost.contains(&arrival.slot) {
                self.broker
                    .acknowledged(arrival.slot, arrival.connection, arrival.message.id);
            }
        }
        let slots: BTreeSet<Slot> = arrivals.iter().map(|arrival| arrival.slot).collect();
        for slot in slots {
            self.serve(slot);
        }
    }

    fn tell(&mut self, outcome: IngestOutcome) {
        // An answer says what was so when its sync came, and is obeyed even if lower: it goes before the receipts.
        for (device, row) in outcome.answers {
            let (bench, down) = message::answer(&device, row);
            self.send_down(bench, down);
        }
        for row in outcome.receipts {
            let (bench, down) = message::receipt(&row);
            self.send_down(bench, down);
        }
    }

    pub(super) fn crash_server(&mut self, replica: usize) {
        self.figures.server_crashes += 1;
        self.trace.line(self.now, || format!("server {replica} dies"));
        if let Some(running) = &mut self.replicas[replica].running
            && let Some(transaction) = running.transaction.take()
        {
            self.database.roll_back(&transaction);
        }
        let slots: Vec<Slot> = self
            .broker
            .slots
            .iter()
            .filter(|(_, session)| session.connection.is_some_and(|(owner, _)| owner == replica))
            .map(|(slot, _)| *slot)
            .collect();
        self.replicas[replica].end();
        for slot in slots {
            self.disconnect(slot);
        }
        let pause = self.rng.millis(100, 20_000);
        self.after(pause, Action::StartServer(replica));
    }

    /// The process stands still for a while, as under a debugger, a snapshot of its machine or a swap storm.
    pub(super) fn freeze(&mut self, replica: usize) {
        if !self.replicas[replica].up || std::mem::replace(&mut self.replicas[replica].frozen, true) {
            return;
        }
        self.figures.freezes += 1;
        self.trace
            .line(self.now, || format!("server {replica} stands still"));
        let process = self.replicas[replica].process;
        let pause = self.rng.millis(500, 25_000);
        self.after(pause, Action::Thaw { replica, process });
    }

    pub(super) fn thaw(&mut self, replica: usize, process: u64) {
        if !self.lives(replica, process) {
            return;
        }
        self.trace.line(self.now, || format!("server {replica} goes on"));
        self.replicas[replica].frozen = false;
        for action in std::mem::take(&mut self.replicas[replica].deferred) {
            self.at(self.now, action);
        }
    }
}
