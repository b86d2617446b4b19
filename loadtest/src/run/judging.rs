//! Kafka's side of a run: when it is read, and what that says.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fleet_domain::SpoolId;
use jiff::Timestamp;

use super::{KafkaLatency, RunError, RunOptions};
use crate::figures::Latency;
use crate::history::Made;
use crate::population::EndedBench;
use crate::records::{self, Record};
use crate::report::KafkaBooks;

/// What was read; none: Kafka was not asked for.
pub(super) struct Records(pub(super) Option<Vec<Record>>);

impl Records {
    pub(super) fn judge(&self, made: &[Made]) -> Option<KafkaBooks> {
        self.0.as_ref().map(|records| records::judge(made, records))
    }

    /// Latencies by phase, from the time in the schedule.
    pub(super) fn latencies(
        &self,
        benches: &[EndedBench],
        (began, began_at): (Instant, Timestamp),
        phase_ends: &[Duration],
        how: KafkaLatency,
    ) -> Vec<Latency> {
        let mut phases = vec![Latency::default(); phase_ends.len()];
        let mut due: HashMap<(&str, SpoolId), &[Option<u64>]> = HashMap::new();
        for bench in benches {
            for (spool, times) in &bench.times {
                due.insert((bench.device.as_str(), *spool), &times.due_us);
            }
        }
        for record in self.0.iter().flatten() {
            let times = due.get(&(&*record.device, record.spool));
            let place = usize::try_from(record.seq)
                .unwrap_or(usize::MAX)
                .saturating_sub(1);
            let Some(offset) = times.and_then(|times| times.get(place).copied().flatten()) else {
                continue;
            };
            let offset = Duration::from_micros(offset);
            let came = match how {
                KafkaLatency::Arrival => record.came.saturating_duration_since(began),
                KafkaLatency::Record => {
                    let millis = record.timestamp_ms.unwrap_or_default() - began_at.as_millisecond();
                    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
                }
            };
            let phase = phase_ends.iter().take_while(|end| offset >= **end).count();
            if let Some(phase) = phases.get_mut(phase) {
                phase.record(came.saturating_sub(offset));
            }
        }
        phases
    }
}

/// The reader of a run.
#[cfg(feature = "kafka")]
pub(super) enum Kafka {
    Off,
    Later {
        brokers: String,
        mark: crate::kafka::Mark,
        plant: String,
        prefix: String,
    },
    Reads(crate::kafka::Reader),
}

#[cfg(feature = "kafka")]
impl Kafka {
    /// After all has come, so long is looked whether something comes again.
    const COMES_AGAIN: Duration = Duration::from_secs(1);
    /// Other transactions may hold a consumer back for so long after the relay has committed ours.
    const READ_WITHIN: Duration = Duration::from_mins(2);

    /// Notes where the topics end, and reads from there at once or later.
    pub(super) async fn begin(options: &RunOptions, plant: &str, name: &str) -> Result<Self, RunError> {
        let Some(brokers) = options.kafka.clone() else {
            return Ok(Self::Off);
        };
        let asked = brokers.clone();
        let mark = tokio::task::spawn_blocking(move || crate::kafka::mark(&asked)).await;
        let mark = mark.map_err(|_| crate::kafka::ReadError::Thread)??;
        let later = Self::Later {
            brokers,
            mark,
            plant: plant.to_owned(),
            prefix: format!("{name}-"),
        };
        match options.kafka_latency {
            KafkaLatency::Arrival => later.read(),
            KafkaLatency::Record => Ok(later),
        }
    }

    fn read(self) -> Result<Self, RunError> {
        let Self::Later {
            brokers,
            mark,
            plant,
            prefix,
        } = self
        else {
            return Ok(self);
        };
        Ok(Self::Reads(crate::kafka::Reader::start(
            &brokers, &mark, &plant, &prefix,
        )?))
    }

    /// Reads until so many records are there, or for as long as it may take.
    pub(super) async fn catch_up(&mut self, wanted: u64) -> Result<(), RunError> {
        *self = std::mem::replace(self, Self::Off).read()?;
        let Self::Reads(reader) = self else { return Ok(()) };
        let begun = Instant::now();
        while reader.count() < wanted && begun.elapsed() < Self::READ_WITHIN {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Self::COMES_AGAIN).await;
        Ok(())
    }

    /// Everything that was read.
    pub(super) async fn end(self) -> Result<Records, RunError> {
        match self {
            Self::Off => Ok(Records(None)),
            Self::Later { .. } => Ok(Records(Some(Vec::new()))),
            Self::Reads(reader) => {
                let read = tokio::task::spawn_blocking(move || reader.end()).await;
                Ok(Records(Some(read.map_err(|_| crate::kafka::ReadError::Thread)??)))
            }
        }
    }
}

/// The reader of a run that has none.
#[cfg(not(feature = "kafka"))]
pub(super) struct Kafka;

#[cfg(not(feature = "kafka"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
impl Kafka {
    pub(super) async fn begin(options: &RunOptions, _plant: &str, _name: &str) -> Result<Self, RunError> {
        match options.kafka {
            None => Ok(Self),
            Some(_) => Err(RunError::NoKafka),
        }
    }

    #[expect(clippy::needless_pass_by_ref_mut, reason = "as with the feature")]
    pub(super) async fn catch_up(&mut self, _wanted: u64) -> Result<(), RunError> {
        Ok(())
    }

    pub(super) async fn end(self) -> Result<Records, RunError> {
        Ok(Records(None))
    }
}
