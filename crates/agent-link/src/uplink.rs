//! Spools and sender under one roof: the durable half of a bench's link.

use std::time::Duration;

use fleet_domain::{DeviceId, EventId, PlantId, Seq, SpoolId, StoreGeneration, error_chain};
use fleet_wire::event::EventBody;
use fleet_wire::limits::{MAX_PACKET_OVERHEAD_BYTES, MAX_PAYLOAD_BYTES, MAX_SPOOLS};
use fleet_wire::receipt::{Receipt, Rejection, SyncAnswer};
use fleet_wire::sync::{FormerSpool, HeldSpool};
use fleet_wire::{EventContext, EventProperties, encode_event, properties};
use jiff::Timestamp;
use spool::{Disk, HoleReason, Position, Read, Room, SpoolError, Spools};

use crate::effect::{AlarmKind, LinkEffect, LinkInput};
use crate::hole;
use crate::sender::{Due, Sender, SenderConfig};

/// Who the bench is, and the sender's figures.
#[derive(Debug, Clone)]
pub struct UplinkConfig {
    /// The plant.
    pub plant: PlantId,
    /// The bench.
    pub device: DeviceId,
    /// The sender's figures.
    pub sender: SenderConfig,
}

/// What an event needs beside body and place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// Its id, a fresh `UUIDv7`.
    pub id: EventId,
    /// The VIN, where the event speaks of a vehicle.
    pub vin: Option<String>,
    /// The bench's clock.
    pub time: Timestamp,
    /// W3C trace context of the work that the event tells of.
    pub traceparent: Option<String>,
}

