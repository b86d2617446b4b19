//! After a restore of the database: what Kafka has already is found out, and both go on from one place
//! (delivery rule 20).

use std::sync::Arc;
use std::time::Duration;

use fleet_domain::{PlantId, StoreGeneration};
use fleet_store::{KafkaHigh, OutboxCursor, OutboxRead, RelayRow, RelayTerm, Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;

use crate::core::{KafkaFault, Outcome, TopicsFound};
use crate::cursor::merged_highs;
use crate::kafka::{KafkaLink, Outgoing, Scanned};
use crate::record::Restored;
use crate::topics::data_topics;
use crate::{KafkaConfig, KafkaCursor, highs_digest};

/// Records may be this much older than the newest row that the backup knows to be relayed: clocks differ.
const MARGIN: SignedDuration = SignedDuration::from_hours(1);
/// How long another relay is waited for. One that stands still gives its lease back within seconds.
const LEASE_WITHIN: Duration = Duration::from_secs(30);
/// How long Kafka may say nothing.
const KAFKA_WITHIN: Duration = Duration::from_secs(30);

/// What a reconciliation needs.
pub struct ReconcileParts {
    /// The plant.
    pub plant: PlantId,
    /// Owner of the lease meanwhile.
    pub owner: String,
    /// Kafka.
    pub config: KafkaConfig,
    /// The database, prepared.
    pub store: Arc<dyn Store>,
    /// Carries the database's calls.
    pub runtime: Handle,
    /// Also where Kafka and the database agree.
    pub force: bool,
}

impl std::fmt::Debug for ReconcileParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReconcileParts")
            .field("plant", &self.plant)
            .field("config", &self.config)
            .field("force", &self.force)
            .finish_non_exhaustive()
    }
}

/// Why nothing was reconciled. Kafka's cursor is then as before; it may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Another relay works, so nothing is wrong.
    #[error(
        "the relay runs in {owner}, so Kafka and the database agree; nothing was changed. If you are sure that they don't, stop that server and run this again"
    )]
    Held {
        /// Who has the lease.
        owner: String,
    },
    /// There is nothing to do.
    #[error(
        "nothing is to be reconciled: Kafka's cursor stands at row {seq}, which this database has; nothing was changed (--force does it anyway)"
    )]
    NotNeeded {
        /// Where the cursor stands.
        seq: u64,
    },
    /// The lease was lost on the way.
    #[error("another relay took the lease; nothing was finished, run it again")]
    LostLease,
    /// A topic is not as it must be.
    #[error("{0:?}: see docs/kafka.md, Topics")]
    Topics(TopicsFound),
    /// The retention of a topic is shorter than the backup is old.
    #[error(
        "partition {partition} of {topic} no longer has the records since the backup, so what was relayed can't be read back; nothing was changed (--force goes on with what is left: older events of benches may then come twice)"
    )]
    Retention {
        /// The topic.
        topic: &'static str,
        /// The partition.
        partition: i32,
    },
    /// Kafka does not answer.
    #[error("Kafka does not answer: {0}")]
    Silent(String),
    /// Kafka refuses something.
    #[error("Kafka refuses: {0}")]
    Refused(String),
    /// The database fails.
    #[error("the database can't be used")]
    Store(#[from] StoreError),
}

/// What was read of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRead {
    /// Its name.
    pub topic: &'static str,
    /// Records of this plant's benches.
    pub records: u64,
    /// Other records.
    pub others: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcileReport {
    /// Where Kafka's cursor stood; `None`: there was none.
    pub kafka: Option<KafkaCursor>,
    /// Where the relay goes on.
    pub database: OutboxCursor,
    /// Life of the database from now on.
    pub generation: StoreGeneration,
    /// Records from this time on were read; `None`: all of them.
    pub from: Option<Timestamp>,
    /// The topics.
    pub topics: Vec<TopicRead>,
    /// Spools of which Kafka has something.
    pub spools: usize,
    /// Partitions that were told of the restore.
    pub partitions: u64,
    /// Rows that wait in the outbox.
    pub waiting: u64,
}

impl std::fmt::Display for ReconcileReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kafka {
            Some(cursor) => writeln!(
                f,
                "Kafka's cursor stood at row {} of database life {}.",
                cursor.seq, cursor.store_generation
            )?,
            None => writeln!(f, "Kafka had no cursor.")?,
        }
        match self.from {
            Some(from) => writeln!(f, "Read what Kafka has since {from}:")?,
            None => writeln!(f, "Read everything that Kafka has:")?,
        }
        for read in &self.topics {
            writeln!(
                f,
                "  {:<22} {:>9} records of this plant, {} others",
                read.topic, read.records, read.others
            )?;
        }
        writeln!(
            f,
            "{} spools have events in Kafka. They are passed over when they come again, and counted as already in Kafka.",
            self.spools
        )?;
        writeln!(f, "{} partitions were told of the restore.", self.partitions)?;
        write!(
            f,
            "The relay goes on behind row {} in database life {}; {} rows wait.",
            self.database.seq, self.generation, self.waiting
        )
    }
}

