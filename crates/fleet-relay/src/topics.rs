//! The topics of Kafka that the relay writes.

/// One topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Its name; the number at its end changes when its form does.
    pub name: &'static str,
    /// Kafka keeps the newest record of each key instead of the records of some days.
    pub compacted: bool,
    /// It carries events, with as many partitions as configured; otherwise it has one.
    pub data: bool,
}

/// Ends of jobs.
pub const RESULTS: &str = "vds.results.v1";
/// Everything else that happens in jobs.
pub const JOB_EVENTS: &str = "vds.job-events.v1";
/// What benches are: the newest record of a bench counts.
pub const DEVICE_STATE: &str = "vds.device-state.v1";
/// How far each plant's outbox was relayed.
pub const RELAY_CURSOR: &str = "vds.relay-cursor.v1";

/// Every topic.
pub const TOPICS: [Topic; 4] = [
    Topic {
        name: RESULTS,
        compacted: false,
        data: true,
    },
    Topic {
        name: JOB_EVENTS,
        compacted: false,
        data: true,
    },
    Topic {
        name: DEVICE_STATE,
        compacted: true,
        data: true,
    },
    Topic {
        name: RELAY_CURSOR,
        compacted: true,
        data: false,
    },
];

/// Younger records of the compacted topics are all kept, so that a reconciliation after a restore sees every
/// one of them: longer than a bench keeps receipted events (72 h), and than the backup is old.
pub const MIN_COMPACTION_LAG_MS: &str = "604800000";

/// Topics that carry events.
pub fn data_topics() -> impl Iterator<Item = Topic> {
    TOPICS.into_iter().filter(|topic| topic.data)
}

/// Whether events may go to a topic.
pub fn is_data_topic(name: &str) -> bool {
    data_topics().any(|topic| topic.name == name)
}

impl Topic {
    /// Partitions that it must have where data topics have `configured`.
    pub fn partitions(self, configured: i32) -> i32 {
        if self.data { configured } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_of_the_outbox_is_one_of_ours() {
        for event_type in [
            "vds.job.finished.v1",
            "vds.agent.started.v1",
            "vds.step.finished.v1",
            "x",
        ] {
            assert!(
                is_data_topic(fleet_store::outbox_topic(event_type)),
                "{event_type}"
            );
        }
        assert!(!is_data_topic(RELAY_CURSOR));
    }
}
