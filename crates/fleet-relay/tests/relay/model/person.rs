//! The person who runs `fleet-server relay reconcile`.

use std::collections::BTreeMap;

use fleet_relay::{KafkaCursor, RelayState, highs_digest};
use fleet_store::{OutboxCursor, RelayTerm};

use super::kafka::{Producer, What};
use super::world::{LEASE, Mutation, Relay, World};

/// A reconciliation in its steps.
pub(super) struct Person {
    pub(super) owner: String,
    term: Option<RelayTerm>,
    producer: Option<Producer>,
    place: Option<OutboxCursor>,
    /// What the database was made to know.
    highs: Option<String>,
}

impl World {
    /// One step of `fleet-server relay reconcile`; it may be killed before each.
    pub(super) fn reconcile(&mut self) {
        let lost = |relay: &Relay| relay.core.health().state == RelayState::CursorLost;
        if self.random.percent(10) {
            self.person = None;
        }
        if self.db_down || self.kafka.hanging {
            return;
        }
        let Some(mut person) = self.person.take() else {
            if self.relays.iter().any(lost) {
                self.processes += 1;
                self.person = Some(Person {
                    owner: format!("person-{}", self.processes),
                    term: None,
                    producer: None,
                    place: None,
                    highs: None,
                });
            }
            return;
        };
        if self.reconcile_step(&mut person).is_some() {
            self.person = Some(person);
        }
    }

    /// `None` when it ends.
    fn reconcile_step(&mut self, person: &mut Person) -> Option<()> {
        let Some(term) = person.term else {
            person.term = self.db.claim(&person.owner, self.now, LEASE);
            return Some(());
        };
        if !self.db.renew(term, self.now, LEASE) {
            return None;
        }
        let Some(producer) = &mut person.producer else {
            let mut producer = Producer::new("relay".to_owned());
            if self.mutation == Some(Mutation::ReconcileWithoutInit) {
                "person".clone_into(&mut producer.id);
            }
            self.kafka.init(&mut producer, true);
            person.producer = Some(producer);
            return Some(());
        };
        let Some(place) = person.place else {
            let needed = self.kafka.cursor().is_some_and(|cursor| {
                cursor.seq < self.db.relayed().seq
                    || cursor.highs != highs_digest(&self.db.look().highs)
                    || self.db.after(cursor.place(), 1, true) == fleet_store::OutboxRead::CursorLost
            });
            if !needed {
                self.db.release(term);
                return None;
            }
            let mut highs = BTreeMap::<usize, u64>::new();
            for what in self.kafka.visible() {
                if let What::Event(spool, position) = what {
                    let high = highs.entry(*spool).or_default();
                    *high = (*position).max(*high);
                }
            }
            if std::env::var("RELAY_TRACE").is_ok() {
                println!("found {highs:?}");
            }
            person.place = Some(self.db.begin_reconciled(&highs));
            person.highs = highs_digest(&self.db.look().highs);
            return Some(());
        };
        let cursor = KafkaCursor {
            seq: place.seq,
            token: place.token,
            store_generation: self.db.generation,
            relay_term: term.0,
            at: "2026-05-04T06:00:00Z".parse().unwrap(),
            highs: person.highs.clone(),
        };
        let sent = self
            .kafka
            .send(producer, vec![What::Restored, What::Cursor(cursor)], self.now);
        if sent.is_ok() && self.kafka.commit(producer).is_ok() {
            self.seen.reconciled += 1;
            self.db.release(term);
        }
        None
    }
}
