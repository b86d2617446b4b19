//! Topics: looked at, and made while nothing was ever relayed.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;

use super::watch::Watch;
use super::{KafkaLink, SLICE, fault, options};
use crate::core::{KafkaFault, Outcome, TopicsFound};
use crate::topics::{MIN_COMPACTION_LAG_MS, TOPICS, Topic};

const ADMIN_WITHIN: Duration = Duration::from_secs(4);
/// How long the brokers may take to tell each other of a new topic.
const KNOWN_AFTER: u32 = 20;

impl KafkaLink {
    /// Looks at every topic; makes the missing ones where `create` says so.
    pub fn check_topics(&self, create: bool) -> Outcome {
        let found = match self.look() {
            Outcome::Topics(TopicsFound::Missing(names)) if create => {
                if let Err(outcome) = self.create(&names) {
                    return outcome;
                }
                self.look_until_known()
            }
            found => found,
        };
        match found {
            Outcome::Topics(TopicsFound::Good) => self.look_at_policies(),
            found => found,
        }
    }

    /// Asks whether Kafka is there and the topics are as before.
    pub fn probe(&self) -> Outcome {
        self.look()
    }

    fn look_until_known(&self) -> Outcome {
        for _ in 0..KNOWN_AFTER {
            match self.look() {
                Outcome::Topics(TopicsFound::Missing(_)) => std::thread::sleep(Duration::from_millis(100)),
                found => return found,
            }
        }
        self.look()
    }

    fn look(&self) -> Outcome {
        let Some(producer) = &self.producer else {
            return Outcome::Kafka(KafkaFault::Fatal("there is no producer".to_owned()));
        };
        let mut missing = Vec::new();
        let mut differs = None;
        for topic in TOPICS {
            let wanted = topic.partitions(self.config.partitions);
            match partitions(producer.client(), topic) {
                Ok(Some(found)) if i32::try_from(found) == Ok(wanted) => {}
                Ok(Some(found)) => {
                    differs.get_or_insert(TopicsFound::Partitions {
                        topic: topic.name.to_owned(),
                        found,
                        wanted,
                    });
                }
                Ok(None) => missing.push(topic.name.to_owned()),
                Err(error) => return fault::outcome(&error, &self.watch),
            }
        }
        self.watch.answered();
        Outcome::Topics(match differs {
            _ if !missing.is_empty() => TopicsFound::Missing(missing),
            Some(differs) => differs,
            None => TopicsFound::Good,
        })
    }

    fn admin(&self) -> Result<AdminClient<Watch>, KafkaError> {
        options::admin(&self.config, &self.plant).create_with_context(self.watch.clone())
    }

    fn create(&self, names: &[String]) -> Result<(), Outcome> {
        let admin = self
            .admin()
            .map_err(|error| fault::outcome(&error, &self.watch))?;
        let missing: Vec<_> = TOPICS
            .into_iter()
            .filter(|topic| names.iter().any(|name| name == topic.name))
            .map(|topic| self.new_topic(topic))
            .collect();
        let options = AdminOptions::new()
            .request_timeout(Some(ADMIN_WITHIN))
            .operation_timeout(Some(ADMIN_WITHIN));
        let made = self.runtime.block_on(admin.create_topics(&missing, &options));
        for made in made.map_err(|error| self.refused(&error))? {
            match made {
                Ok(topic) => tracing::info!(topic, "topic made"),
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    let why = format!("topic {topic} can't be made: {code}");
                    return Err(Outcome::Kafka(match code {
                        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
                            KafkaFault::Refused(why)
                        }
                        _ => KafkaFault::Topic(why),
                    }));
                }
            }
        }
        Ok(())
    }

    fn new_topic(&self, topic: Topic) -> NewTopic<'static> {
        let copies = self.config.replication.unwrap_or(-1);
        let mut new = NewTopic::new(
            topic.name,
            topic.partitions(self.config.partitions),
            TopicReplication::Fixed(copies),
        );
        if copies >= 3 {
            // One broker may be away, and what is acknowledged lies on two disks.
            new = new.set("min.insync.replicas", "2");
        }
        if topic.compacted {
            new = new.set("cleanup.policy", "compact");
        }
        if topic.compacted && topic.data {
            new = new.set("min.compaction.lag.ms", MIN_COMPACTION_LAG_MS);
        }
        new
    }

    /// The compacted topics must be compacted. Without the right to ask it is taken as so.
    fn look_at_policies(&self) -> Outcome {
        let compacted: Vec<_> = TOPICS.into_iter().filter(|topic| topic.compacted).collect();
        let asked: Vec<_> = compacted
            .iter()
            .map(|topic| ResourceSpecifier::Topic(topic.name))
            .collect();
        let options = AdminOptions::new().request_timeout(Some(ADMIN_WITHIN));
        let described = self
            .admin()
            .and_then(|admin| self.runtime.block_on(admin.describe_configs(&asked, &options)));
        let described = match described {
            Ok(described) => described,
            Err(error) => {
                tracing::debug!(%error, "the topics' settings can't be asked for");
                return Outcome::Topics(TopicsFound::Good);
            }
        };
        for (topic, described) in compacted.iter().zip(described) {
            let Ok(described) = described else { continue };
            let value = |name: &str| described.get(name).and_then(|entry| entry.value.clone());
            tracing::debug!(
                topic = topic.name,
                min_insync_replicas = value("min.insync.replicas"),
                "topic looked at"
            );
            if let Some(policy) = value("cleanup.policy").filter(|policy| !policy.contains("compact")) {
                return Outcome::Topics(TopicsFound::NotCompacted {
                    topic: topic.name.to_owned(),
                    policy,
                });
            }
        }
        Outcome::Topics(TopicsFound::Good)
    }

    fn refused(&self, error: &KafkaError) -> Outcome {
        match error {
            KafkaError::AdminOp(Code::OperationTimedOut | Code::BrokerTransportFailure) => {
                Outcome::Pending(self.watch.trouble())
            }
            error => Outcome::Kafka(KafkaFault::Topic(format!("topics can't be made: {error}"))),
        }
    }
}

/// Partitions of a topic; `None` where it does not exist.
fn partitions(client: &Client<Watch>, topic: Topic) -> Result<Option<usize>, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic.name), SLICE)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic.name) else {
        return Ok(None);
    };
    match found.error().map(Code::from) {
        None => Ok(Some(found.partitions().len())),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
    }
}
