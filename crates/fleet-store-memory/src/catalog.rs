//! Procedures and artifacts: a version never changes.

use fleet_store::{ArtifactRow, ConflictKind, ProcedureRow, StoreError};

use crate::Database;

impl Database {
    pub(crate) fn put_procedure(&mut self, procedure: ProcedureRow) -> Result<(), StoreError> {
        let key = (procedure.id.clone(), procedure.version.clone());
        let known = self.procedures.entry(key).or_insert_with(|| procedure.clone());
        if (&known.sha256, &known.yaml) == (&procedure.sha256, &procedure.yaml) {
            return Ok(());
        }
        Err(StoreError::Conflict(ConflictKind::Procedure {
            id: procedure.id,
            version: procedure.version,
        }))
    }

    pub(crate) fn put_artifact(&mut self, artifact: ArtifactRow) -> Result<(), StoreError> {
        let key = (artifact.name.clone(), artifact.version.clone());
        let known = self.artifacts.entry(key).or_insert_with(|| artifact.clone());
        if (&known.sha256, known.size) == (&artifact.sha256, artifact.size) {
            return Ok(());
        }
        Err(StoreError::Conflict(ConflictKind::Artifact {
            name: artifact.name,
            version: artifact.version,
        }))
    }
}
