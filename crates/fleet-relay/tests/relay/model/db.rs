//! A model of the store's side of the relay.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fleet_domain::{Digest, EventId, SpoolId, StoreGeneration};
use fleet_relay::core::Look;
use fleet_store::{
    Advanced, EventRow, EventStanding, KafkaHigh, OutboxAdvance, OutboxCursor, OutboxFate, OutboxRead,
    OutboxRow, RelayRow, RelayTerm,
};
use uuid::Uuid;

/// A row of the outbox.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    seq: u64,
    token: Uuid,
    pub(crate) spool: usize,
    pub(crate) position: u64,
    refused: bool,
}

/// The database. A clone is a backup.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    rows: Vec<Row>,
    next_seq: u64,
    /// Per spool: how many events are stored.
    pub(crate) stored: Vec<u64>,
    relayed: OutboxCursor,
    owner: Option<String>,
    term: u64,
    expires: Duration,
    highs: BTreeMap<usize, u64>,
    pub(crate) generation: StoreGeneration,
    in_kafka: u64,
    already: u64,
    unrelayable: u64,
}

fn spool_id(spool: usize) -> SpoolId {
    SpoolId(Uuid::from_u128(spool as u128 + 1))
}

/// The spool of an id.
pub(crate) fn spool_of(id: SpoolId) -> usize {
    usize::try_from(id.0.as_u128()).unwrap() - 1
}

impl Db {
    pub(crate) fn new(spools: usize) -> Self {
        Self {
            rows: Vec::new(),
            next_seq: 1,
            stored: vec![0; spools],
            relayed: OutboxCursor::START,
            owner: None,
            term: 0,
            expires: Duration::ZERO,
            highs: BTreeMap::new(),
            generation: StoreGeneration(Uuid::from_u128(1)),
            in_kafka: 0,
            already: 0,
            unrelayable: 0,
        }
    }

    /// A bench's next event is recorded.
    pub(crate) fn ingest(&mut self, spool: usize, token: Uuid) {
        self.stored[spool] += 1;
        self.rows.push(Row {
            seq: self.next_seq,
            token,
            spool,
            position: self.stored[spool],
            refused: false,
        });
        self.next_seq += 1;
    }

    pub(crate) fn prune(&mut self) {
        let relayed = self.relayed.seq;
        self.rows.retain(|row| row.seq >= relayed);
    }

    pub(crate) fn claim(&mut self, owner: &str, now: Duration, ttl: Duration) -> Option<RelayTerm> {
        let free = self.owner.as_deref().is_none_or(|holder| holder == owner) || now >= self.expires;
        if !free {
            return None;
        }
        self.owner = Some(owner.to_owned());
        self.term += 1;
        self.expires = now + ttl;
        Some(RelayTerm(self.term))
    }

    pub(crate) fn holds(&self, term: RelayTerm) -> bool {
        self.owner.is_some() && self.term == term.0
    }

    pub(crate) fn renew(&mut self, term: RelayTerm, now: Duration, ttl: Duration) -> bool {
        let held = self.holds(term);
        if held {
            self.expires = now + ttl;
        }
        held
    }

    pub(crate) fn release(&mut self, term: RelayTerm) {
        if self.holds(term) {
            self.owner = None;
        }
    }

    pub(crate) fn look(&self) -> Look {
        Look {
            row: RelayRow {
                relayed: self.relayed,
                owner: self.owner.clone(),
                term: self.term,
                expires_at: None,
                newest_seq: self.next_seq - 1,
                waiting: self.waiting(),
                oldest_waiting: None,
                highs: self.highs.len() as u64,
            },
            highs: self.highs.iter().map(|(&spool, &seq)| high(spool, seq)).collect(),
            generation: self.generation,
        }
    }

    pub(crate) fn relayed(&self) -> OutboxCursor {
        self.relayed
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.rows.iter().filter(|row| row.seq > self.relayed.seq).count() as u64
    }

    fn has(&self, cursor: OutboxCursor, tokens: bool) -> bool {
        if cursor.seq == 0 {
            return self.relayed.seq == 0;
        }
        let mut rows = self.rows.iter();
        rows.any(|row| row.seq == cursor.seq && (!tokens || row.token == cursor.token))
    }

    /// `tokens`: whether the cursor's token is looked at.
    pub(crate) fn after(&self, after: OutboxCursor, limit: u32, tokens: bool) -> OutboxRead {
        if !self.has(after, tokens) {
            return OutboxRead::CursorLost;
        }
        let rows = self.rows.iter().filter(|row| row.seq > after.seq);
        OutboxRead::Rows(rows.take(limit as usize).map(Row::joined).collect())
    }

    pub(crate) fn advance(&mut self, advance: &OutboxAdvance, tokens: bool) -> Advanced {
        if !self.holds(advance.term) {
            return Advanced::TermLost;
        }
        if !self.has(advance.through, tokens) {
            return Advanced::CursorLost;
        }
        for row in &self.rows {
            if row.seq > self.relayed.seq && row.seq <= advance.through.seq {
                if row.refused {
                    self.unrelayable += 1;
                } else if advance.already.contains(&row.seq) {
                    self.already += 1;
                } else {
                    self.in_kafka += 1;
                }
            }
        }
        if advance.through.seq > self.relayed.seq {
            self.relayed = advance.through;
        }
        Advanced::Done
    }

    pub(crate) fn refuse(&mut self, term: RelayTerm, cursor: OutboxCursor) -> Advanced {
        if !self.holds(term) {
            return Advanced::TermLost;
        }
        let row = self
            .rows
            .iter_mut()
            .find(|row| row.seq == cursor.seq && row.token == cursor.token);
        match row {
            Some(row) => {
                row.refused = true;
                Advanced::Done
            }
            None => Advanced::CursorLost,
        }
    }

    pub(crate) fn begin_reconciled(&mut self, highs: &BTreeMap<usize, u64>) -> OutboxCursor {
        for (&spool, &seq) in highs {
            let known = self.highs.entry(spool).or_default();
            *known = seq.max(*known);
        }
        self.relayed
    }

    /// What was counted, and what must have been.
    pub(crate) fn counted(&self) -> (u64, u64, u64, u64) {
        (self.in_kafka, self.already, self.unrelayable, self.relayed.seq)
    }
}

fn high(spool: usize, seq: u64) -> KafkaHigh {
    KafkaHigh {
        device: "bench".parse().unwrap(),
        spool: spool_id(spool),
        seq,
    }
}

impl Row {
    fn joined(&self) -> OutboxRow {
        OutboxRow {
            seq: self.seq,
            token: self.token,
            topic: "vds.job-events.v1".to_owned(),
            fate: if self.refused {
                OutboxFate::Unrelayable {
                    code: "too_large".to_owned(),
                }
            } else {
                OutboxFate::Waiting
            },
            traceparent: None,
            event: EventRow {
                device: "bench".parse().unwrap(),
                spool: spool_id(self.spool),
                seq: self.position,
                id: EventId(self.token),
                r#type: "vds.step.finished.v1".to_owned(),
                vin: None,
                time: "2026-05-04T06:00:00Z".parse().unwrap(),
                received_at: "2026-05-04T06:00:00Z".parse().unwrap(),
                digest: Digest([0; 32]),
                bytes: Bytes::from_static(b"{}"),
                standing: EventStanding::Projected,
            },
        }
    }
}
