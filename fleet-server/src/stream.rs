//! The live stream's source: the store's change log, read once for all readers.
//!
//! A change names a bench or a job; what goes out is its whole state, read when it is sent, at most four
//! times a second for each. So nothing has to be replayed exactly: a cursor says "everything up to here
//! was sent or is newer in what was sent later".

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use fleet_domain::{DeviceId, JobId, StoreGeneration};
use fleet_store::{ChangeKind, Changes, Store, StoreError};
use fleet_wire::Topic;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::http::dto;
use crate::http::types::Live;
use crate::ingest::Arrival;
use crate::metrics::Metrics;
use crate::storage::StoreHealth;

/// Least time between two states of the same bench or job: four a second.
const COALESCE: Duration = Duration::from_millis(250);
/// How often the change log is looked at without a cause: another replica wakes nobody here.
const LOOK: Duration = Duration::from_millis(250);
/// Events that a reader may be behind before it has to begin anew.
const QUEUE: usize = 1024;
/// Changes read at once.
const PAGE: u32 = 1000;
/// Live states kept; more benches than a plant has.
const MAX_LIVE: usize = 20_000;

/// A place in the stream: a life of the database and a place in its change log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) epoch: StoreGeneration,
    pub(crate) seq: u64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch.0.simple(), self.seq)
    }
}

impl Cursor {
    /// Reads a cursor; `None` for what this server never wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (epoch, seq) = text.split_once('-')?;
        if epoch.len() != 32 || seq.is_empty() || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            epoch: StoreGeneration(uuid::Uuid::try_parse(epoch).ok()?),
            seq: seq.parse().ok()?,
        })
    }
}

/// One event of the stream, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct StreamEvent {
    pub(crate) name: &'static str,
    pub(crate) cursor: Cursor,
    pub(crate) data: Arc<str>,
}

/// The feed as everybody else sees it.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    wake: Arc<Notify>,
    events: broadcast::Sender<StreamEvent>,
    position: watch::Sender<Cursor>,
    live: Arc<RwLock<HashMap<uuid::Uuid, Live>>>,
    /// When benches were last heard by live messages, which are not stored.
    seen: Arc<RwLock<HashMap<DeviceId, Timestamp>>>,
    /// Ends every reader.
    pub(crate) closed: CancellationToken,
}

impl Feed {
    pub(crate) fn new(epoch: StoreGeneration) -> Self {
        Self {
            wake: Arc::new(Notify::new()),
            events: broadcast::Sender::new(QUEUE),
            position: watch::Sender::new(Cursor { epoch, seq: 0 }),
            live: Arc::default(),
            seen: Arc::default(),
            closed: CancellationToken::new(),
        }
    }

    /// Something was committed: look at the change log soon.
    pub(crate) fn changed(&self) {
        self.wake.notify_one();
    }

    /// Everything up to here was sent.
    pub(crate) fn position(&self) -> Cursor {
        *self.position.borrow()
    }

    /// Events from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<StreamEvent> {
        self.events.subscribe()
    }

    /// Where a job stands, if its bench said so lately.
    pub(crate) fn live(&self, job: JobId) -> Option<Live> {
        self.live.read().ok()?.get(&job.0).cloned()
    }

    /// When a bench was last heard by a live message.
    pub(crate) fn seen(&self, device: &DeviceId) -> Option<Timestamp> {
        self.seen.read().ok()?.get(device).copied()
    }

    fn keep_seen(&self, device: &DeviceId, now: Timestamp) {
        let Ok(mut all) = self.seen.write() else { return };
        if all.len() < MAX_LIVE || all.contains_key(device) {
            all.insert(device.clone(), now);
        }
    }

    fn keep_live(&self, live: &Live) {
        let Ok(mut all) = self.live.write() else { return };
        if all.len() < MAX_LIVE || all.contains_key(&live.job_id) {
            all.insert(live.job_id, live.clone());
        }
    }

    fn forget_live(&self, job: uuid::Uuid) {
        if let Ok(mut all) = self.live.write() {
            all.remove(&job);
        }
    }

    fn send<T: Serialize>(&self, name: &'static str, cursor: Cursor, data: &T) {
        // Our own types always have a JSON form.
        let data = serde_json::to_string(data).unwrap_or_default().into();
        // An error means that nobody reads.
        let _ = self.events.send(StreamEvent { name, cursor, data });
    }
}

