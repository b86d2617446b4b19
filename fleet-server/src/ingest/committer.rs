//! The one committer: the messages of all slots, one transaction after the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet_domain::{BenchReport, DeviceId, Slot, StoreGeneration};
use fleet_store::{
    Inbound, InboundMessage, IngestBatch, IngestOutcome, ReceiptRow, Store, StoreError, SyncAnswerRow,
};
use fleet_wire::Channel;
use fleet_wire::limits::MAX_ANSWER_REJECTIONS;
use fleet_wire::receipt::{Receipt, ReceiptMessage, Rejection, SpoolAnswer, SyncAnswer};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Span;

use super::decode::{Decoded, wire_code};
use super::receipts::Pacer;
use super::session::{Arrival, Buffered};
use super::{Outbound, Slots};
use crate::config::IngestConfig;
use crate::failpoints;
use crate::metrics::Metrics;
use crate::stream::Feed;

/// Longest pause between two attempts to commit a batch.
const MAX_RETRY: Duration = Duration::from_secs(5);

/// Whether commits succeed at the moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommitHealth(Arc<AtomicBool>);

impl CommitHealth {
    /// False while a batch can't be committed.
    pub(crate) fn is_ok(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }

    fn set_failing(&self, failing: bool) {
        self.0.store(failing, Ordering::Release);
    }
}

pub(super) struct Committer {
    pub(super) store: Arc<dyn Store>,
    pub(super) config: IngestConfig,
    pub(super) arrivals: mpsc::UnboundedReceiver<Arrival>,
    pub(super) buffered: Buffered,
    pub(super) slots: Slots,
    pub(super) outbound: Outbound,
    pub(super) lists: mpsc::UnboundedSender<DeviceId>,
    pub(super) metrics: Metrics,
    pub(super) feed: Feed,
    pub(super) health: CommitHealth,
}

