//! What Kafka holds, for a reconciliation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fleet_domain::{DeviceId, Seq, SpoolId};
use fleet_store::KafkaHigh;
use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::watch::Watch;
use super::{KafkaLink, fault, options};
use crate::core::Outcome;
use crate::record::Standing;
use crate::topics::Topic;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Nothing read for so long: Kafka does not answer.
const SILENT: Duration = Duration::from_secs(30);

/// What was found.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Records of this plant's benches.
    pub records: u64,
    /// Records of other plants, and records that no relay wrote.
    pub others: u64,
    highs: BTreeMap<(DeviceId, SpoolId), Seq>,
}

impl Scanned {
    /// The highest position of each spool.
    pub fn highs(&self) -> Vec<KafkaHigh> {
        self.highs
            .iter()
            .map(|((device, spool), seq)| KafkaHigh {
                device: device.clone(),
                spool: *spool,
                seq: *seq,
            })
            .collect()
    }

    fn take(&mut self, standing: Option<Standing>, plant: &fleet_domain::PlantId) {
        let Some(place) = standing.filter(|of| of.plant == *plant).and_then(|of| of.place) else {
            self.others += 1;
            return;
        };
        self.records += 1;
        let high = self.highs.entry((place.device, place.spool)).or_default();
        *high = place.seq.max(*high);
    }
}

impl KafkaLink {
    /// Reads a topic with `read_committed` from a time on (`None`: from its begin) to its end.
    ///
    /// `alive` is called each second or so; an error of it ends the reading.
    ///
    /// # Errors
    /// What Kafka says, or `alive`.
    pub fn scan(
        &self,
        topic: Topic,
        from: Option<Timestamp>,
        into: &mut Scanned,
        alive: &mut dyn FnMut() -> Result<(), Outcome>,
    ) -> Result<(), Outcome> {
        let watched = |error: KafkaError| fault::outcome(&error, &self.watch);
        let options = options::reader(&self.config, &self.plant);
        let consumer: BaseConsumer<Watch> =
            options.create_with_context(self.watch.clone()).map_err(watched)?;
        self.wait_for_ends(&consumer, topic, alive)?;
        let places = self.places(&consumer, topic, from)?;
        let mut open: BTreeSet<i32> = places
            .elements()
            .iter()
            .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
            .collect();
        consumer.assign(&places).map_err(watched)?;
        let (mut asked, mut heard) = (Instant::now(), Instant::now());
        while !open.is_empty() {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    into.take(standing(&message), &self.plant);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    open.remove(&partition);
                }
                Some(Err(error)) => match watched(error) {
                    Outcome::Pending(_) => {}
                    outcome => return Err(outcome),
                },
                None => {}
            }
            if heard.elapsed() > SILENT {
                return Err(Outcome::Pending(self.watch.trouble()));
            }
            if asked.elapsed() > Duration::from_secs(1) {
                asked = Instant::now();
                alive()?;
            }
        }
        Ok(())
    }

    /// From here on a reader of committed records gets everything that this plant has committed.
    fn wait_for_ends(
        &self,
        consumer: &BaseConsumer<Watch>,
        topic: Topic,
        alive: &mut dyn FnMut() -> Result<(), Outcome>,
    ) -> Result<(), Outcome> {
        let (uncommitted, begun) = (self.uncommitted()?, Instant::now());
        for partition in 0..topic.partitions(self.config.partitions) {
            loop {
                match self.ends(&uncommitted, consumer, topic.name, partition) {
                    Ok(_) => break,
                    Err(Outcome::Pending(_)) if begun.elapsed() < SILENT => alive()?,
                    Err(outcome) => return Err(outcome),
                }
            }
        }
        Ok(())
    }

    /// A partition whose retention has taken records away that were written after a time (`None`: ever), if there
    /// is one. Where it can't be told it counts as so.
    ///
    /// # Errors
    /// What Kafka says.
    pub fn begins_late(&self, topic: Topic, from: Option<Timestamp>) -> Result<Option<i32>, Outcome> {
        let watched = |error: KafkaError| fault::outcome(&error, &self.watch);
        if topic.compacted {
            return Ok(None);
        }
        let options = options::reader(&self.config, &self.plant);
        let consumer: BaseConsumer<Watch> =
            options.create_with_context(self.watch.clone()).map_err(watched)?;
        for place in self.places(&consumer, topic, from)?.elements() {
            let (low, _) = consumer
                .fetch_watermarks(topic.name, place.partition(), ANSWER_WITHIN)
                .map_err(watched)?;
            let at_begin =
                matches!(place.offset(), Offset::Beginning) || place.offset() == Offset::Offset(low);
            if low > 0 && at_begin {
                return Ok(Some(place.partition()));
            }
        }
        Ok(None)
    }

    fn places(
        &self,
        consumer: &BaseConsumer<Watch>,
        topic: Topic,
        from: Option<Timestamp>,
    ) -> Result<TopicPartitionList, Outcome> {
        let watched = |error: KafkaError| fault::outcome(&error, &self.watch);
        let mut places = TopicPartitionList::new();
        for partition in 0..topic.partitions(self.config.partitions) {
            let offset = match from {
                Some(time) => Offset::Offset(time.as_millisecond()),
                None => Offset::Beginning,
            };
            places
                .add_partition_offset(topic.name, partition, offset)
                .map_err(watched)?;
        }
        if from.is_none() {
            return Ok(places);
        }
        consumer.offsets_for_times(places, ANSWER_WITHIN).map_err(watched)
    }
}

fn standing(message: &BorrowedMessage<'_>) -> Option<Standing> {
    let headers = message.headers()?;
    Standing::of(
        headers
            .iter()
            .filter_map(|header| Some((header.key, header.value?))),
    )
}
