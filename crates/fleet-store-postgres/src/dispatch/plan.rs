//! What a round of dispatch wants to do, chosen without locks.

use std::collections::{BTreeMap, BTreeSet};

use fleet_domain::{DeviceId, JobId, JobState};
use fleet_recording::dispatch::{Board, Candidate, ROUND};
use fleet_store::{JobRow, StoreError};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::column::{narrow, parse, time};
use crate::error::from_sqlx;
use crate::jobs::JobRecord;
use crate::value::from_json;

/// What a round wants to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Jobs whose deadline has passed.
    pub(super) late: Vec<JobId>,
    /// Jobs that a bench can take.
    pub(super) offers: Vec<JobId>,
    /// Jobs that have to wait, and why.
    pub(super) parked: Vec<(JobId, String)>,
    /// Those of them whose reason is not written yet.
    pub(super) untold: BTreeSet<JobId>,
    /// Benches whose list changes.
    pub(super) devices: BTreeSet<DeviceId>,
}

pub(super) async fn plan(
    conn: &mut PgConnection,
    waiting_for: &[DeviceId],
    now: Timestamp,
) -> Result<Plan, StoreError> {
    let mut plan = Plan::default();
    for JobRow { job, .. } in late(conn, now).await? {
        plan.late.push(job.id);
        if job.state == JobState::Offered {
            plan.devices.extend(job.device);
        }
    }
    if !waiting_for.is_empty() {
        return Ok(plan);
    }
    let queue = queue(conn).await?;
    if queue.is_empty() {
        return Ok(plan);
    }
    let mut board = Board::new(candidates(conn, None).await?, held(conn).await?);
    for JobRow { job, request, .. } in queue {
        if plan.late.contains(&job.id) {
            continue;
        }
        match board.place(&request) {
            Ok(device) => {
                plan.devices.insert(device);
                plan.offers.push(job.id);
            }
            Err(reason) => {
                if job.parked.as_ref() != Some(&reason) {
                    plan.untold.insert(job.id);
                }
                plan.parked.push((job.id, reason));
            }
        }
    }
    Ok(plan)
}

/// Jobs that no bench has accepted and whose deadline has passed, by the server's clock.
async fn late(conn: &mut PgConnection, now: Timestamp) -> Result<Vec<JobRow>, StoreError> {
    sqlx::query_as!(
        JobRecord,
        "SELECT * FROM jobs
         WHERE deadline <= $1 AND state IN ('queued', 'offered', 'withdrawing')
           AND (state <> 'withdrawing' OR withdraw_target = 'queued')
         ORDER BY n LIMIT $2",
        time(now),
        ROUND
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .into_iter()
    .map(JobRecord::row)
    .collect()
}

async fn queue(conn: &mut PgConnection) -> Result<Vec<JobRow>, StoreError> {
    sqlx::query_as!(
        JobRecord,
        "SELECT * FROM jobs WHERE state = 'queued' ORDER BY priority DESC, n LIMIT $1",
        ROUND
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .into_iter()
    .map(JobRecord::row)
    .collect()
}

/// Vehicles of the queue that open jobs hold.
async fn held(conn: &mut PgConnection) -> Result<BTreeSet<String>, StoreError> {
    let vins: Vec<String> = sqlx::query_scalar!(
        "SELECT l.vin FROM vin_leases l
         WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.vin = l.vin AND j.state = 'queued')"
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(vins.into_iter().collect())
}

/// A bench as dispatch reads it.
#[derive(Debug)]
struct CandidateRecord {
    device: String,
    online: bool,
    vin: Option<String>,
    ecus: String,
    refusing_jobs: Option<String>,
    open: i64,
}

impl CandidateRecord {
    fn row(self) -> Result<(DeviceId, Candidate), StoreError> {
        let candidate = Candidate {
            online: self.online,
            vin: self.vin,
            ecus: from_json("ecus", &self.ecus)?,
            refusing: self.refusing_jobs,
            open: narrow("open", self.open)?,
        };
        Ok((parse("device", &self.device)?, candidate))
    }
}

/// The benches, or those of them that are named.
pub(super) async fn candidates(
    conn: &mut PgConnection,
    named: Option<&BTreeSet<DeviceId>>,
) -> Result<BTreeMap<DeviceId, Candidate>, StoreError> {
    let named: Option<Vec<String>> = named.map(|named| named.iter().map(DeviceId::to_string).collect());
    sqlx::query_as!(
        CandidateRecord,
        "SELECT d.device AS \"device!\", d.online AS \"online!\", d.vin, d.ecus AS \"ecus!\", d.refusing_jobs,
             coalesce(o.jobs, 0) + coalesce(f.jobs, 0) AS \"open!\"
         FROM devices d
         LEFT JOIN (SELECT device, count(*) AS jobs FROM jobs
                    WHERE state IN ('offered', 'withdrawing', 'accepted', 'running')
                        OR (state = 'finished' AND verdict = 'in_doubt')
                    GROUP BY device) o ON o.device = d.device
         LEFT JOIN (SELECT fenced_device, count(*) AS jobs FROM jobs
                    WHERE fenced_device IS NOT NULL GROUP BY fenced_device) f ON f.fenced_device = d.device
         WHERE $1::text[] IS NULL OR d.device = ANY($1)",
        named.as_deref()
    )
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?
    .into_iter()
    .map(CandidateRecord::row)
    .collect()
}
