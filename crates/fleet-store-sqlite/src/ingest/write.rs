//! Writing what was decided, in multi-row statements.

use fleet_domain::{DeviceId, JobId, SpoolLedger};
use fleet_store::{ChangeKind, StoreError, outbox_topic};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::load::{DeviceState, Loaded};
use super::plan::{DeadLetter, NewEvent, Planned};
use crate::column::{int, json, time};
use crate::error::from_sqlx;
use crate::jobs;
use crate::work::{CHUNK, Work};

pub(super) async fn write(
    conn: &mut SqliteConnection,
    loaded: &mut Loaded,
    planned: &mut Planned,
    work: &mut Work,
) -> Result<(), StoreError> {
    write_events(conn, &planned.events, work).await?;
    for id in std::mem::take(&mut loaded.changed_jobs) {
        if let Some(stored) = loaded.jobs.get(&id) {
            jobs::save(conn, stored, work).await?;
        }
    }
    write_asides(conn, planned, work).await?;
    write_rejections(conn, planned).await?;
    for letter in &planned.dead {
        write_dead_letter(conn, letter, work).await?;
    }
    write_ledger(conn, loaded).await?;
    let mut told = Vec::new();
    for (device, state) in &loaded.devices {
        write_device(conn, device, state).await?;
        if state.shown || state.tell {
            work.changed(ChangeKind::Bench, device);
            told.push(device.as_str());
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
    Ok(())
}

async fn write_events(
    conn: &mut SqliteConnection,
    events: &[NewEvent],
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
            let event = &new.event;
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
                .push_bind(new.standing.0)
                .push_bind(&new.standing.1)
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

async fn write_asides(conn: &mut SqliteConnection, planned: &Planned, work: &Work) -> Result<(), StoreError> {
    for hole in &planned.holes {
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
    for conflict in &planned.conflicts {
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

async fn write_rejections(conn: &mut SqliteConnection, planned: &Planned) -> Result<(), StoreError> {
    for (device, spool, seq, code) in &planned.rejections {
        sqlx::query("INSERT OR IGNORE INTO rejections (device, spool, seq, code) VALUES (?, ?, ?, ?)")
            .bind(device.as_str())
            .bind(spool.0)
            .bind(int("seq", *seq)?)
            .bind(code.as_str())
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

async fn write_ledger(conn: &mut SqliteConnection, loaded: &Loaded) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for (device, state) in &loaded.devices {
        for row in state.ledger.changed() {
            rows.push((device.as_str(), row, ledger_numbers(row)));
        }
    }
    for chunk in rows.chunks(CHUNK) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO spools (device, spool, prev_spool, restored_in, ordinal, prev_last,
                 through, announced, stored, rejected, holes, rejections_known, duplicates, gaps, conflicts) ",
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
        });
        // What the relay counts in the same row stays.
        insert.push(
            " ON CONFLICT (device, spool) DO UPDATE SET prev_spool = excluded.prev_spool,
                 restored_in = excluded.restored_in, ordinal = excluded.ordinal,
                 prev_last = excluded.prev_last, through = excluded.through,
                 announced = excluded.announced, stored = excluded.stored, rejected = excluded.rejected,
                 holes = excluded.holes, rejections_known = excluded.rejections_known,
                 duplicates = excluded.duplicates, gaps = excluded.gaps, conflicts = excluded.conflicts",
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
    if !state.dirty && state.ledger.changed().next().is_none() {
        return Ok(());
    }
    let last: Vec<(Uuid, u64)> = state
        .mark
        .last
        .iter()
        .map(|(spool, seq)| (spool.0, *seq))
        .collect();
    let open: Vec<Uuid> = state.mark.jobs.iter().map(|job: &JobId| job.0).collect();
    let runs: Vec<(Uuid, u64)> = state.runs.iter().map(|(run, number)| (run.0, *number)).collect();
    let presence = state.presence;
    let equipment = &state.equipment;
    sqlx::query(
        "UPDATE devices SET run_id = ?, connect_counter = ?, online = ?, presence_since = ?, station = ?,
             vin = ?, ecus = ?, transports = ?, agent_version = ?, public_key = ?, refusing_jobs = ?,
             held_events = ?, last_ordinal = ?, newest_spool = ?, sync_generation = ?, sync_version = ?,
             sync_last = ?, sync_jobs = ?, sync_runs = ?, settled_generation = ?
         WHERE device = ?",
    )
    .bind(presence.map(|presence| presence.run_id.0))
    .bind(clamp(presence.map_or(0, |presence| presence.connect_counter)))
    .bind(presence.is_some_and(|presence| presence.online))
    .bind(state.presence_since.map(time))
    .bind(&equipment.station)
    .bind(&equipment.vin)
    .bind(json(&equipment.ecus))
    .bind(json(&equipment.transports))
    .bind(&equipment.agent_version)
    .bind(&equipment.public_key)
    .bind(&state.refusing_jobs)
    .bind(clamp(state.held_events))
    .bind(clamp(state.ledger.last_ordinal()))
    .bind(state.ledger.newest().map(|spool| spool.0))
    .bind(state.mark.generation.map(|generation| generation.0))
    .bind(clamp(state.mark.desired_version))
    .bind(json(&last))
    .bind(json(&open))
    .bind(json(&runs))
    .bind(state.settled_generation.map(|generation| generation.0))
    .bind(device.as_str())
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Numbers that a bench states may be absurd; they only have to stay comparable.
fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
