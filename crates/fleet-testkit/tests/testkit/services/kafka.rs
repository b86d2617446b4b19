//! Apache Kafka.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use fleet_testkit::services::{Credentials, Kafka, KafkaOptions, KafkaReader};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use tempfile::TempDir;

use super::{folder, took};

const WITHIN: Duration = Duration::from_secs(20);
type Sender = ThreadedProducer<rdkafka::producer::DefaultProducerContext>;

async fn start(folder: &TempDir) -> Kafka {
    Kafka::start(folder.path(), KafkaOptions::default())
        .await
        .expect("Kafka starts")
}

fn sender(kafka: &Kafka, transactional_id: &str) -> Sender {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap())
        .set("broker.address.family", "v4")
        .set("transactional.id", transactional_id);
    let sender: Sender = config.create().expect("a producer");
    sender.init_transactions(WITHIN).expect("a transactional id");
    sender
}

/// Sends `key: value` pairs with a header in a transaction, and leaves it open.
fn send(sender: &Sender, topic: &str, pairs: &[(&str, &str)]) {
    sender.begin_transaction().expect("begun");
    for (key, value) in pairs {
        let headers = OwnedHeaders::new().insert(Header {
            key: "plant",
            value: Some("demo"),
        });
        let record = BaseRecord::to(topic).key(*key).payload(*value).headers(headers);
        sender.send(record).map_err(|(error, _)| error).expect("queued");
    }
    sender.flush(WITHIN).expect("sent");
}

fn values(records: &[fleet_testkit::services::KafkaRecord]) -> Vec<String> {
    let value =
        |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    records.iter().map(|record| value(&record.value)).collect()
}

#[tokio::test]
async fn committed_records_are_read_once_and_outlive_sigkill_and_an_orderly_end() {
    let folder = folder();
    let begin = Instant::now();
    let mut kafka = start(&folder).await;
    took("Kafka start, new folder", begin);
    kafka.create_topic("t", 1, &[]).await.expect("a topic");
    let mut reader = kafka.consumer(&["t"]);
    assert_eq!(reader.read(WITHIN).await.expect("an empty topic has an end"), []);

    let producer = sender(&kafka, "one");
    send(&producer, "t", &[("k", "1"), ("k", "2")]);
    assert_eq!(reader.read(WITHIN).await.expect("read"), [], "not committed yet");
    let open = kafka
        .consumer(&["t"])
        .uncommitted()
        .read(WITHIN)
        .await
        .expect("read");
    assert_eq!(values(&open), ["1", "2"]);
    producer.commit_transaction(WITHIN).expect("committed");
    send(&producer, "t", &[("k", "never")]);
    producer.abort_transaction(WITHIN).expect("aborted");
    drop(producer);
    let read = reader.read(WITHIN).await.expect("read");
    assert_eq!(values(&read), ["1", "2"]);
    assert_eq!(read[0].key.as_deref(), Some("k"));
    assert_eq!(read[0].header("plant"), Some("demo"));
    assert_eq!((read[0].partition, read[0].offset), (0, 0));
    assert!(read[0].timestamp_ms.is_some());
    assert_eq!(reader.read(WITHIN).await.expect("read"), [], "each once");

    let begin = Instant::now();
    kafka.kill().expect("killed");
    took("Kafka kill -9", begin);
    assert!(TcpStream::connect(kafka.address()).is_err(), "nobody listens");
    let begin = Instant::now();
    kafka.restart().await.expect("it starts");
    took("Kafka restart after kill -9", begin);
    let mut all = kafka.consumer(&["t"]);
    assert_eq!(values(&all.read(WITHIN).await.expect("read")), ["1", "2"]);

    let begin = Instant::now();
    kafka.stop().await.expect("it ends in order");
    took("Kafka orderly stop", begin);
    let begin = Instant::now();
    kafka.restart().await.expect("it starts");
    took("Kafka restart after orderly stop", begin);
    let producer = sender(&kafka, "one");
    send(&producer, "t", &[("k", "3")]);
    producer.commit_transaction(WITHIN).expect("committed");
    assert_eq!(
        values(&all.read(WITHIN).await.expect("read")),
        ["3"],
        "it goes on where it was"
    );
}

#[tokio::test]
async fn topics_are_made_and_changed_and_a_missing_one_is_an_error() {
    let folder = folder();
    let kafka = start(&folder).await;
    kafka
        .create_topic("t", 3, &[("cleanup.policy", "compact")])
        .await
        .expect("a topic");
    assert!(kafka.create_topic("t", 3, &[]).await.is_err(), "there is one");
    kafka.set_partitions("t", 5).await.expect("more partitions");
    kafka
        .alter_topic("t", &[("max.message.bytes", "2000")])
        .await
        .expect("changed");
    let topics = kafka.topics().await.expect("topics");
    assert_eq!(topics.into_iter().collect::<Vec<_>>(), [("t".to_owned(), 5)]);
    kafka.delete_topic("t").await.expect("removed");
    let missing = kafka.consumer(&["t"]).read(Duration::from_secs(1)).await;
    let error = missing.expect_err("it is gone").to_string();
    assert!(error.contains("no topic t"), "{error}");
}

#[tokio::test]
async fn a_frozen_broker_is_silent_and_a_thawed_one_answers() {
    let folder = folder();
    let mut kafka = start(&folder).await;
    kafka.create_topic("t", 1, &[]).await.expect("a topic");
    kafka.freeze().expect("frozen");
    let asked = kafka.consumer(&["t"]).read(Duration::from_secs(1)).await;
    assert!(asked.is_err());
    kafka.thaw().expect("thawed");
    kafka.consumer(&["t"]).read(WITHIN).await.expect("it answers");
}

#[tokio::test]
async fn a_user_is_let_in_with_its_password_alone() {
    let folder = folder();
    let options = KafkaOptions {
        user: Some(Credentials::new("fleet", "right")),
        ..KafkaOptions::default()
    };
    let kafka = Kafka::start(folder.path(), options).await.expect("Kafka starts");
    kafka.create_topic("t", 1, &[]).await.expect("a topic");
    for (user, let_in) in [
        (Some(Credentials::new("fleet", "right")), true),
        (Some(Credentials::new("fleet", "wrong")), false),
        (None, false),
    ] {
        let mut reader = KafkaReader::new(&kafka.bootstrap(), user.as_ref(), &["t"]);
        let within = if let_in { WITHIN } else { Duration::from_secs(2) };
        let read = reader.read(within).await;
        assert_eq!(read.is_ok(), let_in, "{user:?}: {read:?}");
    }
}
