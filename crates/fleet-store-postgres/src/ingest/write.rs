//! Writing what was decided: for each table one statement that takes columns as arrays.

use fleet_domain::report::StepReport;
use fleet_domain::{DeviceId, SpoolLedger, Verdict};
use fleet_recording::{AttemptWrite, DeadLetter, NewEvent, Recorded};
use fleet_store::{ChangeKind, StoreError, outbox_topic};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::device;
use crate::column::{clamp, day, int, json, opt_text, text, time};
use crate::error::{Overtaken, from_sqlx};
use crate::outbox::{UNPROJECTED, standing_columns};
use crate::work::Work;
use crate::{jobs, lease};

/// Writes all rows but alarms, outbox and change log.
pub(super) async fn write(
    conn: &mut PgConnection,
    recorded: &Recorded<'_>,
    work: &mut Work,
) -> Result<(), StoreError> {
    if let Some(begun) = recorded.begun {
        lease::write_generation(conn, begun).await?;
    }
    write_events(conn, &recorded.events, work.now).await?;
    count_unprojected(conn, &recorded.events).await?;
    write_steps(conn, &recorded.steps).await?;
    write_attempts(conn, &recorded.attempts).await?;
    write_jobs(conn, recorded, work).await?;
    write_asides(conn, recorded, work.now).await?;
    write_rejections(conn, recorded).await?;
    write_dead_letters(conn, &recorded.dead, work).await?;
    write_ledger(conn, &recorded.spools, work.now).await?;
    device::write(conn, &recorded.devices, work.now).await
}

