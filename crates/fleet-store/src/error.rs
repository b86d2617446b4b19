//! Errors of the storage.

use fleet_domain::{JobId, TransitionError};

/// What would have been changed against its nature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConflictKind {
    /// The request id belongs to a job with other content.
    RequestId {
        /// The request id.
        request_id: String,
        /// The job that has it.
        job: JobId,
    },
    /// The job id is taken.
    JobId(JobId),
    /// No offer waits for that bench.
    NotAwaited(String),
    /// That version of a procedure has other bytes.
    Procedure {
        /// Its id.
        id: String,
        /// Its version.
        version: String,
    },
    /// That version of an artifact has another hash or size.
    Artifact {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
}

impl std::fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RequestId { request_id, job } => {
                write!(
                    f,
                    "request id {request_id:?} belongs to job {job} with other content"
                )
            }
            Self::JobId(job) => write!(f, "job {job} exists with other content"),
            Self::NotAwaited(device) => write!(f, "no offer waits for bench {device}"),
            Self::Procedure { id, version } => {
                write!(
                    f,
                    "procedure {id} {version} exists with other bytes; a version never changes"
                )
            }
            Self::Artifact { name, version } => {
                write!(
                    f,
                    "artifact {name} {version} exists with other bytes; a version never changes"
                )
            }
        }
    }
}

/// What was asked for and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotFoundKind {
    /// A job.
    Job(JobId),
    /// A bench.
    Bench(String),
    /// A page's cursor: it was not made by this query.
    Cursor(String),
}

impl std::fmt::Display for NotFoundKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job(job) => write!(f, "job {job} is not known"),
            Self::Bench(device) => write!(f, "bench {device:?} is not known"),
            Self::Cursor(cursor) => write!(f, "cursor {cursor:?} was not made by this query"),
        }
    }
}

/// Why the storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be used at the moment: locked, closed, unreachable. Trying again may help.
    #[error("the database can't be used at the moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk is full. Nothing was changed; nothing is acknowledged until there is room.
    #[error("the database's disk is full")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database file is damaged or holds what this version can't read. A person must act.
    #[error("the database is damaged or holds what this version can't read")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The statement is wrong for the schema: a defect of ours.
    #[error("the database refused a statement")]
    Statement(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not there.
    #[error("{0}")]
    NotFound(NotFoundKind),
    /// It would change what never changes.
    #[error("{0}")]
    Conflict(ConflictKind),
    /// The job's state does not allow it.
    #[error(transparent)]
    Transition(#[from] TransitionError),
}
