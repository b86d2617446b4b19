//! What a consumer of Kafka sees, and the topics of a broker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{Credentials, Kafka};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A record as a consumer gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaRecord {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset within the partition; not every offset is a record.
    pub offset: i64,
    /// The producer's time in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// The key, as text.
    pub key: Option<String>,
    /// The headers in their order, as text.
    pub headers: Vec<(String, String)>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl KafkaRecord {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        let value = self.value.as_deref().unwrap_or_default();
        serde_json::from_slice(value)
            .with_context(|| format!("{}/{} at {} is no JSON", self.topic, self.partition, self.offset))
    }
}

/// A consumer outside all groups, which reads each partition from its begin and remembers how far it has read.
#[derive(Debug, Clone)]
pub struct KafkaReader {
    config: ClientConfig,
    topics: Vec<String>,
    next: BTreeMap<(String, i32), i64>,
}

impl KafkaReader {
    /// A reader of committed records only (`read_committed`).
    pub fn new(bootstrap: &str, user: Option<&Credentials>, topics: &[&str]) -> Self {
        let mut config = client(bootstrap, user);
        config
            .set("group.id", "vds-fleet-testkit")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed");
        Self {
            config,
            topics: topics.iter().map(ToString::to_string).collect(),
            next: BTreeMap::new(),
        }
    }

    /// Reads records of open and aborted transactions as well.
    #[must_use]
    pub fn uncommitted(mut self) -> Self {
        self.config.set("isolation.level", "read_uncommitted");
        self
    }

    /// Reads what has come since the last call, to the end of every partition: of each partition in its order.
    ///
    /// A record behind an open transaction is not at the end: it comes with a later call.
    ///
    /// # Errors
    /// When a topic does not exist or not every end is reached `within` the time; the next call goes on from the
    /// same place.
    pub async fn read(&mut self, within: Duration) -> anyhow::Result<Vec<KafkaRecord>> {
        let mut this = self.clone();
        let (read, next) = tokio::task::spawn_blocking(move || {
            let read = this.read_blocking(within);
            read.map(|read| (read, this.next))
        })
        .await
        .context("reading was cut off")??;
        self.next = next;
        Ok(read)
    }

