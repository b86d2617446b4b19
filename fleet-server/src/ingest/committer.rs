//! The one committer: the messages of all slots, one transaction after the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fleet_domain::{BenchReport, DeviceId, Slot, StoreGeneration};
use fleet_store::{
    Inbound, InboundMessage, IngestBatch, IngestOutcome, ReceiptRow, SlotTerm, Store, StoreError,
};
use fleet_wire::Channel;
use fleet_wire::receipt::ReceiptMessage;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Span;

use super::answers::{pace, sync_answer};
use super::decode::Decoded;
use super::gate::{Gate, Passage};
use super::receipts::Pacer;
use super::session::{Arrival, Buffered, Handed};
use super::{Outbound, Slots};
use crate::config::IngestConfig;
use crate::failpoints;
use crate::metrics::Metrics;
use crate::storage::StoreHealth;
use crate::stream::Feed;

/// Longest pause between two attempts to commit a batch.
const MAX_RETRY: Duration = Duration::from_secs(5);

/// Longest wait for one transaction: the way to the database may be cut without a word. The first attempt gets the
/// shorter time, so that a cut way holds the batch for less; a database that is really so slow gets more each time.
const FIRST_COMMIT_WITHIN: Duration = Duration::from_secs(15);
const COMMIT_WITHIN: Duration = Duration::from_secs(40);
/// Least time between two reads of the names of the benches.
const NAMES_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for them, and for an alarm of the gate.
const GATE_WITHIN: Duration = Duration::from_secs(5);
/// Alarms of the gate that are raised behind one batch; at each of the next ones more.
const GATE_ALARMS: usize = 4;

pub(super) struct Committer {
    pub(super) store: Arc<dyn Store>,
    pub(super) config: IngestConfig,
    /// Spans are made: they cost as much as reading an event, and without a collector nobody sees them.
    pub(super) traced: bool,
    pub(super) arrivals: mpsc::UnboundedReceiver<Handed>,
    /// What came too early for the batch before.
    pub(super) put_back: Option<Handed>,
    /// What may be looked at at all.
    pub(super) gate: Gate,
    /// Boot time at which the names of the benches were read last.
    pub(super) named_at: Option<Duration>,
    pub(super) buffered: Buffered,
    pub(super) slots: Slots,
    pub(super) outbound: Outbound,
    pub(super) lists: mpsc::UnboundedSender<DeviceId>,
    pub(super) metrics: Metrics,
    pub(super) feed: Feed,
    pub(super) health: StoreHealth,
}

/// What must be acknowledged for a batch, in arrival order: one run for each slot and connection.
type Acks = Vec<((Slot, u64), Vec<u16>)>;

/// What is committed together.
#[derive(Default)]
struct Batch {
    arrivals: Vec<Arrival>,
    /// Connections that say goodbye once everything before is acknowledged.
    ends: Vec<(Slot, u64)>,
    /// A session that the broker has lost; then there is nothing else.
    lost: Option<SlotTerm>,
}

/// What became of a batch.
#[derive(Default)]
struct Committed {
    outcome: IngestOutcome,
    acks: Acks,
    terms: Vec<SlotTerm>,
}

impl Batch {
    /// Adds what may be done together with the rest; gives back what may not.
    fn add(&mut self, handed: Handed) -> Option<Handed> {
        match handed {
            Handed::Message(arrival) => self.arrivals.push(arrival),
            Handed::End { slot, connection } => self.ends.push((slot, connection)),
            Handed::SessionLost(term) if self.arrivals.is_empty() && self.ends.is_empty() => {
                self.lost = Some(term);
            }
            Handed::SessionLost(_) => return Some(handed),
        }
        None
    }

    fn is_full(&self, most: usize) -> bool {
        self.lost.is_some() || self.arrivals.len() >= most
    }
}

