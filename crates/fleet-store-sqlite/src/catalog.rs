//! Procedures and artifacts: a version never changes.

use fleet_store::{ArtifactRow, ConflictKind, ProcedureRow, StoreError};
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, int, time};
use crate::error::from_sqlx;

fn procedure_row(row: &SqliteRow) -> Result<ProcedureRow, StoreError> {
    Ok(ProcedureRow {
        id: row.text("id")?,
        version: row.text("version")?,
        sha256: row.text("sha256")?,
        yaml: row.text("yaml")?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
    })
}

fn artifact_row(row: &SqliteRow) -> Result<ArtifactRow, StoreError> {
    Ok(ArtifactRow {
        name: row.text("name")?,
        version: row.text("version")?,
        sha256: row.text("sha256")?,
        size: row.u64("size")?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
    })
}

pub(crate) async fn put_procedure(store: &SqliteStore, procedure: ProcedureRow) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query(
        "INSERT OR IGNORE INTO procedures (id, version, sha256, yaml, created_at, created_by)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&procedure.id)
    .bind(&procedure.version)
    .bind(&procedure.sha256)
    .bind(&procedure.yaml)
    .bind(time(procedure.created_at))
    .bind(&procedure.created_by)
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let same: i64 =
        sqlx::query_scalar("SELECT sha256 = ? AND yaml = ? FROM procedures WHERE id = ? AND version = ?")
            .bind(&procedure.sha256)
            .bind(&procedure.yaml)
            .bind(&procedure.id)
            .bind(&procedure.version)
            .fetch_one(&mut *tx)
            .await
            .map_err(from_sqlx)?;
    if same == 0 {
        return Err(StoreError::Conflict(ConflictKind::Procedure {
            id: procedure.id,
            version: procedure.version,
        }));
    }
    tx.commit().await.map_err(from_sqlx)
}

pub(crate) async fn procedure(
    store: &SqliteStore,
    id: &str,
    version: &str,
) -> Result<Option<ProcedureRow>, StoreError> {
    sqlx::query("SELECT * FROM procedures WHERE id = ? AND version = ?")
        .bind(id)
        .bind(version)
        .fetch_optional(&store.readers)
        .await
        .map_err(from_sqlx)?
        .as_ref()
        .map(procedure_row)
        .transpose()
}

pub(crate) async fn procedures(store: &SqliteStore) -> Result<Vec<ProcedureRow>, StoreError> {
    sqlx::query("SELECT * FROM procedures ORDER BY id, version")
        .fetch_all(&store.readers)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(procedure_row)
        .collect()
}

pub(crate) async fn put_artifact(store: &SqliteStore, artifact: ArtifactRow) -> Result<(), StoreError> {
    let size = int("size", artifact.size)?;
    let mut tx = store.begin().await?;
    sqlx::query(
        "INSERT OR IGNORE INTO artifacts (name, version, sha256, size, created_at, created_by)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&artifact.name)
    .bind(&artifact.version)
    .bind(&artifact.sha256)
    .bind(size)
    .bind(time(artifact.created_at))
    .bind(&artifact.created_by)
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let same: i64 =
        sqlx::query_scalar("SELECT sha256 = ? AND size = ? FROM artifacts WHERE name = ? AND version = ?")
            .bind(&artifact.sha256)
            .bind(size)
            .bind(&artifact.name)
            .bind(&artifact.version)
            .fetch_one(&mut *tx)
            .await
            .map_err(from_sqlx)?;
    if same == 0 {
        return Err(StoreError::Conflict(ConflictKind::Artifact {
            name: artifact.name,
            version: artifact.version,
        }));
    }
    tx.commit().await.map_err(from_sqlx)
}

pub(crate) async fn artifact(
    store: &SqliteStore,
    name: &str,
    version: &str,
) -> Result<Option<ArtifactRow>, StoreError> {
    sqlx::query("SELECT * FROM artifacts WHERE name = ? AND version = ?")
        .bind(name)
        .bind(version)
        .fetch_optional(&store.readers)
        .await
        .map_err(from_sqlx)?
        .as_ref()
        .map(artifact_row)
        .transpose()
}

pub(crate) async fn artifacts(store: &SqliteStore) -> Result<Vec<ArtifactRow>, StoreError> {
    sqlx::query("SELECT * FROM artifacts ORDER BY name, version")
        .fetch_all(&store.readers)
        .await
        .map_err(from_sqlx)?
        .iter()
        .map(artifact_row)
        .collect()
}
