//! Which database, and how it is at the moment.
//!
//! The server starts and stays up without its database: one task tries to prepare it until that succeeds, and looks
//! at it each second from then on. Everybody else asks [`StoreHealth`].

use std::sync::Arc;
use std::time::Duration;

use fleet_domain::{StoreGeneration, error_chain};
use fleet_store::{Store, StoreError};
use fleet_store_postgres::{PostgresOptions, PostgresStore};
use fleet_store_sqlite::{OpenError, SqliteStore};
use tokio::sync::watch;

use crate::config::{Config, Database};

/// How often the database is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long an answer may take before the database counts as unreachable.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Why the database can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file of the data folder.
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    /// Its URL.
    #[error(transparent)]
    Url(#[from] fleet_store_postgres::OpenError),
}

/// The database of the configuration. An SQLite file is opened, or made; PostgreSQL is not waited for.
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn Store>, DatabaseError> {
    Ok(match &config.store.database {
        Database::Sqlite => Arc::new(open_sqlite(config).await?),
        Database::Postgres { .. } => Arc::new(open_postgres(config)?),
    })
}

/// Path of the SQLite file.
pub(crate) fn sqlite_file(config: &Config) -> std::path::PathBuf {
    config.data_dir.join("fleet.db")
}

pub(crate) async fn open_sqlite(config: &Config) -> Result<SqliteStore, OpenError> {
    SqliteStore::open_with(
        &sqlite_file(config),
        config.plant.clone(),
        fleet_clock::wall_now(),
        StoreGeneration(fleet_clock::new_uuid()),
        config.store.auto_migrate,
    )
    .await
}

/// A PostgreSQL store of the configuration's database; with SQLite one that names no database.
pub(crate) fn open_postgres(config: &Config) -> Result<PostgresStore, fleet_store_postgres::OpenError> {
    let (url, password) = match &config.store.database {
        Database::Postgres { url, password } => (url.clone(), password.as_ref()),
        Database::Sqlite => (String::new(), None),
    };
    let options = PostgresOptions {
        url,
        // The URL has it.
        username: None,
        password: password.map(|secret| secret.reveal().to_owned()),
        plant: config.plant.clone(),
        max_connections: config.store.max_connections,
        auto_migrate: config.store.auto_migrate,
    };
    PostgresStore::open(&options, StoreGeneration(fleet_clock::new_uuid()))
}

/// One thing that is wrong with the database.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    state: &'static str,
    detail: String,
}

impl Trouble {
    fn of(error: &StoreError) -> Self {
        Self {
            state: error.state(),
            detail: error_chain(error),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    prepared: bool,
    check: Option<Trouble>,
    commit: Option<Trouble>,
    leases: Option<Trouble>,
}

/// How the database is. A clone shows the same.
#[derive(Debug, Clone)]
pub(crate) struct StoreHealth(watch::Sender<View>);

impl Default for StoreHealth {
    fn default() -> Self {
        Self(watch::Sender::new(View {
            prepared: false,
            check: None,
            commit: None,
            leases: None,
        }))
    }
}

impl StoreHealth {
    /// A batch could not be committed, or can be again.
    pub(crate) fn set_commit(&self, error: Option<&StoreError>) {
        self.set(|view| &mut view.commit, error.map(Trouble::of));
    }

    /// The leases could not be renewed, or could be again.
    pub(crate) fn set_leases(&self, error: Option<&StoreError>) {
        self.set(|view| &mut view.leases, error.map(Trouble::of));
    }

    fn set(&self, part: impl FnOnce(&mut View) -> &mut Option<Trouble>, trouble: Option<Trouble>) {
        self.0.send_if_modified(|view| {
            let part = part(view);
            let changed = *part != trouble;
            *part = trouble;
            changed
        });
    }

    /// It is prepared, and the last look found nothing wrong.
    pub(crate) fn is_usable(&self) -> bool {
        let view = self.0.borrow();
        view.prepared && view.check.is_none()
    }

    /// Waits until it can be used. Safe to cancel.
    pub(crate) async fn usable(&self) {
        let usable = |view: &View| view.prepared && view.check.is_none();
        // The sender lives as long as self.
        let _ = self.0.subscribe().wait_for(usable).await;
    }

    /// Its state in one stable word, and how it stands.
    pub(crate) fn state(&self) -> (&'static str, String) {
        let view = self.0.borrow();
        let trouble = [&view.check, &view.commit, &view.leases]
            .into_iter()
            .flatten()
            .next();
        match trouble {
            Some(trouble) => (trouble.state, trouble.detail.clone()),
            None if view.prepared => ("ok", "it takes reads and writes".to_owned()),
            None => ("starting", "it is being looked at for the first time".to_owned()),
        }
    }
}

/// What to do about a state of the database.
pub(crate) fn help(state: &str) -> Option<&'static str> {
    Some(match state {
        "starting" => "wait a moment; a large database takes time to be brought up to date",
        "unreachable" => {
            "start the database, or correct store.url; benches keep their events and the server goes on by itself"
        }
        "refused" => {
            "correct store.credentials_file, or the user's rights in the database, and start the server again"
        }
        "read_only" => "let the database take writes, or point store.url at the primary",
        "full" => "make room on the database's disk; nothing is acknowledged until then and nothing is lost",
        "schema_too_new" => {
            "use the newer version of the server, or restore a backup from before the upgrade"
        }
        "schema_too_old" => "run fleet-server migrate, or set store.auto_migrate = true",
        "other_plant" => "correct plant or store.url",
        "damaged" => "restore a backup, then fleet-server declare-restored: docs/runbook.md",
        "failing" => "the server's log says which statement is refused: a defect, please report it",
        _ => return None,
    })
}

/// Prepares the database, however long it takes, and looks at it from then on. Runs for ever; safe to cancel.
pub(crate) async fn watch(store: Arc<dyn Store>, health: StoreHealth) {
    let mut told = None;
    loop {
        let found = if health.0.borrow().prepared {
            check(&*store).await
        } else {
            prepare(&*store, &health).await
        };
        let state = found.as_ref().err().map(|trouble| trouble.state);
        if state != told {
            match &found {
                Ok(()) => tracing::info!("the database can be used"),
                Err(trouble) => tracing::error!(
                    state = trouble.state,
                    detail = trouble.detail,
                    "the database can't be used"
                ),
            }
            told = state;
        }
        health.0.send_if_modified(|view| {
            let before = view.clone();
            view.prepared |= found.is_ok();
            view.check = found.err();
            *view != before
        });
        tokio::time::sleep(LOOK).await;
    }
}

async fn check(store: &dyn Store) -> Result<(), Trouble> {
    match tokio::time::timeout(ANSWER_WITHIN, store.check()).await {
        Ok(checked) => checked.map_err(|error| Trouble::of(&error)),
        Err(_) => Err(no_answer()),
    }
}

/// Not cut: a step of the schema may take long, and would begin anew each time.
async fn prepare(store: &dyn Store, health: &StoreHealth) -> Result<(), Trouble> {
    let prepare = store.prepare(fleet_clock::wall_now());
    tokio::pin!(prepare);
    loop {
        match tokio::time::timeout(ANSWER_WITHIN, &mut prepare).await {
            Ok(prepared) => return prepared.map_err(|error| Trouble::of(&error)),
            Err(_) => health.set(|view| &mut view.check, Some(no_answer())),
        }
    }
}

fn no_answer() -> Trouble {
    Trouble {
        state: "unreachable",
        detail: format!("no answer for {} s", ANSWER_WITHIN.as_secs()),
    }
}
