//! Procedures: what a bench does with one control unit.
//!
//! Three parts. A procedure is written in YAML (JSON Schema: `docs/schemas/procedure.schema.json`);
//! [`compile`] checks it and gives a closed [`Plan`], or diagnostics with line and column; an [`Engine`] runs the
//! plan as a pure state machine: events and time go in, effects come out. The engine holds the rules that keep a
//! verdict honest, so that no procedure has to repeat them:
//!
//! * VIN, part and hardware are compared on every connection before anything is written;
//! * `passed` needs a read-back after the last write;
//! * an intent is in the journal before each write, and a download never goes on over a new connection;
//! * whatever was switched off, actuated or held is given back in the clean-up, or reported as not given back.

mod compile;
mod diagnostic;
mod document;
mod engine;
mod plan;
mod report;
mod spans;
mod template;
mod value;

pub use compile::compile;
pub use diagnostic::Diagnostic;
pub use document::schema;
pub use engine::{Command, Effect, Engine, Event, Failure, Mode, Now, SignerError};
pub use plan::{
    Action, Artifact, Budget, ByteCheck, Cleanup, CommMode, Decode, Inputs, Kind, Limits, OnFail, Parameter,
    Plan, Poll, ReadSpec, Restart, Retry, Step, Target,
};
pub use report::{
    DtcEntry, EcuIdentity, EndState, FinalOutcome, Intent, Measurement, Outcome, Progress, StepResult, Value,
    Verdict,
};
pub use template::{Template, Variable};
