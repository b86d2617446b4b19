//! Every message decided in arrival order, in memory.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::withdraw::SyncMark;
use fleet_domain::{
    Arrival, BenchReport, Decision, DeviceId, Digest, LedgerAlarm, Place, Presence, PresenceFacts,
    RejectCode, Seq, SpoolId, SyncFacts,
};
use fleet_store::{
    AlarmKind, Inbound, InboundEvent, InboundMessage, Misplaced, RejectedEvent, StoreError, SyncAnswerRow,
};
use sqlx::SqliteConnection;

use super::load::{DeviceState, Loaded, RUNS_KEPT};
use super::{Answers, Counts, Generation};
use crate::lease;
use crate::work::Work;

/// An event to store.
#[derive(Debug)]
pub(super) struct NewEvent {
    pub(super) device: DeviceId,
    pub(super) event: InboundEvent,
    /// Code of the column `standing`, with the reason.
    pub(super) standing: (i64, Option<String>),
}

/// A hole or a conflicting content to keep.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) device: DeviceId,
    pub(super) spool: SpoolId,
    pub(super) from: Seq,
    pub(super) to: Seq,
    pub(super) reason: String,
    pub(super) digest: Digest,
    pub(super) bytes: bytes::Bytes,
}

/// A message for the dead letters.
#[derive(Debug)]
pub(super) struct DeadLetter {
    /// The device level of its topic.
    pub(super) device: String,
    pub(super) channel: String,
    pub(super) place: Option<Place>,
    pub(super) code: &'static str,
    pub(super) reason: String,
    pub(super) user_properties: Vec<(String, String)>,
    pub(super) bytes: bytes::Bytes,
}

/// Which receipts a bench gets.
#[derive(Debug, Default)]
pub(super) struct Touch {
    /// Spools with events in the batch; a gap among them.
    pub(super) spools: BTreeMap<SpoolId, bool>,
    pub(super) unattributed: bool,
}

pub(super) type Touched = BTreeMap<DeviceId, Touch>;

/// What the batch led to, before it is written.
#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) events: Vec<NewEvent>,
    pub(super) holes: Vec<Aside>,
    pub(super) conflicts: Vec<Aside>,
    pub(super) dead: Vec<DeadLetter>,
    pub(super) rejections: Vec<(DeviceId, SpoolId, Seq, RejectCode)>,
    pub(super) touched: Touched,
    pub(super) answers: Answers,
    pub(super) lists: BTreeSet<DeviceId>,
    pub(super) counts: Counts,
    pub(super) new_generation: Option<Generation>,
}

pub(super) async fn plan(
    loaded: &mut Loaded,
    items: Vec<Inbound>,
    spare: Generation,
    conn: &mut SqliteConnection,
    work: &mut Work,
) -> Result<Planned, StoreError> {
    let mut planned = Planned::default();
    for Inbound { device, message, .. } in items {
        match message {
            InboundMessage::Event(event) => take_event(loaded, &mut planned, work, device, event),
            InboundMessage::Rejected(event) => take_rejected(loaded, &mut planned, work, &device, event),
            InboundMessage::Unattributed {
                bytes,
                user_properties,
                reason,
            } => {
                planned.touched.entry(device.clone()).or_default().unattributed = true;
                work.raise(
                    AlarmKind::Unattributed,
                    device.to_string(),
                    Some(&device),
                    format!("an event of {device} can't be attributed: {reason}"),
                );
                let letter = DeadLetter {
                    channel: "events".to_owned(),
                    place: None,
                    code: "unattributed",
                    reason,
                    user_properties,
                    bytes,
                    device: device.to_string(),
                };
                bury(&mut planned, letter);
            }
            InboundMessage::Undecodable {
                channel,
                bytes,
                reason,
            } => bury(
                &mut planned,
                DeadLetter {
                    device: device.to_string(),
                    channel,
                    place: None,
                    code: "undecodable",
                    reason,
                    user_properties: Vec::new(),
                    bytes,
                },
            ),
            InboundMessage::Presence(facts) | InboundMessage::Assumed(facts) => {
                planned.counts.presences += 1;
                if let Some(state) = loaded.devices.get_mut(&device) {
                    fold_presence(state, facts, work);
                }
            }
            InboundMessage::Sync(facts) => {
                planned.counts.syncs += 1;
                if take_sync(loaded, &mut planned, work, &device, &facts) {
                    let known = facts.generation.unwrap_or(loaded.generation);
                    begin_generation(loaded, &mut planned, (known, spare), conn).await?;
                }
            }
        }
    }
    Ok(planned)
}

