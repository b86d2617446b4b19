//! What every transaction gathers and writes at its end: list versions, change log, alarms.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::DeviceId;
use fleet_recording::Raised;
use fleet_store::{AlarmKind, AlarmRow, ChangeKind};
use jiff::Timestamp;

use crate::Database;

/// Gathered in a transaction, written by [`Work::finish`].
pub(crate) struct Work {
    pub(crate) now: Timestamp,
    changes: BTreeSet<(&'static str, ChangeKind, String)>,
    versions: BTreeMap<DeviceId, u64>,
    raised: Raised,
}

impl Work {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            now,
            changes: BTreeSet::new(),
            versions: BTreeMap::new(),
            raised: Raised::default(),
        }
    }

    pub(crate) fn changed(&mut self, kind: ChangeKind, id: &(impl ToString + ?Sized)) {
        self.changes.insert((kind.as_str(), kind, id.to_string()));
    }

    pub(crate) fn raise(
        &mut self,
        kind: AlarmKind,
        subject: String,
        device: Option<&DeviceId>,
        detail: String,
    ) {
        self.raised.raise(kind, subject, device, detail);
    }

    pub(crate) fn take(&mut self, changes: BTreeSet<(ChangeKind, String)>, raised: Raised) {
        self.changes
            .extend(changes.into_iter().map(|(kind, id)| (kind.as_str(), kind, id)));
        self.raised.merge(raised);
    }

    /// The version that the bench's list has after this transaction: one more than before it, however many changes
    /// there are.
    pub(crate) fn next_version(&mut self, database: &mut Database, device: &DeviceId) -> u64 {
        if let Some(version) = self.versions.get(device) {
            return *version;
        }
        let Some(bench) = database.devices.get_mut(device) else {
            return 0;
        };
        bench.row.list_version += 1;
        let version = bench.row.list_version;
        self.versions.insert(device.clone(), version);
        self.changed(ChangeKind::Bench, device);
        version
    }

    /// Devices whose list changed.
    pub(crate) fn lists(&self) -> Vec<DeviceId> {
        self.versions.keys().cloned().collect()
    }

    /// Writes alarms and the change log. Returns the alarms as they stand now, by number.
    pub(crate) fn finish(&mut self, database: &mut Database) -> Vec<AlarmRow> {
        let mut raised = BTreeMap::new();
        for (alarm, times) in std::mem::take(&mut self.raised).iter() {
            let next = database.alarms.values().map(|row| row.id).max().unwrap_or(0) + 1;
            let row = database
                .alarms
                .entry((alarm.kind.as_str(), alarm.subject.clone()))
                .and_modify(|row| {
                    row.count = row.count.saturating_add(times);
                    row.last_at = self.now;
                    row.detail.clone_from(&alarm.detail);
                })
                .or_insert_with(|| AlarmRow {
                    id: next,
                    kind: alarm.kind,
                    device: alarm.device.clone(),
                    detail: alarm.detail.clone(),
                    count: times,
                    raised_at: self.now,
                    last_at: self.now,
                })
                .clone();
            self.changed(ChangeKind::Alarm, &row.id);
            raised.insert(row.id, row);
        }
        for (_, kind, id) in std::mem::take(&mut self.changes) {
            database.changed(kind, id, self.now);
        }
        raised.into_values().collect()
    }
}
