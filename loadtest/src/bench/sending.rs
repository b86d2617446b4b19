//! What the link brings, what the uplink says, and what leaves the bench once its gate is open.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_core::Event;
use agent_link::{AlarmKind, LinkEffect, LinkEvent, LinkInput};
use fleet_domain::{Seq, SpoolId};
use fleet_wire::command::DesiredState;
use spool::Position;

use super::{Bench, BenchError, Moment, Outward, UPKEEP};
use crate::disks::BenchDisk;

impl<B: BenchDisk> Bench<B> {
    /// Takes what the link of the current process brings.
    pub(crate) fn take(&mut self, event: LinkEvent, now: &Moment) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        match event {
            LinkEvent::Up {
                connection,
                connect_counter,
                receive_maximum,
                maximum_packet_size,
                session_present: _,
            } => {
                process.connection = Some(connection);
                self.figures.borrow_mut().counts.connects += 1;
                let since = now.instant.saturating_duration_since(self.setup.begun);
                self.standing.up_at_us.store(micros(since), Ordering::Relaxed);
                self.standing.connected.store(true, Ordering::Relaxed);
                self.uplink(
                    LinkInput::Connected {
                        connection,
                        receive_maximum,
                        maximum_packet_size,
                    },
                    now,
                )?;
                self.decide(Event::Connected { connect_counter }, now)
            }
            LinkEvent::Down { connection, .. } => {
                process.connection = None;
                self.figures.borrow_mut().counts.disconnects += 1;
                self.standing.connected.store(false, Ordering::Relaxed);
                self.uplink(LinkInput::Disconnected { connection }, now)?;
                self.decide(Event::Disconnected, now)
            }
            LinkEvent::PubAck {
                connection,
                position,
                reason,
            } => self.uplink(
                LinkInput::PubAck {
                    connection,
                    position,
                    reason,
                },
                now,
            ),
            LinkEvent::Receipt(receipt) => {
                self.uplink(LinkInput::Receipt(receipt), now)?;
                self.receipts_came(now);
                Ok(())
            }
            LinkEvent::SyncAnswer(answer) => {
                let number = answer.number;
                self.uplink(LinkInput::SyncAnswer(answer), now)?;
                self.receipts_came(now);
                // After what the answer brought. Only the last one's is obeyed.
                if self.process.as_ref().and_then(|process| process.sync_sent) == Some(number) {
                    self.decide(Event::SyncAnswered { number }, now)?;
                }
                Ok(())
            }
            LinkEvent::Commands(mut list) => {
                // The jobs that this bench makes up are none of its core's: it would declare them in doubt.
                list.jobs.retain(|entry| entry.state == DesiredState::Offered);
                self.decide(Event::Commands(list), now)
            }
            LinkEvent::Undecodable { channel, error } => Err(BenchError::Undecodable {
                device: self.device.clone(),
                channel: channel.as_str(),
                source: error,
            }),
        }
    }

    /// Gives an input to the uplink and does what it says.
    pub(super) fn uplink(&mut self, input: LinkInput, now: &Moment) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        for effect in process.uplink.handle(input, now.boot, now.wall) {
            match effect {
                LinkEffect::Publish { .. } => self.emit(Outward::Publish(effect))?,
                LinkEffect::Reconnect { connection, .. } => {
                    if let Some(process) = &self.process {
                        process.link.reconnect(connection);
                    }
                }
                LinkEffect::SealSpool { .. } => self.seal(now)?,
                LinkEffect::GenerationChanged { to, .. } => {
                    self.standing.set_generation(Some(to));
                    self.decide(Event::GenerationChanged(to), now)?;
                }
                LinkEffect::BenchRestored => {
                    self.restored("that the bench was restored")?;
                    self.decide(Event::BenchRestored, now)?;
                }
                LinkEffect::SyncWanted => self.decide(Event::SyncWanted, now)?,
                LinkEffect::Alarm(alarm) => self.alarm(&alarm),
            }
        }
        Ok(())
    }

    fn restored(&self, what: &'static str) -> Result<(), BenchError> {
        if self.setup.disks_are_restored {
            return Ok(());
        }
        Err(BenchError::Restored {
            device: self.device.clone(),
            what,
        })
    }

    /// The server knows more of the spool being written than this bench does.
    fn seal(&mut self, now: &Moment) -> Result<(), BenchError> {
        self.restored("that two benches write one spool")?;
        if let Some(process) = &mut self.process {
            let begun = process.uplink.begin(SpoolId(fleet_clock::new_uuid()));
            begun.map_err(|error| self.spool_error(error))?;
        }
        self.began("sealed", now)
    }

    fn alarm(&mut self, alarm: &AlarmKind) {
        let counts = &mut self.figures.borrow_mut().counts;
        match alarm {
            AlarmKind::Rejected { .. } => counts.rejected += 1,
            AlarmKind::Hole { .. } => counts.holes += 1,
            AlarmKind::PublishRefused { .. } => counts.refused_publishes += 1,
            AlarmKind::ClonedSpool { .. } | AlarmKind::Disk { .. } => counts.faults += 1,
        }
    }

    /// Lets something leave the bench: now, or when everything is durable that was synced before it.
    pub(super) fn emit(&mut self, outward: Outward) -> Result<(), BenchError> {
        let ticket = self.gate.ticket();
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        if process.held.is_empty() && self.gate.is_open(ticket) {
            return self.leave(outward);
        }
        process.held.push_back((ticket, outward));
        Ok(())
    }

    /// Whether something waits for the gate.
    pub(crate) fn holds(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| !process.held.is_empty())
    }

    /// Lets out what may leave by now.
    pub(crate) fn release(&mut self) -> Result<(), BenchError> {
        while let Some(process) = &mut self.process
            && let Some((ticket, _)) = process.held.front()
            && self.gate.is_open(*ticket)
            && let Some((_, outward)) = process.held.pop_front()
        {
            self.leave(outward)?;
        }
        match self.gate.failed().filter(|_| self.holds()) {
            Some(reason) => Err(BenchError::Log {
                device: self.device.clone(),
                reason,
            }),
            None => Ok(()),
        }
    }

    fn leave(&mut self, outward: Outward) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        match outward {
            Outward::Counted(counted) => return self.count(counted),
            Outward::Publish(LinkEffect::Publish {
                connection,
                position,
                properties,
                payload,
            }) => {
                let counts = &mut self.figures.borrow_mut().counts;
                counts.publishes += 1;
                counts.published += u64::from(is_new(&mut self.published, position));
                process
                    .link
                    .publish_event(connection, position, properties, payload);
            }
            Outward::Publish(_) => {}
            Outward::Sync(bytes) => process.link.publish_sync(bytes),
        }
        Ok(())
    }

    /// Measures what has its receipt now.
    fn receipts_came(&mut self, now: &Moment) {
        let Some(process) = &self.process else { return };
        let mut figures = self.figures.borrow_mut();
        let (mut came, mut slowest) = (0, Duration::ZERO);
        let mut receipted = Vec::new();
        while let Some(open) = self.open.front() {
            if !process.uplink.settled(open.position) {
                break;
            }
            came += 1;
            slowest = slowest.max(now.instant.saturating_duration_since(open.durable_at));
            if let Some(due) = &open.due
                && let Some(phase) = figures.phases.get_mut(due.phase)
            {
                phase
                    .receipt
                    .record(now.instant.saturating_duration_since(due.at));
            }
            if self.log.is_some() {
                receipted.push(open.position);
            }
            self.open.pop_front();
        }
        drop(figures);
        if let Some(log) = &self.log
            && !receipted.is_empty()
        {
            // A claim that is missing is no false one.
            let _ = log.receipted(&self.device, &receipted);
        }
        self.standing.receipted.fetch_add(came, Ordering::Relaxed);
        self.standing
            .slowest_us
            .fetch_max(micros(slowest), Ordering::Relaxed);
        self.say();
    }

    /// What the time has brought.
    pub(crate) fn tick(&mut self, now: &Moment) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        if process.upkeep_at <= now.boot {
            process.upkeep_at = now.boot + UPKEEP;
            // A disk that refuses costs nothing but room; it is tried again.
            let _ = process.uplink.compact(now.wall);
        }
        if process.write_at.is_some_and(|at| at <= now.boot) {
            process.write_at = None;
            self.write(now)?;
        }
        let Some(process) = &self.process else {
            return Ok(());
        };
        let (core, uplink) = (process.core.next_deadline(), process.uplink.next_deadline());
        if uplink.is_some_and(|at| at <= now.boot) {
            self.uplink(LinkInput::Tick, now)?;
        }
        if core.is_some_and(|at| at <= now.boot) {
            self.decide(Event::Tick, now)?;
        }
        Ok(())
    }

    /// Tells how the bench stands.
    pub(super) fn say(&self) {
        if let Some(process) = &self.process {
            let outstanding = process.uplink.outstanding();
            self.standing.outstanding.store(outstanding, Ordering::Relaxed);
        }
    }
}

/// Whether this position was not published before by this process; notes it.
fn is_new(published: &mut Vec<(SpoolId, Seq)>, position: Position) -> bool {
    let known = published
        .iter_mut()
        .rev()
        .find(|(spool, _)| *spool == position.spool);
    match known {
        Some((_, highest)) if *highest >= position.seq => false,
        Some((_, highest)) => {
            *highest = position.seq;
            true
        }
        None => {
            published.push((position.spool, position.seq));
            true
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
