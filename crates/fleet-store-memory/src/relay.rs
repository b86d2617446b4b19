//! The relay's lease, its cursor and what the ledger learns from it.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_domain::StoreGeneration;
use fleet_recording::next_generation;
use fleet_store::{
    Advanced, AlarmKind, ChangeKind, DeadLetterRow, KafkaHigh, OutboxAdvance, OutboxCursor, OutboxFate,
    OutboxRead, OutboxRow, RelayRow, RelayTerm, StoreError,
};
use jiff::Timestamp;

use crate::Database;
use crate::database::Outgoing;
use crate::lease::expiry;
use crate::work::Work;

fn row_of(seq: u64, outgoing: &Outgoing) -> OutboxRow {
    OutboxRow {
        seq,
        token: outgoing.token,
        topic: outgoing.topic.to_owned(),
        fate: match &outgoing.refused {
            Some(code) => OutboxFate::Unrelayable { code: code.clone() },
            None => OutboxFate::Waiting,
        },
        traceparent: outgoing.event.traceparent.clone(),
        event: outgoing.event.row.clone(),
    }
}

impl Database {
    pub(crate) fn claim_relay(&mut self, owner: &str, now: Timestamp, ttl: Duration) -> Option<RelayTerm> {
        let lease = &mut self.relay.lease;
        let held = lease.owner.as_deref().is_some_and(|holder| holder != owner);
        if held && lease.expires_at > now {
            return None;
        }
        lease.owner = Some(owner.to_owned());
        lease.term += 1;
        lease.expires_at = expiry(now, ttl);
        Some(RelayTerm(lease.term))
    }

    fn holds_relay(&self, term: RelayTerm) -> bool {
        self.relay.lease.term == term.0 && self.relay.lease.owner.is_some()
    }

    pub(crate) fn renew_relay(&mut self, term: RelayTerm, now: Timestamp, ttl: Duration) -> bool {
        let holds = self.holds_relay(term);
        if holds {
            self.relay.lease.expires_at = expiry(now, ttl);
        }
        holds
    }

    pub(crate) fn release_relay(&mut self, term: RelayTerm) {
        if self.relay.lease.term == term.0 {
            self.relay.lease.owner = None;
            self.relay.lease.expires_at = Timestamp::UNIX_EPOCH;
        }
    }

    pub(crate) fn outbox_rows(&self, after: u64, limit: u32) -> Vec<OutboxRow> {
        let Some(first) = after.checked_add(1) else {
            return Vec::new();
        };
        self.outbox
            .range(first..)
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .map(|(seq, outgoing)| row_of(*seq, outgoing))
            .collect()
    }

    pub(crate) fn outbox_after(&self, cursor: OutboxCursor, limit: u32) -> OutboxRead {
        let there = if cursor == OutboxCursor::START {
            self.relay.relayed == OutboxCursor::START
        } else {
            self.outbox.get(&cursor.seq).map(|row| row.token) == Some(cursor.token)
        };
        if there {
            OutboxRead::Rows(self.outbox_rows(cursor.seq, limit))
        } else {
            OutboxRead::CursorLost
        }
    }

    pub(crate) fn advance(&mut self, advance: &OutboxAdvance) -> Advanced {
        if !self.holds_relay(advance.term) {
            return Advanced::TermLost;
        }
        let (before, through) = (self.relay.relayed, advance.through);
        match self.outbox.get(&through.seq) {
            Some(row) if row.token != through.token => return Advanced::CursorLost,
            None if through.seq > before.seq => return Advanced::CursorLost,
            _ if through.seq <= before.seq => return Advanced::Done,
            _ => {}
        }
        let already: BTreeSet<u64> = advance.already.iter().copied().collect();
        for (seq, outgoing) in self.outbox.range(before.seq + 1..=through.seq) {
            let event = &outgoing.event.row;
            let spool = self
                .spools
                .get_mut(&event.device)
                .and_then(|spools| spools.get_mut(&event.spool));
            if let (Some(spool), None) = (spool, &outgoing.refused) {
                if already.contains(seq) {
                    spool.already_in_kafka += 1;
                } else {
                    spool.in_kafka += 1;
                }
            }
        }
        self.relay.relayed = through;
        Advanced::Done
    }