/// The state of what changed, as an event: its name and JSON. `None` when it is gone.
pub(crate) async fn state_of(
    store: &dyn Store,
    feed: &Feed,
    kind: ChangeKind,
    id: &str,
) -> Result<Option<(&'static str, String)>, StoreError> {
    let json = |name, value: serde_json::Result<String>| value.ok().map(|json| (name, json));
    match kind {
        ChangeKind::Bench => {
            let Ok(device) = id.parse() else { return Ok(None) };
            let bench = store.bench(&device).await?;
            Ok(bench.and_then(|row| {
                json(
                    "bench",
                    serde_json::to_string(&dto::bench(row, feed.seen(&device))),
                )
            }))
        }
        ChangeKind::Job => {
            let Ok(job) = id.parse::<JobId>() else {
                return Ok(None);
            };
            let row = store.job(job).await?;
            if row.as_ref().is_some_and(|row| row.job.state.is_final()) {
                feed.forget_live(job.0);
            }
            Ok(row.and_then(|row| json("job", serde_json::to_string(&dto::job(row)))))
        }
        ChangeKind::Alarm => {
            // The newest alarms come first, and the changed one is among them.
            let page = fleet_store::Page {
                limit: 100,
                after: None,
            };
            let alarms = store.alarms(&page).await?.items;
            let alarm = alarms.into_iter().find(|alarm| alarm.id.to_string() == id);
            Ok(alarm.and_then(|row| json("alarm", serde_json::to_string(&dto::alarm(row)))))
        }
        // Dead letters show as alarms.
        ChangeKind::DeadLetter => Ok(None),
    }
}

type Key = (ChangeKind, String);

/// What waits to be sent: first unsent change of each thing, in the log's order.
#[derive(Debug, Default)]
struct Waiting {
    by_seq: BTreeMap<u64, Key>,
    by_key: HashMap<Key, u64>,
    sent: HashMap<Key, Instant>,
}

impl Waiting {
    fn add(&mut self, seq: u64, key: Key) {
        if !self.by_key.contains_key(&key) {
            self.by_key.insert(key.clone(), seq);
            self.by_seq.insert(seq, key);
        }
    }

    fn due_at(&self, key: &Key) -> Option<Instant> {
        self.sent.get(key).map(|sent| *sent + COALESCE)
    }

    /// The first thing that may be sent now, taken out.
    fn take_due(&mut self, now: Instant) -> Option<Key> {
        let seq = self
            .by_seq
            .iter()
            .find(|(_, key)| self.due_at(key).is_none_or(|due| due <= now))
            .map(|(s, _)| *s)?;
        let key = self.by_seq.remove(&seq)?;
        self.by_key.remove(&key);
        self.sent.insert(key.clone(), now);
        Some(key)
    }

    fn next_due(&self) -> Option<Instant> {
        self.by_seq.values().filter_map(|key| self.due_at(key)).min()
    }

    fn forget_old(&mut self, now: Instant) {
        self.sent.retain(|_, sent| *sent + COALESCE > now);
    }

    /// Everything up to here was sent, given that the log was read up to `read`.
    fn sent_up_to(&self, read: u64) -> u64 {
        self.by_seq
            .keys()
            .next()
            .map_or(read, |first| first.saturating_sub(1))
    }
}

/// Reads the change log and the live messages, and feeds the readers.
pub(crate) struct FeedTask {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: StoreHealth,
    pub(crate) feed: Feed,
    pub(crate) live: mpsc::Receiver<Arrival>,
    pub(crate) metrics: Metrics,
}

