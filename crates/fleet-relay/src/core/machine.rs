//! The state and the next step.

use std::collections::VecDeque;
use std::time::Duration;

use fleet_domain::StoreGeneration;
use fleet_store::{AlarmKind, NewAlarm, OutboxAdvance, OutboxCursor, RelayTerm};
use uuid::Uuid;

use super::batch::{Batch, Highs};
use super::pace::Pace;
use super::{CoreSettings, Step};
use crate::{RelayHealth, RelayLag, RelayState};

/// Without rows Kafka is asked this often whether it is there.
pub(super) const PROBE: Duration = Duration::from_secs(2);
/// How often it is counted what waits.
const MEASURE: Duration = Duration::from_secs(3);
/// An answer that takes longer is called hanging.
pub(super) const HANGING: Duration = Duration::from_secs(4);
/// How long it stands still before it looks again, where only a person can help.
pub(super) const PARKED: Duration = Duration::from_secs(4);

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Without the lease, until then.
    Standby {
        until: Duration,
    },
    Claiming,
    LookingUp,
    Connecting,
    CheckingTopics,
    Initialising,
    ReadingCursor,
    /// Is the cursor's row in the database?
    Comparing,
    /// The database learns what was committed before this start: which rows, behind this place, Kafka had.
    CatchingUp {
        from: OutboxCursor,
        already: Vec<u64>,
    },
    Fetching,
    Refusing {
        row: OutboxCursor,
        code: &'static str,
        reason: String,
    },
    Beginning,
    Sending,
    Draining,
    Committing,
    Advancing {
        advance: OutboxAdvance,
    },
    Reporting {
        detail: String,
        generation: StoreGeneration,
    },
    Idle {
        until: Duration,
    },
    Probing,
    /// With the lease, after a failure, until then.
    BackingOff {
        until: Duration,
        then: Box<Phase>,
    },
    Aborting {
        then: Next,
    },
    Disconnecting {
        then: Next,
    },
    Releasing {
        then: Next,
    },
    Ended,
}

/// What follows when transaction, producer or lease are put away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// The same producer goes on from the place that is known to be committed.
    Fetch,
    /// The same producer, but this row is refused first.
    Refuse {
        row: OutboxCursor,
        code: &'static str,
        reason: String,
    },
    /// A new producer, from the lookup on.
    Restart,
    /// Without the lease, and again after a while.
    Standby,
    End,
}

/// Which step the outcome is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Alarm,
    Renew,
    Measure,
    Phase,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) term: RelayTerm,
    pub(super) renew_at: Duration,
}

/// The relay of one process.
#[derive(Debug, Clone)]
pub struct Core {
    pub(super) settings: CoreSettings,
    pub(super) phase: Phase,
    pub(super) asked: Asked,
    pub(super) lease: Option<Lease>,
    /// A producer is there.
    pub(super) connected: bool,
    /// Since when the call that waits is waiting.
    pub(super) waiting_since: Option<Duration>,
    /// The database's copy of the cursor.
    pub(super) relayed: OutboxCursor,
    /// The cursor that is known to be committed in Kafka.
    pub(super) cursor: OutboxCursor,
    /// Generation in which that cursor was written.
    pub(super) cursor_generation: StoreGeneration,
    pub(super) generation: StoreGeneration,
    pub(super) highs: Highs,
    pub(super) highs_digest: Option<String>,
    pub(super) batch: Batch,
    /// Most rows of the next transaction.
    pub(super) limit: u32,
    pub(super) probe_at: Duration,
    pub(super) measure_at: Duration,
    pub(super) pace: Pace,
    pub(super) alarms: VecDeque<NewAlarm>,
    pub(super) alarmed: Option<AlarmKind>,
    /// The lost cursor that the database was told of, and the life that it has begun for it.
    pub(super) reported: Option<(OutboxCursor, StoreGeneration)>,
    /// Since when it stands still where only a person can help; it is said until something else is known.
    pub(super) parked_since: Option<Duration>,
    pub(super) stopping: bool,
    pub(super) state: RelayState,
    pub(super) detail: String,
    pub(super) lag: Option<RelayLag>,
}

