//! Routines besides those of programming.

use std::time::Duration;

use uds::{Nrc, Response, RoutineAction};

use super::{Done, Ecu, Outcome, Program};
use crate::memory::did_key;
use crate::spec::{self, RoutineSpec};

/// `checkProgrammingPreconditions`
pub(super) const PRECONDITIONS: u16 = 0x0203;
/// Lowest supply voltage for programming.
const MIN_SUPPLY_V: f64 = 11.0;
/// Status byte of a routine that runs.
const RUNNING: u8 = 0x01;

/// A routine that was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    until: Duration,
    finished: bool,
}

impl Ecu {
    pub(super) fn routine(
        &mut self,
        action: RoutineAction,
        id: u16,
        option: &[u8],
        now: Duration,
    ) -> Outcome {
        let status = match id {
            PRECONDITIONS => self.check_preconditions(action)?,
            0xFF00 | 0x0202 | 0xFF01 => return self.programming_routine(action, id, option),
            _ => self.other_routine(action, id, option, now)?,
        };
        Ok(Done::now(Response::Routine { action, id, status }))
    }

    pub(super) fn count_routine(&mut self, id: u16) {
        *self.keep().counters.routines.entry(did_key(id)).or_default() += 1;
    }

    fn check_preconditions(&mut self, action: RoutineAction) -> Result<Vec<u8>, Nrc> {
        if action != RoutineAction::Start {
            return Err(Nrc::SubFunctionNotSupported);
        }
        if self.spec.memory_bytes == 0 {
            return Err(Nrc::RequestOutOfRange);
        }
        if self.supply_v() < MIN_SUPPLY_V {
            return Err(Nrc::VoltageTooLow);
        }
        self.preconditions_checked = true;
        Ok(vec![0x00])
    }

    fn other_routine(
        &mut self,
        action: RoutineAction,
        id: u16,
        option: &[u8],
        now: Duration,
    ) -> Result<Vec<u8>, Nrc> {
        let spec = self.routine_spec(id).ok_or(Nrc::RequestOutOfRange)?;
        if !option.is_empty() {
            return Err(Nrc::IncorrectMessageLength);
        }
        if spec.secured {
            self.demand_extended()?;
        }
        match action {
            RoutineAction::Start => {
                if self.supply_v() < spec.min_supply_v {
                    return Err(Nrc::VoltageTooLow);
                }
                if self.runs.get(&id).is_some_and(|run| now < run.until) {
                    return Err(Nrc::RequestSequenceError);
                }
                let until = now.saturating_add(Duration::from_millis(spec.duration_ms));
                self.runs.insert(
                    id,
                    Run {
                        until,
                        finished: false,
                    },
                );
                self.count_routine(id);
                self.finish_runs(now);
                Ok(if now < until {
                    vec![RUNNING]
                } else {
                    spec::bytes(&spec.status)
                })
            }
            RoutineAction::Results => {
                self.finish_runs(now);
                let run = self.runs.get(&id).ok_or(Nrc::RequestSequenceError)?;
                Ok(if run.finished {
                    spec::bytes(&spec.status)
                } else {
                    vec![RUNNING]
                })
            }
            RoutineAction::Stop => {
                self.runs.remove(&id).ok_or(Nrc::RequestSequenceError)?;
                Ok(vec![0x00])
            }
        }
    }

    fn routine_spec(&self, id: u16) -> Option<RoutineSpec> {
        if self.program == Program::Boot {
            return None;
        }
        self.spec
            .routines
            .iter()
            .find(|routine| routine.id == id)
            .cloned()
    }

    /// Results of routines whose time is over.
    pub(super) fn finish_runs(&mut self, now: Duration) {
        let over: Vec<u16> = self
            .runs
            .iter()
            .filter(|(_, run)| !run.finished && now >= run.until)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            let results = self.routine_spec(id).map(|spec| spec.results).unwrap_or_default();
            for (did, value) in results {
                self.keep().values.insert(did_key(did), value);
            }
            if let Some(run) = self.runs.get_mut(&id) {
                run.finished = true;
            }
        }
    }
}
