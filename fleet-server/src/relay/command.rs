//! `fleet-server relay status` and `fleet-server relay reconcile`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use fleet_relay::core::Outcome;
use fleet_relay::kafka::KafkaLink;
use fleet_relay::{ReconcileError, ReconcileParts, ReconcileReport};
use fleet_settings::{EXIT_HELD, EXIT_OTHER, EXIT_SETTINGS, LockError, Settings as _, print};
use fleet_store::{Store, StoreError};
use tokio::runtime::Handle;

use super::settings;
use crate::app::{StartError, open_store};
use crate::config::{Config, Database, KafkaConfig};

/// How long Kafka's cursor is waited for by `status`.
const CURSOR_WITHIN: Duration = Duration::from_secs(5);

/// What to do with the relay.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum RelayCommand {
    /// Say how far the relay is, by the database and by Kafka. Changes nothing.
    Status,
    /// After a restore of the database: find out what Kafka has already, and let the relay go on.
    ///
    /// Servers of a plant may run; with SQLite stop the server first. May be killed and run again.
    Reconcile {
        /// Also where Kafka and the database agree.
        #[arg(long)]
        force: bool,
    },
}

/// Why a command of the relay fails.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    /// No Kafka is configured.
    #[error("kafka.url is not set: this plant has no relay")]
    Off,
    /// The data folder or the database can't be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database fails.
    #[error("the database can't be used; nothing was changed")]
    Store(#[from] StoreError),
    /// Nothing was reconciled.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The work's thread ended by a defect.
    #[error("the reconciliation ended by a defect")]
    Thread(#[from] tokio::task::JoinError),
}

impl RelayError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Off => EXIT_SETTINGS,
            Self::Start(error) if error.is_held() => EXIT_HELD,
            Self::Reconcile(ReconcileError::Held { .. }) => EXIT_HELD,
            _ => EXIT_OTHER,
        }
    }
}

impl RelayCommand {
    /// Runs the command.
    pub(crate) fn run(self, config: &Config) -> ExitCode {
        // The relay's own calls block a thread that is not the runtime's.
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                Config::PROGRAM.complain(&format!("no threads can be started: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let done = runtime.block_on(async {
            match self {
                Self::Status => status(config).await,
                Self::Reconcile { force } => {
                    reconcile(config, force).await.map(|report| format!("{report}\n"))
                }
            }
        });
        match done {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(error) => Config::PROGRAM.fails(&error, error.exit_code()),
        }
    }
}

fn kafka(config: &Config) -> Result<&KafkaConfig, RelayError> {
    config.kafka.as_ref().ok_or(RelayError::Off)
}

async fn store(config: &Config) -> Result<Arc<dyn Store>, RelayError> {
    let store = open_store(config).await?;
    store.prepare(fleet_clock::wall_now()).await?;
    Ok(store)
}

async fn reconcile(config: &Config, force: bool) -> Result<ReconcileReport, RelayError> {
    let kafka = settings::of(kafka(config)?);
    let mut lock = None;
    if config.store.database == Database::Sqlite {
        let held = Config::PROGRAM.lock_folder(&config.data_dir, fleet_clock::wall_now());
        lock = Some(held.map_err(|error: LockError| StartError::from(error))?);
    }
    let parts = ReconcileParts {
        plant: config.plant.clone(),
        owner: format!("reconcile-{}", fleet_clock::new_uuid().simple()),
        config: kafka,
        store: store(config).await?,
        runtime: Handle::current(),
        force,
    };
    let report = tokio::task::spawn_blocking(move || fleet_relay::reconcile(parts)).await??;
    drop(lock);
    Ok(report)
}

async fn status(config: &Config) -> Result<String, RelayError> {
    let kafka = settings::of(kafka(config)?);
    let store = store(config).await?;
    let (row, now) = (store.relay_row().await?, fleet_clock::wall_now());
    let holder = match (&row.owner, row.expires_at) {
        (Some(owner), Some(until)) if until > now => format!("{owner} until {until}"),
        (Some(owner), Some(until)) => format!("nobody; {owner} did until {until}"),
        _ => "nobody".to_owned(),
    };
    let oldest = match row.oldest_waiting {
        Some(oldest) => format!(", the oldest since {oldest}"),
        None => String::new(),
    };
    let link = KafkaLink::new(config.plant.clone(), kafka, Handle::current());
    let read = tokio::task::spawn_blocking(move || {
        let end = std::time::Instant::now() + CURSOR_WITHIN;
        loop {
            match link.read_cursor() {
                Outcome::Pending(_) if std::time::Instant::now() < end => {}
                outcome => return outcome,
            }
        }
    });
    let cursor = match read.await? {
        Outcome::Cursor(Some(cursor)) => format!(
            "row {}, written {} by term {} in database life {}",
            cursor.seq, cursor.at, cursor.relay_term, cursor.store_generation
        ),
        Outcome::Cursor(None) => "none".to_owned(),
        Outcome::Kafka(fault) => format!("not known: {fault:?}"),
        _ => "not known: Kafka does not answer".to_owned(),
    };
    Ok(format!(
        "lease             {holder} (term {})\n\
         database          relayed through row {} of {}; {} wait{oldest}\n\
         database life     {}\n\
         Kafka's cursor    {cursor}\n\
         found in Kafka    {} spools, after a restore\n",
        row.term,
        row.relayed.seq,
        row.newest_seq,
        row.waiting,
        store.generation(),
        row.highs,
    ))
}
