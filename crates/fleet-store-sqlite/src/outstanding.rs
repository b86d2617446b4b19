//! What stays outstanding, and the names of the benches.

use fleet_domain::DeviceId;
use fleet_store::{AlarmKind, AlarmRow, ChangeKind, Patience, StoreError};
use jiff::{SignedDuration, Timestamp};

use crate::SqliteStore;
use crate::column::{Columns, time};
use crate::error::from_sqlx;
use crate::work::Work;

/// Most benches that have the alarm: more of them are one fault of the plant.
const MOST: i64 = 1000;

/// Microseconds of the time `ago` before `now`.
fn before(now: Timestamp, ago: std::time::Duration) -> i64 {
    SignedDuration::try_from(ago)
        .ok()
        .and_then(|ago| now.checked_sub(ago).ok())
        .map_or(i64::MIN, time)
}

/// Raises the alarm of benches where the same position stays outstanding; takes back those that are over.
pub(crate) async fn watch(
    store: &SqliteStore,
    patience: Patience,
    now: Timestamp,
) -> Result<Vec<AlarmRow>, StoreError> {
    let mut tx = store.begin().await?;
    let mut work = Work::new(now);
    // Over: what was outstanding when it was raised is settled.
    let over = sqlx::query(
        "DELETE FROM alarms WHERE kind = ?1 AND NOT EXISTS (
             SELECT 1 FROM spools s WHERE s.device = alarms.device AND s.outstanding_since <= alarms.raised_at)
         RETURNING id, device",
    )
    .bind(AlarmKind::LedgerOutstanding.as_str())
    .fetch_all(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    for row in &over {
        work.changed(ChangeKind::Alarm, &row.u64("id")?);
        if let Some(device) = row.opt_text("device")? {
            work.changed(ChangeKind::Bench, &device);
        }
    }
    // A bench that has just come back gets the time of a connected one.
    let stays = sqlx::query(
        "SELECT s.device, min(s.outstanding_since) AS since, CAST(min(total(s.announced - s.through), 9e18) AS INTEGER) AS events
         FROM spools s JOIN devices d ON d.device = s.device
         WHERE s.outstanding_since IS NOT NULL
           AND CASE WHEN d.online THEN max(s.outstanding_since, coalesce(d.presence_since, 0)) <= ?2
                    ELSE s.outstanding_since <= ?3 END
           AND NOT EXISTS (SELECT 1 FROM alarms a WHERE a.kind = ?1 AND a.subject = s.device)
         GROUP BY s.device ORDER BY s.device
         LIMIT (SELECT max(?4 - count(*), 0) FROM alarms WHERE kind = ?1)",
    )
    .bind(AlarmKind::LedgerOutstanding.as_str())
    .bind(before(now, patience.online))
    .bind(before(now, patience.offline))
    .bind(MOST)
    .fetch_all(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    for row in &stays {
        let device: DeviceId = row.parsed("device")?;
        let (events, since) = (row.u64("events")?, row.time("since")?);
        work.raise(
            AlarmKind::LedgerOutstanding,
            device.to_string(),
            Some(&device),
            format!("{events} events of {device} are known of and don't come; the first since {since}"),
        );
        work.changed(ChangeKind::Bench, &device);
    }
    if over.is_empty() && stays.is_empty() {
        tx.rollback().await.map_err(from_sqlx)?;
        return Ok(Vec::new());
    }
    let raised = work.finish(&mut tx).await?;
    tx.commit().await.map_err(from_sqlx)?;
    Ok(raised)
}

/// The names of all benches.
pub(crate) async fn device_names(store: &SqliteStore, most: u32) -> Result<Vec<DeviceId>, StoreError> {
    sqlx::query("SELECT device FROM devices ORDER BY device LIMIT ?1")
        .bind(i64::from(most))
        .fetch_all(&store.readers)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| row.parsed("device"))
        .collect()
}
