//! One run: selects the checks, does them, and takes away what it left at the broker.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};

use crate::catalog::{self, CHECKS, Check};
use crate::checks;
use crate::client::{Connection, Wanted};
use crate::control::BrokerControl;
use crate::fault::Fault;
use crate::report::{CheckReport, Findings, Report, Verdict};
use crate::target::Target;

/// Longest time for a group of checks. The parts have shorter ones; this one ends what none of them foresaw.
const GROUP_WITHIN: Duration = Duration::from_mins(5);
/// Longest time for taking everything away.
const CLEAN_WITHIN: Duration = Duration::from_secs(30);

/// What to run.
pub struct Options {
    /// The broker.
    pub target: Target,
    /// Restarts it, for the checks over a restart.
    pub control: Arc<dyn BrokerControl>,
    /// Names of checks or groups; empty: all.
    pub only: Vec<String>,
    /// Messages for the check of the queue.
    pub messages: u32,
    /// Topics lie below `{root}/{unique}`.
    pub root: String,
    /// Makes topics and client ids of this run its own.
    pub unique: String,
}

/// Hears what happens while a run goes on.
pub trait Progress: Sync {
    /// The run has so many groups of checks.
    fn plans(&self, groups: usize);
    /// A group of checks begins.
    fn begins(&self, group: &str);
    /// A group has ended.
    fn ends(&self, group: &str, reports: &[CheckReport]);
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A name that is none.
    #[error("there is no check or group {word:?}; `--list` shows them")]
    UnknownCheck {
        /// What was given.
        word: String,
    },
    /// The first connection failed.
    #[error("no connection to the broker at {broker}: {help}")]
    Connect {
        /// The broker's address.
        broker: String,
        /// What to do.
        help: &'static str,
        /// What went wrong.
        #[source]
        source: Fault,
    },
    /// Somebody asked for the end.
    #[error("stopped before the end; sessions and retained messages of this run were taken away")]
    Stopped,
    /// The same, and something stayed.
    #[error("stopped before the end; could not be taken away: {}", left_behind.join(", "))]
    StoppedDirty {
        /// Client ids and topics.
        left_behind: Vec<String>,
    },
}

/// What the checks share.
pub(crate) struct Run {
    pub(crate) target: Target,
    pub(crate) control: Arc<dyn BrokerControl>,
    pub(crate) messages: u32,
    prefix: String,
    unique: String,
    sessions: Mutex<BTreeSet<String>>,
    retained: Mutex<BTreeSet<String>>,
}

impl Run {
    /// A topic of the shape that ours have: prefix, slot, device, channel.
    pub(crate) fn topic(&self, slot: &str, device: &str, channel: &str) -> String {
        format!("{}/{slot}/{device}/{channel}", self.prefix)
    }

    /// A client id of this run.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.unique)
    }

    /// Connects; a session is noted so that it is taken away at the end.
    pub(crate) async fn open(&self, wanted: &Wanted) -> Result<Connection, Fault> {
        if wanted.session_expiry > 0 {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.insert(wanted.client_id.clone());
        }
        Connection::open(&self.target, wanted).await
    }

    /// A persistent session of this name.
    pub(crate) async fn session(&self, name: &str) -> Result<Connection, Fault> {
        self.open(&Wanted::session(self.id(name))).await
    }

    /// A client that leaves nothing.
    pub(crate) async fn passing(&self, name: &str) -> Result<Connection, Fault> {
        self.open(&Wanted::passing(self.id(name))).await
    }

    /// Notes a topic whose retained message is to be cleared at the end.
    pub(crate) fn retains(&self, topic: &str) {
        let mut retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        retained.insert(topic.to_owned());
    }

    /// Takes everything away; tells what stayed.
    async fn clean(&self) -> Vec<String> {
        let take = |set: &Mutex<BTreeSet<String>>| {
            std::mem::take(&mut *set.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let (sessions, retained) = (take(&self.sessions), take(&self.retained));
        let mut left = Vec::new();
        if !retained.is_empty() && self.clear(&retained).await.is_err() {
            left.extend(retained.iter().map(|topic| format!("retained message {topic}")));
        }
        for client_id in sessions {
            let ended = async {
                let wanted = Wanted::passing(client_id.clone());
                Connection::open(&self.target, &wanted).await?.disconnect().await
            };
            if ended.await.is_err() {
                left.push(format!("session {client_id}"));
            }
        }
        left
    }

    async fn clear(&self, topics: &BTreeSet<String>) -> Result<(), Fault> {
        let mut client = self.passing("cleaner").await?;
        for topic in topics {
            client
                .publish_as(
                    topic,
                    Vec::new(),
                    true,
                    rumqttc::v5::mqttbytes::v5::PublishProperties::default(),
                )
                .await?;
        }
        client.settled().await?;
        client.disconnect().await
    }
}

fn selected(only: &[String]) -> Result<Vec<&'static Check>, RunError> {
    if only.is_empty() {
        return Ok(CHECKS.iter().collect());
    }
    let mut wanted = BTreeSet::new();
    for word in only {
        let checks = catalog::select(word);
        if checks.is_empty() {
            return Err(RunError::UnknownCheck { word: word.clone() });
        }
        wanted.extend(checks.iter().map(|check| check.id));
    }
    Ok(CHECKS.iter().filter(|check| wanted.contains(check.id)).collect())
}