async fn write_events(
    conn: &mut PgConnection,
    events: &[NewEvent<'_>],
    now: Timestamp,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let rows = || events.iter().map(|new| new.event);
    let seqs = rows()
        .map(|event| int("seq", event.place.seq))
        .collect::<Result<Vec<_>, _>>()?;
    let standings = || events.iter().map(|new| standing_columns(&new.standing));
    sqlx::query(
        "INSERT INTO events (received_day, device, spool, seq, event_id, type, vin, traceparent, time,
             received_at, digest, bytes, standing, reason)
         SELECT $1, device, spool, seq, event_id, type, vin, traceparent, time, $2, digest, bytes, standing, reason
         FROM UNNEST($3::text[], $4::uuid[], $5::bigint[], $6::uuid[], $7::text[], $8::text[], $9::text[],
                 $10::bigint[], $11::bytea[], $12::bytea[], $13::smallint[], $14::text[])
             AS new (device, spool, seq, event_id, type, vin, traceparent, time, digest, bytes, standing, reason)",
    )
    .bind(day(now))
    .bind(time(now))
    .bind(events.iter().map(|new| new.device.as_str()).collect::<Vec<_>>())
    .bind(rows().map(|event| event.place.spool.0).collect::<Vec<_>>())
    .bind(seqs)
    .bind(rows().map(|event| event.id.0).collect::<Vec<_>>())
    .bind(rows().map(|event| text(&event.r#type)).collect::<Vec<_>>())
    .bind(rows().map(|event| opt_text(event.vin.as_deref())).collect::<Vec<_>>())
    .bind(
        rows()
            .map(|event| opt_text(event.traceparent.as_deref()))
            .collect::<Vec<_>>(),
    )
    .bind(rows().map(|event| time(event.time)).collect::<Vec<_>>())
    .bind(rows().map(|event| &event.digest.0[..]).collect::<Vec<_>>())
    .bind(rows().map(|event| &event.bytes[..]).collect::<Vec<_>>())
    .bind(standings().map(|(code, _)| code).collect::<Vec<_>>())
    .bind(standings().map(|(_, reason)| opt_text(reason)).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// A row of its own: nobody waits for it.
async fn count_unprojected(conn: &mut PgConnection, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
    let unprojected = events
        .iter()
        .filter(|new| standing_columns(&new.standing).0 == UNPROJECTED)
        .count();
    if unprojected == 0 {
        return Ok(());
    }
    sqlx::query("INSERT INTO figures VALUES ('unprojected', $1)")
        .bind(i64::try_from(unprojected).unwrap_or(i64::MAX))
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}

/// Steps are most of what a bench sends.
async fn write_steps(conn: &mut PgConnection, steps: &[&StepReport]) -> Result<(), StoreError> {
    if steps.is_empty() {
        return Ok(());
    }
    let rows = || steps.iter();
    let fences = rows()
        .map(|step| int("fence", step.of.fence))
        .collect::<Result<Vec<_>, _>>()?;
    let durations = rows()
        .map(|step| int("duration_ms", step.duration_ms))
        .collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "INSERT INTO steps (job, attempt, fence, step_index, step, name, outcome, started_at, finished_at,
             duration_ms, retries, nrc, detail, measurements)
         SELECT job, attempt, fence, step_index, step, name, outcome, started_at, finished_at, duration_ms,
             retries, nrc, detail, measurements::json
         FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                 $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::integer[], $13::text[],
                 $14::text[])
             AS new (job, attempt, fence, step_index, step, name, outcome, started_at, finished_at,
                 duration_ms, retries, nrc, detail, measurements)",
    )
    .bind(rows().map(|step| step.of.job.0).collect::<Vec<_>>())
    .bind(rows().map(|step| i64::from(step.of.attempt)).collect::<Vec<_>>())
    .bind(fences)
    .bind(rows().map(|step| i64::from(step.index)).collect::<Vec<_>>())
    .bind(rows().map(|step| text(&step.step)).collect::<Vec<_>>())
    .bind(rows().map(|step| text(&step.name)).collect::<Vec<_>>())
    .bind(rows().map(|step| step.outcome.as_str()).collect::<Vec<_>>())
    .bind(rows().map(|step| time(step.started_at)).collect::<Vec<_>>())
    .bind(rows().map(|step| time(step.finished_at)).collect::<Vec<_>>())
    .bind(durations)
    .bind(rows().map(|step| i64::from(step.retries)).collect::<Vec<_>>())
    .bind(rows().map(|step| step.nrc.map(i32::from)).collect::<Vec<_>>())
    .bind(
        rows()
            .map(|step| opt_text(step.detail.as_deref()))
            .collect::<Vec<_>>(),
    )
    .bind(
        rows()
            .map(|step| text(&step.measurements_json))
            .collect::<Vec<_>>(),
    )
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

async fn write_attempts(conn: &mut PgConnection, attempts: &[AttemptWrite]) -> Result<(), StoreError> {
    if attempts.is_empty() {
        return Ok(());
    }
    let rows = || attempts.iter();
    let fences = rows()
        .map(|row| int("fence", row.of.fence))
        .collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "INSERT INTO attempts AS a (job, attempt, fence, device, accepted_at, started_at, finished_at, verdict,
             reason_code, detail, steps_total, software, record, fenced)
         SELECT job, attempt, fence, device, accepted_at, started_at, finished_at, verdict, reason_code, detail,
             steps_total, coalesce(software, '{}'), record, fenced
         FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[],
                 $7::bigint[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::text[], $13::text[],
                 $14::boolean[])
             AS new (job, attempt, fence, device, accepted_at, started_at, finished_at, verdict, reason_code,
                 detail, steps_total, software, record, fenced)
         ON CONFLICT (job, attempt, fence) DO UPDATE SET
             accepted_at = coalesce(excluded.accepted_at, a.accepted_at),
             started_at = coalesce(excluded.started_at, a.started_at),
             finished_at = coalesce(excluded.finished_at, a.finished_at),
             verdict = coalesce(excluded.verdict, a.verdict),
             reason_code = coalesce(excluded.reason_code, a.reason_code),
             detail = coalesce(excluded.detail, a.detail),
             steps_total = coalesce(excluded.steps_total, a.steps_total),
             -- Comes with the verdict.
             software = CASE WHEN excluded.verdict IS NULL THEN a.software ELSE excluded.software END,
             record = coalesce(excluded.record, a.record),
             fenced = excluded.fenced OR a.fenced",
    )
    .bind(rows().map(|row| row.of.job.0).collect::<Vec<_>>())
    .bind(rows().map(|row| i64::from(row.of.attempt)).collect::<Vec<_>>())
    .bind(fences)
    .bind(rows().map(|row| row.device.as_str()).collect::<Vec<_>>())
    .bind(rows().map(|row| row.accepted_at.map(time)).collect::<Vec<_>>())
    .bind(rows().map(|row| row.started_at.map(time)).collect::<Vec<_>>())
    .bind(rows().map(|row| row.finished_at.map(time)).collect::<Vec<_>>())
    .bind(rows().map(|row| row.verdict.map(Verdict::as_str)).collect::<Vec<_>>())
    .bind(rows().map(|row| opt_text(row.reason_code.as_deref())).collect::<Vec<_>>())
    .bind(rows().map(|row| opt_text(row.detail.as_deref())).collect::<Vec<_>>())
    .bind(rows().map(|row| row.steps_total.map(i64::from)).collect::<Vec<_>>())
    .bind(rows().map(|row| row.software.as_ref().map(json)).collect::<Vec<_>>())
    .bind(rows().map(|row| opt_text(row.record.as_deref())).collect::<Vec<_>>())
    .bind(rows().map(|row| row.fenced).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

async fn write_jobs(
    conn: &mut PgConnection,
    recorded: &Recorded<'_>,
    work: &mut Work,
) -> Result<(), StoreError> {
    // Another bench may report the same unknown job at this moment: then it is known the next time.
    if !jobs::record(conn, &recorded.jobs, &recorded.new_jobs, work).await? {
        return Err(Overtaken("a job that a bench reports").into());
    }
    Ok(())
}

async fn write_asides(
    conn: &mut PgConnection,
    recorded: &Recorded<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for hole in &recorded.holes {
        sqlx::query(
            "INSERT INTO holes (device, spool, from_seq, to_seq, reason, bytes, received_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(hole.device.as_str())
        .bind(hole.spool.0)
        .bind(clamp(hole.from))
        .bind(clamp(hole.to))
        .bind(text(&hole.reason))
        .bind(&hole.bytes[..])
        .bind(time(now))
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    }
    for conflict in &recorded.conflicts {
        sqlx::query(
            "INSERT INTO conflicts (device, spool, seq, digest, bytes, received_at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(conflict.device.as_str())
        .bind(conflict.spool.0)
        .bind(clamp(conflict.from))
        .bind(&conflict.digest.0[..])
        .bind(&conflict.bytes[..])
        .bind(time(now))
        .execute(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    }
    Ok(())
}

async fn write_rejections(conn: &mut PgConnection, recorded: &Recorded<'_>) -> Result<(), StoreError> {
    if recorded.rejections.is_empty() {
        return Ok(());
    }
    let rows = || recorded.rejections.iter();
    sqlx::query(
        "INSERT INTO rejections (device, spool, seq, code)
         SELECT device, spool, seq, code
         FROM UNNEST($1::text[], $2::uuid[], $3::bigint[], $4::text[]) WITH ORDINALITY
             AS new (device, spool, seq, code, n)
         ORDER BY n
         ON CONFLICT DO NOTHING",
    )
    .bind(rows().map(|row| row.device.as_str()).collect::<Vec<_>>())
    .bind(rows().map(|row| row.spool.0).collect::<Vec<_>>())
    .bind(rows().map(|row| clamp(row.seq)).collect::<Vec<_>>())
    .bind(rows().map(|row| row.code.as_str()).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

async fn write_dead_letters(
    conn: &mut PgConnection,
    letters: &[DeadLetter],
    work: &mut Work,
) -> Result<(), StoreError> {
    if letters.is_empty() {
        return Ok(());
    }
    let rows = || letters.iter();
    let ids: Vec<i64> = sqlx::query_scalar(
        "INSERT INTO dead_letters (device, channel, spool, seq, code, reason, user_properties, bytes, received_at)
         SELECT device, channel, spool, seq, code, reason, user_properties, bytes, $9
         FROM UNNEST($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                 $8::bytea[]) WITH ORDINALITY
             AS new (device, channel, spool, seq, code, reason, user_properties, bytes, n)
         ORDER BY n
         RETURNING id",
    )
    .bind(rows().map(|letter| text(&letter.device)).collect::<Vec<_>>())
    .bind(rows().map(|letter| text(&letter.channel)).collect::<Vec<_>>())
    .bind(
        rows()
            .map(|letter| letter.place.map(|place| place.spool.0))
            .collect::<Vec<_>>(),
    )
    .bind(
        rows()
            .map(|letter| letter.place.map(|place| clamp(place.seq)))
            .collect::<Vec<_>>(),
    )
    .bind(rows().map(|letter| letter.code).collect::<Vec<_>>())
    .bind(rows().map(|letter| text(&letter.reason)).collect::<Vec<_>>())
    .bind(rows().map(|letter| json(&letter.user_properties)).collect::<Vec<_>>())
    .bind(rows().map(|letter| &letter.bytes[..]).collect::<Vec<_>>())
    .bind(time(work.now))
    .fetch_all(conn)
    .await
    .map_err(from_sqlx)?;
    for id in ids {
        work.changed(ChangeKind::DeadLetter, &id);
    }
    Ok(())
}

async fn write_ledger(
    conn: &mut PgConnection,
    spools: &[(DeviceId, SpoolLedger)],
    now: Timestamp,
) -> Result<(), StoreError> {
    if spools.is_empty() {
        return Ok(());
    }
    let rows = || spools.iter().map(|(_, row)| row);
    let numbers = |of: fn(&SpoolLedger) -> u64| rows().map(|row| clamp(of(row))).collect::<Vec<i64>>();
    sqlx::query(
        "INSERT INTO spools AS s (device, spool, prev_spool, restored_in, ordinal, prev_last, through, announced,
             stored, rejected, holes, rejections_known, duplicates, gaps, conflicts, outstanding_since)
         SELECT new.*, CASE WHEN announced > through THEN $16::bigint END
         FROM UNNEST($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::bigint[],
             $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
             $13::bigint[], $14::bigint[], $15::bigint[])
             AS new (device, spool, prev_spool, restored_in, ordinal, prev_last, through, announced, stored,
                 rejected, holes, rejections_known, duplicates, gaps, conflicts)
         ON CONFLICT (device, spool) DO UPDATE SET
             prev_spool = excluded.prev_spool, restored_in = excluded.restored_in,
             ordinal = excluded.ordinal, prev_last = excluded.prev_last, through = excluded.through,
             announced = excluded.announced, stored = excluded.stored, rejected = excluded.rejected,
             holes = excluded.holes, rejections_known = excluded.rejections_known,
             duplicates = excluded.duplicates, gaps = excluded.gaps, conflicts = excluded.conflicts,
             outstanding_since = CASE
                 WHEN excluded.outstanding_since IS NOT NULL AND s.through = excluded.through
                 THEN coalesce(s.outstanding_since, excluded.outstanding_since)
                 ELSE excluded.outstanding_since END",
    )
    .bind(
        spools
            .iter()
            .map(|(device, _)| device.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(rows().map(|row| row.spool.0).collect::<Vec<_>>())
    .bind(
        rows()
            .map(|row| row.predecessor.map(|prev| prev.spool.0))
            .collect::<Vec<_>>(),
    )
    .bind(
        rows()
            .map(|row| row.restored_in.map(|run| run.0))
            .collect::<Vec<_>>(),
    )
    .bind(numbers(|row| row.ordinal))
    .bind(numbers(|row| row.predecessor.map_or(0, |prev| prev.last_seq)))
    .bind(numbers(|row| row.through))
    .bind(numbers(|row| row.announced))
    .bind(numbers(|row| row.stored))
    .bind(numbers(|row| row.rejected))
    .bind(numbers(|row| row.holes))
    .bind(numbers(|row| row.rejections_known))
    .bind(numbers(|row| row.duplicates))
    .bind(numbers(|row| row.gaps))
    .bind(numbers(|row| row.conflicts))
    .bind(time(now))
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Rows of the outbox, in the order of the events' arrival.
#[derive(Debug, Default)]
pub(crate) struct Outbox<'a> {
    received_day: i32,
    topics: Vec<&'static str>,
    devices: Vec<&'a str>,
    spools: Vec<Uuid>,
    seqs: Vec<i64>,
}

impl<'a> Outbox<'a> {
    /// A row for each event.
    pub(crate) fn of(events: &[NewEvent<'a>], received_at: Timestamp) -> Self {
        let mut outbox = Self {
            received_day: day(received_at),
            ..Self::default()
        };
        for new in events {
            outbox.topics.push(outbox_topic(&new.event.r#type));
            outbox.devices.push(new.device.as_str());
            outbox.spools.push(new.event.place.spool.0);
            outbox.seqs.push(clamp(new.event.place.seq));
        }
        outbox
    }

    /// No rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Writes them. Only under the lock that makes sequences the order of the commits.
    pub(crate) async fn write(&self, conn: &mut PgConnection) -> Result<(), StoreError> {
        if self.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO outbox (token, topic, received_day, device, spool, event_seq)
             SELECT gen_random_uuid(), topic, $1, device, spool, seq
             FROM UNNEST($2::text[], $3::text[], $4::uuid[], $5::bigint[]) WITH ORDINALITY
                 AS new (topic, device, spool, seq, n)
             ORDER BY n",
        )
        .bind(self.received_day)
        .bind(&self.topics)
        .bind(&self.devices)
        .bind(&self.spools)
        .bind(&self.seqs)
        .execute(conn)
        .await
        .map_err(from_sqlx)?;
        Ok(())
    }
}
