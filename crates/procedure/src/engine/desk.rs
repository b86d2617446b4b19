//! Where the script puts down what it wants and finds the answer.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Command, Effect, Event};

#[derive(Debug, Default)]
struct Papers {
    now: Duration,
    effects: Vec<Effect>,
    answer: Option<Event>,
    canceled: bool,
}

/// Shared by the engine and its script; both run on the caller's thread, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk(Arc<Mutex<Papers>>);

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        // Nobody panics while holding it; if somebody did, the papers are whole all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Duration {
        self.papers().now
    }

    pub(super) fn set_now(&self, now: Duration) {
        let mut papers = self.papers();
        papers.now = papers.now.max(now);
    }

    pub(super) fn cancel(&self) {
        self.papers().canceled = true;
    }

    pub(super) fn is_canceled(&self) -> bool {
        self.papers().canceled
    }

    pub(super) fn answer(&self, event: Event) {
        self.papers().answer = Some(event);
    }

    pub(super) fn take_effects(&self) -> Vec<Effect> {
        core::mem::take(&mut self.papers().effects)
    }

    pub(super) fn tell(&self, effect: Effect) {
        self.papers().effects.push(effect);
    }

    /// Puts a command down and waits for its answer.
    pub(super) async fn ask(&self, command: Command) -> Event {
        {
            let mut papers = self.papers();
            papers.answer = None;
            papers.effects.push(Effect::Do(command));
        }
        poll_fn(|_| match self.papers().answer.take() {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        })
        .await
    }
}
