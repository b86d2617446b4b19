//! Writing what was decided, in multi-row statements.

use fleet_domain::report::StepReport;
use fleet_domain::{DeviceId, JobId, SpoolLedger, Verdict};
use fleet_recording::{AttemptWrite, DeadLetter, DeviceState, NewEvent, Recorded};
use fleet_store::{ChangeKind, StoreError, outbox_topic};
use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use crate::column::{clamp, int, json, time};
use crate::error::from_sqlx;
use crate::outbox::standing_columns;
use crate::work::{CHUNK, Work};
use crate::{jobs, lease};

/// Writes all rows but the alarms and the change log, which are handed to `work`.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    recorded: &mut Recorded<'_>,
    work: &mut Work,
) -> Result<(), StoreError> {
    if let Some(begun) = recorded.begun {
        lease::write_generation(conn, begun).await?;
    }
    write_events(conn, &recorded.events, work).await?;
    write_steps(conn, &recorded.steps).await?;
    for attempt in &recorded.attempts {
        write_attempt(conn, attempt).await?;
    }
    for stored in &recorded.jobs {
        jobs::save(conn, stored, work).await?;
    }
    write_asides(conn, recorded, work).await?;
    write_rejections(conn, recorded).await?;
    for letter in &recorded.dead {
        write_dead_letter(conn, letter, work).await?;
    }
    write_ledger(conn, &recorded.spools, work.now).await?;
    let mut told = Vec::new();
    for write in &recorded.devices {
        if write.changed {
            write_device(conn, &write.device, &write.state).await?;
        }
        if write.told {
            told.push(write.device.as_str());
        }
    }
    if !told.is_empty() {
        sqlx::query("UPDATE devices SET told_at = ? WHERE device IN (SELECT value FROM json_each(?))")
            .bind(time(work.now))
            .bind(json(&told))
            .execute(conn)
            .await
            .map_err(from_sqlx)?;
    }
    work.take(
        std::mem::take(&mut recorded.changes),
        std::mem::take(&mut recorded.raised),
    );
    Ok(())
}

