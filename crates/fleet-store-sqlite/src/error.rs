//! From the driver's errors to the storage's.

use fleet_store::StoreError;

/// SQLite's primary result codes (sqlite.org/rescode.html) that say something about the environment.
mod code {
    pub(super) const BUSY: i64 = 5;
    pub(super) const LOCKED: i64 = 6;
    pub(super) const READONLY: i64 = 8;
    pub(super) const IOERR: i64 = 10;
    pub(super) const CORRUPT: i64 = 11;
    pub(super) const FULL: i64 = 13;
    pub(super) const CANTOPEN: i64 = 14;
    pub(super) const NOTADB: i64 = 26;
}

/// Sorts a driver's error by what can be done about it.
pub(crate) fn from_sqlx(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            // Extended codes carry the primary one in their low byte.
            let primary = database
                .code()
                .and_then(|code| code.parse::<i64>().ok())
                .map_or(-1, |code| code & 0xff);
            match primary {
                code::FULL => StoreError::Full(error.into()),
                code::READONLY => StoreError::ReadOnly(error.into()),
                code::BUSY | code::LOCKED | code::IOERR | code::CANTOPEN => {
                    StoreError::Unavailable(error.into())
                }
                code::CORRUPT | code::NOTADB => StoreError::Corrupt(error.into()),
                _ => StoreError::Statement(error.into()),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.into()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Corrupt(error.into()),
        _ => StoreError::Statement(error.into()),
    }
}

/// A value in the database that this version can't read.
#[derive(Debug, thiserror::Error)]
#[error("column {column} holds {value}")]
pub(crate) struct Unreadable {
    pub(crate) column: String,
    pub(crate) value: String,
}

/// A number that does not fit the database's signed 64 bits.
#[derive(Debug, thiserror::Error)]
#[error("{what} {value} is larger than the database can hold")]
pub(crate) struct TooLarge {
    pub(crate) what: &'static str,
    pub(crate) value: u64,
}

impl From<TooLarge> for StoreError {
    fn from(error: TooLarge) -> Self {
        Self::Statement(error.into())
    }
}