    /// Reads on until `enough` says so; gives everything that was read.
    ///
    /// # Errors
    /// When it is not enough `within` the time; with the number of records.
    pub async fn read_until(
        &mut self,
        within: Duration,
        mut enough: impl FnMut(&[KafkaRecord]) -> bool,
    ) -> anyhow::Result<Vec<KafkaRecord>> {
        let end = Instant::now() + within;
        let mut all = Vec::new();
        loop {
            all.extend(
                self.read(end.saturating_duration_since(Instant::now()).max(LOOK_EVERY))
                    .await?,
            );
            if enough(&all) {
                return Ok(all);
            }
            if Instant::now() > end {
                bail!(
                    "not enough in {} within {} s: {} records",
                    self.topics.join(", "),
                    within.as_secs_f32(),
                    all.len()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn read_blocking(&mut self, within: Duration) -> anyhow::Result<Vec<KafkaRecord>> {
        let end = Instant::now() + within;
        let consumer: BaseConsumer = self.config.create().context("no consumer")?;
        let mut open = TopicPartitionList::new();
        for topic in &self.topics {
            for partition in partitions(&consumer, topic, end)? {
                let next = self.next.get(&(topic.clone(), partition));
                let offset = next.map_or(Offset::Beginning, |next| Offset::Offset(*next));
                open.add_partition_offset(topic, partition, offset)
                    .context("cannot name an offset")?;
            }
        }
        consumer.assign(&open).context("cannot assign the partitions")?;
        let mut records: Vec<KafkaRecord> = Vec::new();
        let mut ended = Vec::new();
        while ended.len() < open.count() {
            match consumer.poll(LOOK_EVERY) {
                Some(Ok(message)) => records.push(record(&message)),
                // It is said once more when more came after the first time.
                Some(Err(KafkaError::PartitionEOF(partition))) => ended.push(partition),
                // The client tries again by itself.
                Some(Err(_)) | None if Instant::now() < end => {}
                Some(Err(error)) => return Err(error).context("cannot read"),
                None => bail!(
                    "the end of {} of {} partitions of {} not within {} s",
                    open.count() - ended.len(),
                    open.count(),
                    self.topics.join(", "),
                    within.as_secs_f32()
                ),
            }
        }
        for record in &records {
            self.next
                .insert((record.topic.clone(), record.partition), record.offset + 1);
        }
        Ok(records)
    }
}

/// The partitions of a topic, as soon as the broker answers.
fn partitions(consumer: &BaseConsumer, topic: &str, end: Instant) -> anyhow::Result<Vec<i32>> {
    loop {
        let left = end.saturating_duration_since(Instant::now()).max(LOOK_EVERY);
        let answer = consumer.fetch_metadata(Some(topic), left.min(Duration::from_secs(2)));
        let known = answer
            .as_ref()
            .ok()
            .and_then(|metadata| metadata.topics().first());
        if let Some(known) = known
            && known.error().is_none()
            && !known.partitions().is_empty()
        {
            return Ok(known
                .partitions()
                .iter()
                .map(rdkafka::metadata::MetadataPartition::id)
                .collect());
        }
        if Instant::now() > end {
            let refused = known.and_then(|known| known.error().map(|error| format!("{error:?}")));
            answer.with_context(|| format!("no answer about {topic}"))?;
            bail!(
                "there is no topic {topic} ({})",
                refused.unwrap_or_else(|| "no partitions".to_owned())
            );
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> KafkaRecord {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    KafkaRecord {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(text),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.map(text).unwrap_or_default()))
            .collect(),
        value: message.payload().map(<[u8]>::to_vec),
    }
}

fn client(bootstrap: &str, user: Option<&Credentials>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        // A broker that is started again is found again at once.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("allow.auto.create.topics", "false");
    if let Some(user) = user {
        config
            .set("security.protocol", "sasl_plaintext")
            .set("sasl.mechanism", "PLAIN")
            .set("sasl.username", &user.username)
            .set("sasl.password", &user.password);
    }
    config
}

impl Kafka {
    /// A `read_committed` reader of these topics.
    pub fn consumer(&self, topics: &[&str]) -> KafkaReader {
        KafkaReader::new(&self.bootstrap(), self.options.user.as_ref(), topics)
    }

    /// Makes a topic with settings such as `("cleanup.policy", "compact")`.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings
            .iter()
            .fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = self.admin()?.create_topics([&topic], &answer_soon()).await;
        fine(made.context("no answer to the creation of a topic")?)
    }

    /// Removes a topic and its records.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn delete_topic(&self, name: &str) -> anyhow::Result<()> {
        let gone = self.admin()?.delete_topics(&[name], &answer_soon()).await;
        fine(gone.context("no answer to the removal of a topic")?)
    }

    /// Raises the number of partitions of a topic to this one; the keys move.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn set_partitions(&self, name: &str, partitions: usize) -> anyhow::Result<()> {
        let more = NewPartitions::new(name, partitions);
        let done = self.admin()?.create_partitions([&more], &answer_soon()).await;
        fine(done.context("no answer to new partitions")?)
    }

    /// Replaces all settings of a topic by these.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn alter_topic(&self, name: &str, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let alter = AlterConfig::new(ResourceSpecifier::Topic(name));
        let alter = settings
            .iter()
            .fold(alter, |alter, (key, value)| alter.set(key, value));
        let done = self.admin()?.alter_configs([&alter], &answer_soon()).await;
        for answer in done.context("no answer to new settings")? {
            if let Err((_, code)) = answer {
                bail!("{name}: {code}");
            }
        }
        Ok(())
    }

    /// The names of all topics but Kafka's own, with their number of partitions.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn topics(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let config = client(&self.bootstrap(), self.options.user.as_ref());
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().context("no client")?;
            let all = consumer
                .fetch_metadata(None, ANSWER_WITHIN)
                .context("no answer about topics")?;
            let ours = all
                .topics()
                .iter()
                .filter(|topic| !topic.name().starts_with("__"));
            Ok(ours
                .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
                .collect())
        })
        .await
        .context("the question was cut off")?
    }

    fn admin(&self) -> anyhow::Result<AdminClient<DefaultClientContext>> {
        client(&self.bootstrap(), self.options.user.as_ref())
            .create()
            .context("no client")
    }
}

fn answer_soon() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ANSWER_WITHIN))
        .operation_timeout(Some(ANSWER_WITHIN))
}

fn fine(answers: Vec<Result<String, (String, rdkafka::types::RDKafkaErrorCode)>>) -> anyhow::Result<()> {
    for answer in answers {
        if let Err((topic, code)) = answer {
            bail!("{topic}: {code}");
        }
    }
    Ok(())
}
