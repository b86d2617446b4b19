//! What a `read_committed` consumer reads of a load's events, from the moment at which it begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::history::hash;
use crate::records::{Record, TOPICS};

const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// Why Kafka can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No client.
    #[error("no client of Kafka at {brokers}")]
    Client {
        /// The address.
        brokers: String,
        /// What the client says.
        #[source]
        source: KafkaError,
    },
    /// No answer about a topic.
    #[error("Kafka does not tell of {topic}; does the server's relay run there, and is the address right?")]
    Topic {
        /// The topic.
        topic: &'static str,
        /// What the client says.
        #[source]
        source: KafkaError,
    },
    /// There is no such topic.
    #[error("Kafka has no topic {topic}; the server makes it when kafka.create_topics is on")]
    Missing {
        /// The topic.
        topic: &'static str,
    },
    /// A header is missing or can't be read.
    #[error("{at} has no header {header} that can be read")]
    Header {
        /// Topic, partition and offset.
        at: String,
        /// Its name.
        header: &'static str,
    },
    /// The reading thread can't be started, or panicked.
    #[error("the reader of Kafka has ended by itself")]
    Thread,
}

/// The next offset of each partition at one moment.
#[derive(Debug, Clone)]
pub struct Mark {
    ends: Vec<(&'static str, i32, i64)>,
}

/// A consumer on a thread of its own.
#[derive(Debug)]
pub struct Reader {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Record>, ReadError>>,
}

fn client(brokers: &str) -> Result<BaseConsumer, ReadError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("broker.address.family", "v4")
        .set("group.id", "vds-loadtest")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("queued.max.messages.kbytes", "32768");
    config.create().map_err(|source| ReadError::Client {
        brokers: brokers.to_owned(),
        source,
    })
}

/// Where the topics end now. Blocks for up to 20 s per topic.
///
/// # Errors
/// When Kafka does not answer, or a topic is missing.
pub fn mark(brokers: &str) -> Result<Mark, ReadError> {
    let consumer = client(brokers)?;
    let mut ends = Vec::new();
    for topic in TOPICS {
        let failed = |source| ReadError::Topic { topic, source };
        let metadata = consumer
            .fetch_metadata(Some(topic), ANSWER_WITHIN)
            .map_err(failed)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found
            .map(rdkafka::metadata::MetadataTopic::partitions)
            .unwrap_or_default();
        if partitions.is_empty() {
            return Err(ReadError::Missing { topic });
        }
        for partition in partitions {
            let id = partition.id();
            let (_, end) = consumer
                .fetch_watermarks(topic, id, ANSWER_WITHIN)
                .map_err(failed)?;
            ends.push((topic, id, end));
        }
    }
    Ok(Mark { ends })
}

impl Reader {
    /// Reads from a mark on: the records of this plant whose bench's name begins with `prefix`.
    ///
    /// # Errors
    /// When there is no client.
    pub fn start(brokers: &str, mark: &Mark, plant: &str, prefix: &str) -> Result<Self, ReadError> {
        let consumer = client(brokers)?;
        let mut assigned = TopicPartitionList::new();
        for (topic, partition, end) in &mark.ends {
            let failed = |source| ReadError::Topic { topic, source };
            assigned
                .add_partition_offset(topic, *partition, Offset::Offset(*end))
                .map_err(failed)?;
        }
        consumer.assign(&assigned).map_err(|source| ReadError::Topic {
            topic: TOPICS[0],
            source,
        })?;
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (Arc::clone(&count), Arc::clone(&stop));
        let mut filter = Filter {
            plant: plant.to_owned(),
            prefix: prefix.to_owned(),
            texts: HashMap::new(),
        };
        let read = move || {
            let mut records = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                // The client tries again by itself; what it can't have is missing in the books.
                let Some(Ok(message)) = consumer.poll(POLL) else {
                    continue;
                };
                if let Some(record) = filter.record(&message)? {
                    records.push(record);
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(records)
        };
        let thread = std::thread::Builder::new()
            .name("read-kafka".to_owned())
            .spawn(read);
        Ok(Self {
            count,
            stop,
            thread: thread.map_err(|_| ReadError::Thread)?,
        })
    }

    /// Records so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends it and gives what was read: of each partition in the order of its offsets.
    ///
    /// # Errors
    /// When a record is not as documented.
    pub fn end(self) -> Result<Vec<Record>, ReadError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut records = self.thread.join().map_err(|_| ReadError::Thread)??;
        records.sort_by_key(|record| (record.topic, record.partition, record.offset));
        Ok(records)
    }
}

struct Filter {
    plant: String,
    prefix: String,
    /// Names that come again and again.
    texts: HashMap<String, Arc<str>>,
}

impl Filter {
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let fresh: Arc<str> = text.into();
        self.texts.insert(text.to_owned(), Arc::clone(&fresh));
        fresh
    }

    fn record(&mut self, message: &BorrowedMessage<'_>) -> Result<Option<Record>, ReadError> {
        let came = Instant::now();
        let topic = TOPICS.iter().position(|topic| *topic == message.topic());
        let (Some(topic), Some(headers)) = (topic, message.headers()) else {
            return Ok(None);
        };
        let text = |name: &str| {
            let header = headers.iter().find(|header| header.key == name)?;
            std::str::from_utf8(header.value?).ok()
        };
        let (Some(plant), Some(device)) = (text("plant"), text("device")) else {
            return Ok(None);
        };
        if plant != self.plant || !device.starts_with(&self.prefix) {
            return Ok(None);
        }
        let missing = |header| ReadError::Header {
            at: format!("{}-{}@{}", message.topic(), message.partition(), message.offset()),
            header,
        };
        let spool = text("spool")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| missing("spool"))?;
        let seq = text("seq")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| missing("seq"))?;
        let id = text("event_id")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| missing("event_id"))?;
        let key = String::from_utf8_lossy(message.key().unwrap_or_default());
        let lane = format!("{} {key}", message.topic());
        Ok(Some(Record {
            device: self.text(device),
            spool,
            seq,
            id,
            hash: hash(message.payload().unwrap_or_default()),
            lane: self.text(&lane),
            topic,
            partition: message.partition(),
            offset: message.offset(),
            came,
            timestamp_ms: message.timestamp().to_millis(),
        }))
    }
}
