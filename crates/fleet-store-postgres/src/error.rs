//! From the driver's errors to the storage's.

use fleet_store::StoreError;

/// What a driver's error calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Unavailable,
    Refused,
    ReadOnly,
    Full,
    Corrupt,
    Statement,
}

/// Sorts a SQLSTATE (PostgreSQL 15, appendix A) by what can be done about it.
fn sort(state: &str) -> Sort {
    match state {
        "25006" => Sort::ReadOnly,
        // disk_full
        "53100" => Sort::Full,
        // The database, its user or the right to use it is not there.
        "3D000" | "42501" => Sort::Refused,
        // query_canceled, idle_in_transaction_session_timeout, lock_not_available
        "57014" | "25P03" | "55P03" => Sort::Unavailable,
        // data_corrupted, index_corrupted
        "XX001" | "XX002" => Sort::Corrupt,
        _ => match state.get(..2) {
            // invalid_authorization_specification
            Some("28") => Sort::Refused,
            // Connection lost, rolled back for another one's sake, out of resources, shutting down or starting,
            // input or output failed.
            Some("08" | "40" | "53" | "57" | "58") => Sort::Unavailable,
            _ => Sort::Statement,
        },
    }
}

/// Sorts a driver's error by what can be done about it.
pub(crate) fn from_sqlx(error: sqlx::Error) -> StoreError {
    let sort = match &error {
        sqlx::Error::Database(database) => database.code().map_or(Sort::Statement, |code| sort(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Sort::Unavailable,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Sort::Corrupt,
        _ => Sort::Statement,
    };
    match sort {
        Sort::Unavailable => StoreError::Unavailable(error.into()),
        Sort::Refused => StoreError::Refused(error.into()),
        Sort::ReadOnly => StoreError::ReadOnly(error.into()),
        Sort::Full => StoreError::Full(error.into()),
        Sort::Corrupt => StoreError::Corrupt(error.into()),
        Sort::Statement => StoreError::Statement(error.into()),
    }
}

/// Whether the transaction was rolled back for another one's sake (deadlock, serialization) and should be done
/// again as it is.
pub(crate) fn lost_a_race(error: &StoreError) -> bool {
    if let StoreError::Unavailable(source) = error
        && source.is::<Overtaken>()
    {
        return true;
    }
    matches!(code(error).as_deref(), Some("40001" | "40P01"))
}

fn database(error: &StoreError) -> Option<&dyn sqlx::error::DatabaseError> {
    let (StoreError::Unavailable(source) | StoreError::Statement(source)) = error else {
        return None;
    };
    match source.downcast_ref::<sqlx::Error>()? {
        sqlx::Error::Database(database) => Some(database.as_ref()),
        _ => None,
    }
}

fn code(error: &StoreError) -> Option<String> {
    database(error)?.code().map(std::borrow::Cow::into_owned)
}

/// Whether a lock was not to be had in time.
pub(crate) fn is_lock_timeout(error: &StoreError) -> bool {
    code(error).as_deref() == Some("55P03")
}

/// Whether a row found no partition: a violated check that has no name.
pub(crate) fn is_without_partition(error: &StoreError) -> bool {
    database(error)
        .is_some_and(|error| error.code().as_deref() == Some("23514") && error.constraint().is_none())
}

/// What was read at the start of the transaction was changed by another one: done again from the start.
#[derive(Debug, thiserror::Error)]
#[error("another transaction changed {0} meanwhile")]
pub(crate) struct Overtaken(pub(crate) &'static str);

impl From<Overtaken> for StoreError {
    fn from(error: Overtaken) -> Self {
        Self::Unavailable(error.into())
    }
}

/// The storage can't be used before [`fleet_store::Store::prepare`] succeeded.
#[derive(Debug, thiserror::Error)]
#[error("the database's schema and plant were not checked yet")]
pub(crate) struct NotPrepared;

/// The database did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the database has not answered for {0:?}")]
pub(crate) struct NoAnswer(pub(crate) std::time::Duration);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_states_are_sorted_by_what_can_be_done() {
        for (state, expected) in [
            ("25006", Sort::ReadOnly),
            ("53100", Sort::Full),
            ("53300", Sort::Unavailable),
            ("28P01", Sort::Refused),
            ("28000", Sort::Refused),
            ("3D000", Sort::Refused),
            ("42501", Sort::Refused),
            ("57P01", Sort::Unavailable),
            ("57P03", Sort::Unavailable),
            ("57014", Sort::Unavailable),
            ("08006", Sort::Unavailable),
            ("40P01", Sort::Unavailable),
            ("40001", Sort::Unavailable),
            ("55P03", Sort::Unavailable),
            ("25P03", Sort::Unavailable),
            ("58030", Sort::Unavailable),
            ("XX001", Sort::Corrupt),
            ("22021", Sort::Statement),
            ("23505", Sort::Statement),
            ("42P01", Sort::Statement),
            ("", Sort::Statement),
        ] {
            assert_eq!(sort(state), expected, "{state}");
        }
    }
}