fn connect_error(target: &Target, source: Fault) -> RunError {
    let help = match &source {
        Fault::Refused { code } if code.contains("User") || code.contains("Authorized") => {
            "give a user that may connect, by --username and --password-file"
        }
        Fault::Refused { .. } => "it answers, but takes no MQTT 5 client; look into its log",
        Fault::Timeout { .. } => "something takes connections there and does not speak MQTT; check the port",
        _ => "check host and port, that the broker runs, and that it listens on that address",
    };
    RunError::Connect {
        broker: target.to_string(),
        help,
        source,
    }
}

/// Runs the checks. When `stop` completes first, the run ends early; what it left is taken away in both cases.
///
/// Not safe to cancel: sessions and retained messages of the run would stay. Complete `stop` instead.
///
/// # Errors
/// When a check is unknown, when the broker can't be reached, or when the run was stopped.
pub async fn run(
    options: Options,
    progress: &dyn Progress,
    stop: impl Future<Output = ()>,
) -> Result<Report, RunError> {
    let checks = selected(&options.only)?;
    let run = Run {
        prefix: format!("{}/{}", options.root, options.unique),
        target: options.target,
        control: options.control,
        messages: options.messages,
        unique: options.unique,
        sessions: Mutex::default(),
        retained: Mutex::default(),
    };
    let first = run
        .passing("first")
        .await
        .map_err(|source| connect_error(&run.target, source))?;
    // The reason of a failed goodbye would come up in every check.
    let _ = first.disconnect().await;
    let done = tokio::select! {
        reports = groups(&run, &checks, progress) => Some(reports),
        () = stop => None,
    };
    let left_behind = match timeout(CLEAN_WITHIN, run.clean()).await {
        Ok(left) => left,
        Err(_) => vec!["sessions and retained messages: the broker does not answer".to_owned()],
    };
    match done {
        Some(checks) => Ok(Report {
            broker: run.target.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            checks,
            left_behind,
        }),
        None if left_behind.is_empty() => Err(RunError::Stopped),
        None => Err(RunError::StoppedDirty { left_behind }),
    }
}

/// What mostly waits runs at once; what loads the broker or measures time runs alone, restarts last.
async fn groups(run: &Run, checks: &[&'static Check], progress: &dyn Progress) -> Vec<CheckReport> {
    let mut names: Vec<_> = checks.iter().map(|check| check.group()).collect();
    names.dedup();
    progress.plans(names.len());
    let (waiting, alone): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| checks::mostly_waits(name));
    let one = async |name: &'static str| {
        let wanted: Vec<_> = checks.iter().filter(|check| check.group() == name).collect();
        progress.begins(name);
        let mut reports = group(run, name).await;
        reports.retain(|report| wanted.iter().any(|check| check.id == report.id));
        progress.ends(name, &reports);
        reports
    };
    let mut reports = Vec::new();
    let mut at_once: FuturesUnordered<_> = waiting.into_iter().map(one).collect();
    while let Some(more) = at_once.next().await {
        reports.extend(more);
    }
    drop(at_once);
    for name in alone {
        reports.extend(one(name).await);
    }
    let place = |report: &CheckReport| CHECKS.iter().position(|check| check.id == report.id);
    reports.sort_by_key(place);
    reports
}

/// Every check of the group has a verdict afterwards: what a fault has cut off is not met.
async fn group(run: &Run, name: &str) -> Vec<CheckReport> {
    let started = Instant::now();
    let mut findings = Findings::default();
    let result = match timeout(GROUP_WITHIN, Box::pin(checks::measure(name, run, &mut findings))).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Timeout {
            what: "end of the check".to_owned(),
            within: GROUP_WITHIN,
        }),
    };
    let reason = match result {
        Ok(()) => "the check did not come so far".to_owned(),
        Err(fault) => fault.to_string(),
    };
    for check in CHECKS.iter().filter(|check| check.group() == name) {
        findings.note(check.id, Verdict::NotMet, reason.clone());
    }
    findings.into_reports(started.elapsed())
}
