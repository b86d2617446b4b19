//! Wiring: starts the parts in their order, watches over them and stops them in the reverse order.
//!
//! What lies in the data folder or is a port of this machine must be right at the start. What is a peer, PostgreSQL,
//! the plant's broker, a shared folder, may be away: the server comes up, says what is missing and goes on by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use fleet_settings::{FolderLock, LockError, Settings as _};
use fleet_store::{Patience, Retention, Store};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::artifacts::{ArtifactError, ArtifactFiles, FilesHealth};
use crate::broker::{Broker, BrokerAddress, BrokerError, Reach};
use crate::config::{Config, Database};
use crate::dispatch::{DispatchHandle, Dispatcher};
use crate::endpoints::{Endpoints, EndpointsFile, reachable};
use crate::health::Health;
use crate::http::{self, Shared};
use crate::ingest::{self, Identity, Ingest, IngestParts, Slots};
use crate::metrics::Metrics;
use crate::relay::{Relay, RelayParts};
use crate::signer::{Signer, SignerError};
use crate::storage::{self, DatabaseError, StoreHealth};
use crate::stream::{Feed, FeedTask};

/// Owner of the slots of an SQLite file. The data folder's lock keeps a second server out, so the name may be
/// fixed, and a server that was killed has its slots again at once.
const SOLE_OWNER: &str = "embedded";
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
        source: DatabaseError,
    },
    /// The folder of files can't be used.
    #[error("the folder of files can't be used")]
    Files(#[from] ArtifactError),
    /// The secrets can't be read.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The relay's thread can't be started.
    #[error("the relay can't be started")]
    Relay(#[source] std::io::Error),
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

/// A running server.
pub struct App {
    endpoints: Endpoints,
    /// The broker inside the process, if there is one.
    broker: Option<Broker>,
    relay: Relay,
    ingest: Ingest,
    tasks: Vec<JoinHandle<()>>,
    http: JoinHandle<std::io::Result<()>>,
    closing: CancellationToken,
    feed: Feed,
    // Dropped last: another server may have the folder when everything else is gone.
    _endpoints_file: EndpointsFile,
    _lock: FolderLock,
}

/// The way to the broker, inside the process or outside.
struct Way {
    embedded: Option<Broker>,
    address: BrokerAddress,
    reach: Reach,
    url: String,
}

impl Way {
    /// Starts the broker of the process, unless the plant has one.
    async fn begin(config: &Config) -> Result<Self, BrokerError> {
        if let Some(external) = &config.mqtt.external {
            return Ok(Self {
                embedded: None,
                address: BrokerAddress::external(external),
                reach: Reach::external(),
                url: external.url(),
            });
        }
        let broker = Broker::start(&config.mqtt, &config.data_dir.join("broker")).await?;
        let address = broker.address();
        Ok(Self {
            reach: Reach::embedded(broker.health()),
            embedded: Some(broker),
            address: BrokerAddress::embedded(address),
            url: format!("mqtt://{}", reachable(address)),
        })
    }
}

/// Who this process is among the replicas.
fn identity(config: &Config, http: &str) -> Identity {
    let owner = match &config.store.database {
        Database::Sqlite => SOLE_OWNER.to_owned(),
        Database::Postgres { .. } => {
            let name = config.replica.as_deref().unwrap_or("replica");
            format!("{name}-{}", fleet_clock::new_uuid().simple())
        }
    };
    let broker = match &config.mqtt.external {
        Some(external) => external.url(),
        None => format!("embedded:{owner}"),
    };
    Identity {
        owner,
        broker,
        http: http.to_owned(),
    }
}

impl App {
    /// Starts a server. With everything in the process it returns when it is ready, else when it listens.
    ///
    /// Not safe to cancel: parts that were started may go on without an owner until the process ends.
    ///
    /// # Errors
    /// Says what is in the way and which setting changes it.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let now = fleet_clock::wall_now();
        let lock = Config::PROGRAM.lock_folder(&config.data_dir, now)?;
        // Ports before anything is started: a taken one is the most common fault.
        let (listener, http_address) = listen(config.http.listen).await?;
        let signer = config.signer_secrets.as_deref().map(Signer::from_file);
        let signer = signer.transpose()?.unwrap_or_default();
        let store = open_store(&config).await?;
        let files = open_files(&config).await?;
        let way = Way::begin(&config).await?;
        let endpoints = Endpoints::of(&config.plant, http_address, way.url.clone());
        let identity = identity(&config, &endpoints.http);
        tracing::info!(
            owner = identity.owner,
            http = endpoints.http,
            mqtt = endpoints.mqtt,
            plant = %endpoints.plant,
            "listening"
        );
        let metrics = Metrics::default();
        let feed = Feed::new(store.generation());
        let store_health = StoreHealth::default();
        let mut ingest = ingest::start(IngestParts {
            plant: config.plant.clone(),
            identity: identity.clone(),
            broker: way.address,
            reach: way.reach.clone(),
            embedded: way.embedded.is_some(),
            config: config.ingest.clone(),
            traced: config.telemetry.otlp_endpoint.is_some(),
            store: Arc::clone(&store),
            health: store_health.clone(),
            metrics: metrics.clone(),
            feed: feed.clone(),
        });
        let relay = Relay::start(RelayParts {
            plant: &config.plant,
            owner: &identity.owner,
            config: config.kafka.as_ref(),
            store: Arc::clone(&store),
            metrics: metrics.relay.clone(),
        })
        .map_err(StartError::Relay)?;
        let health = Health {
            relay: relay.view(),
            remote_store: config.store.database != Database::Sqlite,
            store: store_health,
            reach: way.reach,
            slots: ingest.slots.clone(),
            files: FilesHealth::default(),
            lease: config.ingest.lease,
        };
        let dispatch = DispatchHandle::default();
        let background = Background {
            config: &config,
            store: &store,
            metrics: &metrics,
            feed: &feed,
            dispatch: &dispatch,
            health: &health,
            files: &files,
        };
        let tasks = background.spawn(&mut ingest);
        let slots = ingest.slots.clone();
        let closing = CancellationToken::new();
        let router = http::router(Arc::new(Shared {
            plant: config.plant.clone(),
            owner: identity.owner,
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
        let served = axum::serve(listener, router).with_graceful_shutdown(closing.clone().cancelled_owned());
        let http = tokio::spawn(served.into_future());
        if config.store.database == Database::Sqlite && way.embedded.is_some() {
            all_ready(&slots).await?;
        }
        let file = write_endpoints(&endpoints, &config)?;
        Ok(Self {
            endpoints,
            broker: way.embedded,
            ingest,
            relay,
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
        match &mut self.broker {
            Some(broker) => broker.stopped().await,
            // The plant's broker comes back.
            None => std::future::pending().await,
        }
    }

    /// Stops in order: no new requests, readers sent away, slots given back with everything that was taken recorded,
    /// the broker last. What was not committed was not acknowledged and comes again. Takes at most about ten seconds.
    pub async fn stop(self) {
        let Self {
            endpoints: _,
            broker,
            ingest,
            relay,
            tasks,
            mut http,
            closing,
            feed,
            _endpoints_file,
            _lock,
        } = self;
        feed.closed.cancel();
        closing.cancel();
        let requests = async {
            match tokio::time::timeout(DRAIN, &mut http).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!(%error, "the API ended with an error"),
                Ok(Err(error)) => tracing::warn!(%error, "the API's task failed"),
                Err(_) => {
                    tracing::warn!("requests were still open and are cut");
                    http.abort();
                }
            }
        };
        // Another replica waits for the slots: they don't wait for slow requests.
        tokio::join!(requests, ingest.stop(), relay.stop());
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            // Aborted on purpose.
            let _ = task.await;
        }
        if let Some(broker) = broker {
            broker.stop().await;
        }
    }
}

/// Everything runs in this process: the slots' sessions come up, or something is wrong with it.
async fn all_ready(slots: &Slots) -> Result<(), StartError> {
    let ready = tokio::time::timeout(SLOTS_WITHIN, slots.all_ready()).await;
    ready.map_err(|_| StartError::Slots { ready: slots.ready() })
}

fn write_endpoints(endpoints: &Endpoints, config: &Config) -> Result<EndpointsFile, StartError> {
    let folder = &config.data_dir;
    endpoints.write(folder).map_err(|source| StartError::Endpoints {
        folder: folder.clone(),
        source,
    })
}

async fn open_files(config: &Config) -> Result<ArtifactFiles, ArtifactError> {
    match &config.artifacts {
        Some(folder) => Ok(ArtifactFiles::open_shared(folder.clone()).await),
        None => ArtifactFiles::open_folder(config.artifacts_folder()).await,
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let fault = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let bound = listener.local_addr().map_err(fault)?;
    Ok((listener, bound))
}

/// Opens the database of the configuration; an SQLite file is made where it is missing.
pub(crate) async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    storage::open(config).await.map_err(|source| StartError::Store {
        folder: config.data_dir.clone(),
        source,
    })
}

/// What runs beside ingest and API.
struct Background<'a> {
    config: &'a Config,
    store: &'a Arc<dyn Store>,
    metrics: &'a Metrics,
    feed: &'a Feed,
    dispatch: &'a DispatchHandle,
    health: &'a Health,
    files: &'a ArtifactFiles,
}

impl Background<'_> {
    fn spawn(self, ingest: &mut Ingest) -> Vec<JoinHandle<()>> {
        let (live, lists) = ingest.take_channels();
        let feed_task = FeedTask {
            store: Arc::clone(self.store),
            health: self.health.store.clone(),
            feed: self.feed.clone(),
            live,
            metrics: self.metrics.clone(),
        };
        let dispatcher = Dispatcher {
            store: Arc::clone(self.store),
            health: self.health.store.clone(),
            outbound: ingest.outbound.clone(),
            lists,
            handle: self.dispatch.clone(),
            interval: self.config.dispatch_interval,
            metrics: self.metrics.clone(),
            feed: self.feed.clone(),
        };
        let retention = Retention {
            keep: self.config.store.retention,
            relay: self.config.kafka.is_some(),
        };
        let upkeep = upkeep(
            Arc::clone(self.store),
            self.health.store.clone(),
            self.config.store.prune_interval,
            retention,
            self.config.patience,
            self.metrics.clone(),
            self.feed.clone(),
        );
        let files = self.health.files.clone().watch(
            self.files.clone(),
            Arc::clone(self.store),
            self.health.store.clone(),
        );
        vec![
            tokio::spawn(storage::watch(Arc::clone(self.store), self.health.store.clone())),
            tokio::spawn(feed_task.run()),
            tokio::spawn(dispatcher.run()),
            tokio::spawn(upkeep),
            tokio::spawn(files),
        ]
    }
}

/// Deletes what has expired, and makes what is needed ahead, again and again.
async fn upkeep(
    store: Arc<dyn Store>,
    health: StoreHealth,
    interval: Duration,
    retention: Retention,
    patience: Patience,
    metrics: Metrics,
    feed: Feed,
) {
    loop {
        health.usable().await;
        match store.prune(fleet_clock::wall_now(), retention).await {
            Ok(done) if done.held_by_relay => {
                tracing::warn!("events older than store.retention are kept: they wait for the relay");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "expired rows could not be deleted"
            ),
        }
        match store.watch_outstanding(patience, fleet_clock::wall_now()).await {
            Ok(raised) => {
                for alarm in &raised {
                    tracing::warn!(?alarm, "alarm");
                    metrics.ingest.alarms(alarm.kind, 1);
                }
                feed.changed();
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "what stays outstanding could not be looked at"
            ),
        }
        tokio::time::sleep(interval).await;
    }
}
