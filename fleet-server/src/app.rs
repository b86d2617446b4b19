//! Wiring: starts the parts in their order, watches over them and stops them in the reverse order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use fleet_domain::{Slot, StoreGeneration};
use fleet_settings::{FolderLock, LockError, Settings as _};
use fleet_store::{Store, StoreError};
use fleet_store_sqlite::{OpenError, SqliteStore};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::artifacts::{ArtifactError, ArtifactFiles};
use crate::broker::{Broker, BrokerError, BrokerHealth};
use crate::config::Config;
use crate::dispatch::{DispatchHandle, Dispatcher};
use crate::endpoints::{Endpoints, EndpointsFile};
use crate::http::types::Check;
use crate::http::{self, Shared};
use crate::ingest::{self, CommitHealth, Ingest, IngestParts, Slots};
use crate::metrics::Metrics;
use crate::signer::{Signer, SignerError};
use crate::stream::{Feed, FeedTask};

/// How long the slots may take to be connected at the start.
const SLOTS_WITHIN: Duration = Duration::from_secs(30);
/// How long open requests may take at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another server has the data folder, or it can't be used.
    #[error(transparent)]
    Folder(#[from] LockError),
    /// The port of the API is taken or not ours to take.
    #[error(
        "API and page can't listen on {address}: set http.listen (FLEET_SERVER__HTTP__LISTEN) to a free port"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The broker does not start.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The database can't be opened.
    #[error("the database in {folder} can't be opened")]
    Store {
        /// The data folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The database can't be written.
    #[error("the database can't be written")]
    Presence(#[source] StoreError),
    /// The folder of files can't be used.
    #[error("the folder of files can't be used")]
    Files(#[from] ArtifactError),
    /// The secrets can't be read.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The slots' sessions did not come up.
    #[error("after {} s only {ready} of 16 slots are connected to the broker", SLOTS_WITHIN.as_secs())]
    Slots {
        /// How many are.
        ready: usize,
    },
    /// `endpoints.json` can't be written.
    #[error("endpoints.json can't be written into {folder}")]
    Endpoints {
        /// The data folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// The data folder or a port is held by somebody else.
    pub fn is_held(&self) -> bool {
        let in_use = |source: &std::io::Error| source.kind() == std::io::ErrorKind::AddrInUse;
        match self {
            Self::Folder(LockError::Held { .. }) => true,
            Self::Listen { source, .. } | Self::Broker(BrokerError::Listen { source, .. }) => in_use(source),
            _ => false,
        }
    }
}

/// What readiness looks at.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    broker: BrokerHealth,
    slots: Slots,
    commits: CommitHealth,
}

impl Health {
    /// Who owns which slot.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Each part as it is now.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let all = usize::from(Slot::COUNT);
        let ready = self.slots.ready();
        let check = |name: &str, ok: bool, good: String, bad: &str| Check {
            name: name.to_owned(),
            state: if ok { "ok" } else { "failing" }.to_owned(),
            ok,
            required: true,
            detail: if ok { good } else { bad.to_owned() },
            help: None,
        };
        vec![
            check(
                "broker",
                self.broker.is_up(),
                "it takes connections".to_owned(),
                "it has stopped",
            ),
            check(
                "slots",
                ready == all,
                format!("{ready} of {all} are owned and connected"),
                &format!("only {ready} of {all} are owned and connected"),
            ),
            check(
                "store",
                self.commits.is_ok() && self.slots.leases_are_written(),
                "it can be written".to_owned(),
                "it can't be written at the moment; nothing is acknowledged",
            ),
        ]
    }
}

/// A running server.
pub struct App {
    endpoints: Endpoints,
    broker: Broker,
    ingest: Ingest,
    tasks: Vec<JoinHandle<()>>,
    http: JoinHandle<std::io::Result<()>>,
    closing: CancellationToken,
    feed: Feed,
    // Dropped last: another server may have the folder when everything else is gone.
    _endpoints_file: EndpointsFile,
    _lock: FolderLock,
}

impl App {
    /// Starts a server and returns when it is ready.
    ///
    /// Not safe to cancel: parts that were started may go on without an owner until the process ends.
    ///
    /// # Errors
    /// Says what is in the way and which setting changes it.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let now = fleet_clock::wall_now();
        let lock = Config::PROGRAM.lock_folder(&config.data_dir, now)?;
        // Ports before anything is started: a taken one is the most common fault.
        let listener = TcpListener::bind(config.http.listen)
            .await
            .map_err(|source| StartError::Listen {
                address: config.http.listen,
                source,
            })?;
        let http_address = listener.local_addr().map_err(|source| StartError::Listen {
            address: config.http.listen,
            source,
        })?;
        let signer = match &config.signer_secrets {
            Some(path) => Signer::from_file(path)?,
            None => Signer::default(),
        };
        let store: Arc<dyn Store> = Arc::new(open_store(&config).await?);
        let files = ArtifactFiles::open_folder(config.data_dir.join("artifacts")).await?;
        let broker = Broker::start(&config.mqtt, &config.data_dir.join("broker")).await?;
        ingest::nobody_is_connected(&*store, config.ingest.lease)
            .await
            .map_err(StartError::Presence)?;
        let metrics = Metrics::default();
        let feed = Feed::new(store.generation());
        let mut ingest = ingest::start(IngestParts {
            plant: config.plant.clone(),
            broker: broker.address(),
            config: config.ingest.clone(),
            store: Arc::clone(&store),
            metrics: metrics.clone(),
            feed: feed.clone(),
        });
        let channels = ingest.take_channels();
        let health = Health {
            broker: broker.health(),
            slots: ingest.slots.clone(),
            commits: ingest.health.clone(),
        };
        let dispatch = DispatchHandle::default();
        let tasks = background(&config, &store, &metrics, &feed, &dispatch, &ingest, channels);
        let closing = CancellationToken::new();
        let router = http::router(Arc::new(Shared {
            plant: config.plant.clone(),
            time_zone: config.time_zone.clone(),
            config: config.http.clone(),
            store,
            dispatch,
            lists: ingest.wish.clone(),
            feed: feed.clone(),
            files,
            signer,
            metrics,
            health,
            readers: AtomicUsize::new(0),
        }));
        let http = tokio::spawn(
            axum::serve(listener, router)
                .with_graceful_shutdown(closing.clone().cancelled_owned())
                .into_future(),
        );
        if tokio::time::timeout(SLOTS_WITHIN, ingest.slots.all_ready())
            .await
            .is_err()
        {
            return Err(StartError::Slots {
                ready: ingest.slots.ready(),
            });
        }
        let endpoints = Endpoints::of(&config.plant, http_address, broker.address());
        let file = endpoints
            .write(&config.data_dir)
            .map_err(|source| StartError::Endpoints {
                folder: config.data_dir.clone(),
                source,
            })?;
        Ok(Self {
            endpoints,
            broker,
            ingest,
            tasks,
            http,
            closing,
            feed,
            _endpoints_file: file,
            _lock: lock,
        })
    }

    /// Where it can be reached.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Returns when a part has stopped that the server can't do without. Safe to cancel.
    pub async fn failed(&mut self) {
        self.broker.stopped().await;
    }

    /// Stops in order: no new requests, readers sent away, messages no longer taken, the broker last.
    /// What was not committed was not acknowledged and comes again. Takes at most about ten seconds.
    pub async fn stop(self) {
        let Self {
            endpoints: _,
            broker,
            ingest,
            tasks,
            mut http,
            closing,
            feed,
            _endpoints_file,
            _lock,
        } = self;
        feed.closed.cancel();
        closing.cancel();
        match tokio::time::timeout(DRAIN, &mut http).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the API ended with an error"),
            Ok(Err(error)) => tracing::warn!(%error, "the API's task failed"),
            Err(_) => {
                tracing::warn!("requests were still open and are cut");
                http.abort();
            }
        }
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            // Aborted on purpose.
            let _ = task.await;
        }
        ingest.stop().await;
        broker.stop().await;
    }
}

