//! The thread that carries the core's steps out.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use fleet_domain::{PlantId, StoreGeneration};
use fleet_store::{Store, StoreError};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::core::{Core, CoreSettings, Look, Outcome, Step, StoreFault};
use crate::kafka::{KafkaLink, Outgoing};
use crate::{KafkaConfig, KafkaCursor, RelayHealth, RelayLag, record};

/// A call of the database that takes longer has failed.
const STORE_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of events in one transaction.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// How often the outbox is looked at without another cause.
const POLL: Duration = Duration::from_millis(200);

/// Places at which a test may end the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Before a transaction is begun.
    Between,
    /// All records are acknowledged, the commit is not asked for.
    InTransaction,
    /// The commit is done, the database does not know it.
    AfterCommit,
}

/// How a Kafka transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// Committed.
    Committed,
    /// Aborted; its rows are sent again.
    Aborted,
    /// Its end is for the next producer to find out.
    Unknown,
}

/// Who wants to know what the relay does. Called on the relay's thread: it must not block.
pub trait RelayObserver: Send + Sync + 'static {
    /// The state, the lag or the lease has changed.
    fn health(&self, _health: &RelayHealth) {}
    /// A transaction has ended, so long after its begin.
    fn transaction(&self, _outcome: TransactionOutcome, _took: Duration) {}
    /// Records of a topic are committed.
    fn records(&self, _topic: &str, _records: u64) {}
    /// Events were passed over because Kafka had them.
    fn already(&self, _events: u64) {}
    /// Kafka will never take an event.
    fn unrelayable(&self) {}
    /// A producer was made.
    fn producer_started(&self) {}
    /// The relay is at this place.
    fn point(&self, _point: Point) {}
}

/// What a relay needs.
pub struct RelayParts {
    /// The plant.
    pub plant: PlantId,
    /// Owner of the lease: this process.
    pub owner: String,
    /// Kafka.
    pub config: KafkaConfig,
    /// The database.
    pub store: Arc<dyn Store>,
    /// Carries the database's calls; not the relay's own thread.
    pub runtime: Handle,
    /// Who wants to know.
    pub observer: Arc<dyn RelayObserver>,
}

impl std::fmt::Debug for RelayParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayParts")
            .field("plant", &self.plant)
            .field("owner", &self.owner)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
enum Signal {
    Wake,
    Stop,
}

/// A running relay. Dropping it tells it to stop and does not wait.
#[derive(Debug)]
pub struct RelayHandle {
    signals: Sender<Signal>,
    health: watch::Receiver<RelayHealth>,
}

impl RelayHandle {
    /// What it says of itself.
    pub fn health(&self) -> RelayHealth {
        self.health.borrow().clone()
    }

    /// Its health as it changes.
    pub fn watch(&self) -> watch::Receiver<RelayHealth> {
        self.health.clone()
    }

    /// There are new rows; without this they are found within 200 ms.
    pub fn wake(&self) {
        // It may have ended.
        let _ = self.signals.send(Signal::Wake);
    }

    /// Ends it in order: a commit that runs is waited for, the lease is given back. Returns when it has ended,
    /// about 10 s at the latest while Kafka hangs. Safe to cancel: it ends all the same.
    pub async fn stop(self) {
        let _ = self.signals.send(Signal::Stop);
        let mut health = self.health.clone();
        drop(self);
        // The thread ends by dropping the sender.
        while health.changed().await.is_ok() {}
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Stop);
    }
}

/// Starts a relay on a thread of its own.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(parts: RelayParts) -> std::io::Result<RelayHandle> {
    let (signals, inbox) = mpsc::channel();
    let settings = CoreSettings {
        batch_rows: parts.config.batch_rows,
        batch_bytes: BATCH_BYTES,
        lease: parts.config.lease,
        transaction_timeout: parts.config.transaction_timeout,
        create_topics: parts.config.create_topics,
        poll: POLL,
    };
    let core = Core::new(settings, fleet_clock::jitter_seed());
    let (said, health) = watch::channel(core.health());
    let link = KafkaLink::new(parts.plant.clone(), parts.config.clone(), parts.runtime.clone());
    let mut relay = Relay {
        core,
        link,
        parts,
        inbox,
        said,
        begun: None,
    };
    std::thread::Builder::new()
        .name("relay".to_owned())
        .spawn(move || relay.run())?;
    Ok(RelayHandle { signals, health })
}

