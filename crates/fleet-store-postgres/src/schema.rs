//! The schema's version, and whose the database is.

use fleet_domain::{PlantId, StoreGeneration};
use fleet_store::StoreError;
use jiff::Timestamp;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgConnection, Row};

use crate::column::{Columns, time};
use crate::error::from_sqlx;

/// The schema's steps, forward only.
pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/postgres");

/// Newest version that this program knows.
pub(crate) fn known() -> i64 {
    MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// Version of the database's schema; 0 for an empty one.
pub(crate) async fn found(conn: &mut PgConnection) -> Result<i64, StoreError> {
    if !exists(conn, "_sqlx_migrations").await? {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)
}

async fn exists(conn: &mut PgConnection, table: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(table)
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)
}

/// Refuses a schema that is not the one of this program.
pub(crate) async fn check(conn: &mut PgConnection) -> Result<(), StoreError> {
    let (found, known) = (found(conn).await?, known());
    match found {
        found if found > known => Err(StoreError::SchemaTooNew { found, known }),
        found if found < known => Err(StoreError::SchemaTooOld { found, known }),
        _ => Ok(()),
    }
}

/// Brings the schema up to date, one program at a time (the migrator holds an advisory lock). A newer one is
/// refused before anything is touched. Returns the versions before and after.
pub(crate) async fn migrate(conn: &mut PgConnection) -> Result<(i64, i64), StoreError> {
    let (found, known) = (found(conn).await?, known());
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    MIGRATOR
        .run_direct(None, conn, false)
        .await
        .map_err(from_migrate)?;
    Ok((found, known))
}

fn from_migrate(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) => from_sqlx(error),
        MigrateError::VersionMissing(found) => StoreError::SchemaTooNew {
            found,
            known: known(),
        },
        MigrateError::ExecuteMigration(error, version) => match from_sqlx(error) {
            StoreError::Statement(source) => StoreError::Corrupt(StepFailed { version, source }.into()),
            other => other,
        },
        other => StoreError::Corrupt(other.into()),
    }
}

/// A step of the schema can't be taken: somebody changed the schema by hand.
#[derive(Debug, thiserror::Error)]
#[error("step {version} of the schema can't be taken")]
struct StepFailed {
    version: i64,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The plant that the database belongs to and its generation; `None` for a database without one.
pub(crate) async fn owner(conn: &mut PgConnection) -> Result<Option<(String, StoreGeneration)>, StoreError> {
    if !exists(conn, "meta").await? {
        return Ok(None);
    }
    sqlx::query("SELECT plant, generation FROM meta")
        .fetch_optional(conn)
        .await
        .map_err(from_sqlx)?
        .map(|row| Ok((row.text("plant")?, StoreGeneration(row.uuid("generation")?))))
        .transpose()
}

/// Refuses the database of another plant.
pub(crate) fn check_plant(found: &str, plant: &PlantId) -> Result<(), StoreError> {
    if found == plant.as_str() {
        return Ok(());
    }
    Err(StoreError::OtherPlant {
        found: found.to_owned(),
        expected: plant.clone(),
    })
}

/// Writes the plant into a database that has none; another program may have been quicker.
pub(crate) async fn settle(
    conn: &mut PgConnection,
    plant: &PlantId,
    generation: StoreGeneration,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO meta (one, plant, generation, created_at) VALUES (true, $1, $2, $3)
         ON CONFLICT DO NOTHING",
    )
    .bind(plant.as_str())
    .bind(generation.0)
    .bind(time(now))
    .execute(conn)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Refuses a database that takes no writes. The error is the one that a write would get.
pub(crate) async fn check_writable(conn: &mut PgConnection) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') = 'on' AS read_only",
    )
    .fetch_one(conn)
    .await
    .map_err(from_sqlx)?;
    let flag = |column| row.try_get::<bool, _>(column).map_err(from_sqlx);
    if flag("standby")? {
        return Err(StoreError::ReadOnly("it is a standby".into()));
    }
    if flag("read_only")? {
        return Err(StoreError::ReadOnly("default_transaction_read_only is on".into()));
    }
    Ok(())
}

/// Says so when the server answers commits that a power cut would take back: then receipts promise too much.
pub(crate) async fn warn_of_lost_commits(conn: &mut PgConnection) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit",
    )
    .fetch_one(conn)
    .await
    .map_err(from_sqlx)?;
    for setting in ["fsync", "synchronous_commit"] {
        if row.text(setting)? == "off" {
            tracing::warn!(
                setting,
                "PostgreSQL may lose commits that it has answered: the setting is off"
            );
        }
    }
    Ok(())
}
