//! The schema's version, and whose the database is.

use fleet_domain::PlantId;
use fleet_store::StoreError;
use sqlx::migrate::Migrator;
use sqlx::{SqliteConnection, SqlitePool};

use crate::column::Columns;
use crate::error::from_sqlx;

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// Newest version that this program knows.
pub(crate) fn known() -> i64 {
    MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// Version of the database's schema; 0 for an empty file.
async fn found(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *conn)
        .await
        .map_err(from_sqlx)?;
    if there == 0 {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)
}

/// Refuses a schema that is not the one of this program.
pub(crate) async fn check(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    let (found, known) = (found(conn).await?, known());
    match found {
        found if found > known => Err(StoreError::SchemaTooNew { found, known }),
        found if found < known => Err(StoreError::SchemaTooOld { found, known }),
        _ => Ok(()),
    }
}

/// Why the schema could not be brought up to date.
pub(crate) enum MigrateError {
    Store(StoreError),
    Migrate(sqlx::migrate::MigrateError),
}

impl From<StoreError> for MigrateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Brings the schema up to date. A newer one is refused before anything is touched. Returns the version before.
pub(crate) async fn migrate(pool: &SqlitePool) -> Result<i64, MigrateError> {
    let mut conn = pool.acquire().await.map_err(from_sqlx)?;
    let (found, known) = (found(&mut conn).await?, known());
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known }.into());
    }
    MIGRATOR.run(&mut *conn).await.map_err(MigrateError::Migrate)?;
    Ok(found)
}

/// Refuses the database of another plant.
pub(crate) async fn check_plant(conn: &mut SqliteConnection, plant: &PlantId) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT plant FROM meta")
        .fetch_one(conn)
        .await
        .map_err(from_sqlx)?;
    let found = row.text("plant")?;
    if found == plant.as_str() {
        return Ok(());
    }
    Err(StoreError::OtherPlant {
        found,
        expected: plant.clone(),
    })
}
