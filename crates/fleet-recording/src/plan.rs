//! Every message decided in arrival order.

use fleet_domain::withdraw::SyncMark;
use fleet_domain::{
    Arrival, BenchReport, Decision, DeviceId, Digest, LedgerAlarm, Presence, PresenceFacts, RejectCode,
    StoreGeneration, SyncFacts,
};
use fleet_store::{
    AlarmKind, EventStanding, InboundEvent, InboundMessage, Misplaced, RejectedEvent, SyncAnswerRow,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::recorded::{Aside, DeadLetter, Messages, NewEvent, RejectionRow, Working};
use crate::{DeviceState, Loaded, Raised};

/// An event may be this old when it comes: a bench may be away for long, and its disk holds 72 hours and more.
const MAX_PAST: SignedDuration = SignedDuration::from_hours(24 * 60);
/// So far ahead of the server no clock should be.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Runs of an agent that are remembered, to know an old sync that the broker delivers again.
const RUNS_KEPT: usize = 16;

/// The generation after `current`: the candidate, or one above the current where the clock ran backwards.
pub fn next_generation(current: StoreGeneration, candidate: StoreGeneration) -> StoreGeneration {
    if candidate > current {
        candidate
    } else {
        StoreGeneration(Uuid::from_u128(current.0.as_u128().saturating_add(1)))
    }
}

impl<'a> Working<'a> {
    pub(crate) fn plan(&mut self, messages: Messages<'a>) {
        for (at, item) in messages.items.iter().copied().enumerate() {
            let device = &item.device;
            match &item.message {
                InboundMessage::Event(event) => self.take_event(at, device, event),
                InboundMessage::Rejected(event) => self.take_rejected(device, event),
                InboundMessage::Unattributed {
                    bytes,
                    user_properties,
                    reason,
                } => {
                    self.touched.entry(device.clone()).or_default().unattributed = true;
                    self.raised.raise(
                        AlarmKind::Unattributed,
                        device.to_string(),
                        Some(device),
                        format!("an event of {device} can't be attributed: {reason}"),
                    );
                    self.bury(DeadLetter {
                        channel: "events".to_owned(),
                        place: None,
                        code: "unattributed",
                        reason: reason.clone(),
                        user_properties: user_properties.clone(),
                        bytes: bytes.clone(),
                        device: device.to_string(),
                    });
                }
                InboundMessage::Undecodable {
                    channel,
                    bytes,
                    reason,
                } => self.bury(DeadLetter {
                    device: device.to_string(),
                    channel: channel.clone(),
                    place: None,
                    code: "undecodable",
                    reason: reason.clone(),
                    user_properties: Vec::new(),
                    bytes: bytes.clone(),
                }),
                InboundMessage::Presence(facts) | InboundMessage::Assumed(facts) => {
                    self.counts.presences += 1;
                    if let Some(state) = self.loaded.devices.get_mut(device) {
                        fold_presence(state, *facts, self.now);
                    }
                }
                InboundMessage::Sync(facts) => {
                    self.counts.syncs += 1;
                    if self.take_sync(device, facts) {
                        self.begin_generation(facts.generation, messages.spare_generation);
                    }
                }
            }
        }
    }

    /// Kept for a person: nobody is told, for the sender is not known.
    pub(crate) fn bury_misplaced(&mut self, misplaced: &[&Misplaced]) {
        for message in misplaced {
            // One alarm for each slot: its detail names the last topic, the dead letters hold all of them.
            self.raised.raise(
                AlarmKind::Misplaced,
                format!("slot {}", message.slot),
                None,
                message.reason.clone(),
            );
            self.bury(DeadLetter {
                device: message.device.clone(),
                channel: message.channel.clone(),
                place: None,
                code: "misplaced",
                reason: message.reason.clone(),
                user_properties: message.user_properties.clone(),
                bytes: message.bytes.clone(),
            });
        }
    }

    fn bury(&mut self, letter: DeadLetter) {
        self.counts.dead += 1;
        self.dead.push(letter);
    }

    fn decide(&mut self, device: &DeviceId, arrival: &Arrival) -> Decision {
        let Loaded { devices, digests, .. } = &mut self.loaded;
        let Some(state) = devices.get_mut(device) else {
            return Decision::Gap;
        };
        let decision = state.ledger.decide(arrival, |spool, seq| {
            digests.get(&(device.clone(), spool, seq)).copied()
        });
        let spool = arrival.place.spool;
        let touch = self.touched.entry(device.clone()).or_default();
        *touch.spools.entry(spool).or_insert(false) |= decision == Decision::Gap;
        let last = arrival.place.hole_to.unwrap_or(arrival.place.seq);
        let mut refuse = |seq, code| {
            self.rejections.push(RejectionRow {
                device: device.clone(),
                spool,
                seq,
                code,
            });
        };
        let counts = &mut self.counts;
        match decision {
            Decision::Stored => {
                counts.stored += 1;
                digests.insert((device.clone(), spool, arrival.place.seq), arrival.digest);
            }
            Decision::Rejected(code) => {
                counts.rejected += 1;
                refuse(last, code);
            }
            Decision::Hole { .. } => counts.holes += 1,
            Decision::Duplicate => counts.duplicates += 1,
            Decision::Gap | Decision::Waiting { .. } => counts.gaps += 1,
            Decision::Conflict => {
                counts.conflicts += 1;
                refuse(arrival.place.seq, RejectCode::Conflict);
            }
        }
        for alarm in state.ledger.take_alarms() {
            raise(&mut self.raised, device, &alarm);
        }
        decision
    }

    fn take_event(&mut self, item: usize, device: &'a DeviceId, event: &'a InboundEvent) {
        let arrival = Arrival {
            place: event.place,
            digest: event.digest,
            rejected: None,
        };
        let aside = |from, to, reason: &str| Aside {
            device: device.clone(),
            spool: event.place.spool,
            from,
            to,
            reason: reason.to_owned(),
            digest: event.digest,
            bytes: event.bytes.clone(),
        };
        match self.decide(device, &arrival) {
            Decision::Stored => {
                self.look_at_clock(device, event);
                self.events.push(NewEvent {
                    item,
                    device,
                    event,
                    standing: EventStanding::Projected,
                });
            }
            Decision::Hole { from, to } => {
                let reason = match &event.report {
                    BenchReport::Hole { reason, .. } => reason,
                    _ => "unknown",
                };
                self.holes.push(aside(from, to, reason));
            }
            Decision::Conflict => {
                self.conflicts.push(aside(event.place.seq, event.place.seq, ""));
            }
            Decision::Rejected(_) | Decision::Duplicate | Decision::Gap | Decision::Waiting { .. } => {}
        }
    }

    /// A bench's clock decides nothing (delivery rule 14), but a person should know of one that is far off.
    fn look_at_clock(&mut self, device: &DeviceId, event: &InboundEvent) {
        let ahead = event.time.duration_since(self.now);
        if (-MAX_PAST..=MAX_AHEAD).contains(&ahead) {
            return;
        }
        self.counts.clock_off += 1;
        self.raised.raise(
            AlarmKind::ClockOff,
            device.to_string(),
            Some(device),
            format!(
                "event {} of spool {} of {device} says {}, it came at {}: it is stored as it is; set the clock of the bench",
                event.place.seq, event.place.spool, event.time, self.now
            ),
        );
    }

    fn take_rejected(&mut self, device: &DeviceId, event: &RejectedEvent) {
        let arrival = Arrival {
            place: event.place,
            digest: event.digest,
            rejected: Some(event.code),
        };
        let code = match self.decide(device, &arrival) {
            Decision::Rejected(code) => code,
            Decision::Conflict => RejectCode::Conflict,
            _ => return,
        };
        if code != RejectCode::Conflict {
            self.raised.raise(
                AlarmKind::Rejected,
                format!("{device} {code}"),
                Some(device),
                format!(
                    "event {} of spool {} of {device} is rejected as {code}: {}",
                    event.place.seq, event.place.spool, event.reason
                ),
            );
        }
        self.dead.push(DeadLetter {
            device: device.to_string(),
            channel: "events".to_owned(),
            place: Some(event.place),
            code: code.as_str(),
            reason: event.reason.clone(),
            user_properties: Vec::new(),
            bytes: event.bytes.clone(),
        });
    }

    /// Takes a sync. Returns whether a new generation is needed.
    fn take_sync(&mut self, device: &DeviceId, facts: &SyncFacts) -> bool {
        let current = self.loaded.generation;
        let Some(state) = self.loaded.devices.get_mut(device) else {
            return false;
        };
        let fresh = is_fresh(state, facts);
        let decision = state.ledger.sync(facts, current, fresh);
        if fresh {
            let held_events = held_events(facts);
            let row = &mut state.row;
            // An idle bench syncs each minute: that it was heard is told now and then (see `DeviceState::new`).
            state.shown |= row.held_events != held_events
                || row.refusing_jobs != facts.refusing_jobs
                || row.mark.desired_version != facts.desired_version
                || !decision.forgotten.is_empty();
            row.mark = SyncMark::of(facts);
            row.refusing_jobs.clone_from(&facts.refusing_jobs);
            row.held_events = held_events;
            state.dirty = true;
            let online = PresenceFacts {
                run_id: facts.run_id,
                connect_counter: facts.connect_counter,
                online: true,
                will: false,
            };
            fold_presence(state, online, self.now);
        }
        if facts.generation != Some(current) || facts.desired_version < state.row.list_version {
            self.lists.insert(device.clone());
        }
        for &(spool, from, to) in &decision.forgotten {
            self.holes.push(Aside {
                device: device.clone(),
                spool,
                from,
                to,
                reason: "forgotten".to_owned(),
                digest: Digest([0; 32]),
                bytes: bytes::Bytes::new(),
            });
        }
        for alarm in &decision.alarms {
            raise(&mut self.raised, device, alarm);
        }
        self.answers.push((
            device.clone(),
            SyncAnswerRow {
                number: facts.number,
                generation: current,
                spools: decision.spools,
                bench_restored: decision.bench_restored,
            },
        ));
        decision.undeclared_restore
    }

    /// Rule 18. Every bench needs the list of the new generation, which lies above what any bench is `known` to
    /// have heard of.
    fn begin_generation(&mut self, known: Option<StoreGeneration>, spare: StoreGeneration) {
        let above = known.map_or(self.loaded.generation, |known| known.max(self.loaded.generation));
        self.loaded.generation = next_generation(above, spare);
        self.begun = Some(self.loaded.generation);
        self.lists.extend(self.loaded.devices.keys().cloned());
    }
}

fn held_events(facts: &SyncFacts) -> u64 {
    facts
        .held
        .iter()
        .map(|held| held.next_seq.saturating_sub(held.first_kept))
        .fold(0, u64::saturating_add)
        .min(i64::MAX.unsigned_abs())
}

fn fold_presence(state: &mut DeviceState, facts: PresenceFacts, now: Timestamp) {
    let row = &mut state.row;
    let Some(new) = Presence::fold(row.presence, facts) else {
        return;
    };
    if row.presence == Some(new) {
        return;
    }
    if row.presence.map(|presence| presence.online) != Some(new.online) {
        row.presence_since = Some(now);
    }
    row.presence = Some(new);
    state.dirty = true;
    state.shown = true;
}

/// Whether the sync is the newest of its run, and its run the newest: only then does it prove anything
/// about the bench's disk.
fn is_fresh(state: &mut DeviceState, facts: &SyncFacts) -> bool {
    let runs = &mut state.row.runs;
    match runs.iter().position(|(run, _)| *run == facts.run_id) {
        None => {
            runs.push((facts.run_id, facts.number));
            if runs.len() > RUNS_KEPT {
                runs.remove(0);
            }
            true
        }
        Some(at) if at + 1 == runs.len() => match runs.last_mut() {
            Some((_, number)) if *number < facts.number => {
                *number = facts.number;
                true
            }
            _ => false,
        },
        Some(_) => false,
    }
}

fn raise(raised: &mut Raised, device: &DeviceId, alarm: &LedgerAlarm) {
    let (kind, spool, detail) = match alarm {
        LedgerAlarm::Conflict { spool, seq } => (
            AlarmKind::Conflict,
            spool,
            format!("{device} sent two contents for event {seq} of spool {spool}"),
        ),
        LedgerAlarm::BenchRestored { spool, heard, stated } => (
            AlarmKind::BenchRestored,
            spool,
            format!(
                "the disk of {device} is older than what was heard from it: spool {spool} ends at {stated}, {heard} was heard of"
            ),
        ),
        LedgerAlarm::UndeclaredRestore {
            spool,
            receipted,
            through,
        } => (
            AlarmKind::UndeclaredRestore,
            spool,
            format!(
                "{device} has receipts up to {receipted} of spool {spool}, the database holds {through}: it was restored and nobody said so"
            ),
        ),
        LedgerAlarm::Forgotten { spool, from, to } => (
            AlarmKind::Forgotten,
            spool,
            format!("events {from} to {to} of spool {spool} of {device} are lost here and gone there"),
        ),
        LedgerAlarm::AheadOfBench {
            spool,
            through,
            stated,
        } => (
            AlarmKind::AheadOfBench,
            spool,
            format!("{device} states {stated} events of spool {spool}, {through} are stored: a cloned disk"),
        ),
    };
    raised.raise(kind, format!("{device} {spool}"), Some(device), detail);
}
