//! What every part of ingest may know of the slots: whose they are, and how their sessions stand.
//!
//! The keeper decides, the sessions follow, the committer and the page look.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet_domain::Slot;
use fleet_store::SlotTerm;
use tokio::sync::{Notify, watch};

use crate::broker::BrokerState;
use crate::metrics::{HandOver, SlotMetrics};

/// Whose a slot is, from this process's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Not ours.
    Free,
    /// Ours, under this term.
    Owned(u64),
    /// Ours, and being given back in an orderly way: nothing new is taken, what was taken is committed and
    /// acknowledged, then the session ends. It never becomes `Owned` again under this term.
    GivingBack(u64),
}

impl Hold {
    /// The term under which messages may be committed.
    pub(crate) fn term(self) -> Option<u64> {
        match self {
            Self::Free => None,
            Self::Owned(term) | Self::GivingBack(term) => Some(term),
        }
    }
}

/// One slot.
#[derive(Debug)]
pub(super) struct SlotState {
    pub(super) slot: Slot,
    hold: watch::Sender<Hold>,
    /// Its session is connected and subscribed.
    connected: watch::Sender<bool>,
    /// The last term whose session has ended in order; terms begin at 1.
    at_rest: AtomicU64,
    /// Boot time at which the keeper asked for its current term.
    claimed_at: Mutex<Option<Duration>>,
    /// The same until its session has come up once.
    coming_up: Mutex<Option<Duration>>,
    /// What the broker said to its session, if it was no.
    problem: Mutex<Option<BrokerState>>,
}

/// How the slots of the plant stand, as the keeper saw them last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlantView {
    /// Slots with a living lease of another replica.
    pub(crate) others: usize,
    /// Boot time since when some slots have no owner.
    pub(crate) incomplete_since: Option<Duration>,
    /// Replicas that are alive.
    pub(crate) replicas: usize,
    /// Why this replica may own no slot.
    pub(crate) refused: Option<BrokerState>,
}

/// All slots of the plant.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    states: Arc<Vec<SlotState>>,
    /// Wakes the keeper.
    pub(super) look: Arc<Notify>,
    view: watch::Sender<PlantView>,
    /// Boot time at which all terms were asked for and renewed last.
    renewed: Arc<Mutex<Duration>>,
    metrics: SlotMetrics,
}

impl Slots {
    pub(crate) fn new(metrics: SlotMetrics) -> Self {
        let states = Slot::all()
            .map(|slot| SlotState {
                slot,
                hold: watch::Sender::new(Hold::Free),
                connected: watch::Sender::new(false),
                at_rest: AtomicU64::new(0),
                claimed_at: Mutex::default(),
                coming_up: Mutex::default(),
                problem: Mutex::default(),
            })
            .collect();
        Self {
            states: Arc::new(states),
            look: Arc::new(Notify::new()),
            view: watch::Sender::new(PlantView {
                others: 0,
                incomplete_since: Some(fleet_clock::boot_now()),
                replicas: 0,
                refused: None,
            }),
            renewed: Arc::default(),
            metrics,
        }
    }

    pub(super) fn state(&self, slot: Slot) -> Option<&SlotState> {
        self.states.get(usize::from(slot.number()))
    }

    /// Whose a slot is.
    pub(super) fn watch(&self, slot: Slot) -> watch::Receiver<Hold> {
        match self.state(slot) {
            Some(state) => state.hold.subscribe(),
            None => watch::Sender::new(Hold::Free).subscribe(),
        }
    }

    /// The terms of the slots that are ours, also of those that are being given back.
    pub(crate) fn terms(&self) -> Vec<SlotTerm> {
        let term = |state: &SlotState| {
            let term = state.hold.borrow().term()?;
            Some(SlotTerm {
                slot: state.slot,
                term,
            })
        };
        self.states.iter().filter_map(term).collect()
    }

    /// The term is ours as far as this process knows.
    pub(super) fn is_current(&self, slot: Slot, term: u64) -> bool {
        self.state(slot)
            .is_some_and(|state| state.hold.borrow().term() == Some(term))
    }

    /// Slots that are ours and not being given back, by number.
    pub(super) fn owned(&self) -> Vec<Slot> {
        let owned = |state: &&SlotState| matches!(*state.hold.borrow(), Hold::Owned(_));
        self.states.iter().filter(owned).map(|state| state.slot).collect()
    }

    /// Terms that are being given back, with whether their session has ended.
    pub(super) fn giving_back(&self) -> Vec<(SlotTerm, bool)> {
        let giving = |state: &SlotState| {
            let Hold::GivingBack(term) = *state.hold.borrow() else {
                return None;
            };
            let slot = state.slot;
            let ended = state.at_rest.load(Ordering::Acquire) == term;
            Some((SlotTerm { slot, term }, ended))
        };
        self.states.iter().filter_map(giving).collect()
    }

