//! Who owns which slot: leases in the store, renewed in time, and what every session may know of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet_domain::Slot;
use fleet_store::{SlotTerm, Store};
use tokio::sync::{Notify, watch};

/// One slot's lease, as the session and the committer see it.
#[derive(Debug)]
pub(crate) struct SlotState {
    slot: Slot,
    /// The term while the slot is ours.
    term: watch::Sender<Option<u64>>,
    /// Its session is connected and subscribed.
    pub(crate) connected: watch::Sender<bool>,
}

/// All slots of the plant.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    states: Arc<Vec<SlotState>>,
    claim_now: Arc<Notify>,
    written: Arc<AtomicBool>,
}

impl Slots {
    pub(crate) fn new() -> Self {
        let states = Slot::all()
            .map(|slot| SlotState {
                slot,
                term: watch::Sender::new(None),
                connected: watch::Sender::new(false),
            })
            .collect();
        Self {
            states: Arc::new(states),
            claim_now: Arc::new(Notify::new()),
            written: Arc::new(AtomicBool::new(true)),
        }
    }

    fn state(&self, slot: Slot) -> Option<&SlotState> {
        self.states.get(usize::from(slot.number()))
    }

    /// The term of a slot while it is ours.
    pub(crate) fn watch(&self, slot: Slot) -> watch::Receiver<Option<u64>> {
        match self.state(slot) {
            Some(state) => state.term.subscribe(),
            None => watch::Sender::new(None).subscribe(),
        }
    }

    /// A handle with which the slot's session says whether it is connected.
    pub(crate) fn connected(&self, slot: Slot) -> watch::Sender<bool> {
        self.state(slot)
            .map_or_else(|| watch::Sender::new(false), |state| state.connected.clone())
    }

    /// The terms of the slots that are ours.
    pub(crate) fn terms(&self) -> Vec<SlotTerm> {
        self.states
            .iter()
            .filter_map(|state| {
                state.term.borrow().map(|term| SlotTerm {
                    slot: state.slot,
                    term,
                })
            })
            .collect()
    }

    /// Whether a slot is ours and its session is connected.
    pub(crate) fn is_ready(&self, slot: Slot) -> bool {
        self.state(slot)
            .is_some_and(|state| state.term.borrow().is_some() && *state.connected.borrow())
    }

    /// Slots that are ours and whose session is connected.
    pub(crate) fn ready(&self) -> usize {
        self.states
            .iter()
            .filter(|state| state.term.borrow().is_some() && *state.connected.borrow())
            .count()
    }

    /// Another one has these slots now: their connections end, and they are claimed again when they are free.
    pub(crate) fn lose(&self, slots: &[Slot]) {
        for state in self.states.iter().filter(|state| slots.contains(&state.slot)) {
            if state.term.send_replace(None).is_some() {
                tracing::warn!(slot = %state.slot, "a slot was lost to another server");
            }
        }
        self.claim_now.notify_one();
    }

    /// The last renewal of the leases was written: the store takes writes.
    pub(crate) fn leases_are_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    /// Waits until every slot is ours and connected. Safe to cancel.
    pub(crate) async fn all_ready(&self) {
        for state in self.states.iter() {
            let mut connected = state.connected.subscribe();
            // The sender lives as long as self.
            let _ = connected.wait_for(|connected| *connected).await;
        }
    }

    /// Claims and renews for ever. Safe to cancel: leases end by themselves.
    pub(crate) async fn keep(&self, store: Arc<dyn Store>, owner: String, lease: Duration) {
        let pause = lease / 3;
        let mut renewed = fleet_clock::boot_now();
        loop {
            let now = fleet_clock::boot_now();
            let written = store
                .renew_slots(&self.terms(), fleet_clock::wall_now(), lease)
                .await;
            self.written.store(written.is_ok(), Ordering::Release);
            match written {
                Ok(lost) => {
                    renewed = now;
                    self.lose(&lost);
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "slots could not be renewed"
                    );
                    // Whether they are still ours is not known any more.
                    if fleet_clock::boot_now().saturating_sub(renewed) >= lease {
                        self.lose(&Slot::all().collect::<Vec<_>>());
                    }
                }
            }
            self.claim_free(&*store, &owner, lease).await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.claim_now.notified() => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn claim_free(&self, store: &dyn Store, owner: &str, lease: Duration) {
        for state in self.states.iter().filter(|state| state.term.borrow().is_none()) {
            match store
                .claim_slot(state.slot, owner, fleet_clock::wall_now(), lease)
                .await
            {
                Ok(Some(term)) => {
                    state.term.send_replace(Some(term.term));
                }
                Ok(None) => tracing::info!(slot = %state.slot, "another server holds this slot"),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a slot could not be claimed"
                    );
                    return;
                }
            }
        }
    }
}
