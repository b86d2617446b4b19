//! Runs a plan: events and time in, effects out.
//!
//! The sequence is written as straight code (`script.rs`), which the compiler turns into the state machine; it
//! can wait for nothing but a [`Command`]'s event, so the engine needs no runtime and is deterministic: the same
//! events at the same times give the same effects.

mod actions;
mod conclude;
mod connect;
mod desk;
mod script;
mod step;
mod stop;

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use uds::{Completion, Request, UdsError};

use crate::plan::{Inputs, Plan};
use crate::report::{FinalOutcome, Intent, Progress, StepResult};
use desk::Desk;

/// What the engine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The whole plan.
    Run,
    /// Nothing but identification, the plan's verification and the clean-up: the work was done before a restart
    /// of the agent. Writes nothing.
    VerifyOnly,
    /// Identification alone, to see in what state an interrupted attempt left the control unit. Writes nothing;
    /// the verdict is `in_doubt`.
    Inspect,
}

/// Something to do, answered by exactly one [`Event`]. At most one is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Close the connection, if there is one, and connect to the entity. Answered by [`Event::Connected`] or
    /// [`Event::NotConnected`].
    Connect {
        /// Longest time.
        within: Duration,
    },
    /// Send a request over this connection. Answered by [`Event::Answered`].
    Send {
        /// The request.
        request: Request,
        /// To the functional address.
        functional: bool,
        /// Longest time of response pending.
        pending_total: Duration,
    },
    /// Ask the signer for the key of a seed. Answered by [`Event::Key`]. Neither is ever logged.
    AskKey {
        /// Odd level.
        level: u8,
        /// The seed.
        seed: Vec<u8>,
    },
    /// Make an intent durable. Answered by [`Event::Journaled`].
    JournalIntent(Intent),
    /// Make durable that an intent was carried out. Answered by [`Event::Journaled`].
    JournalConfirmed(Intent),
    /// Wait. Answered by [`Event::Woke`], which may come early.
    Sleep {
        /// On the clock of `now`.
        until: Duration,
    },
}

/// What the caller has to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Do this and answer it.
    Do(Command),
    /// A step ended.
    Step(Box<StepResult>),
    /// A step goes on.
    Progress(Progress),
    /// The control unit cannot be left as it is any more; a cancellation is refused from here on.
    PastPointOfNoReturn,
    /// The attempt ended. Nothing follows.
    Finished(Box<FinalOutcome>),
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The control unit refused, was silent or the link failed while it was asked.
    #[error(transparent)]
    Uds(#[from] UdsError),
    /// There is no connection.
    #[error("there is no connection to the entity")]
    NotConnected,
    /// A delay after wrong keys is still running.
    #[error("the delay after wrong keys is still running")]
    SecurityDelay,
}

/// Why the signer gave no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signer gave no key: {detail}")]
pub struct SignerError {
    /// For people, without seed or key.
    pub detail: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is a new connection with active routing.
    Connected {
        /// VIN of the vehicle announcement, if the entity answered one.
        announced_vin: Option<String>,
    },
    /// There is no connection.
    NotConnected {
        /// For people.
        detail: String,
    },
    /// A request ended.
    Answered(Result<Completion, Failure>),
    /// The signer answered.
    Key(Result<Vec<u8>, SignerError>),
    /// The journal entry is durable, or is not.
    Journaled(Result<(), String>),
    /// The wait ended.
    Woke,
    /// Somebody wants the attempt to end. May come at any time; it answers no command.
    Cancel,
}

/// The clock of the engine: a duration since any fixed origin that never runs backwards.
pub type Now = Duration;

/// Runs one attempt. Feed it the answer of each command; every call gives what to do next.
pub struct Engine {
    script: Pin<Box<dyn Future<Output = FinalOutcome> + Send>>,
    desk: Desk,
    finished: bool,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine")
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that has not begun.
    pub fn new(plan: Arc<Plan>, inputs: Inputs, mode: Mode) -> Self {
        let desk = Desk::default();
        let script = script::Script::new(desk.clone(), plan, inputs);
        Self {
            script: Box::pin(script.run(mode)),
            desk,
            finished: false,
        }
    }

    /// Begins. Later calls do nothing.
    pub fn start(&mut self, now: Now) -> Vec<Effect> {
        self.advance(now)
    }

    /// Takes an event. After [`Effect::Finished`] nothing happens any more.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        if event == Event::Cancel {
            self.desk.cancel();
            return Vec::new();
        }
        self.desk.answer(event);
        self.advance(now)
    }

    /// Whether the attempt ended.
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    fn advance(&mut self, now: Now) -> Vec<Effect> {
        if self.finished {
            return Vec::new();
        }
        self.desk.set_now(now);
        let mut context = Context::from_waker(Waker::noop());
        let outcome = self.script.as_mut().poll(&mut context);
        let mut effects = self.desk.take_effects();
        if let Poll::Ready(outcome) = outcome {
            self.finished = true;
            effects.push(Effect::Finished(Box::new(outcome)));
        }
        effects
    }
}
