//! Procedures and artifacts: a version never changes.

use fleet_store::{ArtifactRow, ConflictKind, ProcedureRow, StoreError};

use crate::PostgresStore;
use crate::column::{int, narrow, text, time, to_time};
use crate::error::from_sqlx;

/// The table's row.
#[derive(Debug)]
struct ProcedureRecord {
    id: String,
    version: String,
    sha256: String,
    yaml: String,
    created_at: i64,
    created_by: String,
}

impl ProcedureRecord {
    fn row(self) -> Result<ProcedureRow, StoreError> {
        Ok(ProcedureRow {
            id: self.id,
            version: self.version,
            sha256: self.sha256,
            yaml: self.yaml,
            created_at: to_time("created_at", self.created_at)?,
            created_by: self.created_by,
        })
    }
}

/// The table's row.
#[derive(Debug)]
struct ArtifactRecord {
    name: String,
    version: String,
    sha256: String,
    size: i64,
    created_at: i64,
    created_by: String,
}

impl ArtifactRecord {
    fn row(self) -> Result<ArtifactRow, StoreError> {
        Ok(ArtifactRow {
            name: self.name,
            version: self.version,
            sha256: self.sha256,
            size: narrow("size", self.size)?,
            created_at: to_time("created_at", self.created_at)?,
            created_by: self.created_by,
        })
    }
}

pub(crate) async fn put_procedure(store: &PostgresStore, procedure: &ProcedureRow) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    sqlx::query!(
        "INSERT INTO procedures (id, version, sha256, yaml, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        &procedure.id,
        &procedure.version,
        &procedure.sha256,
        &procedure.yaml,
        time(procedure.created_at),
        &procedure.created_by
    )
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let same: bool = sqlx::query_scalar!(
        "SELECT sha256 = $1 AND yaml = $2 AS \"same!\" FROM procedures WHERE id = $3 AND version = $4",
        &procedure.sha256,
        &procedure.yaml,
        &procedure.id,
        &procedure.version
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    if !same {
        return Err(StoreError::Conflict(ConflictKind::Procedure {
            id: procedure.id.clone(),
            version: procedure.version.clone(),
        }));
    }
    tx.commit().await.map_err(from_sqlx)
}

pub(crate) async fn procedure(
    store: &PostgresStore,
    id: &str,
    version: &str,
) -> Result<Option<ProcedureRow>, StoreError> {
    let mut conn = store.reader().await?;
    sqlx::query_as!(
        ProcedureRecord,
        "SELECT * FROM procedures WHERE id = $1 AND version = $2",
        &*text(id),
        &*text(version)
    )
    .fetch_optional(&mut *conn)
    .await
    .map_err(from_sqlx)?
    .map(ProcedureRecord::row)
    .transpose()
}

pub(crate) async fn procedures(store: &PostgresStore) -> Result<Vec<ProcedureRow>, StoreError> {
    let mut conn = store.reader().await?;
    sqlx::query_as!(ProcedureRecord, "SELECT * FROM procedures ORDER BY id, version")
        .fetch_all(&mut *conn)
        .await
        .map_err(from_sqlx)?
        .into_iter()
        .map(ProcedureRecord::row)
        .collect()
}

pub(crate) async fn put_artifact(store: &PostgresStore, artifact: &ArtifactRow) -> Result<(), StoreError> {
    let size = int("size", artifact.size)?;
    let mut tx = store.begin().await?;
    sqlx::query!(
        "INSERT INTO artifacts (name, version, sha256, size, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        &artifact.name,
        &artifact.version,
        &artifact.sha256,
        size,
        time(artifact.created_at),
        &artifact.created_by
    )
    .execute(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    let same: bool = sqlx::query_scalar!(
        "SELECT sha256 = $1 AND size = $2 AS \"same!\" FROM artifacts WHERE name = $3 AND version = $4",
        &artifact.sha256,
        size,
        &artifact.name,
        &artifact.version
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(from_sqlx)?;
    if !same {
        return Err(StoreError::Conflict(ConflictKind::Artifact {
            name: artifact.name.clone(),
            version: artifact.version.clone(),
        }));
    }
    tx.commit().await.map_err(from_sqlx)
}

pub(crate) async fn artifact(
    store: &PostgresStore,
    name: &str,
    version: &str,
) -> Result<Option<ArtifactRow>, StoreError> {
    let mut conn = store.reader().await?;
    sqlx::query_as!(
        ArtifactRecord,
        "SELECT * FROM artifacts WHERE name = $1 AND version = $2",
        &*text(name),
        &*text(version)
    )
    .fetch_optional(&mut *conn)
    .await
    .map_err(from_sqlx)?
    .map(ArtifactRecord::row)
    .transpose()
}

pub(crate) async fn artifacts(store: &PostgresStore) -> Result<Vec<ArtifactRow>, StoreError> {
    let mut conn = store.reader().await?;
    sqlx::query_as!(ArtifactRecord, "SELECT * FROM artifacts ORDER BY name, version")
        .fetch_all(&mut *conn)
        .await
        .map_err(from_sqlx)?
        .into_iter()
        .map(ArtifactRecord::row)
        .collect()
}