/// Reconciles. Blocks: call it on a thread that may, not on one of the runtime.
///
/// It may be killed at any place and run again: before its one Kafka transaction Kafka is as it was, and after
/// it there is nothing to do.
///
/// # Errors
/// See [`ReconcileError`].
pub fn reconcile(parts: ReconcileParts) -> Result<ReconcileReport, ReconcileError> {
    let term = claim(&parts)?;
    let link = KafkaLink::new(parts.plant.clone(), parts.config.clone(), parts.runtime.clone());
    let mut work = Work { parts, term, link };
    let result = work.run();
    // A lease that is not given back ends by itself.
    let _ = work
        .parts
        .runtime
        .block_on(work.parts.store.release_relay(work.term));
    result
}

fn claim(parts: &ReconcileParts) -> Result<RelayTerm, ReconcileError> {
    let steps = LEASE_WITHIN.as_millis() / 100;
    for _ in 0..steps {
        let now = fleet_clock::wall_now();
        let claimed = parts.store.claim_relay(&parts.owner, now, parts.config.lease);
        if let Some(term) = parts.runtime.block_on(claimed)? {
            return Ok(term);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let row = parts.runtime.block_on(parts.store.relay_row())?;
    Err(ReconcileError::Held {
        owner: row.owner.unwrap_or_else(|| "another process".to_owned()),
    })
}

/// What Kafka is told.
struct Told {
    before: Option<StoreGeneration>,
    database: OutboxCursor,
    generation: StoreGeneration,
    highs: Option<String>,
}

struct Work {
    parts: ReconcileParts,
    term: RelayTerm,
    link: KafkaLink,
}

impl Work {
    fn run(&mut self) -> Result<ReconcileReport, ReconcileError> {
        self.until_done(KafkaLink::connect)?;
        // A topic that was lost is made anew here: a person says that it may.
        let create = self.parts.config.create_topics;
        match self.until_answered(|link| link.check_topics(create))? {
            Outcome::Topics(TopicsFound::Good) => {}
            Outcome::Topics(found) => return Err(ReconcileError::Topics(found)),
            other => return Err(unexpected(&other)),
        }
        self.until_done(|link| link.init())?;
        let kafka = match self.until_answered(|link| link.read_cursor())? {
            Outcome::Cursor(cursor) => cursor,
            other => return Err(unexpected(&other)),
        };
        let row = self.parts.runtime.block_on(self.parts.store.relay_row())?;
        let known = self.parts.runtime.block_on(self.parts.store.kafka_highs())?;
        if !self.parts.force && !self.is_needed(kafka.as_ref(), &row, &known)? {
            return Err(ReconcileError::NotNeeded {
                seq: kafka.map_or(0, |cursor| cursor.seq),
            });
        }
        let from = self.relayed_at(&row)?;
        let (topics, found) = self.scan(from)?;
        let generation = self.begin_generation(kafka.as_ref())?;
        let highs = found.highs();
        let now = fleet_clock::wall_now();
        let begun = self.parts.store.begin_reconciled(self.term, &highs, now);
        let database = self.parts.runtime.block_on(begun).map_err(lost)?;
        // Not read back: a database that is restored at this moment must not fit the cursor.
        let told = Told {
            before: kafka.as_ref().map(|cursor| cursor.store_generation),
            database,
            generation,
            highs: highs_digest(&merged_highs(known, &highs)),
        };
        let partitions = self.tell(told)?;
        Ok(ReconcileReport {
            kafka,
            database,
            generation,
            from,
            topics,
            spools: highs.len(),
            partitions,
            waiting: row.waiting,
        })
    }

    fn is_needed(
        &self,
        kafka: Option<&KafkaCursor>,
        row: &RelayRow,
        known: &[KafkaHigh],
    ) -> Result<bool, ReconcileError> {
        let place = kafka.map_or(OutboxCursor::START, KafkaCursor::place);
        if place.seq < row.relayed.seq || kafka.and_then(|cursor| cursor.highs.clone()) != highs_digest(known)
        {
            return Ok(true);
        }
        let read = self.parts.store.outbox_after(place, 1);
        Ok(self.parts.runtime.block_on(read)? == OutboxRead::CursorLost)
    }

    /// When the newest row that the database knows to be relayed was received, less the margin.
    fn relayed_at(&self, row: &RelayRow) -> Result<Option<Timestamp>, ReconcileError> {
        let Some(before) = row.relayed.seq.checked_sub(1) else {
            return Ok(None);
        };
        let rows = self
            .parts
            .runtime
            .block_on(self.parts.store.outbox_read(before, 1))?;
        let newest = rows.into_iter().find(|newest| newest.seq == row.relayed.seq);
        Ok(newest.and_then(|newest| newest.event.received_at.checked_sub(MARGIN).ok()))
    }

    fn scan(&self, from: Option<Timestamp>) -> Result<(Vec<TopicRead>, Scanned), ReconcileError> {
        let mut found = Scanned::default();
        let mut topics = Vec::new();
        let mut lease = Ok(());
        for topic in data_topics() {
            let late = self.link.begins_late(topic, from);
            let late = late
                .map_err(|outcome| unexpected(&outcome))?
                .filter(|_| !self.parts.force);
            if let Some(partition) = late {
                let topic = topic.name;
                return Err(ReconcileError::Retention { topic, partition });
            }
            let before = (found.records, found.others);
            let mut alive = || {
                lease = self.renew();
                lease.as_ref().map_err(|_| Outcome::Done).copied()
            };
            let read = self.link.scan(topic, from, &mut found, &mut alive);
            lease?;
            lease = Ok(());
            read.map_err(|outcome| unexpected(&outcome))?;
            topics.push(TopicRead {
                topic: topic.name,
                records: found.records - before.0,
                others: found.others - before.1,
            });
            self.renew()?;
        }
        Ok((topics, found))
    }

    /// The generation must be newer than the one that wrote Kafka's cursor.
    fn begin_generation(&self, kafka: Option<&KafkaCursor>) -> Result<StoreGeneration, ReconcileError> {
        let Some(cursor) = kafka else {
            return Ok(self.parts.store.generation());
        };
        let detail = format!(
            "the relay is reconciled: Kafka's cursor stood at row {} of database life {}",
            cursor.seq, cursor.store_generation
        );
        let spare = StoreGeneration(fleet_clock::new_uuid());
        let now = fleet_clock::wall_now();
        let reported =
            self.parts
                .store
                .report_cursor_lost(self.term, &detail, cursor.store_generation, spare, now);
        self.parts.runtime.block_on(reported).map_err(lost)
    }

    /// One transaction: every partition is told, and the cursor is the database's.
    fn tell(&mut self, told: Told) -> Result<u64, ReconcileError> {
        let at = fleet_clock::wall_now();
        let restored = Restored {
            plant: &self.parts.plant,
            id: fleet_clock::new_uuid(),
            at,
            generation: told.generation,
            before: told.before,
        };
        let (key, headers, value) = (restored.key(), restored.headers(), restored.value());
        self.until_done(|link| link.begin())?;
        let mut partitions = 0;
        for topic in data_topics() {
            for partition in 0..topic.partitions(self.parts.config.partitions) {
                let record = Outgoing {
                    topic: topic.name,
                    partition: Some(partition),
                    key: &key,
                    headers: &headers,
                    value: &value,
                };
                self.link.send(&record).map_err(|outcome| unexpected(&outcome))?;
                partitions += 1;
            }
        }
        let cursor = KafkaCursor {
            seq: told.database.seq,
            token: told.database.token,
            store_generation: told.generation,
            relay_term: self.term.0,
            at,
            highs: told.highs,
        };
        self.link
            .send_cursor(&cursor)
            .map_err(|outcome| unexpected(&outcome))?;
        self.until_done(|link| link.drain())?;
        self.until_done(|link| link.commit())?;
        Ok(partitions)
    }

    fn renew(&self) -> Result<(), ReconcileError> {
        let now = fleet_clock::wall_now();
        let renewed = self
            .parts
            .store
            .renew_relay(self.term, now, self.parts.config.lease);
        if self.parts.runtime.block_on(renewed)? {
            Ok(())
        } else {
            Err(ReconcileError::LostLease)
        }
    }

    fn until_done(&mut self, call: impl FnMut(&mut KafkaLink) -> Outcome) -> Result<(), ReconcileError> {
        match self.until_answered(call)? {
            Outcome::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks again while Kafka does not answer, and keeps the lease meanwhile.
    fn until_answered(
        &mut self,
        mut call: impl FnMut(&mut KafkaLink) -> Outcome,
    ) -> Result<Outcome, ReconcileError> {
        let begun = std::time::Instant::now();
        loop {
            match call(&mut self.link) {
                outcome @ Outcome::Pending(_) if begun.elapsed() > KAFKA_WITHIN => {
                    return Err(unexpected(&outcome));
                }
                Outcome::Pending(_) => {}
                outcome => return Ok(outcome),
            }
            self.renew()?;
        }
    }
}

fn lost(error: StoreError) -> ReconcileError {
    match error {
        StoreError::LostTerm => ReconcileError::LostLease,
        error => ReconcileError::Store(error),
    }
}

fn unexpected(outcome: &Outcome) -> ReconcileError {
    match outcome {
        Outcome::Pending(Some(trouble)) => ReconcileError::Silent(trouble.detail.clone()),
        Outcome::Pending(None) => {
            ReconcileError::Silent(format!("nothing was heard for {} s", KAFKA_WITHIN.as_secs()))
        }
        Outcome::Kafka(
            KafkaFault::Refused(why)
            | KafkaFault::Fatal(why)
            | KafkaFault::Abort(why)
            | KafkaFault::Topic(why)
            | KafkaFault::Retry(why)
            | KafkaFault::BadCursor(why)
            | KafkaFault::Data { reason: why, .. },
        ) => ReconcileError::Refused(why.clone()),
        other => ReconcileError::Refused(format!("{other:?}")),
    }
}
