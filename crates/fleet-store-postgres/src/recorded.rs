//! Reading jobs, attempts and steps.

use fleet_domain::{JobId, JobState, OfferId, Outcome, Verdict};
use fleet_store::{AttemptRow, JobFilter, JobRow, Page, Paged, StepRow, StoreError, cursor_number};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::PostgresStore;
use crate::column::{narrow, parse, text, to_time, unreadable};
use crate::error::from_sqlx;
use crate::jobs::JobRecord;
use crate::value::{from_json, opt_narrow, opt_time, opt_word, word};

pub(crate) async fn job(store: &PostgresStore, job: JobId) -> Result<Option<JobRow>, StoreError> {
    let mut conn = store.reader().await?;
    sqlx::query_as!(JobRecord, "SELECT * FROM jobs WHERE id = $1", job.0)
        .fetch_optional(&mut *conn)
        .await
        .map_err(from_sqlx)?
        .map(JobRecord::row)
        .transpose()
}

pub(crate) async fn jobs(
    store: &PostgresStore,
    filter: &JobFilter,
    page: &Page,
) -> Result<Paged<JobRow>, StoreError> {
    let below = page.after.as_deref().map_or(Ok(i64::MAX), cursor_number)?;
    let mut conn = store.reader().await?;
    let records: Vec<JobRecord> = jobs_query(filter, below, page.size() + 1)
        .build_query_as()
        // Planned each time for the values at hand: how rare a state or a vehicle is decides how it is found.
        .persistent(false)
        .fetch_all(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    let items = records
        .into_iter()
        .map(|record| Ok((record.n, record.row()?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Paged::cut(items, page, |(n, _)| n.to_string()).map(|(_, job)| job))
}

/// Newest first. Each state is read by its own part of the index, so that a state with few jobs among millions does
/// not cost a walk over all of them.
fn jobs_query(filter: &JobFilter, below: i64, most: i64) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("SELECT * FROM (");
    let mut states = filter.states.clone();
    states.sort_unstable();
    states.dedup();
    if states.is_empty() {
        push_jobs(&mut query, filter, None, (below, most));
    }
    for (at, state) in states.into_iter().enumerate() {
        if at > 0 {
            query.push(" UNION ALL ");
        }
        push_jobs(&mut query, filter, Some(state), (below, most));
    }
    query.push(") j ORDER BY n DESC LIMIT ").push_bind(most);
    query
}

fn push_jobs(
    query: &mut QueryBuilder<Postgres>,
    filter: &JobFilter,
    state: Option<JobState>,
    (below, most): (i64, i64),
) {
    query.push("(SELECT * FROM jobs WHERE n < ").push_bind(below);
    if let Some(state) = state {
        query.push(" AND state = ").push_bind(state.as_str());
    }
    if let Some(vin) = &filter.vin {
        query.push(" AND vin = ").push_bind(vin.to_string());
    }
    if let Some(part) = &filter.vin_part {
        query
            .push(" AND strpos(vin, ")
            .push_bind(text(part).into_owned())
            .push(") > 0");
    }
    if let Some(device) = &filter.device {
        query
            .push(" AND (device = ")
            .push_bind(device.to_string())
            .push(" OR (device IS NULL AND wanted_device = ")
            .push_bind(device.to_string())
            .push("))");
    }
    query.push(" ORDER BY n DESC LIMIT ").push_bind(most).push(")");
}

/// The table's row.
#[derive(Debug)]
struct AttemptRecord {
    job: Uuid,
    attempt: i64,
    fence: i64,
    device: String,
    offer_id: Option<Uuid>,
    offered_at: Option<i64>,
    accepted_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    verdict: Option<String>,
    reason_code: Option<String>,
    detail: Option<String>,
    steps_total: Option<i64>,
    software: String,
    record: Option<String>,
    fenced: bool,
}

impl AttemptRecord {
    fn row(self) -> Result<AttemptRow, StoreError> {
        Ok(AttemptRow {
            job: JobId(self.job),
            attempt: narrow("attempt", self.attempt)?,
            fence: narrow("fence", self.fence)?,
            device: parse("device", &self.device)?,
            offer_id: self.offer_id.map(OfferId),
            offered_at: opt_time("offered_at", self.offered_at)?,
            accepted_at: opt_time("accepted_at", self.accepted_at)?,
            started_at: opt_time("started_at", self.started_at)?,
            finished_at: opt_time("finished_at", self.finished_at)?,
            verdict: opt_word("verdict", self.verdict.as_deref(), Verdict::of)?,
            reason_code: self.reason_code,
            detail: self.detail,
            steps_total: opt_narrow("steps_total", self.steps_total)?,
            software: from_json("software", &self.software)?,
            record: self.record,
            fenced: self.fenced,
        })
    }
}

pub(crate) async fn attempts(store: &PostgresStore, job: JobId) -> Result<Vec<AttemptRow>, StoreError> {
    let mut conn = store.reader().await?;
    sqlx::query_as!(
        AttemptRecord,
        "SELECT * FROM attempts WHERE job = $1 ORDER BY attempt, fence",
        job.0
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(from_sqlx)?
    .into_iter()
    .map(AttemptRecord::row)
    .collect()
}

/// A step as it is read.
#[derive(Debug)]
struct StepRecord {
    step_index: i64,
    step: String,
    name: String,
    outcome: String,
    started_at: i64,
    finished_at: i64,
    duration_ms: i64,
    retries: i64,
    nrc: Option<i32>,
    detail: Option<String>,
    measurements: String,
}

impl StepRecord {
    fn row(self) -> Result<StepRow, StoreError> {
        let nrc = |nrc| u8::try_from(nrc).map_err(|_| unreadable("nrc", nrc));
        Ok(StepRow {
            index: narrow("step_index", self.step_index)?,
            step: self.step,
            name: self.name,
            outcome: word("outcome", &self.outcome, Outcome::of)?,
            started_at: to_time("started_at", self.started_at)?,
            finished_at: to_time("finished_at", self.finished_at)?,
            duration_ms: narrow("duration_ms", self.duration_ms)?,
            retries: narrow("retries", self.retries)?,
            nrc: self.nrc.map(nrc).transpose()?,
            detail: self.detail,
            measurements_json: self.measurements,
        })
    }
}

pub(crate) async fn steps(
    store: &PostgresStore,
    job: JobId,
    attempt: u32,
) -> Result<Vec<StepRow>, StoreError> {
    let mut conn = store.reader().await?;
    // After a restore two benches may have done an attempt of the same number: the newer fence is shown.
    sqlx::query_as!(
        StepRecord,
        "SELECT step_index, step, name, outcome, started_at, finished_at, duration_ms, retries, nrc, detail,
             measurements::text AS \"measurements!\"
         FROM steps WHERE job = $1 AND attempt = $2
           AND fence = (SELECT max(fence) FROM steps WHERE job = $1 AND attempt = $2)
         ORDER BY step_index",
        job.0,
        i64::from(attempt)
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(from_sqlx)?
    .into_iter()
    .map(StepRecord::row)
    .collect()
}

/// Counts jobs by state.
pub(crate) async fn by_state(conn: &mut PgConnection) -> Result<Vec<(JobState, u64)>, StoreError> {
    sqlx::query!("SELECT state, count(*) AS \"jobs!\" FROM jobs GROUP BY state ORDER BY state")
        .fetch_all(conn)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| {
            Ok((
                word("state", &row.state, JobState::of)?,
                narrow("jobs", row.jobs)?,
            ))
        })
        .collect()
}