/// Why an event was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The spool refused.
    #[error("the event could not be written down")]
    Spool(#[from] SpoolError),
    /// The event has no JSON form, such as a number that is not finite.
    #[error("the event has no JSON form")]
    Encode(#[from] serde_json::Error),
    /// Larger than the wire's or the broker's limit: it could never be sent.
    #[error("the event has {bytes} bytes, {most} can be sent")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
}

/// Spools and sender of a bench.
#[derive(Debug)]
pub struct Uplink<D: Disk> {
    spools: Spools<D>,
    config: UplinkConfig,
    sender: Sender,
    /// The broker's largest packet as last heard, bytes.
    most_packet: Option<usize>,
    /// Number of the sync whose answer is obeyed, and whether it named every spool held.
    sync: Option<(u64, bool)>,
    /// A sync was asked for and not answered since.
    sync_wanted: bool,
}

impl<D: Disk> Uplink<D> {
    /// An uplink without a connection. `seed` drives the jitter.
    pub fn new(spools: Spools<D>, config: UplinkConfig, seed: u64) -> Self {
        Self {
            sender: Sender::new(config.sender, seed),
            spools,
            config,
            most_packet: None,
            sync: None,
            sync_wanted: false,
        }
    }

    /// Begins the spool of this start of the agent. Its first event must be `AgentStarted`.
    ///
    /// # Errors
    /// When a spool of that id is known, or what was appended before can't be synced.
    pub fn begin(&mut self, id: SpoolId) -> Result<(), SpoolError> {
        self.spools.begin(id)
    }

    /// Writes an event down. It does not count, and is not sent, before [`Uplink::sync`].
    ///
    /// # Errors
    /// When it can't be written, or could never be sent.
    pub fn append(&mut self, draft: &EventDraft, body: &EventBody) -> Result<Position, AppendError> {
        let position = self.spools.next_position().ok_or(SpoolError::NotBegun)?;
        let context = EventContext {
            id: draft.id,
            plant: self.config.plant.clone(),
            device: self.config.device.clone(),
            vin: draft.vin.clone(),
            time: draft.time,
            spool: position.spool,
            seq: position.seq,
            traceparent: draft.traceparent.clone(),
        };
        let payload = encode_event(&context, body)?;
        let most = self.most_payload();
        if payload.len() > most {
            return Err(AppendError::TooLarge {
                bytes: payload.len(),
                most,
            });
        }
        self.spools.append(position, &payload)?;
        Ok(position)
    }

    fn most_payload(&self) -> usize {
        let by_broker = self
            .most_packet
            .map_or(usize::MAX, |most| most.saturating_sub(MAX_PACKET_OVERHEAD_BYTES));
        by_broker.min(MAX_PAYLOAD_BYTES)
    }

    /// Makes everything appended durable: from now on it counts. Then hand in [`LinkInput::Tick`].
    ///
    /// # Errors
    /// [`SpoolError::Poisoned`]: nothing counts any more, end the process. [`SpoolError::Disk`]: nothing of
    /// it counts yet, try again.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        self.spools.sync()
    }

    /// Takes what happened, gives what is to be done. `now` is time since boot, `wall` only ages receipts.
    pub fn handle(&mut self, input: LinkInput, now: Duration, wall: Timestamp) -> Vec<LinkEffect> {
        let mut effects = Vec::new();
        match input {
            LinkInput::Connected {
                connection,
                receive_maximum,
                maximum_packet_size,
            } => {
                self.most_packet =
                    maximum_packet_size.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
                self.sender.connected(connection, receive_maximum);
            }
            LinkInput::Disconnected { connection } => self.sender.disconnected(connection),
            LinkInput::PubAck {
                connection,
                position,
                reason,
            } => self.puback(connection, position, reason, now, &mut effects),
            LinkInput::Receipt(receipt) => self.receipt(&receipt, now, wall, &mut effects),
            LinkInput::SyncAnswer(answer) => self.sync_answer(&answer, now, wall, &mut effects),
            LinkInput::Tick => {}
        }
        if let Due::Reconnect(connection) = self.sender.tick(now) {
            effects.push(LinkEffect::Reconnect {
                connection,
                reason: "the broker has not acknowledged a publish",
            });
        }
        self.publish(now, &mut effects);
        effects
    }

    fn puback(
        &mut self,
        connection: u64,
        position: Position,
        reason: u8,
        now: Duration,
        effects: &mut Vec<LinkEffect>,
    ) {
        let Position { spool, seq, .. } = position;
        let open = self.sender.acknowledged(connection, spool, seq);
        if open && reason >= FIRST_ERROR_REASON && !self.settled(position) {
            self.sender.back_off(now);
            effects.push(LinkEffect::Alarm(AlarmKind::PublishRefused {
                spool,
                seq,
                reason,
            }));
        }
    }

    fn receipt(&mut self, receipt: &Receipt, now: Duration, wall: Timestamp, effects: &mut Vec<LinkEffect>) {
        if let Some(known) = self.spools.generation()
            && known != receipt.store_generation
        {
            // A restored server speaks; only the answer to a sync may lower what is known. One from before
            // the restore, delivered late, says nothing any more.
            if receipt.store_generation > known {
                self.want_sync(effects);
            }
            return;
        }
        let spool = receipt.spool_id;
        self.rejected(spool, &receipt.rejected, effects);
        let Some((last, before)) = self.spools.extent(spool) else {
            // The nil spool of a server that has heard of none, or one that is gone.
            if receipt.unattributed {
                self.unattributed(receipt, effects);
            }
            return;
        };
        if receipt.through > last {
            self.want_sync(effects);
        }
        self.advance(spool, receipt.through.min(last), before, now, wall);
        if receipt.gap && self.spools.receipted(spool) == Some(receipt.through) {
            self.sender.gap(spool, receipt.through, now);
        }
        if receipt.unattributed {
            self.unattributed(receipt, effects);
        }
    }

    fn advance(&mut self, spool: SpoolId, through: Seq, before: Seq, now: Duration, wall: Timestamp) {
        if through > before {
            self.spools.settle(spool, through, wall);
            self.sender.advanced(spool, through, through - before, now);
        }
    }

    fn want_sync(&mut self, effects: &mut Vec<LinkEffect>) {
        if !std::mem::replace(&mut self.sync_wanted, true) {
            effects.push(LinkEffect::SyncWanted);
        }
    }

    /// Names rejections that were not heard before.
    fn rejected(&mut self, spool: SpoolId, rejected: &[Rejection], effects: &mut Vec<LinkEffect>) {
        if rejected.is_empty() {
            return;
        }
        let held = self.spools.held();
        let Some(known) = held
            .iter()
            .find(|held| held.spool == spool)
            .map(|held| held.rejections_known)
        else {
            return;
        };
        for Rejection { seq, code } in rejected.iter().filter(|rejection| rejection.seq > known) {
            self.spools.reject(spool, *seq);
            effects.push(LinkEffect::Alarm(AlarmKind::Rejected {
                spool,
                seq: *seq,
                code: *code,
            }));
        }
    }

    /// A message of this bench had no usable properties: it can only be the oldest without receipt. Guarded,
    /// since such a receipt may come twice: that event must be on its way, and either the receipt speaks of
    /// just that state or the timer has sent it again in vain.
    fn unattributed(&mut self, receipt: &Receipt, effects: &mut Vec<LinkEffect>) {
        let Some((spool, _, receipted)) = self.spools.oldest_open() else {
            return;
        };
        let seq = receipted + 1;
        let speaks_of_it = receipt.spool_id == spool && receipt.through == receipted;
        if !self.sender.has_sent(spool, seq) || !(speaks_of_it || self.sender.stalled()) {
            return;
        }
        if let Ok(Read::Event(_)) = self.spools.read(spool, seq) {
            self.make_hole(spool, seq, HoleReason::Unattributed, effects);
            self.sender.start_over();
        }
    }

    fn make_hole(
        &mut self,
        spool: SpoolId,
        seq: Seq,
        reason: HoleReason,
        effects: &mut Vec<LinkEffect>,
    ) -> bool {
        match self.spools.make_hole(spool, seq, seq, reason) {
            Ok(()) => {
                effects.push(LinkEffect::Alarm(AlarmKind::Hole {
                    spool,
                    from: seq,
                    to: seq,
                    reason,
                }));
                true
            }
            Err(error) => {
                effects.push(disk_alarm(&error));
                false
            }
        }
    }

    fn sync_answer(
        &mut self,
        answer: &SyncAnswer,
        now: Duration,
        wall: Timestamp,
        effects: &mut Vec<LinkEffect>,
    ) {
        let Some((_, complete)) = self.sync.take_if(|(number, _)| *number == answer.number) else {
            return;
        };
        self.sync_wanted = false;
        let from = self.spools.generation();
        let changed = from != Some(answer.store_generation);
        let order: Vec<_> = self.spools.order().collect();
        let mut lower = Vec::new();
        for told in &answer.spools {
            let spool = told.spool_id;
            let Some((_, last, receipted)) = order.iter().copied().find(|(id, ..)| *id == spool) else {
                continue;
            };
            self.rejected(spool, &told.rejected, effects);
            if told.through < receipted {
                lower.push((spool, told.through));
            } else {
                self.advance(spool, told.through.min(last), receipted, now, wall);
            }
            if told.through > last && self.spools.writing() == Some(spool) {
                self.seal(spool, last + 1, told.through, effects);
            }
        }
        if changed && !complete {
            // The server can't settle by itself what the sync had no room to name.
            lower.extend(self.spools.former().iter().map(|former| (former.spool, 0)));
        }
        // Before the first contact nothing was sent to another life of the database.
        if !lower.is_empty() || (changed && from.is_some()) {
            self.sender.start_over();
        }
        if (changed || !lower.is_empty())
            && let Err(error) = self.spools.lower(answer.store_generation, &lower)
        {
            effects.push(disk_alarm(&error));
        }
        if changed {
            effects.push(LinkEffect::GenerationChanged {
                from,
                to: answer.store_generation,
            });
        }
        if answer.bench_restored {
            effects.push(LinkEffect::BenchRestored);
        }
    }

    fn seal(&mut self, spool: SpoolId, next_seq: Seq, through: Seq, effects: &mut Vec<LinkEffect>) {
        if let Err(error) = self.spools.seal() {
            effects.push(disk_alarm(&error));
        }
        effects.push(LinkEffect::Alarm(AlarmKind::ClonedSpool {
            spool,
            next_seq,
            through,
        }));
        effects.push(LinkEffect::SealSpool {
            reason: "the server has events of this spool that this bench has not written",
        });
    }

    fn publish(&mut self, now: Duration, effects: &mut Vec<LinkEffect>) {
        while let Some((spool, last, receipted)) = self.spools.oldest_open() {
            let Some((connection, seq)) = self.sender.next(spool, receipted, last, now) else {
                return;
            };
            let (to, hole_to, payload) = match self.spools.read(spool, seq) {
                Ok(Read::Event(payload)) if payload.len() > self.most_payload() => {
                    if !self.make_hole(spool, seq, HoleReason::TooLarge, effects) {
                        return self.sender.back_off(now);
                    }
                    continue;
                }
                Ok(Read::Event(payload)) => (seq, None, payload),
                Ok(Read::Hole { to, reason }) => {
                    let to = to.min(last);
                    (to, Some(to), hole::encode(&self.config, spool, seq, to, reason))
                }
                Ok(Read::Absent) => return,
                Err(error) => {
                    effects.push(disk_alarm(&error));
                    return self.sender.back_off(now);
                }
            };
            let position = self.spools.position(spool, seq);
            self.sender.published(spool, seq, to, now);
            effects.push(LinkEffect::Publish {
                connection,
                position,
                properties: EventProperties {
                    spool,
                    seq,
                    predecessor: position.predecessor.map(wire_predecessor),
                    hole_to,
                },
                payload,
            });
        }
    }

    /// When [`LinkInput::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.sender.next_deadline()
    }

    /// What the sync of this number says about spools; its answer will be obeyed.
    ///
    /// A sync has room for 64 spools: the oldest are named, which are sent first, and the newest.
    pub fn sync_spools(&mut self, number: u64) -> (Vec<HeldSpool>, Vec<FormerSpool>) {
        let mut held = self.spools.held();
        let complete = held.len() < MAX_SPOOLS;
        if held.len() > MAX_SPOOLS {
            held.drain(MAX_SPOOLS - 1..held.len() - 1);
        }
        self.sync = Some((number, complete));
        let former = self.spools.former();
        let skipped = former.len().saturating_sub(MAX_SPOOLS);
        let held = held.iter().map(|held| HeldSpool {
            spool_id: held.spool,
            predecessor: held.predecessor.map(wire_predecessor),
            first_kept: held.first_kept,
            next_seq: held.next_seq,
            receipted: held.receipted,
            rejections_known: held.rejections_known,
        });
        let former = former.iter().skip(skipped).map(|former| FormerSpool {
            spool_id: former.spool,
            last_seq: former.last_seq,
        });
        (held.collect(), former.collect())
    }

    /// The life of the server's database that this bench knows, durably.
    pub fn generation(&self) -> Option<StoreGeneration> {
        self.spools.generation()
    }

    /// Whether the server has committed this event.
    pub fn settled(&self, position: Position) -> bool {
        self.spools
            .receipted(position.spool)
            .is_some_and(|receipted| receipted >= position.seq)
    }

    /// Events without receipt.
    pub fn outstanding(&self) -> u64 {
        self.spools.outstanding()
    }

    /// Room left, and whether new jobs may be taken.
    ///
    /// # Errors
    /// When the disk does not say what is free.
    pub fn room(&mut self) -> Result<Room, SpoolError> {
        self.spools.room()
    }

    /// Removes old receipted events and writes receipts down. Call it about each minute and at the end.
    ///
    /// # Errors
    /// When the disk refuses; nothing is lost by that.
    pub fn compact(&mut self, wall: Timestamp) -> Result<(), SpoolError> {
        self.spools.compact(wall)
    }

    /// The spools, for a status display.
    pub fn spools(&self) -> &Spools<D> {
        &self.spools
    }
}

/// First MQTT 5 reason code that is an error.
const FIRST_ERROR_REASON: u8 = 0x80;

fn wire_predecessor(predecessor: spool::Predecessor) -> properties::Predecessor {
    properties::Predecessor {
        spool: predecessor.spool,
        last_seq: predecessor.last_seq,
    }
}

fn disk_alarm(error: &SpoolError) -> LinkEffect {
    LinkEffect::Alarm(AlarmKind::Disk {
        error: error_chain(error),
    })
}
