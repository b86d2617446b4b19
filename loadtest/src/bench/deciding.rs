//! Carries out what the agent's core says, as the agent does. A simulated bench has no ECU: it lets what it is offered
//! expire.

use std::collections::VecDeque;

use agent_core::{Append, Effect, Event, SyncParts};

use super::{Bench, BenchError, Moment, Outward, Waiting, fresh_event_id};
use crate::disks::BenchDisk;

impl<B: BenchDisk> Bench<B> {
    /// Does what the core said at its boot, and tells it what the uplink knows.
    pub(super) fn begin_core(&mut self, effects: Vec<Effect>, now: &Moment) -> Result<(), BenchError> {
        let mut events = VecDeque::new();
        self.carry_out(effects, &mut events, now)?;
        let known = self
            .process
            .as_ref()
            .and_then(|process| process.uplink.generation());
        events.extend(known.map(Event::GenerationChanged));
        while let Some(event) = events.pop_front() {
            self.decide(event, now)?;
        }
        Ok(())
    }

    /// Gives an event to the core and does what it says, and what follows from that.
    pub(super) fn decide(&mut self, event: Event, now: &Moment) -> Result<(), BenchError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(process) = &mut self.process else {
                return Ok(());
            };
            let effects = process.core.apply(event, now.times(), &mut fresh_event_id);
            self.carry_out(effects, &mut events, now)?;
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        events: &mut VecDeque<Event>,
        now: &Moment,
    ) -> Result<(), BenchError> {
        let mut appended = Vec::new();
        for effect in effects {
            match effect {
                Effect::PersistState { revision, bytes } => {
                    let Some(process) = &mut self.process else {
                        return Ok(());
                    };
                    if let Err(error) = process.state_file.replace(&bytes) {
                        events.push_back(Event::PersistFailed {
                            detail: format!("the state can't be saved: {error}"),
                        });
                        break;
                    }
                    events.push_back(Event::Persisted { revision });
                }
                Effect::AppendEvent(append) => appended.push(append),
                // An offer is never prepared, so it expires; nothing is accepted, started, recovered or stopped.
                Effect::Prepare { .. }
                | Effect::DropPreparation(_)
                | Effect::StartAttempt { .. }
                | Effect::RecoverAttempt { .. }
                | Effect::StopAttempt { .. } => {}
                Effect::SendSync(parts) => {
                    // What was said before it comes before it.
                    self.append_of_core(std::mem::take(&mut appended), now)?;
                    self.send_sync(parts, now)?;
                }
            }
        }
        self.append_of_core(appended, now)
    }

    fn append_of_core(&mut self, appends: Vec<Append>, now: &Moment) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        if appends.is_empty() {
            return Ok(());
        }
        process
            .unwritten
            .extend(appends.into_iter().map(|append| Waiting {
                draft: super::draft(append.id, append.vin.map(|vin| vin.to_string()), now),
                body: append.body,
                due: None,
                of_core: true,
            }));
        self.write(now)
    }

    fn send_sync(&mut self, parts: SyncParts, now: &Moment) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let number = parts.number;
        let (spools, former) = process.uplink.sync_spools(number);
        let generation = process.uplink.generation();
        let sync = parts.into_sync(generation, spools, former, now.wall);
        process.sync_sent = Some(number);
        self.emit(Outward::Sync(sync.encode()))
    }
}
