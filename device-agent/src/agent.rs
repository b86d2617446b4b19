//! Wiring: from settings and data folder to a running owner.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_core::{AgentCore, Boot, RestoreError, Saved};
use agent_link::link::{self, PresenceDocuments};
use agent_link::{AppendError, EventDraft, LinkConfig, SenderConfig, Uplink, UplinkConfig};
use fleet_domain::{EventId, RunId, SpoolId, Vin, error_chain};
use fleet_settings::{LockError, Settings as _};
use fleet_wire::EventBody;
use fleet_wire::event::{AgentStarted, Equipment};
use spool::{Limits, Read, RealDisk, SpoolError, Spools};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::attempt::{self, Workplace};
use crate::config::Config;
use crate::fetch::{self, Fetcher};
use crate::journal::{self, JournalError};
use crate::key::{BenchKey, KeyError};
use crate::owner::{self, Input, Inputs, Owner, OwnerError, STATE_FILE};
use crate::record::{self, Bench, RecordError, Records};
use crate::runner::{Signer, VehicleConfig};
use crate::{crashsafe, status, vehicle};

/// How long the start waits for the vehicle's answer.
const VEHICLE_WITHIN: Duration = Duration::from_secs(3);
/// Set aside on the disk for events of accepted jobs: some 13,000 of them.
const SPOOL_RESERVE: u64 = 8 * 1024 * 1024;
/// Inputs that may wait for the owner.
const INBOX: usize = 256;

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another agent holds the folder, or it can't be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The bench has no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The saved state can't be used.
    #[error(
        "saved state {path} can't be used; it says what this bench has done, so restore it from a backup or let a person decide about the open jobs before it is moved away"
    )]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RestoreError,
    },
    /// A file or folder can't be used.
    #[error("{path} can't be used")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The spool can't be opened or written.
    #[error("the spool can't be used")]
    Spool(#[from] SpoolError),
    /// The first event can't be written down.
    #[error("the first event of this start can't be written down")]
    FirstEvent(#[from] AppendError),
    /// A journal can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The folder of records can't be used.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// The HTTP client can't be set up.
    #[error("the HTTP client can't be set up")]
    Http(#[source] reqwest::Error),
    /// The agent ended by itself.
    #[error(transparent)]
    Owner(#[from] OwnerError),
}

/// Runs an agent until `stop` becomes true. Needs a multi-threaded runtime: disk work is done in place.
///
/// # Errors
/// When it can't start, or ended by itself.
pub async fn run(config: Config, stop: watch::Receiver<bool>) -> Result<(), AgentError> {
    let started_at = fleet_clock::wall_now();
    let _lock = Config::PROGRAM.lock_folder(&config.data_dir, started_at)?;
    let key = Arc::new(BenchKey::load_or_make(&config.data_dir)?);
    let run_id = RunId(fleet_clock::new_uuid());
    let state_file = config.data_dir.join(STATE_FILE);
    let saved = load_state(&state_file)?;
    let mut spools = open_spools(&config)?;
    let unconfirmed = saved.as_ref().map(Saved::unconfirmed).unwrap_or_default();
    let found = find_events(&mut spools, unconfirmed)?;
    let vin = vehicle::wait_briefly(config.entity, VEHICLE_WITHIN).await;
    let started = agent_started(&config, run_id, &key, vin.as_ref());
    let uplink = begin_spool(spools, &config, &started, vin.as_ref())?;
    let journals = open_journals(&config, saved.as_ref())?;
    let boot = Boot {
        run_id,
        boot_id: boot_id(),
        first_sync_number: fleet_clock::jitter_seed() & 0xFFFF_FFFF,
        seed: fleet_clock::jitter_seed(),
        found,
    };
    let (core, effects) = AgentCore::boot(saved, boot, owner::now(), &mut owner::fresh_event_id);

    let (to_owner, inbox) = mpsc::channel(INBOX);
    let (link, events) = connect(&config, run_id);
    let (live, live_seen) = watch::channel(None);
    let workplace = workplace(&config, run_id, key, link.clone(), live, to_owner.clone())?;
    let fetcher = fetcher(&config, &workplace);
    let mut owner = Owner {
        run_id,
        started_at,
        core,
        uplink,
        link,
        workplace,
        fetcher,
        permits: owner::permits(),
        started,
        vin: vin.clone(),
        live: live_seen,
        state_file,
        journals,
        preparing: std::collections::HashMap::new(),
        prepared: std::collections::HashMap::new(),
        cancels: std::collections::HashMap::new(),
        unwritten: std::collections::VecDeque::new(),
        unsynced: Vec::new(),
        spool_failed: None,
        connected: false,
        disconnected_because: None,
        sync_sent: None,
        housekeeping_at: fleet_clock::boot_now(),
        refusing: None,
        config: config.clone(),
    };
    owner.begin(effects);
    let status_task = serve_status(&config.data_dir, to_owner.clone());
    let vehicle_task = vin.is_none().then(|| watch_vehicle(&config, to_owner));
    tracing::info!(
        plant = %config.plant,
        device = %config.device,
        %run_id,
        vehicle.vin = vin.as_ref().map(Vin::as_str),
        "device-agent {} runs",
        env!("CARGO_PKG_VERSION")
    );
    let ended = owner.run(Inputs { inbox, events, stop }).await;
    for task in [status_task, vehicle_task].into_iter().flatten() {
        task.abort();
    }
    // Left behind it would only be refused by the next connect.
    let _ = std::fs::remove_file(config.data_dir.join(status::SOCKET));
    Ok(ended?)
}

fn load_state(path: &Path) -> Result<Option<Saved>, AgentError> {
    let bytes = crashsafe::read(path).map_err(|source| AgentError::Io {
        path: path.to_owned(),
        source,
    })?;
    bytes
        .map(|bytes| Saved::decode(&bytes))
        .transpose()
        .map_err(|source| AgentError::State {
            path: path.to_owned(),
            source,
        })
}

fn open_spools(config: &Config) -> Result<Spools<RealDisk>, AgentError> {
    let path = config.data_dir.join("spool");
    let disk = RealDisk::open(&path).map_err(|source| AgentError::Io { path, source })?;
    let limits = Limits {
        max_bytes: config.spool_max_bytes,
        min_free_bytes: config.spool_min_free_bytes,
        reserve_bytes: SPOOL_RESERVE,
        ..Limits::default()
    };
    let (spools, opened) = Spools::open(disk, limits, fleet_clock::wall_now())?;
    for damage in &opened.damage {
        tracing::error!(%damage, "the spool is damaged");
    }
    tracing::info!(outstanding = opened.outstanding, "spool opened");
    Ok(spools)
}

/// Which of these events lie in a spool: the newest ones are looked at first, and all of them if need be.
fn find_events(
    spools: &mut Spools<RealDisk>,
    mut wanted: BTreeSet<EventId>,
) -> Result<BTreeSet<EventId>, SpoolError> {
    #[derive(serde::Deserialize)]
    struct Id {
        id: EventId,
    }
    let mut found = BTreeSet::new();
    for held in spools.held().into_iter().rev() {
        for seq in (held.first_kept..held.next_seq).rev() {
            if wanted.is_empty() {
                return Ok(found);
            }
            if let Read::Event(bytes) = spools.read(held.spool, seq)?
                && let Ok(Id { id }) = serde_json::from_slice(&bytes)
                && wanted.remove(&id)
            {
                found.insert(id);
            }
        }
    }
    Ok(found)
}

fn agent_started(config: &Config, run_id: RunId, key: &BenchKey, vin: Option<&Vin>) -> AgentStarted {
    AgentStarted {
        run_id,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        public_key: key.public(),
        equipment: Equipment {
            transports: vec!["doip".to_owned()],
            ecus: config.ecus.clone(),
            station: config.station.clone(),
            vin: vin.map(ToString::to_string),
        },
        reason: "start".to_owned(),
    }
}

fn begin_spool(
    spools: Spools<RealDisk>,
    config: &Config,
    started: &AgentStarted,
    vin: Option<&Vin>,
) -> Result<Uplink<RealDisk>, AgentError> {
    let uplink_config = UplinkConfig {
        plant: config.plant.clone(),
        device: config.device.clone(),
        sender: SenderConfig::default(),
    };
    let mut uplink = Uplink::new(spools, uplink_config, fleet_clock::jitter_seed());
    uplink.begin(SpoolId(fleet_clock::new_uuid()))?;
    let draft = EventDraft {
        id: owner::fresh_event_id(),
        vin: vin.map(ToString::to_string),
        time: fleet_clock::wall_now(),
        traceparent: None,
    };
    uplink.append(&draft, &EventBody::AgentStarted(started.clone()))?;
    uplink.sync()?;
    Ok(uplink)
}

/// Journals of attempts that are still open. Those of others are done with: their final event is in the saved
/// state or in a spool.
fn open_journals(config: &Config, saved: Option<&Saved>) -> Result<journal::Opened, AgentError> {
    let folder = config.data_dir.join("journal");
    let mut opened = journal::open(&folder)?;
    for (path, reason) in &opened.unreadable {
        tracing::error!(journal = %path.display(), reason, "a journal can't be read: its attempt is in doubt");
    }
    let running = saved.map(Saved::jobs).unwrap_or_default();
    opened.pending.retain(|pending| {
        let header = &pending.header;
        let open = running.iter().any(|job| {
            job.job_id == header.job_id && job.attempt == header.attempt && job.state == "running"
        });
        if !open {
            let of = fleet_wire::event::AttemptRef {
                job_id: header.job_id,
                attempt: header.attempt,
                fence: header.fence,
            };
            attempt::settle(&folder, of);
        }
        open
    });
    Ok(opened)
}

/// The machine's boot, by the kernel. Where it does not say, every start counts as a reboot: that voids offers and
/// never starts anything.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(
        |error| {
            tracing::warn!(%error, "the kernel names no boot: every start counts as a reboot");
            fleet_clock::new_uuid().to_string()
        },
        |id| id.trim().to_owned(),
    )
}

fn connect(config: &Config, run_id: RunId) -> (link::LinkHandle, mpsc::Receiver<link::LinkEvent>) {
    let mut link_config = LinkConfig::new(
        config.plant.clone(),
        config.device.clone(),
        config.broker.address.host.clone(),
        config.broker.address.port,
        fleet_clock::jitter_seed(),
    );
    let credentials = config.broker.credentials.as_ref();
    link_config.credentials =
        credentials.map(|of| link::Credentials::new(of.username.clone(), of.password.reveal().to_owned()));
    link::spawn(link_config, move |counter| {
        let time = fleet_clock::wall_now();
        PresenceDocuments {
            online: agent_core::presence(run_id, counter, true, false, time).encode(),
            offline: agent_core::presence(run_id, counter, false, true, time).encode(),
        }
    })
}

fn workplace(
    config: &Config,
    run_id: RunId,
    key: Arc<BenchKey>,
    link: link::LinkHandle,
    live: watch::Sender<Option<fleet_wire::live::Live>>,
    owner: mpsc::Sender<Input>,
) -> Result<Workplace, AgentError> {
    let bench = Bench {
        plant: config.plant.clone(),
        device: config.device.clone(),
        station: config.station.clone(),
        agent_version: env!("CARGO_PKG_VERSION"),
        agent_sha256: record::agent_sha256(),
        run_id,
        entity: config.entity.to_string(),
    };
    Ok(Workplace {
        vehicle: VehicleConfig {
            entity: config.entity,
            tester_address: config.tester_address,
        },
        signer: Signer::Backend {
            client: fetch::client().map_err(AgentError::Http)?,
            url: config.server_url.clone(),
        },
        journals: config.data_dir.join("journal"),
        records: Arc::new(Records::open(config.data_dir.join("results"), bench)?),
        key,
        link,
        live,
        owner,
    })
}

fn fetcher(config: &Config, workplace: &Workplace) -> Fetcher {
    let client = match &workplace.signer {
        Signer::Backend { client, .. } => client.clone(),
        Signer::Task(_) => reqwest::Client::new(),
    };
    Fetcher::new(
        client,
        config.server_url.clone(),
        config.data_dir.join("artifacts"),
    )
}

fn watch_vehicle(config: &Config, owner: mpsc::Sender<Input>) -> tokio::task::JoinHandle<()> {
    tracing::info!(entity = %config.entity, "no vehicle answers yet");
    let entity = config.entity;
    tokio::spawn(async move {
        let vin = vehicle::wait_for_vehicle(entity).await;
        // An owner that has ended needs nothing.
        let _ = owner.send(Input::Vehicle(vin)).await;
    })
}

/// Answers `device-agent status`. A bench without that socket works all the same.
fn serve_status(data_dir: &Path, owner: mpsc::Sender<Input>) -> Option<tokio::task::JoinHandle<()>> {
    let listen = || -> io::Result<UnixListener> {
        let folder = File::open(data_dir)?;
        let path = status::short_path(&folder, status::SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        UnixListener::bind(path)
    };
    let listener = match listen() {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "no socket for `device-agent status`");
            return None;
        }
    };
    Some(tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (reply, answer) = oneshot::channel();
            if owner.send(Input::Status(reply)).await.is_err() {
                return;
            }
            let Ok(status) = answer.await else { continue };
            let text = serde_json::to_vec(&status).unwrap_or_default();
            if let Err(error) = stream.write_all(&text).await {
                tracing::debug!(error = error_chain(&error), "who asked for the status has gone");
            }
        }
    }))
}