impl Core {
    /// A relay that begins without the lease. `seed` is for jitter.
    pub fn new(settings: CoreSettings, seed: u64) -> Self {
        Self {
            limit: settings.batch_rows.clamp(1, 256),
            settings,
            phase: Phase::Standby {
                until: Duration::ZERO,
            },
            asked: Asked::Nothing,
            lease: None,
            connected: false,
            waiting_since: None,
            relayed: OutboxCursor::START,
            cursor: OutboxCursor::START,
            cursor_generation: StoreGeneration(Uuid::nil()),
            generation: StoreGeneration(Uuid::nil()),
            highs: Highs::default(),
            highs_digest: None,
            batch: Batch::default(),
            probe_at: Duration::ZERO,
            measure_at: Duration::ZERO,
            pace: Pace::new(seed),
            alarms: VecDeque::new(),
            alarmed: None,
            reported: None,
            parked_since: None,
            stopping: false,
            state: RelayState::Starting,
            detail: "it begins".to_owned(),
            lag: None,
        }
    }

    /// What it says of itself.
    pub fn health(&self) -> RelayHealth {
        RelayHealth {
            state: self.state,
            detail: self.detail.clone(),
            help: self.state.help(),
            term: self.lease.map(|lease| lease.term.0),
            lag: self.lag,
            cursor_seq: self.cursor.seq,
        }
    }

    /// The transaction that [`Step::Send`] speaks of.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Life of the database, for the headers and the cursor.
    pub fn generation(&self) -> StoreGeneration {
        self.generation
    }

    /// What the database knows Kafka to have already, for the cursor: see [`crate::highs_digest`].
    pub fn highs_digest(&self) -> Option<&str> {
        self.highs_digest.as_deref()
    }

    /// The lease that it holds.
    pub fn term(&self) -> Option<RelayTerm> {
        self.lease.map(|lease| lease.term)
    }

    /// There are new rows.
    pub fn wake(&mut self) {
        if let Phase::Idle { until } = &mut self.phase {
            *until = Duration::ZERO;
        }
    }

    /// It is to end in order: a commit that runs is finished, a transaction before its commit is aborted.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// The next step.
    pub fn next(&mut self, now: Duration) -> Step {
        if let Some(alarm) = self.alarms.pop_front() {
            self.asked = Asked::Alarm;
            return Step::Alarm(alarm);
        }
        if self.stopping {
            self.turn_to_the_end();
        }
        if let Some(lease) = self.lease {
            if now >= lease.renew_at && self.uses_lease() {
                self.asked = Asked::Renew;
                return Step::Renew(lease.term);
            }
            if now >= self.measure_at && self.uses_lease() {
                self.asked = Asked::Measure;
                return Step::Measure;
            }
        }
        self.asked = Asked::Phase;
        let step = self.step(now);
        match step {
            Step::Wait(_) | Step::End => self.asked = Asked::Nothing,
            _ if self.waiting_since.is_none() => self.waiting_since = Some(now),
            _ => {}
        }
        step
    }

