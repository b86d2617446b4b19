//! Regular clean-up.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet_domain::DeviceId;
use fleet_store::{AlarmKind, AlarmRow, ChangeKind, Patience, PruneOutcome, Retention};
use jiff::{SignedDuration, Timestamp};

use crate::Database;
use crate::database::{Event, Outgoing};
use crate::work::Work;

/// How long a reader of the page's stream may be away before it has to read everything anew.
const CHANGES_KEPT: SignedDuration = SignedDuration::from_hours(1);

impl Database {
    /// Raises the alarm of benches where the same position stays outstanding; takes back those that are over.
    pub(crate) fn watch_outstanding(&mut self, patience: Patience, now: Timestamp) -> Vec<AlarmRow> {
        let mut work = Work::new(now);
        let kind = AlarmKind::LedgerOutstanding;
        let oldest: BTreeMap<DeviceId, Timestamp> = self
            .spools
            .iter()
            .filter_map(|(device, spools)| {
                let since = spools
                    .values()
                    .filter_map(|spool| spool.outstanding_since)
                    .min()?;
                Some((device.clone(), since))
            })
            .collect();
        self.alarms.retain(|_, row| {
            let since = row.device.as_ref().and_then(|device| oldest.get(device));
            let over = row.kind == kind && since.is_none_or(|since| *since > row.raised_at);
            if over {
                work.changed(ChangeKind::Alarm, &row.id);
            }
            !over
        });
        let before = |ago| {
            SignedDuration::try_from(ago)
                .ok()
                .and_then(|ago| now.checked_sub(ago).ok())
        };
        for (device, since) in &oldest {
            let Some(bench) = self.devices.get(device) else {
                continue;
            };
            let online = bench.row.presence.is_some_and(|presence| presence.online);
            let (from, cut) = if online {
                let back = bench.row.presence_since.unwrap_or(*since);
                ((*since).max(back), before(patience.online))
            } else {
                (*since, before(patience.offline))
            };
            let told = self.alarms.contains_key(&(kind.as_str(), device.to_string()));
            if !told && cut.is_some_and(|cut| from <= cut) {
                let detail =
                    format!("events of {device} are known of and don't come; the first since {since}");
                work.raise(kind, device.to_string(), Some(device), detail);
                work.changed(ChangeKind::Bench, device);
            }
        }
        work.finish(self)
    }

    pub(crate) fn prune(&mut self, now: Timestamp, retention: Retention) -> PruneOutcome {
        let mut outcome = PruneOutcome {
            changes_removed: self.prune_changes(now),
            outbox_removed: self.prune_outbox(),
            ..PruneOutcome::default()
        };
        let keep = retention
            .keep
            .and_then(|keep| SignedDuration::try_from(keep).ok());
        if let Some(cut) = keep.and_then(|keep| now.checked_sub(keep).ok()) {
            self.expire(cut, retention.relay, &mut outcome);
        }
        outcome
    }

    fn prune_changes(&mut self, now: Timestamp) -> u64 {
        let oldest = now.checked_sub(CHANGES_KEPT).unwrap_or(now);
        let gone = self.changes.iter().take_while(|(_, at)| *at < oldest).count();
        if let Some((row, _)) = self.changes.drain(..gone).next_back() {
            self.changes_pruned_through = self.changes_pruned_through.max(row.seq);
        }
        gone as u64
    }

    /// The newest relayed row stays: its token tells the relay that this is still the same database.
    fn prune_outbox(&mut self) -> u64 {
        let kept = self.outbox.split_off(&self.relay.relayed.seq);
        let gone = std::mem::replace(&mut self.outbox, kept);
        gone.len() as u64
    }

    fn expire(&mut self, cut: Timestamp, relay: bool, outcome: &mut PruneOutcome) {
        let old = |event: &Event| event.row.received_at < cut;
        let waiting: Vec<(u64, Outgoing)> = self
            .outbox
            .iter()
            .filter(|(seq, outgoing)| old(&outgoing.event) && self.waits(**seq))
            .map(|(seq, outgoing)| (*seq, outgoing.clone()))
            .collect();
        if relay {
            outcome.held_by_relay = !waiting.is_empty();
        } else {
            for (seq, outgoing) in waiting {
                self.outbox.remove(&seq);
                outcome.outbox_removed += 1;
                if outgoing.refused.is_some() {
                    continue;
                }
                outcome.events_expired += 1;
                let event = &outgoing.event.row;
                let spools = self.spools.get_mut(&event.device);
                if let Some(spool) = spools.and_then(|spools| spools.get_mut(&event.spool)) {
                    spool.expired += 1;
                }
            }
        }
        let outbox = &self.outbox;
        let before = self.events.len();
        let places = &mut self.places;
        self.events.retain(|_, event| {
            let waits = || outbox.values().any(|row| Arc::ptr_eq(&row.event, event));
            let keep = !old(event) || waits();
            if !keep && let Some(spool) = places.get_mut(&(event.row.device.clone(), event.row.spool)) {
                spool.remove(&event.row.seq);
            }
            keep
        });
        outcome.events_removed = (before - self.events.len()) as u64;
    }
}
