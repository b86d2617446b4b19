//! Where a partition ends for a reader of committed records.
//!
//! `read_committed` ends at the last stable offset: before the oldest open transaction of anybody who writes to the
//! partition, and the relays of other plants do. What this plant has committed may lie behind it, and would be relayed
//! again. So the end is asked without `read_committed` first, and then waited for.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::watch::Watch;
use super::{KafkaLink, SLICE, fault, options};
use crate::core::{Outcome, Trouble, TroubleKind};

const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl KafkaLink {
    /// A client that asks where partitions really end.
    pub(super) fn uncommitted(&self) -> Result<BaseConsumer<Watch>, Outcome> {
        let mut options = options::reader(&self.config, &self.plant);
        options.set("isolation.level", "read_uncommitted");
        let made = options.create_with_context(self.watch.clone());
        made.map_err(|error| fault::outcome(&error, &self.watch))
    }

    /// Begin and end of a partition, such that a reader of committed records up to the end misses nothing that is
    /// committed now.
    ///
    /// # Errors
    /// [`Outcome::Pending`] while somebody's transaction is open before the end; Kafka ends it at its time-out.
    pub(super) fn ends(
        &self,
        uncommitted: &BaseConsumer<Watch>,
        committed: &BaseConsumer<Watch>,
        topic: &str,
        partition: i32,
    ) -> Result<(i64, i64), Outcome> {
        let watched = |error: KafkaError| fault::outcome(&error, &self.watch);
        let (_, written) = uncommitted
            .fetch_watermarks(topic, partition, SLICE)
            .map_err(watched)?;
        let until = Instant::now() + SLICE;
        loop {
            let (low, stable) = committed
                .fetch_watermarks(topic, partition, SLICE)
                .map_err(watched)?;
            if stable >= written {
                return Ok((low, stable));
            }
            if Instant::now() >= until {
                return Err(Outcome::Pending(Some(Trouble {
                    kind: TroubleKind::Silent,
                    detail: format!(
                        "a transaction of another writer is open in {topic}, partition {partition}"
                    ),
                })));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}