async fn write_events(
    conn: &mut SqliteConnection,
    events: &[NewEvent<'_>],
    work: &Work,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    // One writer: the numbers can be given here, and the outbox can name them.
    let last: i64 = sqlx::query_scalar("SELECT coalesce(max(n), 0) FROM events")
        .fetch_one(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    let mut numbered = Vec::with_capacity(events.len());
    for (n, new) in (last + 1..).zip(events) {
        numbered.push((n, int("seq", new.event.place.seq)?, new));
    }
    for chunk in numbered.chunks(CHUNK) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO events (n, device, spool, seq, event_id, type, vin, time, received_at, digest, bytes,
                 standing, reason, traceparent) ",
        );
        insert.push_values(chunk, |mut row, (n, seq, new)| {
            let event = new.event;
            let (standing, reason) = standing_columns(&new.standing);
            row.push_bind(*n)
                .push_bind(new.device.as_str())
                .push_bind(event.place.spool.0)
                .push_bind(*seq)
                .push_bind(event.id.0)
                .push_bind(&event.r#type)
                .push_bind(&event.vin)
                .push_bind(time(event.time))
                .push_bind(time(work.now))
                .push_bind(&event.digest.0[..])
                .push_bind(&event.bytes[..])
                .push_bind(standing)
                .push_bind(reason)
                .push_bind(&event.traceparent);
        });
        run(conn, insert, chunk.len()).await?;
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO outbox (token, topic, event) ");
        insert.push_values(chunk, |mut row, (n, _, new)| {
            row.push("randomblob(16)")
                .push_bind(outbox_topic(&new.event.r#type))
                .push_bind(*n);
        });
        run(conn, insert, chunk.len()).await?;
    }
    Ok(())
}

/// Runs a multi-row statement. Only the one of full size is worth keeping prepared.
async fn run(
    conn: &mut SqliteConnection,
    mut insert: QueryBuilder<Sqlite>,
    rows: usize,
) -> Result<(), StoreError> {
    insert
        .build()
        .persistent(rows == CHUNK)
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}

async fn write_asides(
    conn: &mut SqliteConnection,
    recorded: &Recorded<'_>,
    work: &Work,
) -> Result<(), StoreError> {
    for hole in &recorded.holes {
        sqlx::query(
            "INSERT OR IGNORE INTO holes (device, spool, from_seq, to_seq, reason, bytes, received_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(hole.device.as_str())
        .bind(hole.spool.0)
        .bind(clamp(hole.from))
        .bind(clamp(hole.to))
        .bind(&hole.reason)
        .bind(&hole.bytes[..])
        .bind(time(work.now))
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    }
    for conflict in &recorded.conflicts {
        // The same content again is the same conflict.
        sqlx::query(
            "INSERT OR IGNORE INTO conflicts (device, spool, seq, digest, bytes, received_at)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(conflict.device.as_str())
        .bind(conflict.spool.0)
        .bind(int("seq", conflict.from)?)
        .bind(&conflict.digest.0[..])
        .bind(&conflict.bytes[..])
        .bind(time(work.now))
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    }
    Ok(())
}

async fn write_rejections(conn: &mut SqliteConnection, recorded: &Recorded<'_>) -> Result<(), StoreError> {
    for row in &recorded.rejections {
        sqlx::query("INSERT OR IGNORE INTO rejections (device, spool, seq, code) VALUES (?, ?, ?, ?)")
            .bind(row.device.as_str())
            .bind(row.spool.0)
            .bind(int("seq", row.seq)?)
            .bind(row.code.as_str())
            .execute(&mut *conn)
            .await
            .map_err(from_sqlx)?;
    }
    Ok(())
}

async fn write_dead_letter(
    conn: &mut SqliteConnection,
    letter: &DeadLetter,
    work: &mut Work,
) -> Result<(), StoreError> {
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO dead_letters (device, channel, spool, seq, code, reason, user_properties, bytes, received_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(&letter.device)
    .bind(&letter.channel)
    .bind(letter.place.map(|place| place.spool.0))
    .bind(letter.place.map(|place| int("seq", place.seq)).transpose()?)
    .bind(letter.code)
    .bind(&letter.reason)
    .bind(json(&letter.user_properties))
    .bind(&letter.bytes[..])
    .bind(time(work.now))
    .fetch_one(conn)
    .await
    .map_err(from_sqlx)?;
    work.changed(ChangeKind::DeadLetter, &id);
    Ok(())
}

/// A ledger row as numbers of the database.
fn ledger_numbers(row: &SpoolLedger) -> [i64; 11] {
    [
        row.ordinal,
        row.predecessor.map_or(0, |prev| prev.last_seq),
        row.through,
        row.announced,
        row.stored,
        row.rejected,
        row.holes,
        row.rejections_known,
        row.duplicates,
        row.gaps,
        row.conflicts,
    ]
    .map(clamp)
}

async fn write_ledger(
    conn: &mut SqliteConnection,
    spools: &[(DeviceId, SpoolLedger)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<_> = spools
        .iter()
        .map(|(device, row)| (device.as_str(), row, ledger_numbers(row)))
        .collect();
    for chunk in rows.chunks(CHUNK) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO spools (device, spool, prev_spool, restored_in, ordinal, prev_last,
                 through, announced, stored, rejected, holes, rejections_known, duplicates, gaps, conflicts,
                 outstanding_since) ",
        );
        insert.push_values(chunk, |mut values, (device, row, numbers)| {
            values
                .push_bind(*device)
                .push_bind(row.spool.0)
                .push_bind(row.predecessor.map(|prev| prev.spool.0))
                .push_bind(row.restored_in.map(|run| run.0));
            for number in numbers {
                values.push_bind(*number);
            }
            values.push_bind((row.announced > row.through).then_some(time(now)));
        });
        // What the relay counts in the same row stays.
        insert.push(
            " ON CONFLICT (device, spool) DO UPDATE SET prev_spool = excluded.prev_spool,
                 restored_in = excluded.restored_in, ordinal = excluded.ordinal,
                 prev_last = excluded.prev_last, through = excluded.through,
                 announced = excluded.announced, stored = excluded.stored, rejected = excluded.rejected,
                 holes = excluded.holes, rejections_known = excluded.rejections_known,
                 duplicates = excluded.duplicates, gaps = excluded.gaps, conflicts = excluded.conflicts,
                 outstanding_since = CASE
                     WHEN excluded.outstanding_since IS NOT NULL AND through = excluded.through
                     THEN coalesce(outstanding_since, excluded.outstanding_since)
                     ELSE excluded.outstanding_since END",
        );
        run(conn, insert, chunk.len()).await?;
    }
    Ok(())
}

async fn write_device(
    conn: &mut SqliteConnection,
    device: &DeviceId,
    state: &DeviceState,
) -> Result<(), StoreError> {
    let row = &state.row;
    let last: Vec<(Uuid, u64)> = row.mark.last.iter().map(|(spool, seq)| (spool.0, *seq)).collect();
    let open: Vec<Uuid> = row.mark.jobs.iter().map(|job: &JobId| job.0).collect();
    let runs: Vec<(Uuid, u64)> = row.runs.iter().map(|(run, number)| (run.0, *number)).collect();
    let presence = row.presence;
    let equipment = &row.equipment;
    sqlx::query(
        "UPDATE devices SET run_id = ?, connect_counter = ?, online = ?, presence_since = ?, station = ?,
             vin = ?, ecus = ?, transports = ?, agent_version = ?, public_key = ?, refusing_jobs = ?,
             held_events = ?, last_ordinal = ?, newest_spool = ?, sync_generation = ?, sync_version = ?,
             sync_last = ?, sync_jobs = ?, sync_runs = ?, settled_generation = ?, list_version = ?
         WHERE device = ?",
    )
    .bind(presence.map(|presence| presence.run_id.0))
    .bind(clamp(presence.map_or(0, |presence| presence.connect_counter)))
    .bind(presence.is_some_and(|presence| presence.online))
    .bind(row.presence_since.map(time))
    .bind(&equipment.station)
    .bind(&equipment.vin)
    .bind(json(&equipment.ecus))
    .bind(json(&equipment.transports))
    .bind(&equipment.agent_version)
    .bind(&equipment.public_key)
    .bind(&row.refusing_jobs)
    .bind(clamp(row.held_events))
    .bind(clamp(row.last_ordinal))
    .bind(row.newest_spool.map(|spool| spool.0))
    .bind(row.mark.generation.map(|generation| generation.0))
    .bind(clamp(row.mark.desired_version))
    .bind(json(&last))
    .bind(json(&open))
    .bind(json(&runs))
    .bind(row.settled_generation.map(|generation| generation.0))
    .bind(clamp(row.list_version))
    .bind(device.as_str())
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Steps are most of what a bench sends.
async fn write_steps(conn: &mut SqliteConnection, steps: &[&StepReport]) -> Result<(), StoreError> {
    for chunk in steps.chunks(CHUNK) {
        let mut rows = Vec::with_capacity(chunk.len());
        for step in chunk {
            rows.push((
                *step,
                int("fence", step.of.fence)?,
                int("duration_ms", step.duration_ms)?,
            ));
        }
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO steps (job, attempt, fence, step_index, step, name, outcome, started_at, finished_at,
                 duration_ms, retries, nrc, detail, measurements) ",
        );
        insert.push_values(&rows, |mut row, (step, fence, duration)| {
            row.push_bind(step.of.job.0)
                .push_bind(i64::from(step.of.attempt))
                .push_bind(*fence)
                .push_bind(i64::from(step.index))
                .push_bind(&step.step)
                .push_bind(&step.name)
                .push_bind(step.outcome.as_str())
                .push_bind(time(step.started_at))
                .push_bind(time(step.finished_at))
                .push_bind(*duration)
                .push_bind(i64::from(step.retries))
                .push_bind(step.nrc.map(i64::from))
                .push_bind(&step.detail)
                .push_bind(&step.measurements_json);
        });
        run(conn, insert, chunk.len()).await?;
    }
    Ok(())
}

async fn write_attempt(conn: &mut SqliteConnection, attempt: &AttemptWrite) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO attempts (job, attempt, fence, device, accepted_at, started_at, finished_at, verdict,
             reason_code, detail, steps_total, software, record, fenced)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, coalesce(?12, '{}'), ?13, ?14)
         ON CONFLICT (job, attempt, fence) DO UPDATE SET
             accepted_at = coalesce(excluded.accepted_at, accepted_at),
             started_at = coalesce(excluded.started_at, started_at),
             finished_at = coalesce(excluded.finished_at, finished_at),
             verdict = coalesce(excluded.verdict, verdict),
             reason_code = coalesce(excluded.reason_code, reason_code),
             detail = coalesce(excluded.detail, detail),
             steps_total = coalesce(excluded.steps_total, steps_total),
             software = coalesce(?12, software),
             record = coalesce(excluded.record, record),
             fenced = max(excluded.fenced, fenced)",
    )
    .bind(attempt.of.job.0)
    .bind(i64::from(attempt.of.attempt))
    .bind(int("fence", attempt.of.fence)?)
    .bind(attempt.device.as_str())
    .bind(attempt.accepted_at.map(time))
    .bind(attempt.started_at.map(time))
    .bind(attempt.finished_at.map(time))
    .bind(attempt.verdict.map(Verdict::as_str))
    .bind(&attempt.reason_code)
    .bind(&attempt.detail)
    .bind(attempt.steps_total.map(i64::from))
    .bind(attempt.software.as_ref().map(json))
    .bind(&attempt.record)
    .bind(attempt.fenced)
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}
