//! What every write transaction gathers and writes at its end: list versions, change log, alarms.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::DeviceId;
use fleet_recording::Raised;
use fleet_store::{AlarmKind, AlarmRow, ChangeKind, StoreError};
use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::changes::alarm_row;
use crate::column::{Columns, clamp, time};
use crate::error::from_sqlx;

/// Rows of one multi-row statement.
pub(crate) const CHUNK: usize = 64;

/// Gathered in a transaction, written by [`Work::finish`].
pub(crate) struct Work {
    pub(crate) now: Timestamp,
    changes: BTreeSet<(&'static str, String)>,
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

    /// Notes that something changed, for the page's stream.
    pub(crate) fn changed(&mut self, kind: ChangeKind, id: &(impl ToString + ?Sized)) {
        self.changes.insert((kind.as_str(), id.to_string()));
    }

    /// Raises an alarm; the same kind about the same subject is counted.
    pub(crate) fn raise(
        &mut self,
        kind: AlarmKind,
        subject: String,
        device: Option<&DeviceId>,
        detail: String,
    ) {
        self.raised.raise(kind, subject, device, detail);
    }

    /// Takes over what was decided elsewhere.
    pub(crate) fn take(&mut self, changes: BTreeSet<(ChangeKind, String)>, raised: Raised) {
        self.changes
            .extend(changes.into_iter().map(|(kind, id)| (kind.as_str(), id)));
        self.raised.merge(raised);
    }

    /// The version that the bench's list has after this transaction: one more than before it, however
    /// many changes there are.
    pub(crate) async fn next_version(
        &mut self,
        conn: &mut SqliteConnection,
        device: &DeviceId,
    ) -> Result<u64, StoreError> {
        if let Some(version) = self.versions.get(device) {
            return Ok(*version);
        }
        let row = sqlx::query(
            "UPDATE devices SET list_version = list_version + 1 WHERE device = ? RETURNING list_version",
        )
        .bind(device.as_str())
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)?;
        let version = row.u64("list_version")?;
        self.versions.insert(device.clone(), version);
        self.changed(ChangeKind::Bench, device);
        Ok(version)
    }

    /// Devices whose list changed.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &DeviceId> {
        self.versions.keys()
    }

    /// Writes alarms and the change log. Returns the alarms as they stand now.
    pub(crate) async fn finish(&mut self, conn: &mut SqliteConnection) -> Result<Vec<AlarmRow>, StoreError> {
        let mut raised = BTreeMap::new();
        for (alarm, times) in std::mem::take(&mut self.raised).iter() {
            let row = sqlx::query(
                "INSERT INTO alarms (kind, subject, device, detail, count, raised_at, last_at)
                 VALUES (?1, ?2, ?3, ?4, ?6, ?5, ?5)
                 ON CONFLICT (kind, subject) DO UPDATE
                 SET count = count + ?6, last_at = ?5, detail = ?4
                 RETURNING *",
            )
            .bind(alarm.kind.as_str())
            .bind(&alarm.subject)
            .bind(alarm.device.as_ref().map(DeviceId::as_str))
            .bind(&alarm.detail)
            .bind(time(self.now))
            .bind(clamp(times))
            .fetch_one(&mut *conn)
            .await
            .map_err(from_sqlx)?;
            let alarm = alarm_row(&row)?;
            self.changed(ChangeKind::Alarm, &alarm.id);
            raised.insert(alarm.id, alarm);
        }
        let changes: Vec<_> = std::mem::take(&mut self.changes).into_iter().collect();
        for chunk in changes.chunks(CHUNK) {
            let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO changes (kind, id, at) ");
            insert.push_values(chunk, |mut row, (kind, id)| {
                row.push_bind(*kind).push_bind(id).push_bind(time(self.now));
            });
            insert
                .build()
                .persistent(chunk.len() == CHUNK)
                .execute(&mut *conn)
                .await
                .map_err(from_sqlx)?;
        }
        Ok(raised.into_values().collect())
    }
}
