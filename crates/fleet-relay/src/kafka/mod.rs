//! The adapter to Kafka on librdkafka: carries out the core's steps and reads what a reconciliation needs.
//!
//! Every call blocks, for about a second at most: what takes longer is [`Outcome::Pending`] and is asked again,
//! so that the lease can be renewed in between. Traps of the library that this keeps clear of:
//! - Its Rust wrapper's `flush` waits in steps of 100 ms: a threaded producer handles the reports, and
//!   `in_flight_count` is watched in steps of 1 ms before the commit.
//! - `socket.timeout.ms` may be at most `transaction.timeout.ms` + 100.
//! - With default time-outs a broker that hangs is silent for a minute.
//! - The marker of a commit takes an offset: the last record is not at the end minus one.
//! - An open transaction of another plant hides what this one has committed (see `ends`).
//! - The default partitioner is not that of other clients: `murmur2_random` is.

mod cursor;
mod ends;
mod fault;
mod options;
mod scan;
mod topics;
mod watch;

use std::time::{Duration, Instant};

use fleet_domain::PlantId;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use tokio::runtime::Handle;

use crate::core::{KafkaFault, Outcome};
use crate::{KafkaConfig, KafkaCursor, topics as names};
use watch::Watch;

pub use scan::Scanned;

/// Longest time of one call.
const SLICE: Duration = Duration::from_secs(1);
/// An answer that says "again" is not asked for again sooner.
const AGAIN: Duration = Duration::from_millis(100);

/// A record that goes out.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition; `None`: by the key.
    pub partition: Option<i32>,
    /// Key.
    pub key: &'a str,
    /// Headers in their order.
    pub headers: &'a [(&'static str, String)],
    /// Value.
    pub value: &'a [u8],
}

/// The connection to Kafka of one plant's relay.
pub struct KafkaLink {
    plant: PlantId,
    config: KafkaConfig,
    runtime: Handle,
    watch: Watch,
    producer: Option<ThreadedProducer<Watch>>,
}

impl std::fmt::Debug for KafkaLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLink")
            .field("plant", &self.plant)
            .field("config", &self.config)
            .field("producer", &self.producer.is_some())
            .finish_non_exhaustive()
    }
}

impl KafkaLink {
    /// A link without a connection. `runtime` carries the administrative requests.
    pub fn new(plant: PlantId, config: KafkaConfig, runtime: Handle) -> Self {
        Self {
            plant,
            config,
            runtime,
            watch: Watch::default(),
            producer: None,
        }
    }

    /// Makes a producer.
    pub fn connect(&mut self) -> Outcome {
        self.producer = None;
        self.watch = Watch::default();
        let options = options::producer(&self.config, &self.plant);
        match options.create_with_context::<_, ThreadedProducer<Watch>>(self.watch.clone()) {
            Ok(producer) => {
                self.producer = Some(producer);
                Outcome::Done
            }
            // A file that can't be read, an option that does not exist: nothing was asked of Kafka yet.
            Err(error) => Outcome::Kafka(KafkaFault::Refused(error.to_string())),
        }
    }

    /// Drops the producer. Takes up to a second or so.
    pub fn disconnect(&mut self) -> Outcome {
        self.producer = None;
        Outcome::Done
    }

    fn with(&self, call: impl FnOnce(&ThreadedProducer<Watch>) -> Result<(), KafkaError>) -> Outcome {
        let Some(producer) = &self.producer else {
            return Outcome::Kafka(KafkaFault::Fatal("there is no producer".to_owned()));
        };
        let begun = Instant::now();
        match call(producer) {
            Ok(()) => {
                self.watch.answered();
                Outcome::Done
            }
            Err(error) => {
                let outcome = fault::outcome(&error, &self.watch);
                if matches!(outcome, Outcome::Pending(_)) {
                    std::thread::sleep(AGAIN.saturating_sub(begun.elapsed()));
                }
                outcome
            }
        }
    }

    /// `init_transactions`: fences every other producer of this plant's relay and ends its transaction.
    pub fn init(&self) -> Outcome {
        self.with(|producer| producer.init_transactions(SLICE))
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Outcome {
        self.watch.begin();
        self.with(rdkafka::producer::Producer::begin_transaction)
    }

    /// Gives a record to the producer.
    ///
    /// # Errors
    /// What the producer says at once; the transaction is then to be aborted.
    pub fn send(&self, record: &Outgoing<'_>) -> Result<(), Outcome> {
        let Some(producer) = &self.producer else {
            return Err(Outcome::Kafka(KafkaFault::Fatal(
                "there is no producer".to_owned(),
            )));
        };
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in record.headers {
            headers = headers.insert(Header {
                key,
                value: Some(value.as_bytes()),
            });
        }
        let mut outgoing = BaseRecord::to(record.topic)
            .key(record.key)
            .payload(record.value)
            .headers(headers);
        if let Some(partition) = record.partition {
            outgoing = outgoing.partition(partition);
        }
        let end = Instant::now() + SLICE;
        loop {
            match producer.send(outgoing) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record))
                    if Instant::now() < end =>
                {
                    outgoing = record;
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err((error, _)) => return Err(fault::of_send(&error)),
            }
        }
    }

    /// Gives the plant's cursor to the producer.
    ///
    /// # Errors
    /// As [`KafkaLink::send`].
    pub fn send_cursor(&self, cursor: &KafkaCursor) -> Result<(), Outcome> {
        self.send(&Outgoing {
            topic: names::RELAY_CURSOR,
            partition: Some(0),
            key: &KafkaCursor::key(&self.plant),
            headers: &[],
            value: &cursor.to_bytes(),
        })
    }

    /// Waits until every record of the transaction is acknowledged.
    pub fn drain(&self) -> Outcome {
        let end = Instant::now() + SLICE;
        let Some(producer) = &self.producer else {
            return Outcome::Kafka(KafkaFault::Fatal("there is no producer".to_owned()));
        };
        loop {
            if let Some(fault) = self.watch.failed() {
                return Outcome::Kafka(fault);
            }
            if producer.in_flight_count() == 0 {
                self.watch.answered();
                return Outcome::Done;
            }
            if Instant::now() >= end {
                return Outcome::Pending(self.watch.trouble());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Commits the transaction; to be called again after [`Outcome::Pending`].
    pub fn commit(&self) -> Outcome {
        self.with(|producer| producer.commit_transaction(SLICE))
    }

    /// Aborts the transaction; to be called again after [`Outcome::Pending`].
    pub fn abort(&self) -> Outcome {
        self.with(|producer| producer.abort_transaction(SLICE))
    }
}
