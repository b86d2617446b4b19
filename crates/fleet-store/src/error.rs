//! Errors of the storage.

use fleet_domain::{JobId, PlantId, TransitionError};

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
    /// The database takes no writes: a standby, or set so by a person.
    #[error("the database takes no writes")]
    ReadOnly(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database refuses the user or its password.
    #[error("the database refuses the credentials")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The schema was made by a newer version of this program.
    #[error(
        "the database has schema {found}, this version knows up to {known}: use the newer version, or restore a backup from before the upgrade"
    )]
    SchemaTooNew {
        /// Version of the database's schema.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// The schema is older than this program needs, and it may not bring it up to date by itself.
    #[error("the database has schema {found}, this version needs {known}: run `fleet-server migrate`")]
    SchemaTooOld {
        /// Version of the database's schema; 0 for an empty database.
        found: i64,
        /// Version that this program needs.
        known: i64,
    },
    /// It belongs to another plant.
    #[error("the database belongs to plant {found}, the configuration says {expected}")]
    OtherPlant {
        /// The plant in the database.
        found: String,
        /// The plant of the configuration.
        expected: PlantId,
    },
    /// The database file is damaged or holds what this version can't read. A person must act.
    #[error("the database is damaged or holds what this version can't read")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The statement is wrong for the schema: a defect of ours.
    #[error("the database refused a statement")]
    Statement(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another owner has the lease under which it was to be done. Nothing was changed.
    #[error("another owner has the lease")]
    LostTerm,
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

impl StoreError {
    /// Stable word for the state of the database that the error shows, as in `/readyz` and the metrics. `ok`
    /// where the database is well and only the request was not.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::ReadOnly(_) => "read_only",
            Self::Full(_) => "full",
            Self::SchemaTooNew { .. } => "schema_too_new",
            Self::SchemaTooOld { .. } => "schema_too_old",
            Self::OtherPlant { .. } => "other_plant",
            Self::Corrupt(_) => "damaged",
            Self::Statement(_) => "failing",
            Self::LostTerm | Self::NotFound(_) | Self::Conflict(_) | Self::Transition(_) => "ok",
        }
    }

    /// Whether the same call may succeed later without a change by its caller: the database is ill, not the
    /// request.
    pub fn is_passing(&self) -> bool {
        self.state() != "ok" && !matches!(self, Self::Statement(_))
    }
}