impl Committer {
    /// Runs until the sessions are gone. Dropped in the middle of a commit, nothing was acknowledged.
    pub(super) async fn run(mut self) {
        let (receipts, to_send) = mpsc::unbounded_channel();
        let pacer = tokio::spawn(pace(
            to_send,
            Pacer::new(self.config.receipt_interval),
            self.outbound.clone(),
            self.metrics.clone(),
        ));
        // Ends the pacer with this task, however it ends.
        let _pacer = AbortOnDrop(pacer);
        let mut last_end = Instant::now();
        while let Some(Batch { arrivals, ends, lost }) = self.next_batch(last_end).await {
            if let Some(term) = lost {
                self.nobody_is_connected(term).await;
                continue;
            }
            let weight: usize = arrivals.iter().map(Arrival::weight).sum();
            let began = Instant::now();
            let arrivals = self.let_in(arrivals).await;
            let committed = self.commit(arrivals).await;
            self.metrics
                .ingest
                .batch_seconds
                .observe(began.elapsed().as_secs_f64());
            self.buffered.give(weight);
            failpoints::after_commit();
            self.hand_out(committed, &receipts);
            self.tell_of_the_gate().await;
            for (slot, connection) in ends {
                self.outbound.say_goodbye(slot, connection);
            }
            last_end = Instant::now();
        }
    }

    /// Waits for the first message, takes what is there, and under load lets a batch fill for a moment.
    async fn next_batch(&mut self, last_end: Instant) -> Option<Batch> {
        let mut batch = Batch::default();
        let first = match self.put_back.take() {
            Some(first) => first,
            None => self.arrivals.recv().await?,
        };
        self.put_back = batch.add(first);
        let (close, most) = (last_end + self.config.batch_wait, self.config.batch_events);
        loop {
            while !batch.is_full(most) && self.put_back.is_none() {
                match self.arrivals.try_recv() {
                    Ok(handed) => self.put_back = batch.add(handed),
                    Err(_) => break,
                }
            }
            if batch.is_full(most) || self.put_back.is_some() || Instant::now() >= close {
                return Some(batch);
            }
            match tokio::time::timeout_at(close, self.arrivals.recv()).await {
                Ok(Some(handed)) => self.put_back = batch.add(handed),
                Ok(None) | Err(_) => return Some(batch),
            }
        }
    }

