//! Which database, and why there is none.

use fleet_domain::PlantId;

/// Which database, and how it is used.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user@host:port/database`, without a password.
    pub url: String,
    /// The user, where it does not stand in the URL.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The plant whose database it is.
    pub plant: PlantId,
    /// Most connections at once.
    pub max_connections: u32,
    /// [`fleet_store::Store::prepare`] brings the schema up to date; otherwise an old one is an error.
    pub auto_migrate: bool,
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("url", &self.url)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("plant", &self.plant)
            .field("max_connections", &self.max_connections)
            .field("auto_migrate", &self.auto_migrate)
            .finish()
    }
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL can't be read.
    #[error("{url:?} is no URL of a PostgreSQL database (postgres://user@host:port/database)")]
    Url {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}

/// What `migrate` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// Version of the schema before; 0 for an empty database.
    pub from: i64,
    /// Version of the schema now.
    pub to: i64,
}
