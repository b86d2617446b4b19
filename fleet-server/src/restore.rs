//! A database that was put back from a backup: said by a person. With SQLite while no server runs; PostgreSQL's servers
//! may run, they go on in the new generation.

use std::path::PathBuf;

use fleet_domain::StoreGeneration;
use fleet_settings::Settings as _;
use fleet_store::StoreError;

use crate::app::{StartError, open_store};
use crate::config::{Config, Database};
use crate::storage::sqlite_file;

/// Why the restore can't be declared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeclareError {
    /// There is nothing that could have been restored.
    #[error(
        "there is no database {path}: put the backup's files back first, or set data_dir to their folder"
    )]
    NoDatabase {
        /// The file that is missing.
        path: PathBuf,
    },
    /// A server holds the folder, or the database can't be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It can't be written.
    #[error("the new generation can't be written; nothing was changed")]
    Store(#[from] StoreError),
}

impl DeclareError {
    /// The data folder is held by a server.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self, Self::Start(error) if error.is_held())
    }
}

/// Begins a new generation (delivery rule 28). Holds the data folder meanwhile where the database lies in it.
pub(crate) async fn declare(config: &Config) -> Result<StoreGeneration, DeclareError> {
    let now = fleet_clock::wall_now();
    let mut lock = None;
    if config.store.database == Database::Sqlite {
        let path = sqlite_file(config);
        if !path.exists() {
            return Err(DeclareError::NoDatabase { path });
        }
        let held = Config::PROGRAM.lock_folder(&config.data_dir, now);
        lock = Some(held.map_err(StartError::from)?);
    }
    let store = open_store(config).await?;
    store.prepare(now).await?;
    let candidate = StoreGeneration(fleet_clock::new_uuid());
    let declared = store.declare_restored(candidate, now).await?;
    drop((store, lock));
    Ok(declared)
}
