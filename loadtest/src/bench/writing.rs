//! From an event to one that counts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_core::Event;
use agent_link::{AppendError, EventDraft, LinkInput};
use fleet_wire::{EventBody, EventContext, encode_event};
use spool::{Position, SpoolError};

use super::{Bench, BenchError, Due, Moment, Open, Outward, SpoolTimes, Unsynced, Waiting};
use crate::disks::BenchDisk;
use crate::history::{Noted, Place, hash};

/// Pause before an event that the disk refused is tried again, as the agent does.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// So many events wait for the disk; an agent takes no new jobs then, so nothing more is told.
const MOST_UNWRITTEN: usize = 64;

impl<B: BenchDisk> Bench<B> {
    /// Appends an event that counts with the next [`Bench::commit`].
    pub(super) fn append_later(&mut self, waiting: Waiting, now: &Moment) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        if process.unwritten.len() >= MOST_UNWRITTEN {
            self.figures.borrow_mut().counts.not_told += 1;
            return Ok(());
        }
        process.unwritten.push_back(waiting);
        self.append_waiting(now)
    }

    /// Appends what waits and makes it count.
    pub(super) fn write(&mut self, now: &Moment) -> Result<(), BenchError> {
        self.append_waiting(now)?;
        self.commit(now)
    }

    pub(super) fn append_waiting(&mut self, now: &Moment) -> Result<(), BenchError> {
        while let Some(process) = &mut self.process
            && process.write_at.is_none_or(|at| at <= now.boot)
            && let Some(waiting) = process.unwritten.pop_front()
        {
            process.write_at = None;
            if !self.append(&waiting, now)?
                && let Some(process) = &mut self.process
            {
                process.unwritten.push_front(waiting);
                process.write_at = Some(now.boot + WRITE_AGAIN);
            }
        }
        Ok(())
    }

    /// Appends one event; says whether the disk took it.
    fn append(&mut self, waiting: &Waiting, now: &Moment) -> Result<bool, BenchError> {
        let Waiting {
            draft,
            body,
            due,
            of_core,
        } = waiting;
        let noted = self.noted(draft, body)?;
        if let (Some(log), Some(noted)) = (&self.log, &noted) {
            log.append(noted, draft.vin.as_deref())
                .map_err(|source| self.history_error(source))?;
        }
        let Some(process) = &mut self.process else {
            return Ok(true);
        };
        let position = match process.uplink.append(draft, body) {
            Ok(position) => position,
            Err(AppendError::Spool(SpoolError::Disk { .. })) => return Ok(false),
            Err(source) => {
                return Err(BenchError::Append {
                    device: self.device.clone(),
                    source,
                });
            }
        };
        process.unsynced.push(Unsynced {
            position,
            id: draft.id,
            due: *due,
            of_core: *of_core,
            noted,
        });
        self.note_time(position, due.as_ref());
        if let Some(due) = due {
            let lag = now.instant.saturating_duration_since(due.at);
            if let Some(phase) = self.figures.borrow_mut().phases.get_mut(due.phase) {
                phase.lag.record(lag);
            }
        }
        Ok(true)
    }

    fn history_error(&self, source: std::io::Error) -> BenchError {
        BenchError::History {
            device: self.device.clone(),
            source,
        }
    }

    /// What the event is and where it will stand, when that is to be remembered.
    fn noted(&self, draft: &EventDraft, body: &EventBody) -> Result<Option<Noted>, BenchError> {
        if !self.setup.notes && self.log.is_none() {
            return Ok(None);
        }
        let next = self
            .process
            .as_ref()
            .and_then(|process| process.uplink.spools().next_position());
        let Some(position) = next else { return Ok(None) };
        let context = EventContext {
            id: draft.id,
            plant: self.setup.plant.clone(),
            device: self.device.clone(),
            vin: draft.vin.clone(),
            time: draft.time,
            spool: position.spool,
            seq: position.seq,
            traceparent: draft.traceparent.clone(),
        };
        let bytes = encode_event(&context, body).map_err(|error| BenchError::Append {
            device: self.device.clone(),
            source: error.into(),
        })?;
        Ok(Some(Noted {
            place: Place {
                device: self.device.to_string(),
                spool: position.spool,
                seq: position.seq,
            },
            id: draft.id,
            hash: hash(&bytes),
        }))
    }

    fn note_time(&mut self, position: Position, due: Option<&Due>) {
        if self
            .times
            .last()
            .is_none_or(|(spool, _)| *spool != position.spool)
        {
            self.times.push((position.spool, SpoolTimes::default()));
        }
        let place = usize::try_from(position.seq)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        if let Some((_, times)) = self.times.last_mut() {
            // A torn append may leave a place to the next event.
            times.due_us.truncate(place);
            times.due_us.push(due.map(|due| due.offset_us));
        }
    }

    /// Makes everything appended durable, counts it and sends what may be sent.
    pub(crate) fn commit(&mut self, now: &Moment) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        if process.unsynced.is_empty() {
            return Ok(());
        }
        match process.uplink.sync() {
            Ok(()) => {}
            Err(SpoolError::Disk { .. }) => {
                process.write_at = Some(now.boot + WRITE_AGAIN);
                return Ok(());
            }
            Err(error) => return Err(self.spool_error(error)),
        }
        let counted = std::mem::take(&mut process.unsynced);
        self.emit(Outward::Counted(counted))?;
        self.uplink(LinkInput::Tick, now)
    }

    /// From here on these events count.
    pub(super) fn count(&mut self, counted: Vec<Unsynced>) -> Result<(), BenchError> {
        let now = Moment::now();
        if let Some(log) = &self.log {
            let noted = counted.iter().filter_map(|event| event.noted.as_ref());
            log.counted(noted).map_err(|source| self.history_error(source))?;
        }
        let mut of_core = Vec::new();
        self.standing
            .durable
            .fetch_add(counted.len() as u64, Ordering::Relaxed);
        for event in counted {
            if let Some(due) = &event.due
                && let Some(phase) = self.figures.borrow_mut().phases.get_mut(due.phase)
            {
                phase
                    .durable
                    .record(now.instant.saturating_duration_since(due.at));
            }
            if event.of_core {
                of_core.push(event.id);
            }
            if self.setup.notes {
                self.noted.extend(event.noted);
            }
            self.open.push_back(Open {
                position: event.position,
                due: event.due,
                durable_at: now.instant,
            });
        }
        self.say();
        if of_core.is_empty() {
            return Ok(());
        }
        self.decide(Event::EventsDurable(of_core), &now)
    }
}