/// Kept for a person: nobody is told, for the sender is not known.
pub(super) fn bury_misplaced(planned: &mut Planned, misplaced: Vec<Misplaced>, work: &mut Work) {
    for message in misplaced {
        // One alarm for each slot: its detail names the last topic, the dead letters hold all of them.
        work.raise(
            AlarmKind::Misplaced,
            format!("slot {}", message.slot),
            None,
            message.reason.clone(),
        );
        bury(
            planned,
            DeadLetter {
                device: message.device,
                channel: message.channel,
                place: None,
                code: "misplaced",
                reason: message.reason,
                user_properties: message.user_properties,
                bytes: message.bytes,
            },
        );
    }
}

fn bury(planned: &mut Planned, letter: DeadLetter) {
    planned.counts.dead += 1;
    planned.dead.push(letter);
}

fn decide(
    loaded: &mut Loaded,
    planned: &mut Planned,
    work: &mut Work,
    device: &DeviceId,
    arrival: &Arrival,
) -> Decision {
    let Loaded { devices, digests, .. } = loaded;
    let Some(state) = devices.get_mut(device) else {
        return Decision::Gap;
    };
    let decision = state.ledger.decide(arrival, |spool, seq| {
        digests.get(&(device.clone(), spool, seq)).copied()
    });
    let spool = arrival.place.spool;
    let touch = planned.touched.entry(device.clone()).or_default();
    let gap = touch.spools.entry(spool).or_insert(false);
    *gap |= decision == Decision::Gap;
    let last = arrival.place.hole_to.unwrap_or(arrival.place.seq);
    let refused = |seq, code| (device.clone(), spool, seq, code);
    let counts = &mut planned.counts;
    match decision {
        Decision::Stored => {
            counts.stored += 1;
            digests.insert((device.clone(), spool, arrival.place.seq), arrival.digest);
        }
        Decision::Rejected(code) => {
            counts.rejected += 1;
            planned.rejections.push(refused(last, code));
        }
        Decision::Hole { .. } => counts.holes += 1,
        Decision::Duplicate => counts.duplicates += 1,
        Decision::Gap | Decision::Waiting { .. } => counts.gaps += 1,
        Decision::Conflict => {
            counts.conflicts += 1;
            planned
                .rejections
                .push(refused(arrival.place.seq, RejectCode::Conflict));
        }
    }
    for alarm in state.ledger.take_alarms() {
        raise(work, device, &alarm);
    }
    decision
}

fn take_event(
    loaded: &mut Loaded,
    planned: &mut Planned,
    work: &mut Work,
    device: DeviceId,
    event: InboundEvent,
) {
    let arrival = Arrival {
        place: event.place,
        digest: event.digest,
        rejected: None,
    };
    match decide(loaded, planned, work, &device, &arrival) {
        Decision::Stored => planned.events.push(NewEvent {
            device,
            event,
            standing: (crate::outbox::PROJECTED, None),
        }),
        Decision::Hole { from, to } => {
            let reason = match event.report {
                BenchReport::Hole { reason, .. } => reason,
                _ => "unknown".to_owned(),
            };
            planned.holes.push(Aside {
                device,
                spool: event.place.spool,
                from,
                to,
                reason,
                digest: event.digest,
                bytes: event.bytes,
            });
        }
        Decision::Conflict => planned.conflicts.push(Aside {
            device,
            spool: event.place.spool,
            from: event.place.seq,
            to: event.place.seq,
            reason: String::new(),
            digest: event.digest,
            bytes: event.bytes,
        }),
        Decision::Rejected(_) | Decision::Duplicate | Decision::Gap | Decision::Waiting { .. } => {}
    }
}

