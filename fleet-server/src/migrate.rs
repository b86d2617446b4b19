//! `fleet-server migrate`: brings the tables of the database up to date and ends.

use fleet_settings::{LockError, Settings as _};
use fleet_store::StoreError;
use fleet_store_sqlite::SqliteStore;

use crate::config::{Config, Database};
use crate::storage::{open_postgres, sqlite_file};

/// Why the tables can't be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// A server holds the data folder.
    #[error(transparent)]
    Folder(#[from] LockError),
    /// The SQLite file.
    #[error(transparent)]
    Sqlite(#[from] fleet_store_sqlite::OpenError),
    /// The URL of PostgreSQL.
    #[error(transparent)]
    Url(#[from] fleet_store_postgres::OpenError),
    /// PostgreSQL: newer than this version, another plant's, or not to be used.
    #[error("the tables can't be brought up to date; nothing was changed")]
    Postgres(#[from] StoreError),
}

impl MigrateError {
    /// The data folder is held by a server.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self, Self::Folder(LockError::Held { .. }))
    }
}

/// Brings the tables up to date. Gives the versions before, 0 for a new database, and after.
pub(crate) async fn migrate(config: &Config) -> Result<(i64, i64), MigrateError> {
    match &config.store.database {
        Database::Sqlite => {
            let now = fleet_clock::wall_now();
            let _lock = Config::PROGRAM.lock_folder(&config.data_dir, now)?;
            Ok(SqliteStore::migrate(&sqlite_file(config)).await?)
        }
        Database::Postgres { .. } => {
            let store = open_postgres(config)?;
            let migrated = store.migrate().await;
            store.close().await;
            let migrated = migrated?;
            Ok((migrated.from, migrated.to))
        }
    }
}
