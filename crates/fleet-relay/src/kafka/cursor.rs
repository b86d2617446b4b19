//! The cursor, read back.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::watch::Watch;
use super::{KafkaLink, fault, options};
use crate::KafkaCursor;
use crate::core::{KafkaFault, Outcome};
use crate::topics::RELAY_CURSOR;

/// How far from the end is looked first; each time four times as far.
const FIRST_LOOK: i64 = 4;
const READ_WITHIN: Duration = Duration::from_secs(3);

impl KafkaLink {
    /// Reads the plant's newest committed cursor. To be called after [`KafkaLink::init`] only.
    pub fn read_cursor(&self) -> Outcome {
        match self.newest_cursor() {
            Ok(cursor) => {
                self.watch.answered();
                Outcome::Cursor(cursor)
            }
            Err(outcome) => outcome,
        }
    }

    fn newest_cursor(&self) -> Result<Option<KafkaCursor>, Outcome> {
        let watched = |error: KafkaError| fault::outcome(&error, &self.watch);
        let options = options::reader(&self.config, &self.plant);
        let consumer: BaseConsumer<Watch> =
            options.create_with_context(self.watch.clone()).map_err(watched)?;
        let (low, high) = self.ends(&self.uncommitted()?, &consumer, RELAY_CURSOR, 0)?;
        let end = Instant::now() + READ_WITHIN;
        let mut back = FIRST_LOOK;
        loop {
            let from = low.max(high.saturating_sub(back));
            let found = self.last_between(&consumer, from, high, end)?;
            // Markers, aborted records and other plants' cursors take offsets as well.
            if found.is_some() || from <= low {
                return Ok(found);
            }
            back = back.saturating_mul(4);
        }
    }

    fn last_between(
        &self,
        consumer: &BaseConsumer<Watch>,
        from: i64,
        high: i64,
        end: Instant,
    ) -> Result<Option<KafkaCursor>, Outcome> {
        if from >= high {
            return Ok(None);
        }
        let watched = |error: KafkaError| fault::outcome(&error, &self.watch);
        let mut place = TopicPartitionList::new();
        place
            .add_partition_offset(RELAY_CURSOR, 0, Offset::Offset(from))
            .map_err(watched)?;
        consumer.assign(&place).map_err(watched)?;
        let key = KafkaCursor::key(&self.plant);
        let mut last = None;
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    if message.key() == Some(key.as_bytes()) {
                        let value = message.payload().unwrap_or_default();
                        let read = KafkaCursor::from_bytes(value, message.offset());
                        last = Some(read);
                    }
                    if message.offset() + 1 >= high {
                        break;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => return Err(watched(error)),
                None if Instant::now() >= end => return Err(Outcome::Pending(self.watch.trouble())),
                None => {}
            }
        }
        last.transpose().map_err(|bad| {
            let detail = format!(
                "{bad}: {}",
                std::error::Error::source(&bad)
                    .map(ToString::to_string)
                    .unwrap_or_default()
            );
            Outcome::Kafka(KafkaFault::BadCursor(detail))
        })
    }
}
