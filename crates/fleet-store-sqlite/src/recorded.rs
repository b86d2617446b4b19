//! Reading jobs, attempts and steps.

use fleet_domain::{DeviceId, JobId, JobState, OfferId, Outcome, Verdict, Vin};
use fleet_store::{AttemptRow, JobFilter, JobRow, Page, Paged, StepRow, StoreError, cursor_number};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use crate::SqliteStore;
use crate::column::{Columns, unreadable};
use crate::error::from_sqlx;
use crate::jobs::job_row;

pub(crate) async fn job(store: &SqliteStore, job: JobId) -> Result<Option<JobRow>, StoreError> {
    sqlx::query("SELECT * FROM jobs WHERE id = ?")
        .bind(job.0)
        .fetch_optional(&store.readers)
        .await
        .map_err(from_sqlx)?
        .as_ref()
        .map(job_row)
        .transpose()
}

pub(crate) async fn jobs(
    store: &SqliteStore,
    filter: &JobFilter,
    page: &Page,
) -> Result<Paged<JobRow>, StoreError> {
    let below = page.after.as_deref().map_or(Ok(i64::MAX), cursor_number)?;
    let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM jobs WHERE n < ");
    query.push_bind(below);
    if !filter.states.is_empty() {
        query.push(" AND state IN (");
        let mut states = query.separated(", ");
        for state in &filter.states {
            states.push_bind(state.as_str());
        }
        query.push(")");
    }
    if let Some(vin) = &filter.vin {
        query.push(" AND vin = ").push_bind(Vin::as_str(vin).to_owned());
    }
    if let Some(part) = &filter.vin_part {
        query
            .push(" AND instr(vin, ")
            .push_bind(part.as_str())
            .push(") > 0");
    }
    if let Some(device) = &filter.device {
        query
            .push(" AND (device = ")
            .push_bind(device.as_str().to_owned());
        query
            .push(" OR (device IS NULL AND wanted_device = ")
            .push_bind(device.as_str().to_owned())
            .push("))");
    }
    query.push(" ORDER BY n DESC LIMIT ").push_bind(page.size() + 1);
    let rows = query.build().fetch_all(&store.readers).await.map_err(from_sqlx)?;
    let items = rows
        .iter()
        .map(|row| Ok((row.raw::<i64>("n")?, job_row(row)?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Paged::cut(items, page, |(n, _)| n.to_string()).map(|(_, job)| job))
}

fn attempt_row(row: &SqliteRow) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        job: JobId(row.uuid("job")?),
        attempt: row.u32("attempt")?,
        fence: row.u64("fence")?,
        device: row.parsed::<DeviceId>("device")?,
        offer_id: row.opt_uuid("offer_id")?.map(OfferId),
        offered_at: row.opt_time("offered_at")?,
        accepted_at: row.opt_time("accepted_at")?,
        started_at: row.opt_time("started_at")?,
        finished_at: row.opt_time("finished_at")?,
        verdict: row.opt_word("verdict", Verdict::of)?,
        reason_code: row.opt_text("reason_code")?,
        detail: row.opt_text("detail")?,
        steps_total: row.opt_u32("steps_total")?,
        software: row.json("software")?,
        record: row.opt_text("record")?,
        fenced: row.flag("fenced")?,
    })
}

pub(crate) async fn attempts(store: &SqliteStore, job: JobId) -> Result<Vec<AttemptRow>, StoreError> {
    sqlx::query("SELECT * FROM attempts WHERE job = ? ORDER BY attempt, fence")
        .bind(job.0)
        .fetch_all(&store.readers)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(attempt_row)
        .collect()
}

fn step_row(row: &SqliteRow) -> Result<StepRow, StoreError> {
    let nrc = row.opt_int("nrc")?;
    Ok(StepRow {
        index: row.u32("step_index")?,
        step: row.text("step")?,
        name: row.text("name")?,
        outcome: row.word("outcome", Outcome::of)?,
        started_at: row.time("started_at")?,
        finished_at: row.time("finished_at")?,
        duration_ms: row.u64("duration_ms")?,
        retries: row.u32("retries")?,
        nrc: nrc
            .map(|nrc| u8::try_from(nrc).map_err(|_| unreadable("nrc", nrc)))
            .transpose()?,
        detail: row.opt_text("detail")?,
        measurements_json: row.text("measurements")?,
    })
}

pub(crate) async fn steps(store: &SqliteStore, job: JobId, attempt: u32) -> Result<Vec<StepRow>, StoreError> {
    // After a restore two benches may have done an attempt of the same number: the newer fence is shown.
    sqlx::query(
        "SELECT * FROM steps WHERE job = ?1 AND attempt = ?2
         AND fence = (SELECT max(fence) FROM steps WHERE job = ?1 AND attempt = ?2)
         ORDER BY step_index",
    )
    .bind(job.0)
    .bind(i64::from(attempt))
    .fetch_all(&store.readers)
    .await
    .map_err(from_sqlx)?
    .iter()
    .map(step_row)
    .collect()
}

/// Jobs by state, as triggers keep count.
pub(crate) async fn by_state(store: &SqliteStore) -> Result<Vec<(JobState, u64)>, StoreError> {
    sqlx::query("SELECT substr(name, 5) AS state, n AS jobs FROM figures WHERE name LIKE 'job %' AND n > 0 ORDER BY 1")
        .fetch_all(&store.readers)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(|row| Ok((row.word("state", JobState::of)?, row.u64("jobs")?)))
        .collect()
}