impl FeedTask {
    /// Runs for ever. Safe to cancel.
    pub(crate) async fn run(mut self) {
        let mut read = self.head().await;
        let mut waiting = Waiting::default();
        let mut live_waiting: HashMap<String, Live> = HashMap::new();
        let mut live_sent: HashMap<String, Instant> = HashMap::new();
        loop {
            let now = Instant::now();
            let next = [
                Some(now + LOOK),
                waiting.next_due(),
                next_live(&live_waiting, &live_sent),
            ];
            let next = next.into_iter().flatten().min().unwrap_or(now + LOOK);
            tokio::select! {
                () = self.feed.wake.notified() => {}
                Some(arrival) = self.live.recv() => self.take_live(&arrival, &mut live_waiting),
                () = tokio::time::sleep_until(next) => {}
            }
            // Live messages go on without the store.
            if self.health.is_usable()
                && let Err(error) = self.look(&mut read, &mut waiting).await
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the change log could not be read"
                );
                tokio::time::sleep(LOOK).await;
            }
            self.send_live(&mut live_waiting, &mut live_sent);
        }
    }

    async fn head(&self) -> u64 {
        loop {
            self.health.usable().await;
            match self.store.changes(u64::MAX >> 1, 1).await {
                Ok(changes) => {
                    let position = Cursor {
                        epoch: self.store.generation(),
                        seq: changes.head,
                    };
                    self.feed.position.send_replace(position);
                    return changes.head;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the change log could not be read"
                    );
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    async fn look(&self, read: &mut u64, waiting: &mut Waiting) -> Result<(), StoreError> {
        loop {
            let Changes {
                head,
                rows,
                truncated,
            } = self.store.changes(*read, PAGE).await?;
            let epoch = self.store.generation();
            if truncated || epoch != self.feed.position().epoch {
                *read = head;
                *waiting = Waiting::default();
                let cursor = Cursor { epoch, seq: head };
                self.feed.position.send_replace(cursor);
                self.feed.send(
                    "reset",
                    cursor,
                    &serde_json::json!({ "cursor": cursor.to_string() }),
                );
                return Ok(());
            }
            let all = rows.len() < PAGE as usize;
            for row in rows {
                *read = (*read).max(row.seq);
                waiting.add(row.seq, (row.kind, row.id));
            }
            if all {
                break;
            }
        }
        let now = Instant::now();
        while let Some((kind, id)) = waiting.take_due(now) {
            let state = state_of(&*self.store, &self.feed, kind, &id).await?;
            let cursor = Cursor {
                epoch: self.feed.position().epoch,
                seq: waiting.sent_up_to(*read),
            };
            self.feed.position.send_replace(cursor);
            if let Some((name, data)) = state {
                let _ = self.feed.events.send(StreamEvent {
                    name,
                    cursor,
                    data: data.into(),
                });
            }
        }
        waiting.forget_old(now);
        let cursor = Cursor {
            epoch: self.feed.position().epoch,
            seq: waiting.sent_up_to(*read),
        };
        self.feed.position.send_replace(cursor);
        Ok(())
    }

    fn take_live(&mut self, first: &Arrival, waiting: &mut HashMap<String, Live>) {
        self.decode_live(first, waiting);
        while let Ok(arrival) = self.live.try_recv() {
            self.decode_live(&arrival, waiting);
        }
    }

    fn decode_live(&self, arrival: &Arrival, waiting: &mut HashMap<String, Live>) {
        let Ok(topic) = arrival.topic.parse::<Topic>() else {
            return;
        };
        match fleet_wire::live::Live::decode(&arrival.payload) {
            Ok(live) => {
                self.feed.keep_seen(&topic.device, fleet_clock::wall_now());
                let live = dto::live(&topic.device, live);
                self.feed.keep_live(&live);
                waiting.insert(live.device.clone(), live);
            }
            Err(error) => {
                self.metrics.ingest.undecodable("live", 1);
                tracing::debug!(device.id = %topic.device, %error, "a live message can't be read");
            }
        }
    }

    fn send_live(&self, waiting: &mut HashMap<String, Live>, sent: &mut HashMap<String, Instant>) {
        let now = Instant::now();
        waiting.retain(|device, live| {
            if sent.get(device).is_some_and(|at| *at + COALESCE > now) {
                return true;
            }
            sent.insert(device.clone(), now);
            self.feed.send("live", self.feed.position(), live);
            false
        });
        sent.retain(|device, at| waiting.contains_key(device) || *at + COALESCE > now);
    }
}

fn next_live(waiting: &HashMap<String, Live>, sent: &HashMap<String, Instant>) -> Option<Instant> {
    waiting
        .keys()
        .filter_map(|device| sent.get(device).map(|at| *at + COALESCE))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let cursor = Cursor {
            epoch: StoreGeneration(uuid::Uuid::from_u128(7)),
            seq: 42,
        };
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for bad in [
            "",
            "-",
            "42",
            "x-1",
            "00000000000000000000000000000007-",
            "00000000000000000000000000000007--1",
        ] {
            assert_eq!(Cursor::parse(bad), None, "{bad:?}");
        }
        assert_eq!(
            Cursor::parse(&format!("{}-99999999999999999999999", cursor.epoch.0.simple())),
            None
        );
    }

    #[test]
    fn a_cursor_never_passes_a_change_that_waits() {
        let mut waiting = Waiting::default();
        let key = |id: &str| (ChangeKind::Bench, id.to_owned());
        let now = Instant::now();
        waiting.add(1, key("a"));
        assert_eq!(waiting.take_due(now), Some(key("a")));
        assert_eq!(waiting.sent_up_to(1), 1);
        // "a" changes again too soon, "b" at once.
        waiting.add(2, key("a"));
        waiting.add(3, key("b"));
        waiting.add(4, key("a"));
        assert_eq!(waiting.take_due(now), Some(key("b")));
        assert_eq!(waiting.sent_up_to(4), 1, "the change 2 of a was not sent yet");
        assert_eq!(waiting.take_due(now), None);
        assert_eq!(waiting.take_due(now + COALESCE), Some(key("a")));
        assert_eq!(waiting.sent_up_to(4), 4);
    }
}