/// Opens, or makes, the database of the data folder.
pub(crate) async fn open_store(config: &Config) -> Result<SqliteStore, StartError> {
    let generation = StoreGeneration(fleet_clock::new_uuid());
    let path = config.data_dir.join("fleet.db");
    SqliteStore::open(&path, config.plant.clone(), fleet_clock::wall_now(), generation)
        .await
        .map_err(|source| StartError::Store {
            folder: config.data_dir.clone(),
            source,
        })
}

fn background(
    config: &Config,
    store: &Arc<dyn Store>,
    metrics: &Metrics,
    feed: &Feed,
    dispatch: &DispatchHandle,
    ingest: &Ingest,
    (live, lists): ingest::Channels,
) -> Vec<JoinHandle<()>> {
    let feed_task = FeedTask {
        store: Arc::clone(store),
        feed: feed.clone(),
        live,
        metrics: metrics.clone(),
    };
    let dispatcher = Dispatcher {
        store: Arc::clone(store),
        outbound: ingest.outbound.clone(),
        lists,
        handle: dispatch.clone(),
        interval: config.dispatch_interval,
        metrics: metrics.clone(),
        feed: feed.clone(),
    };
    let (pruned, interval) = (Arc::clone(store), config.store.prune_interval);
    let prune = async move {
        loop {
            tokio::time::sleep(interval).await;
            if let Err(error) = pruned
                .prune(fleet_clock::wall_now(), fleet_store::Retention::default())
                .await
            {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "expired rows could not be deleted"
                );
            }
        }
    };
    vec![
        tokio::spawn(feed_task.run()),
        tokio::spawn(dispatcher.run()),
        tokio::spawn(prune),
    ]
}