struct Relay {
    core: Core,
    link: KafkaLink,
    parts: RelayParts,
    inbox: Receiver<Signal>,
    said: watch::Sender<RelayHealth>,
    /// When the open transaction was begun.
    begun: Option<Instant>,
}

impl Relay {
    fn run(&mut self) {
        self.parts.observer.health(&self.core.health());
        loop {
            while let Ok(signal) = self.inbox.try_recv() {
                self.signal(signal);
            }
            let step = self.core.next(fleet_clock::boot_now());
            let outcome = match step {
                Step::End => break,
                Step::Wait(time) => {
                    // The handle is gone: nobody is left to stop it.
                    match self.inbox.recv_timeout(time) {
                        Ok(signal) => self.signal(signal),
                        Err(mpsc::RecvTimeoutError::Disconnected) => self.core.stop(),
                        Err(mpsc::RecvTimeoutError::Timeout) => {}
                    }
                    Outcome::Done
                }
                step => self.carry_out(step),
            };
            self.core.done(outcome, fleet_clock::boot_now());
            self.tell();
        }
        tracing::info!("the relay has ended");
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Wake => self.core.wake(),
            Signal::Stop => self.core.stop(),
        }
    }

    /// Health that has changed is told, and logged when the state has.
    fn tell(&mut self) {
        let health = self.core.health();
        let before = self.said.borrow().clone();
        if before == health {
            return;
        }
        if before.state != health.state {
            let (state, before, detail) = (health.state.as_str(), before.state.as_str(), &health.detail);
            if let Some(help) = health.help {
                tracing::error!(state, before, detail, help, "relay");
            } else {
                tracing::info!(state, before, detail, "relay");
            }
        }
        self.parts.observer.health(&health);
        self.said.send_replace(health);
    }

    fn carry_out(&mut self, step: Step) -> Outcome {
        match step {
            Step::Connect => {
                self.parts.observer.producer_started();
                self.link.connect()
            }
            Step::CheckTopics { create } => self.link.check_topics(create),
            Step::Init => self.link.init(),
            Step::ReadCursor => self.link.read_cursor(),
            Step::Begin => {
                self.parts.observer.point(Point::Between);
                self.begun = Some(Instant::now());
                self.link.begin()
            }
            Step::Send => self.send(),
            Step::Drain => self.link.drain(),
            Step::Commit => self.commit(),
            Step::Abort => {
                let outcome = self.link.abort();
                if outcome == Outcome::Done {
                    self.ended(TransactionOutcome::Aborted);
                }
                outcome
            }
            Step::Probe => self.link.probe(),
            Step::Disconnect => {
                self.ended(TransactionOutcome::Unknown);
                self.link.disconnect()
            }
            step => self.ask_store(step),
        }
    }

    fn ended(&mut self, outcome: TransactionOutcome) {
        if let Some(begun) = self.begun.take() {
            self.parts.observer.transaction(outcome, begun.elapsed());
        }
    }

    fn send(&mut self) -> Outcome {
        let batch = self.core.batch();
        let generation = self.core.generation();
        for row in batch.records() {
            let sent = self.link.send(&Outgoing {
                topic: &row.topic,
                partition: None,
                key: &record::key(&self.parts.plant, row),
                headers: &record::headers(&self.parts.plant, generation, row),
                value: &row.event.bytes,
            });
            if let Err(outcome) = sent {
                return outcome;
            }
        }
        let (Some(through), Some(term)) = (batch.through(), self.core.term()) else {
            return Outcome::Done;
        };
        let cursor = KafkaCursor {
            seq: through.seq,
            token: through.token,
            store_generation: generation,
            relay_term: term.0,
            at: fleet_clock::wall_now(),
            highs: self.core.highs_digest().map(str::to_owned),
        };
        self.link
            .send_cursor(&cursor)
            .map_or_else(|outcome| outcome, |()| Outcome::Done)
    }

    fn commit(&mut self) -> Outcome {
        self.parts.observer.point(Point::InTransaction);
        let outcome = self.link.commit();
        if outcome == Outcome::Done {
            self.parts.observer.point(Point::AfterCommit);
            self.ended(TransactionOutcome::Committed);
            for topic in crate::topics::data_topics() {
                let rows = self.core.batch().records().iter();
                let records = rows.filter(|row| row.topic == topic.name).count();
                if records > 0 {
                    self.parts.observer.records(topic.name, records as u64);
                }
            }
        }
        outcome
    }

    fn ask_store(&mut self, step: Step) -> Outcome {
        let (store, config) = (&self.parts.store, &self.parts.config);
        let (owner, now) = (&self.parts.owner, fleet_clock::wall_now());
        let (unrelayable, already) = match &step {
            Step::Refuse { code, reason, .. } => {
                tracing::warn!(
                    code,
                    reason,
                    "Kafka will never take an event: it goes to the dead letters"
                );
                (true, 0)
            }
            Step::Advance(advance) => (false, advance.already.len() as u64),
            _ => (false, 0),
        };
        let answer = self.parts.runtime.block_on(async {
            let asked = ask(&**store, step, owner, config.lease, now);
            tokio::time::timeout(STORE_WITHIN, asked).await
        });
        match answer {
            Ok(Ok(outcome)) => {
                if outcome == Outcome::Advanced(fleet_store::Advanced::Done) {
                    if unrelayable {
                        self.parts.observer.unrelayable();
                    }
                    if already > 0 {
                        self.parts.observer.already(already);
                    }
                }
                outcome
            }
            Ok(Err(error)) => Outcome::Store(StoreFault {
                term_lost: matches!(error, StoreError::LostTerm),
                detail: fleet_domain::error_chain(&error),
            }),
            Err(_) => Outcome::Store(StoreFault {
                term_lost: false,
                detail: format!("it has not answered for {} s", STORE_WITHIN.as_secs()),
            }),
        }
    }
}

