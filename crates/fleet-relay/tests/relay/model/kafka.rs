//! A model of Kafka's log: transactions, fencing, the last stable offset, and commits that are answered before
//! their markers are written.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_relay::KafkaCursor;

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// An event by spool and position.
    Event(usize, u64),
    Cursor(KafkaCursor),
    Restored,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Status {
    Open,
    /// Committed, but readers are not told yet.
    Prepared,
    Committed,
    Aborted,
}

#[derive(Debug, Default)]
struct Id {
    epoch: u64,
    transaction: Option<u64>,
}

/// The log of all topics.
#[derive(Debug, Default)]
pub(crate) struct Kafka {
    log: Vec<(u64, What)>,
    transactions: BTreeMap<u64, (Status, Duration)>,
    ids: BTreeMap<String, Id>,
    pub(crate) hanging: bool,
}

/// A producer's side.
#[derive(Debug, Clone)]
pub(crate) struct Producer {
    pub(crate) id: String,
    epoch: u64,
    transaction: Option<u64>,
}

/// The producer is fenced, or its transaction is over.
#[derive(Debug, PartialEq)]
pub(crate) struct Fenced;

impl Producer {
    pub(crate) fn new(id: String) -> Self {
        Self {
            id,
            epoch: 0,
            transaction: None,
        }
    }
}

impl Kafka {
    fn set(&mut self, transaction: u64, status: Status) {
        self.transactions.get_mut(&transaction).unwrap().0 = status;
    }

    fn status(&self, transaction: u64) -> Status {
        self.transactions[&transaction].0
    }

    fn finish(&mut self, id: &str) {
        if let Some(transaction) = self.ids.entry(id.to_owned()).or_default().transaction
            && self.status(transaction) == Status::Prepared
        {
            self.set(transaction, Status::Committed);
        }
    }

    /// Markers are written at some time.
    pub(crate) fn write_markers(&mut self) {
        for (status, _) in self.transactions.values_mut() {
            if *status == Status::Prepared {
                *status = Status::Committed;
            }
        }
    }

    /// `init_transactions`. `waits`: for the markers of the transaction before.
    pub(crate) fn init(&mut self, producer: &mut Producer, waits: bool) {
        if waits {
            self.finish(&producer.id);
        }
        let id = self.ids.entry(producer.id.clone()).or_default();
        id.epoch += 1;
        producer.epoch = id.epoch;
        producer.transaction = None;
        if let Some(transaction) = id.transaction
            && self.status(transaction) == Status::Open
        {
            self.set(transaction, Status::Aborted);
        }
    }

    fn check(&self, producer: &Producer) -> Result<(), Fenced> {
        let id = self.ids.get(&producer.id).ok_or(Fenced)?;
        if id.epoch == producer.epoch {
            Ok(())
        } else {
            Err(Fenced)
        }
    }

    pub(crate) fn send(
        &mut self,
        producer: &mut Producer,
        records: Vec<What>,
        now: Duration,
    ) -> Result<(), Fenced> {
        self.check(producer)?;
        // Partitions are added when the transaction before has its markers.
        self.finish(&producer.id);
        let transaction = self.transactions.len() as u64 + 1;
        self.transactions.insert(transaction, (Status::Open, now));
        producer.transaction = Some(transaction);
        self.ids.get_mut(&producer.id).unwrap().transaction = Some(transaction);
        self.log
            .extend(records.into_iter().map(|what| (transaction, what)));
        Ok(())
    }

    pub(crate) fn alive(&self, producer: &Producer) -> Result<(), Fenced> {
        self.check(producer)
    }

    pub(crate) fn commit(&mut self, producer: &Producer) -> Result<(), Fenced> {
        self.check(producer)?;
        let transaction = producer.transaction.ok_or(Fenced)?;
        match self.status(transaction) {
            Status::Open => self.set(transaction, Status::Prepared),
            Status::Prepared | Status::Committed => {}
            Status::Aborted => return Err(Fenced),
        }
        Ok(())
    }

    pub(crate) fn abort(&mut self, producer: &Producer) -> Result<(), Fenced> {
        self.check(producer)?;
        let Some(transaction) = producer.transaction else {
            return Ok(());
        };
        match self.status(transaction) {
            Status::Open => self.set(transaction, Status::Aborted),
            Status::Aborted => {}
            Status::Prepared | Status::Committed => return Err(Fenced),
        }
        Ok(())
    }

    /// Kafka ends transactions that are open for too long, and fences their producer.
    pub(crate) fn time_out(&mut self, now: Duration, limit: Duration) {
        for id in self.ids.values_mut() {
            if let Some(transaction) = id.transaction
                && let Some((status, begun)) = self.transactions.get_mut(&transaction)
                && *status == Status::Open
                && now.saturating_sub(*begun) > limit
            {
                *status = Status::Aborted;
                id.epoch += 1;
            }
        }
    }

    /// A record outside of transactions.
    pub(crate) fn append(&mut self, what: What) {
        let transaction = self.transactions.len() as u64 + 1;
        self.transactions
            .insert(transaction, (Status::Committed, Duration::ZERO));
        self.log.push((transaction, what));
    }

    /// What a reader with `read_committed` sees: nothing behind the first record of an unfinished transaction.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &What> {
        let finished =
            |transaction: &u64| !matches!(self.status(*transaction), Status::Open | Status::Prepared);
        self.log
            .iter()
            .take_while(move |(transaction, _)| finished(transaction))
            .filter(|(transaction, _)| self.status(*transaction) == Status::Committed)
            .map(|(_, what)| what)
    }

    pub(crate) fn cursor(&self) -> Option<KafkaCursor> {
        let cursors = self.visible().filter_map(|what| match what {
            What::Cursor(cursor) => Some(cursor.clone()),
            _ => None,
        });
        cursors.last()
    }
}
