//! What every write transaction gathers and writes at its end: list versions, alarms, outbox, change log.
//!
//! **The order of locks**, the same in every write transaction, so that they wait for each other and never in
//! a circle: leases of slots or of the relay, devices by name, jobs by id, holds on vehicles, alarms by kind and
//! subject, and last the lock of [`commit_order`]. Whatever is left is retried (see [`crate::retry`]).

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::DeviceId;
use fleet_recording::Raised;
use fleet_store::{AlarmKind, AlarmRow, ChangeKind, StoreError};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::changes::alarm_row;
use crate::column::{Columns, clamp, text, time};
use crate::error::from_sqlx;
use crate::ingest::Outbox;

/// First key of the advisory lock; the second is the schema's name, so that plants in schemas of one database do
/// not wait for each other.
const COMMIT_ORDER: i32 = 0x0056_4453;

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
    /// many changes there are. Locks the device's row: before any job's.
    pub(crate) async fn next_version(
        &mut self,
        conn: &mut PgConnection,
        device: &DeviceId,
    ) -> Result<u64, StoreError> {
        if let Some(version) = self.versions.get(device) {
            return Ok(*version);
        }
        let row = sqlx::query(
            "UPDATE devices SET list_version = list_version + 1 WHERE device = $1 RETURNING list_version",
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

    /// Writes alarms and the change log; the transaction's last statements. Returns the alarms as they stand now.
    pub(crate) async fn finish(&mut self, conn: &mut PgConnection) -> Result<Vec<AlarmRow>, StoreError> {
        self.finish_with(conn, &Outbox::default()).await
    }

    /// As [`Work::finish`], with rows of the outbox.
    pub(crate) async fn finish_with(
        &mut self,
        conn: &mut PgConnection,
        outbox: &Outbox<'_>,
    ) -> Result<Vec<AlarmRow>, StoreError> {
        let alarms = self.write_alarms(conn).await?;
        if !outbox.is_empty() || !self.changes.is_empty() {
            commit_order(conn).await?;
            outbox.write(conn).await?;
            self.write_changes(conn).await?;
        }
        Ok(alarms)
    }

    /// Alarms in the order of their key, so that two transactions lock them in the same order.
    async fn write_alarms(&mut self, conn: &mut PgConnection) -> Result<Vec<AlarmRow>, StoreError> {
        let raised = std::mem::take(&mut self.raised);
        if raised.is_empty() {
            return Ok(Vec::new());
        }
        let (mut kinds, mut subjects, mut devices) = (Vec::new(), Vec::new(), Vec::new());
        let (mut details, mut counts) = (Vec::new(), Vec::new());
        for (alarm, times) in raised.iter() {
            kinds.push(alarm.kind.as_str());
            subjects.push(text(&alarm.subject).into_owned());
            devices.push(alarm.device.as_ref().map(DeviceId::as_str));
            details.push(text(&alarm.detail).into_owned());
            counts.push(clamp(times));
        }
        let rows = sqlx::query(
            "INSERT INTO alarms (kind, subject, device, detail, count, raised_at, last_at)
             SELECT kind, subject, device, detail, count, $6, $6
             FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
                 WITH ORDINALITY AS new (kind, subject, device, detail, count, n)
             ORDER BY n
             ON CONFLICT (kind, subject) DO UPDATE
             SET count = alarms.count + excluded.count, last_at = excluded.last_at, detail = excluded.detail
             RETURNING *",
        )
        .bind(kinds)
        .bind(subjects)
        .bind(devices)
        .bind(details)
        .bind(counts)
        .bind(time(self.now))
        .fetch_all(conn)
        .await
        .map_err(from_sqlx)?;
        let mut alarms = rows.iter().map(alarm_row).collect::<Result<Vec<_>, _>>()?;
        alarms.sort_by_key(|alarm| alarm.id);
        for alarm in &alarms {
            self.changed(ChangeKind::Alarm, &alarm.id);
        }
        Ok(alarms)
    }

    /// Writes the change log. Only after [`commit_order`].
    async fn write_changes(&mut self, conn: &mut PgConnection) -> Result<(), StoreError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let (kinds, ids): (Vec<&str>, Vec<String>) = std::mem::take(&mut self.changes).into_iter().unzip();
        let ids: Vec<String> = ids.iter().map(|id| text(id).into_owned()).collect();
        sqlx::query(
            "INSERT INTO changes (kind, id, at)
             SELECT kind, id, $3 FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS new (kind, id, n)
             ORDER BY n",
        )
        .bind(kinds)
        .bind(ids)
        .bind(time(self.now))
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
        Ok(())
    }
}

/// Waits until every transaction that took this lock before has ended, and keeps others waiting until this one
/// has. Sequences of `outbox` and `changes` are drawn under it only, so their order is the order of the commits
/// and a reader behind `seq` misses nothing (ADR 0010). No other lock may be taken after it.
async fn commit_order(conn: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1, hashtext(current_schema()::text))")
        .bind(COMMIT_ORDER)
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}