async fn ask(
    store: &dyn Store,
    step: Step,
    owner: &str,
    lease: Duration,
    now: Timestamp,
) -> Result<Outcome, StoreError> {
    Ok(match step {
        Step::Claim => Outcome::Claimed(store.claim_relay(owner, now, lease).await?),
        Step::Renew(term) => Outcome::Renewed(store.renew_relay(term, now, lease).await?),
        Step::Release(term) => {
            store.release_relay(term).await?;
            Outcome::Done
        }
        Step::LookUp => Outcome::LookedUp(Box::new(Look {
            row: store.relay_row().await?,
            highs: store.kafka_highs().await?,
            generation: store.generation(),
        })),
        Step::Measure => {
            let row = store.relay_row().await?;
            let age = row.oldest_waiting.map(|oldest| now.duration_since(oldest));
            Outcome::Measured(RelayLag {
                rows: row.waiting,
                age: age
                    .and_then(|age| Duration::try_from(age).ok())
                    .unwrap_or_default(),
            })
        }
        Step::Read { after, limit } => Outcome::Rows(store.outbox_after(after, limit).await?),
        Step::Refuse {
            term,
            row,
            code,
            reason,
        } => Outcome::Advanced(store.refuse_outbox_row(term, row, code, &reason, now).await?),
        Step::Advance(advance) => Outcome::Advanced(store.outbox_advance(&advance, now).await?),
        Step::ReportCursorLost {
            term,
            detail,
            generation,
        } => {
            let spare = StoreGeneration(fleet_clock::new_uuid());
            Outcome::Generation(
                store
                    .report_cursor_lost(term, &detail, generation, spare, now)
                    .await?,
            )
        }
        Step::Alarm(alarm) => {
            store.raise_alarm(&alarm, now).await?;
            Outcome::Done
        }
        // The others are Kafka's, or nobody's.
        _ => Outcome::Done,
    })
}