fn take_rejected(
    loaded: &mut Loaded,
    planned: &mut Planned,
    work: &mut Work,
    device: &DeviceId,
    event: RejectedEvent,
) {
    let arrival = Arrival {
        place: event.place,
        digest: event.digest,
        rejected: Some(event.code),
    };
    let code = match decide(loaded, planned, work, device, &arrival) {
        Decision::Rejected(code) => code,
        Decision::Conflict => RejectCode::Conflict,
        _ => return,
    };
    if code != RejectCode::Conflict {
        work.raise(
            AlarmKind::Rejected,
            format!("{device} {code}"),
            Some(device),
            format!(
                "event {} of spool {} of {device} is rejected as {code}: {}",
                event.place.seq, event.place.spool, event.reason
            ),
        );
    }
    planned.dead.push(DeadLetter {
        device: device.to_string(),
        channel: "events".to_owned(),
        place: Some(event.place),
        code: code.as_str(),
        reason: event.reason,
        user_properties: Vec::new(),
        bytes: event.bytes,
    });
}

fn fold_presence(state: &mut DeviceState, facts: PresenceFacts, work: &Work) {
    let Some(new) = Presence::fold(state.presence, facts) else {
        return;
    };
    if state.presence == Some(new) {
        return;
    }
    if state.presence.map(|presence| presence.online) != Some(new.online) {
        state.presence_since = Some(work.now);
    }
    state.presence = Some(new);
    state.dirty = true;
    state.shown = true;
}

/// Whether the sync is the newest of its run, and its run the newest: only then does it prove anything
/// about the bench's disk.
fn is_fresh(state: &mut DeviceState, facts: &SyncFacts) -> bool {
    match state.runs.iter().position(|(run, _)| *run == facts.run_id) {
        None => {
            state.runs.push((facts.run_id, facts.number));
            if state.runs.len() > RUNS_KEPT {
                state.runs.remove(0);
            }
            true
        }
        Some(at) if at + 1 == state.runs.len() => match state.runs.last_mut() {
            Some((_, number)) if *number < facts.number => {
                *number = facts.number;
                true
            }
            _ => false,
        },
        Some(_) => false,
    }
}

/// Takes a sync. Returns whether a new generation is needed.
fn take_sync(
    loaded: &mut Loaded,
    planned: &mut Planned,
    work: &mut Work,
    device: &DeviceId,
    facts: &SyncFacts,
) -> bool {
    let current = loaded.generation;
    let Some(state) = loaded.devices.get_mut(device) else {
        return false;
    };
    let fresh = is_fresh(state, facts);
    let decision = state.ledger.sync(facts, current, fresh);
    if fresh {
        let held_events = facts
            .held
            .iter()
            .map(|held| held.next_seq.saturating_sub(held.first_kept))
            .fold(0, u64::saturating_add)
            .min(i64::MAX.unsigned_abs());
        // An idle bench syncs each minute: that it was heard is told by `write`, now and then.
        state.shown |= state.held_events != held_events
            || state.refusing_jobs != facts.refusing_jobs
            || state.mark.desired_version != facts.desired_version
            || !decision.forgotten.is_empty();
        state.mark = SyncMark::of(facts);
        state.refusing_jobs.clone_from(&facts.refusing_jobs);
        state.held_events = held_events;
        state.dirty = true;
        let online = PresenceFacts {
            run_id: facts.run_id,
            connect_counter: facts.connect_counter,
            online: true,
            will: false,
        };
        fold_presence(state, online, work);
    }
    if facts.generation != Some(current) || facts.desired_version < state.list_version {
        planned.lists.insert(device.clone());
    }
    for &(spool, from, to) in &decision.forgotten {
        planned.holes.push(Aside {
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
        raise(work, device, alarm);
    }
    planned.answers.push((
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

/// Rule 18. Every bench needs the list of the new generation, which lies above what any bench is `known` to have
/// heard of.
async fn begin_generation(
    loaded: &mut Loaded,
    planned: &mut Planned,
    (known, spare): (Generation, Generation),
    conn: &mut SqliteConnection,
) -> Result<(), StoreError> {
    let above = known.max(loaded.generation);
    loaded.generation = lease::begin_generation(conn, above, spare).await?;
    planned.new_generation = Some(loaded.generation);
    planned.lists.extend(lease::online(conn).await?);
    planned.lists.extend(loaded.devices.keys().cloned());
    Ok(())
}

fn raise(work: &mut Work, device: &DeviceId, alarm: &LedgerAlarm) {
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
    work.raise(kind, format!("{device} {spool}"), Some(device), detail);
}
