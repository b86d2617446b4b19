//! The rows of one transaction.

use std::collections::HashMap;

use fleet_domain::{DeviceId, Seq, SpoolId};
use fleet_store::{KafkaHigh, OutboxCursor, OutboxFate, OutboxRow};

use crate::topics::is_data_topic;

/// What Kafka has already, by bench and spool.
#[derive(Debug, Clone, Default)]
pub(super) struct Highs(HashMap<DeviceId, HashMap<SpoolId, Seq>>);

impl Highs {
    pub(super) fn of(list: Vec<KafkaHigh>) -> Self {
        let mut highs = Self::default();
        for high in list {
            let spools = highs.0.entry(high.device).or_default();
            let seq = spools.entry(high.spool).or_default();
            *seq = high.seq.max(*seq);
        }
        highs
    }

    pub(super) fn has(&self, row: &OutboxRow) -> bool {
        let spools = self.0.get(&row.event.device);
        spools
            .and_then(|spools| spools.get(&row.event.spool))
            .is_some_and(|high| row.event.seq <= *high)
    }
}

/// The rows of one transaction, in their order.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    send: Vec<OutboxRow>,
    already: Vec<u64>,
    through: Option<OutboxCursor>,
    cut: bool,
}

impl Batch {
    /// Takes rows until the bytes are reached.
    pub(super) fn of(rows: Vec<OutboxRow>, bytes: usize, highs: &Highs) -> Self {
        let mut batch = Self::default();
        let mut sum = 0usize;
        for row in rows {
            if row.fate != OutboxFate::Waiting {
                batch.through = Some(OutboxCursor::behind(&row));
            } else if highs.has(&row) {
                batch.already.push(row.seq);
                batch.through = Some(OutboxCursor::behind(&row));
            } else {
                sum = sum.saturating_add(row.event.bytes.len());
                if sum > bytes && !batch.send.is_empty() {
                    batch.cut = true;
                    return batch;
                }
                batch.through = Some(OutboxCursor::behind(&row));
                batch.send.push(row);
            }
        }
        batch
    }

    /// The rows that go to Kafka.
    pub fn records(&self) -> &[OutboxRow] {
        &self.send
    }

    /// Sequences of rows that Kafka has already.
    pub fn already(&self) -> &[u64] {
        &self.already
    }

    /// Behind the last row; `None` without any.
    pub fn through(&self) -> Option<OutboxCursor> {
        self.through
    }

    /// There were more rows than the bytes allow.
    pub(super) fn was_cut(&self) -> bool {
        self.cut
    }

    /// A row whose topic is none of ours.
    pub(super) fn misdirected(&self) -> Option<&OutboxRow> {
        self.send.iter().find(|row| !is_data_topic(&row.topic))
    }
}