    /// Whether a slot is ours and its session is connected.
    pub(crate) fn is_ready(&self, slot: Slot) -> bool {
        self.state(slot).is_some_and(SlotState::is_ready)
    }

    /// Slots that are ours and whose session is connected.
    pub(crate) fn ready(&self) -> usize {
        self.states.iter().filter(|state| state.is_ready()).count()
    }

    /// How the plant's slots stand.
    pub(crate) fn view(&self) -> PlantView {
        self.view.borrow().clone()
    }

    pub(super) fn set_view(&self, change: impl FnOnce(&mut PlantView)) {
        self.view.send_modify(change);
    }

    /// What the broker said to the sessions, if it was no.
    pub(crate) fn problem(&self) -> Option<BrokerState> {
        self.states.iter().find_map(|state| lock(&state.problem).clone())
    }

    /// A slot is ours now; `asked` is the boot time at which it was asked for.
    pub(super) fn own(&self, term: SlotTerm, asked: Duration) {
        if let Some(state) = self.state(term.slot) {
            *lock(&state.claimed_at) = Some(asked);
            *lock(&state.coming_up) = Some(asked);
            state.hold.send_replace(Hold::Owned(term.term));
        }
    }

    /// Begins to give a slot back.
    pub(super) fn give_back(&self, slot: Slot) {
        if let Some(state) = self.state(slot) {
            state.hold.send_if_modified(|hold| match *hold {
                Hold::Owned(term) => {
                    *hold = Hold::GivingBack(term);
                    true
                }
                Hold::Free | Hold::GivingBack(_) => false,
            });
        }
    }

    /// A slot was given back.
    pub(super) fn free(&self, term: SlotTerm) {
        if self.leave(term) {
            self.metrics.handed_over(HandOver::GivenBack);
        }
    }

    /// Another one has these terms' slots, or nobody knows: their connections end.
    pub(crate) fn lose(&self, terms: &[SlotTerm]) {
        for term in terms {
            if self.leave(*term) {
                self.metrics.handed_over(HandOver::Lost);
                tracing::warn!(slot = %term.slot, term = term.term, "a slot was lost: another server has it, or the lease could not be renewed");
            }
        }
        self.look.notify_one();
    }

    /// Only if the term is still the current one.
    fn leave(&self, term: SlotTerm) -> bool {
        self.state(term.slot).is_some_and(|state| {
            state.hold.send_if_modified(|hold| {
                let ours = hold.term() == Some(term.term);
                if ours {
                    *hold = Hold::Free;
                }
                ours
            })
        })
    }

    /// Waits until every slot is ours and connected. Safe to cancel.
    pub(crate) async fn all_ready(&self) {
        for state in self.states.iter() {
            let mut connected = state.connected.subscribe();
            // The sender lives as long as self.
            let _ = connected.wait_for(|connected| *connected).await;
        }
    }

    /// A session is connected and subscribed.
    pub(super) fn session_is_up(&self, slot: Slot) {
        let Some(state) = self.state(slot) else { return };
        *lock(&state.problem) = None;
        state.connected.send_replace(true);
        if let Some(claimed) = lock(&state.coming_up).take() {
            let took = fleet_clock::boot_now().saturating_sub(claimed);
            self.metrics.connected_after(took);
        }
    }

    /// The terms that are still ours were asked for at this boot time, and renewed.
    pub(super) fn set_renewed(&self, asked: Duration) {
        *lock(&self.renewed) = asked;
    }

    /// Boot time at which the terms were asked for and renewed last.
    pub(super) fn renewed_at(&self) -> Duration {
        *lock(&self.renewed)
    }

    /// Boot time at which the keeper asked for the slot's current term.
    pub(super) fn claimed_at(&self, slot: Slot) -> Option<Duration> {
        self.state(slot).and_then(|state| *lock(&state.claimed_at))
    }

    /// A session's connection is gone. True if it was up.
    pub(super) fn session_is_down(&self, slot: Slot) -> bool {
        self.state(slot)
            .is_some_and(|state| state.connected.send_replace(false))
    }

    /// A session got no for an answer.
    pub(super) fn session_has_problem(&self, slot: Slot, problem: Option<BrokerState>) {
        if let Some(state) = self.state(slot) {
            *lock(&state.problem) = problem;
        }
    }

    /// A session that was giving back has ended.
    pub(super) fn session_is_at_rest(&self, slot: Slot, term: u64) {
        if let Some(state) = self.state(slot) {
            state.at_rest.store(term, Ordering::Release);
            self.look.notify_one();
        }
    }
}

impl SlotState {
    fn is_ready(&self) -> bool {
        self.hold.borrow().term().is_some() && *self.connected.borrow()
    }

    pub(super) fn is_free(&self) -> bool {
        *self.hold.borrow() == Hold::Free
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