/// What must be acknowledged for a batch, in arrival order: one run for each slot and connection.
type Acks = Vec<((Slot, u64), Vec<u16>)>;

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
        while let Some(arrivals) = self.next_batch(last_end).await {
            let weight: usize = arrivals.iter().map(Arrival::weight).sum();
            let arrivals = self.of_current_terms(arrivals);
            let acks = acks_of(&arrivals);
            let (decoded, spans) = decode_all(&arrivals);
            drop(arrivals);
            let began = Instant::now();
            let outcome = self.commit(decoded).await;
            self.metrics
                .ingest
                .batch_seconds
                .observe(began.elapsed().as_secs_f64());
            drop(spans);
            self.buffered.give(weight);
            failpoints::after_commit();
            self.hand_out(outcome, acks, &receipts);
            last_end = Instant::now();
        }
    }

    /// Waits for the first message, takes what is there, and under load lets a batch fill for a moment.
    async fn next_batch(&mut self, last_end: Instant) -> Option<Vec<Arrival>> {
        let first = self.arrivals.recv().await?;
        let mut batch = vec![first];
        let close = last_end + self.config.batch_wait;
        loop {
            while batch.len() < self.config.batch_events {
                match self.arrivals.try_recv() {
                    Ok(arrival) => batch.push(arrival),
                    Err(_) => break,
                }
            }
            if batch.len() >= self.config.batch_events || Instant::now() >= close {
                return Some(batch);
            }
            match tokio::time::timeout_at(close, self.arrivals.recv()).await {
                Ok(Some(arrival)) => batch.push(arrival),
                Ok(None) | Err(_) => return Some(batch),
            }
        }
    }

    /// Leaves out what was received under a term that has ended: the slot's next owner gets it again.
    fn of_current_terms(&self, mut arrivals: Vec<Arrival>) -> Vec<Arrival> {
        let terms: HashMap<Slot, u64> = self.slots.terms().into_iter().map(|t| (t.slot, t.term)).collect();
        arrivals.retain(|arrival| terms.get(&arrival.slot) == Some(&arrival.term));
        arrivals
    }

    fn batch(&self, messages: Decoded) -> IngestBatch {
        IngestBatch {
            terms: self.slots.terms(),
            items: messages.items,
            misplaced: messages.misplaced,
            received_at: fleet_clock::wall_now(),
            spare_generation: StoreGeneration(fleet_clock::new_uuid()),
        }
    }

    /// Commits, however long it takes: the messages stay in memory until then, and nothing behind them
    /// is committed before them.
    async fn commit(&self, messages: Decoded) -> IngestOutcome {
        let mut pause = Duration::from_millis(100);
        loop {
            let error = match self.store.ingest(self.batch(messages.clone())).await {
                Ok(outcome) => {
                    self.health.set_failing(false);
                    return outcome;
                }
                Err(error) => error,
            };
            self.health.set_failing(true);
            self.metrics.ingest.batch_retries.inc();
            tracing::error!(
                error = &error as &dyn std::error::Error,
                messages = messages.items.len() + messages.misplaced.len(),
                "a batch could not be committed and is tried again; nothing is acknowledged"
            );
            if is_about_data(&error) {
                let outcome = self.one_by_one(messages).await;
                self.health.set_failing(false);
                return outcome;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_RETRY);
        }
    }

    /// The store promises that data never fails a batch. Should it break that promise, one message must
    /// not hold up 16 slots: each is committed by itself, and one that still fails is stored raw.
    async fn one_by_one(&self, messages: Decoded) -> IngestOutcome {
        let mut all = IngestOutcome::default();
        for mut part in messages.apart() {
            let mut pause = Duration::from_millis(100);
            let outcome = loop {
                match self.store.ingest(self.batch(part.clone())).await {
                    Ok(outcome) => break outcome,
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "a message could not be committed"
                        );
                        if is_about_data(&error) {
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

    fn hand_out(&self, outcome: IngestOutcome, acks: Acks, receipts: &mpsc::UnboundedSender<ReceiptRow>) {
        self.count(&outcome);
        for ((slot, connection), packets) in acks {
            // A lost slot's messages were left out: its next owner gets them again.
            if !outcome.lost_slots.contains(&slot) {
                self.outbound.acknowledge(slot, connection, packets);
            }
        }
        if !outcome.lost_slots.is_empty() {
            self.slots.lose(&outcome.lost_slots);
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

/// Errors that another attempt with the same data would meet again.
fn is_about_data(error: &StoreError) -> bool {
    !error.is_passing()
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
fn decode_all(arrivals: &[Arrival]) -> (Decoded, Vec<Span>) {
    let mut spans = Vec::new();
    let mut decoded = Decoded::default();
    for arrival in arrivals {
        decoded.add(arrival);
    }
    for item in &decoded.items {
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

fn rejections(rows: &[fleet_domain::Rejection]) -> Vec<Rejection> {
    rows.iter()
        .map(|row| Rejection {
            seq: row.seq,
            code: wire_code(row.code),
        })
        .collect()
}

fn receipt(row: ReceiptRow) -> (DeviceId, Receipt) {
    let receipt = Receipt {
        store_generation: row.generation,
        spool_id: row.spool,
        through: row.through,
        rejected: rejections(&row.rejected),
        gap: row.gap,
        unattributed: row.unattributed,
    };
    (row.device, receipt)
}

fn sync_answer(row: SyncAnswerRow) -> SyncAnswer {
    // A bench with many rejected events in many spools hears of the rest by the next answer.
    let mut room = MAX_ANSWER_REJECTIONS;
    let spools = row
        .spools
        .into_iter()
        .map(|spool| {
            let mut rejected = rejections(&spool.rejected);
            rejected.truncate(room);
            room -= rejected.len();
            SpoolAnswer {
                spool_id: spool.spool,
                through: spool.through,
                rejected,
            }
        })
        .collect();
    SyncAnswer {
        number: row.number,
        store_generation: row.generation,
        spools,
        bench_restored: row.bench_restored,
    }
}

async fn pace(
    mut rows: mpsc::UnboundedReceiver<ReceiptRow>,
    mut pacer: Pacer,
    outbound: Outbound,
    metrics: Metrics,
) {
    let began = Instant::now();
    loop {
        let next = pacer.next().map(|next| began + next);
        let row = match next {
            None => match rows.recv().await {
                Some(row) => Some(row),
                None => return,
            },
            Some(next) => match tokio::time::timeout_at(next, rows.recv()).await {
                Ok(Some(row)) => Some(row),
                Ok(None) => return,
                Err(_) => None,
            },
        };
        if let Some(row) = row {
            let (device, receipt) = receipt(row);
            pacer.add(device, receipt);
            // What came with the same commit goes together.
            while let Ok(row) = rows.try_recv() {
                let (device, receipt) = self::receipt(row);
                pacer.add(device, receipt);
            }
        }
        for (device, receipt) in pacer.due(began.elapsed()) {
            metrics.ingest.receipts.inc();
            outbound.publish(
                &device,
                Channel::Receipts,
                ReceiptMessage::Receipt(receipt).encode(),
            );
        }
    }
}
