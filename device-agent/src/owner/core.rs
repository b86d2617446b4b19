//! Carries out what the core says.

use std::collections::VecDeque;

use agent_core::{Append, AttemptKey, Effect, Event, SyncParts, Times};
use agent_link::{AppendError, EventDraft, LinkInput};
use fleet_domain::{EventId, error_chain};
use fleet_wire::EventBody;
use fleet_wire::command::JobDocument;
use fleet_wire::event::{AttemptRef, JobFinished};
use spool::SpoolError;
use tokio::sync::watch;

use super::{Input, Owner};
use crate::attempt::{self, Order};
use crate::crashsafe;
use crate::prepare;

/// What became of an append.
enum Written {
    Yes,
    /// The disk refuses for now.
    NotYet(String),
}

pub(crate) fn now() -> Times {
    Times {
        boot: fleet_clock::boot_now(),
        wall: fleet_clock::wall_now(),
    }
}

pub(crate) fn fresh_event_id() -> EventId {
    EventId(fleet_clock::new_uuid())
}

impl Owner {
    /// Gives an event to the core and does what it says, and what follows from that.
    pub(crate) fn decide(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let effects = self.core.apply(event, now(), &mut fresh_event_id);
            self.carry_out(effects, &mut events);
        }
    }

    /// Carries effects out in their order. What the core has to be told next goes to `events`.
    pub(crate) fn carry_out(&mut self, effects: Vec<Effect>, events: &mut VecDeque<Event>) {
        let mut appended = Vec::new();
        for effect in effects {
            match effect {
                Effect::PersistState { revision, bytes } => {
                    let saved = tokio::task::block_in_place(|| crashsafe::replace(&self.state_file, &bytes));
                    match saved {
                        Ok(()) => events.push_back(Event::Persisted { revision }),
                        Err(error) => {
                            tracing::error!(file = %self.state_file.display(), %error, "the state can't be saved");
                            events.push_back(Event::PersistFailed {
                                detail: format!("the agent's state can't be saved: {error}"),
                            });
                            break;
                        }
                    }
                }
                Effect::AppendEvent(append) => appended.push(append),
                Effect::Prepare {
                    key,
                    document,
                    traceparent,
                } => self.prepare(key, document, traceparent.as_deref()),
                Effect::DropPreparation(key) => {
                    self.prepared.remove(&key);
                    if let Some(task) = self.preparing.remove(&key) {
                        task.abort();
                    }
                }
                Effect::StartAttempt {
                    of,
                    document,
                    traceparent,
                } => self.start(of, document, traceparent, events),
                Effect::RecoverAttempt {
                    of,
                    document,
                    traceparent,
                } => self.recover(Order {
                    of,
                    document,
                    traceparent,
                }),
                Effect::StopAttempt { key, reason } => {
                    if let Some(cancel) = self.cancels.get(&key) {
                        tracing::info!(job.id = %key.job_id, reason, "stopping an attempt, if it still can be");
                        cancel.send_replace(true);
                    }
                }
                Effect::SendSync(parts) => {
                    // What was said before it comes before it.
                    self.write(std::mem::take(&mut appended), events);
                    self.send_sync(parts);
                }
            }
        }
        self.write(appended, events);
    }

    /// Appends events, makes them durable and says so.
    fn write(&mut self, appends: Vec<Append>, events: &mut VecDeque<Event>) {
        if appends.is_empty() {
            return;
        }
        self.unwritten.extend(appends);
        self.write_waiting(events);
    }

    pub(crate) fn write_again(&mut self) {
        let mut events = VecDeque::new();
        self.write_waiting(&mut events);
        for event in events {
            self.decide(event);
        }
    }

    fn write_waiting(&mut self, events: &mut VecDeque<Event>) {
        if self.spool_failed.is_some() {
            return;
        }
        let mut refused = None;
        while let Some(append) = self.unwritten.front().cloned() {
            match tokio::task::block_in_place(|| self.append(&append)) {
                Ok(Written::Yes) => {
                    self.unwritten.pop_front();
                    self.unsynced.push(append);
                }
                Ok(Written::NotYet(detail)) => {
                    refused = Some(detail);
                    break;
                }
                Err(detail) => return self.spool_has_failed(detail, events),
            }
        }
        if !self.unsynced.is_empty() {
            match tokio::task::block_in_place(|| self.uplink.sync()) {
                Ok(()) => self.are_durable(events),
                Err(error @ SpoolError::Disk { .. }) => refused = Some(error_chain(&error)),
                Err(error) => return self.spool_has_failed(error_chain(&error), events),
            }
        }
        if let Some(detail) = refused {
            tracing::error!(
                error = detail,
                waiting = self.unwritten.len(),
                "events wait for the disk"
            );
            events.push_back(Event::Room {
                refusing: Some(format!("the spool's disk refuses: {detail}")),
            });
        }
    }

    /// From here on these events count.
    fn are_durable(&mut self, events: &mut VecDeque<Event>) {
        crate::failpoints::after_fsync();
        let durable = std::mem::take(&mut self.unsynced);
        for append in &durable {
            if let EventBody::JobFinished(JobFinished { of, .. }) = &append.body {
                tokio::task::block_in_place(|| attempt::settle(&self.workplace.journals, *of));
            }
        }
        let ids = durable.into_iter().map(|append| append.id).collect();
        events.push_back(Event::EventsDurable(ids));
        self.look_at_room_later(events);
        self.uplink(LinkInput::Tick);
    }

    fn spool_has_failed(&mut self, detail: String, events: &mut VecDeque<Event>) {
        tracing::error!(
            error = detail,
            "the spool has failed: no job is taken until a restart"
        );
        self.spool_failed = Some(detail.clone());
        events.push_back(Event::SpoolFailed { detail });
    }

    /// Appends one event. One that could never be sent is cut down until it can: its verdict matters most.
    fn append(&mut self, append: &Append) -> Result<Written, String> {
        let draft = EventDraft {
            id: append.id,
            vin: append.vin.as_ref().map(ToString::to_string),
            time: fleet_clock::wall_now(),
            traceparent: append.traceparent.clone(),
        };
        let mut body = append.body.clone();
        if let EventBody::JobFinished(finished) = &mut body
            && finished.record.is_none()
        {
            // The result of an earlier offer, said again: its record lies on the disk.
            finished.record = self.workplace.records.read(finished.of).ok().flatten();
        }
        loop {
            match self.uplink.append(&draft, &body) {
                Ok(_) => return Ok(Written::Yes),
                Err(AppendError::Spool(error @ SpoolError::Disk { .. })) => {
                    return Ok(Written::NotYet(error_chain(&error)));
                }
                Err(AppendError::Spool(error)) => return Err(error_chain(&error)),
                Err(error @ (AppendError::Encode(_) | AppendError::TooLarge { .. })) => {
                    tracing::error!(error = error_chain(&error), "an event is cut down");
                    if !cut_down(&mut body, &error.to_string()) {
                        // Nothing is left to cut: without it the others still count.
                        return Ok(Written::Yes);
                    }
                }
            }
        }
    }

    fn send_sync(&mut self, parts: SyncParts) {
        let number = parts.number;
        let (spools, former) = self.uplink.sync_spools(number);
        let generation = self.uplink.generation();
        let sync = parts.into_sync(generation, spools, former, fleet_clock::wall_now());
        self.sync_sent = Some(number);
        self.link.publish_sync(sync.encode());
    }

    fn prepare(&mut self, key: AttemptKey, document: JobDocument, traceparent: Option<&str>) {
        if self.preparing.contains_key(&key) || self.prepared.contains_key(&key) {
            return;
        }
        let (fetcher, ecus) = (self.fetcher.clone(), self.config.ecus.clone());
        let (permits, owner) = (self.permits.clone(), self.workplace.owner.clone());
        let span = tracing::info_span!("agent.prepare_job", job.id = %key.job_id, job.attempt = key.attempt);
        if let Some(traceparent) = traceparent {
            fleet_telemetry::set_parent(&span, traceparent);
        }
        let work = async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await;
            let input = match prepare::prepare(&fetcher, &ecus, key.job_id, &document).await {
                Ok(prepared) => Input::Prepared(key, prepared),
                Err(error) => {
                    tracing::warn!(error = error.detail(), code = error.code(), "a job can't be done");
                    Input::Core(Box::new(Event::PreparationFailed {
                        key,
                        code: error.code().to_owned(),
                        detail: error.detail(),
                    }))
                }
            };
            // An owner that has ended starts nothing.
            let _ = owner.send(input).await;
        };
        let task = tokio::spawn(tracing::Instrument::instrument(work, span));
        self.preparing.insert(key, task.abort_handle());
    }

    fn start(
        &mut self,
        of: AttemptRef,
        document: JobDocument,
        traceparent: Option<String>,
        events: &mut VecDeque<Event>,
    ) {
        let key = AttemptKey::from(of);
        let Some(prepared) = self.prepared.remove(&key) else {
            // The core starts only what it heard to be prepared.
            events.push_back(Event::Finished {
                key,
                result: agent_core::JobResult {
                    verdict: fleet_wire::event::Verdict::Error,
                    reason_code: "not_prepared".to_owned(),
                    detail: None,
                    software: std::collections::BTreeMap::new(),
                    record: None,
                },
                traceparent,
            });
            return;
        };
        tracing::info!(job.id = %of.job_id, job.attempt = of.attempt, procedure = prepared.plan.id, "an attempt starts");
        let (cancel, cancelled) = watch::channel(false);
        self.cancels.insert(key, cancel);
        let order = Order {
            of,
            document: Some(document),
            traceparent,
        };
        tokio::spawn(self.workplace.clone().run(order, prepared, cancelled));
    }

    fn recover(&mut self, order: Order) {
        let of = order.of;
        tracing::info!(job.id = %of.job_id, job.attempt = of.attempt, "an interrupted attempt is read back");
        let name = format!("{}-{}", of.job_id, of.attempt);
        let broken = self
            .journals
            .unreadable
            .iter()
            .any(|(path, _)| path.file_stem().is_some_and(|stem| stem == name.as_str()));
        let mine = |pending: &crate::journal::Pending| {
            pending.header.job_id == of.job_id && pending.header.attempt == of.attempt
        };
        let found = self.journals.pending.iter().position(mine);
        let found = found.map(|index| self.journals.pending.swap_remove(index));
        tokio::spawn(self.workplace.clone().recover(order, found, broken));
    }
}

/// Takes away the largest part of an event that can be missed. `false` when nothing is left to take.
fn cut_down(body: &mut EventBody, why: &str) -> bool {
    match body {
        EventBody::JobFinished(finished) if finished.record.is_some() => {
            finished.record = None;
            true
        }
        EventBody::StepFinished(step) if !step.measurements.is_empty() => {
            step.measurements.clear();
            step.detail = Some(format!("measurements left out: {why}"));
            true
        }
        _ => false,
    }
}