    /// The broker knows nothing of this slot's benches any more: none counts as connected until it says so.
    async fn nobody_is_connected(&self, term: SlotTerm) {
        let mut pause = Duration::from_millis(100);
        while self.slots.is_current(term.slot, term.term) {
            let terms = [term];
            let assumed = super::presence::nobody_is_connected(&*self.store, &terms);
            let error = match tokio::time::timeout(COMMIT_WITHIN, assumed).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => StoreError::Unavailable("no answer".into()),
            };
            tracing::error!(
                error = &error as &dyn std::error::Error,
                slot = %term.slot,
                "benches can't be marked as not connected"
            );
            if !error.is_passing() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_RETRY);
        }
    }

    /// Marks what is above a limit: it is acknowledged with the rest and nothing else.
    async fn let_in(&mut self, mut arrivals: Vec<Arrival>) -> Vec<Arrival> {
        let now = fleet_clock::boot_now();
        let read = self
            .named_at
            .is_none_or(|at| now.saturating_sub(at) >= NAMES_EVERY);
        if read && arrivals.iter().any(|arrival| self.gate.is_new(&arrival.topic)) {
            let names = self.store.device_names(self.gate.most());
            if let Ok(Ok(names)) = tokio::time::timeout(GATE_WITHIN, names).await {
                self.gate.learn(&names, now);
                self.named_at = Some(now);
            } else {
                // Nothing is committed either while the database is away, and the commit says so.
                tracing::debug!("the names of the benches can't be read");
            }
        }
        let (mut flooded, mut strangers) = (0, 0);
        for arrival in &mut arrivals {
            let passage = self.gate.pass(arrival.slot, &arrival.topic, now);
            arrival.refused = passage != Passage::Taken;
            match passage {
                Passage::Taken => {}
                Passage::Flooded => flooded += 1,
                Passage::TooManyDevices => strangers += 1,
            }
            if arrival.refused {
                // Its place in the order of acknowledgements is all that is needed of it.
                arrival.payload = bytes::Bytes::new();
                arrival.properties = Vec::new();
            }
        }
        self.metrics.ingest.count("flooded", flooded);
        self.metrics.ingest.count("too_many_devices", strangers);
        arrivals
    }

    /// Raises what the gate has to tell.
    async fn tell_of_the_gate(&mut self) {
        for alarm in self.gate.take_alarms(GATE_ALARMS) {
            tracing::warn!(?alarm, "alarm");
            self.metrics.ingest.alarms(alarm.kind, 1);
            let raised = self.store.raise_alarm(&alarm, fleet_clock::wall_now());
            if let Ok(Ok(_)) = tokio::time::timeout(GATE_WITHIN, raised).await {
                self.feed.changed();
            } else {
                tracing::error!(?alarm, "an alarm could not be stored");
            }
        }
    }

    /// Leaves out what was received under a term that has ended: the slot's next owner gets it again, and under a
    /// later term of ours it would come behind what that one has recorded.
    fn leave_out_ended_terms(&self, arrivals: &mut Vec<Arrival>) {
        arrivals.retain(|arrival| self.slots.is_current(arrival.slot, arrival.term));
    }

    /// Commits, however long it takes: the messages stay in memory until then, and nothing behind them
    /// is committed before them.
    async fn commit(&self, mut arrivals: Vec<Arrival>) -> Committed {
        let mut pause = Duration::from_millis(100);
        let mut within = FIRST_COMMIT_WITHIN;
        loop {
            self.leave_out_ended_terms(&mut arrivals);
            if arrivals.is_empty() {
                self.health.set_commit(None);
                return Committed::default();
            }
            let terms = terms_of(&arrivals);
            let (messages, spans) = decode_all(&arrivals, self.traced);
            let count = messages.items.len() + messages.misplaced.len();
            if count == 0 {
                let (outcome, acks) = (IngestOutcome::default(), acks_of(&arrivals));
                return Committed { outcome, acks, terms };
            }
            let outcome = self.ingest(&terms, messages, within).await;
            within = COMMIT_WITHIN.min(within * 2);
            drop(spans);
            let error = match outcome {
                Ok(outcome) => {
                    self.health.set_commit(None);
                    let acks = acks_of(&arrivals);
                    return Committed { outcome, acks, terms };
                }
                Err(error) => error,
            };
            self.health.set_commit(Some(&error));
            self.metrics.ingest.batch_retries.inc();
            tracing::error!(
                error = &error as &dyn std::error::Error,
                messages = count,
                "a batch could not be committed and is tried again; nothing is acknowledged"
            );
            if !error.is_passing() {
                let outcome = self.one_by_one(&arrivals, &terms).await;
                self.health.set_commit(None);
                let acks = acks_of(&arrivals);
                return Committed { outcome, acks, terms };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_RETRY);
        }
    }

    async fn ingest(
        &self,
        terms: &[SlotTerm],
        messages: Decoded,
        within: Duration,
    ) -> Result<IngestOutcome, StoreError> {
        let batch = IngestBatch {
            terms: terms.to_vec(),
            items: messages.items,
            misplaced: messages.misplaced,
            received_at: fleet_clock::wall_now(),
            spare_generation: StoreGeneration(fleet_clock::new_uuid()),
        };
        tokio::time::timeout(within, self.store.ingest(batch))
            .await
            .unwrap_or_else(|_| {
                let why = format!("no answer within {} s", within.as_secs());
                Err(StoreError::Unavailable(why.into()))
            })
    }

    /// The store promises that data never fails a batch. Should it break that promise, one message must
    /// not hold up 16 slots: each is committed by itself, and one that still fails is stored raw.
    async fn one_by_one(&self, arrivals: &[Arrival], terms: &[SlotTerm]) -> IngestOutcome {
        let mut all = IngestOutcome::default();
        for mut part in decode_all(arrivals, false).0.apart() {
            let mut pause = Duration::from_millis(100);
            let outcome = loop {
                match self.ingest(terms, part.clone(), COMMIT_WITHIN).await {
                    Ok(outcome) => break outcome,
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "a message could not be committed"
                        );
                        if !error.is_passing() {
                            part.items = part.items.into_iter().map(|item| raw(item, &error)).collect();
                        }
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_RETRY);
            };
            merge(&mut all, outcome);
        }
        all
    }

    fn hand_out(&self, committed: Committed, receipts: &mpsc::UnboundedSender<ReceiptRow>) {
        let Committed { outcome, acks, terms } = committed;
        self.count(&outcome);
        for ((slot, connection), packets) in acks {
            // A lost slot's messages were left out: its next owner gets them again.
            if !outcome.lost_slots.contains(&slot) {
                self.outbound.acknowledge(slot, connection, packets);
            }
        }
        if !outcome.lost_slots.is_empty() {
            let lost: Vec<SlotTerm> = terms
                .into_iter()
                .filter(|term| outcome.lost_slots.contains(&term.slot))
                .collect();
            self.slots.lose(&lost);
        }
        for row in outcome.receipts {
            let _ = receipts.send(row);
        }
        let mut lists: BTreeSet<DeviceId> = outcome.lists.into_iter().collect();
        for (device, answer) in outcome.answers {
            let answer = ReceiptMessage::SyncAnswer(sync_answer(answer)).encode();
            self.outbound.publish(&device, Channel::Receipts, answer);
            // Every sync is answered with the list as well.
            lists.insert(device);
        }
        for device in lists {
            let _ = self.lists.send(device);
        }
        for alarm in &outcome.alarms {
            tracing::warn!(?alarm, "alarm");
            self.metrics.ingest.alarms(alarm.kind, 1);
        }
        self.feed.changed();
    }

    fn count(&self, outcome: &IngestOutcome) {
        let counts = &outcome.counts;
        for (name, value) in [
            ("stored", counts.stored),
            ("duplicate", counts.duplicates),
            ("gap", counts.gaps),
            ("conflict", counts.conflicts),
            ("rejected", counts.rejected),
            ("dead", counts.dead),
            ("hole", counts.holes),
            ("unprojected", counts.unprojected),
            ("fenced", counts.fenced),
            ("sync", counts.syncs),
            ("presence", counts.presences),
            ("clock_off", counts.clock_off),
        ] {
            self.metrics.ingest.count(name, value);
        }
        self.metrics
            .ingest
            .dead_letters
            .inc_by(counts.dead + counts.rejected + counts.conflicts);
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The terms under which the messages were received. Of one slot there is one: the others were left out.
fn terms_of(arrivals: &[Arrival]) -> Vec<SlotTerm> {
    let terms: std::collections::BTreeMap<Slot, u64> = arrivals
        .iter()
        .map(|arrival| (arrival.slot, arrival.term))
        .collect();
    terms
        .into_iter()
        .map(|(slot, term)| SlotTerm { slot, term })
        .collect()
}

/// The message without the meaning that could not be stored.
fn raw(mut item: Inbound, error: &StoreError) -> Inbound {
    if let InboundMessage::Event(event) = &mut item.message {
        event.report = BenchReport::Unreadable {
            r#type: event.r#type.clone(),
            reason: fleet_domain::error_chain(error),
        };
    }
    item
}

fn merge(all: &mut IngestOutcome, one: IngestOutcome) {
    for slot in one.lost_slots {
        if !all.lost_slots.contains(&slot) {
            all.lost_slots.push(slot);
        }
    }
    all.receipts.extend(one.receipts);
    all.answers.extend(one.answers);
    all.lists.extend(one.lists);
    all.alarms.extend(one.alarms);
    all.new_generation = one.new_generation.or(all.new_generation);
    let (sum, add) = (&mut all.counts, one.counts);
    sum.stored += add.stored;
    sum.duplicates += add.duplicates;
    sum.gaps += add.gaps;
    sum.conflicts += add.conflicts;
    sum.rejected += add.rejected;
    sum.dead += add.dead;
    sum.holes += add.holes;
    sum.unprojected += add.unprojected;
    sum.fenced += add.fenced;
    sum.syncs += add.syncs;
    sum.presences += add.presences;
    sum.clock_off += add.clock_off;
}

fn acks_of(arrivals: &[Arrival]) -> Acks {
    let mut acks: Acks = Vec::new();
    let mut places: HashMap<(Slot, u64), usize> = HashMap::new();
    for arrival in arrivals {
        let key = (arrival.slot, arrival.connection);
        let place = *places.entry(key).or_insert_with(|| {
            acks.push((key, Vec::new()));
            acks.len() - 1
        });
        if let Some((_, packets)) = acks.get_mut(place) {
            packets.push(arrival.packet);
        }
    }
    acks
}

/// Decodes and opens a span for each event that belongs to a trace; it ends with the commit.
fn decode_all(arrivals: &[Arrival], traced: bool) -> (Decoded, Vec<Span>) {
    let mut spans = Vec::new();
    let mut decoded = Decoded::default();
    for arrival in arrivals.iter().filter(|arrival| !arrival.refused) {
        decoded.add(arrival);
    }
    for item in decoded.items.iter().filter(|_| traced) {
        let InboundMessage::Event(event) = &item.message else {
            continue;
        };
        let Some(traceparent) = &event.traceparent else {
            continue;
        };
        let span = tracing::info_span!(
            "ingest.store_event",
            device.id = %item.device,
            "event.type" = event.r#type,
            event.spool = %event.place.spool,
            event.seq = event.place.seq,
        );
        fleet_telemetry::set_parent(&span, traceparent);
        spans.push(span);
    }
    (decoded, spans)
}