    /// The lease is worth being kept.
    fn uses_lease(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Releasing { .. } | Phase::Disconnecting { .. } | Phase::Aborting { .. } | Phase::Ended
        )
    }

    fn turn_to_the_end(&mut self) {
        let then = Next::End;
        match &mut self.phase {
            // A commit has an end of its own, and its place is to be told to the database.
            Phase::Committing | Phase::Advancing { .. } | Phase::Ended => {}
            Phase::Aborting { then: next }
            | Phase::Disconnecting { then: next }
            | Phase::Releasing { then: next } => *next = then,
            Phase::Sending | Phase::Draining => self.phase = Phase::Aborting { then },
            _ => self.phase = Phase::Disconnecting { then },
        }
    }

    fn step(&mut self, now: Duration) -> Step {
        match self.phase.clone() {
            Phase::Standby { until } if now < until => Step::Wait(until.saturating_sub(now)),
            Phase::Standby { .. } | Phase::Claiming => {
                self.phase = Phase::Claiming;
                Step::Claim
            }
            Phase::LookingUp => Step::LookUp,
            Phase::Connecting => Step::Connect,
            Phase::CheckingTopics => Step::CheckTopics {
                // A topic that is gone after something was relayed is lost data: nobody makes it anew silently.
                create: self.settings.create_topics && self.relayed == OutboxCursor::START,
            },
            Phase::Initialising => Step::Init,
            Phase::ReadingCursor => Step::ReadCursor,
            Phase::Comparing => Step::Read {
                after: self.cursor,
                limit: 1,
            },
            Phase::CatchingUp { from, .. } => Step::Read {
                after: from,
                limit: self.settings.batch_rows,
            },
            Phase::Fetching => Step::Read {
                after: self.cursor,
                limit: self.limit,
            },
            Phase::Refusing { row, code, reason } => self.with_term(|term| Step::Refuse {
                term,
                row,
                code,
                reason,
            }),
            Phase::Beginning => Step::Begin,
            Phase::Sending => Step::Send,
            Phase::Draining => Step::Drain,
            Phase::Committing => Step::Commit,
            Phase::Advancing { advance } => Step::Advance(advance),
            Phase::Reporting { detail, generation } => self.with_term(|term| Step::ReportCursorLost {
                term,
                detail,
                generation,
            }),
            Phase::Idle { until } => self.idle(until, now),
            Phase::Probing => Step::Probe,
            Phase::BackingOff { until, .. } if now < until => self.wait(until, now),
            Phase::BackingOff { then, .. } => {
                self.phase = *then;
                self.step(now)
            }
            Phase::Aborting { .. } => Step::Abort,
            Phase::Disconnecting { .. } if self.connected => Step::Disconnect,
            Phase::Disconnecting { then } => {
                self.put_away(then, now);
                self.step(now)
            }
            Phase::Releasing { then } => {
                if let Some(lease) = self.lease {
                    return Step::Release(lease.term);
                }
                self.without_lease(&then, now);
                self.step(now)
            }
            Phase::Ended => Step::End,
        }
    }

    fn with_term(&self, step: impl FnOnce(RelayTerm) -> Step) -> Step {
        match self.lease {
            Some(lease) => step(lease.term),
            None => Step::Wait(Duration::ZERO),
        }
    }

    fn idle(&mut self, until: Duration, now: Duration) -> Step {
        if now >= until {
            self.phase = Phase::Fetching;
            return Step::Read {
                after: self.cursor,
                limit: self.limit,
            };
        }
        if now >= self.probe_at {
            self.phase = Phase::Probing;
            return Step::Probe;
        }
        self.wait(until.min(self.probe_at), now)
    }

    /// Waits, but not beyond what keeps the lease.
    fn wait(&self, until: Duration, now: Duration) -> Step {
        let lease = self
            .lease
            .map_or(until, |lease| lease.renew_at.min(self.measure_at));
        Step::Wait(until.min(lease).saturating_sub(now))
    }

    /// The producer is gone.
    pub(super) fn put_away(&mut self, then: Next, now: Duration) {
        self.connected = false;
        self.phase = match then {
            Next::Fetch | Next::Refuse { .. } | Next::Restart => Phase::BackingOff {
                until: now + self.pace.failed(),
                then: Box::new(Phase::LookingUp),
            },
            Next::Standby | Next::End => Phase::Releasing { then },
        };
    }

    /// The lease is gone.
    pub(super) fn without_lease(&mut self, then: &Next, now: Duration) {
        self.lease = None;
        self.lag = None;
        self.phase = match then {
            Next::End => Phase::Ended,
            _ if self.parked_since.is_some() => Phase::Standby {
                until: now + self.pace.jittered(PARKED),
            },
            _ => Phase::Standby {
                until: now + self.settings.lease / 3,
            },
        };
    }

    pub(super) fn next_measure(&mut self, now: Duration) {
        self.measure_at = now + MEASURE;
    }

    /// Goes into a state, with the alarm that belongs to it.
    pub(super) fn say(&mut self, state: RelayState, detail: String) {
        let alarm = match state {
            RelayState::Unreachable | RelayState::Hanging | RelayState::Refused => Some(AlarmKind::KafkaDown),
            RelayState::TopicMissing | RelayState::PartitionsDiffer => Some(AlarmKind::RelayStopped),
            RelayState::LostData => Some(AlarmKind::KafkaLostData),
            _ => None,
        };
        if let Some(kind) = alarm.filter(|kind| self.alarmed != Some(*kind)) {
            self.alarmed = Some(kind);
            self.alarms.push_back(NewAlarm {
                kind,
                subject: "kafka".to_owned(),
                device: None,
                detail: match state.help() {
                    Some(help) => format!("{detail}; {help}"),
                    None => detail.clone(),
                },
            });
        }
        if state == RelayState::Ok {
            self.alarmed = None;
            self.parked_since = None;
        }
        self.state = state;
        self.detail = detail;
    }
}