    pub(crate) fn refuse_row(
        &mut self,
        term: RelayTerm,
        cursor: OutboxCursor,
        (code, reason): (&str, &str),
        now: Timestamp,
    ) -> Advanced {
        if !self.holds_relay(term) {
            return Advanced::TermLost;
        }
        let waits = self.waits(cursor.seq);
        let Some(outgoing) = self
            .outbox
            .get_mut(&cursor.seq)
            .filter(|row| row.token == cursor.token)
        else {
            return Advanced::CursorLost;
        };
        if outgoing.refused.is_some() || !waits {
            return Advanced::Done;
        }
        outgoing.refused = Some(code.to_owned());
        let event = outgoing.event.row.clone();
        let mut work = Work::new(now);
        let spools = self.spools.get_mut(&event.device);
        if let Some(spool) = spools.and_then(|spools| spools.get_mut(&event.spool)) {
            spool.unrelayable += 1;
        }
        work.changed(ChangeKind::Bench, &event.device);
        work.raise(
            AlarmKind::Unrelayable,
            format!("{} {code}", event.device),
            Some(&event.device),
            format!(
                "event {} of spool {} of {} ({}) is stored, but Kafka will never take it: {reason}",
                event.seq, event.spool, event.device, event.r#type
            ),
        );
        let letter = DeadLetterRow {
            id: 0,
            device: event.device.to_string(),
            channel: "events".to_owned(),
            spool: Some(event.spool),
            seq: Some(event.seq),
            code: code.to_owned(),
            reason: reason.to_owned(),
            user_properties_json: "[]".to_owned(),
            bytes: event.bytes,
            received_at: now,
        };
        self.add_dead_letter(letter, &mut work);
        work.finish(self);
        Advanced::Done
    }

    pub(crate) fn relay_row(&self) -> RelayRow {
        let lease = &self.relay.lease;
        let waiting = |(seq, row): &(&u64, &Outgoing)| self.waits(**seq) && row.refused.is_none();
        let first = self.outbox.iter().find(waiting);
        RelayRow {
            relayed: self.relay.relayed,
            owner: lease.owner.clone(),
            term: lease.term,
            expires_at: lease.owner.is_some().then_some(lease.expires_at),
            newest_seq: self.last_outgoing,
            waiting: self.outbox.iter().filter(waiting).count() as u64,
            oldest_waiting: first.map(|(_, row)| row.event.row.received_at),
            highs: self.highs.len() as u64,
        }
    }

    pub(crate) fn report_cursor_lost(
        &mut self,
        term: RelayTerm,
        detail: &str,
        (cursor_generation, spare): (StoreGeneration, StoreGeneration),
        now: Timestamp,
    ) -> Result<StoreGeneration, StoreError> {
        if !self.holds_relay(term) {
            return Err(StoreError::LostTerm);
        }
        if self.generation <= cursor_generation {
            self.begin_generation(next_generation(cursor_generation, spare));
        }
        let mut work = Work::new(now);
        let subject = self.generation.to_string();
        work.raise(AlarmKind::RelayCursorLost, subject, None, detail.to_owned());
        work.finish(self);
        Ok(self.generation)
    }

    pub(crate) fn begin_reconciled(
        &mut self,
        term: RelayTerm,
        highs: &[KafkaHigh],
    ) -> Result<OutboxCursor, StoreError> {
        if !self.holds_relay(term) {
            return Err(StoreError::LostTerm);
        }
        for high in highs {
            let known = |known: &&KafkaHigh| (&known.device, known.spool) == (&high.device, high.spool);
            match self.highs.iter().find(known).cloned() {
                Some(known) if known.seq >= high.seq => {}
                Some(known) => {
                    self.highs.remove(&known);
                    self.highs.insert(high.clone());
                }
                None => {
                    self.highs.insert(high.clone());
                }
            }
        }
        Ok(self.relay.relayed)
    }
}
