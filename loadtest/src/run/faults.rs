//! What goes wrong on purpose, and the commands that make go wrong what the load test can't reach.

use std::collections::BTreeMap;
use std::process::ExitStatus;

use fleet_testkit::{FaultProxy, Faults as ProxyFaults};
use tokio::net::lookup_host;

use crate::population::{Broker, Population};
use crate::scenario::{FaultKind, Scenario};

/// Why a fault can't be made.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// A hook is not of its form.
    #[error("--on {0:?} is not of the form NAME.begin='COMMAND' or NAME.end='COMMAND'")]
    Form(String),
    /// A hook belongs to nothing.
    #[error("--on {hook}: the scenario has no fault {fault:?}, only {known:?}")]
    Unknown {
        /// The hook.
        hook: String,
        /// Its fault.
        fault: String,
        /// The faults of the scenario.
        known: Vec<String>,
    },
    /// A fault does nothing without its command.
    #[error("the fault {fault} only runs commands: give --on {fault}.{moment}='COMMAND'")]
    Missing {
        /// The fault.
        fault: String,
        /// `begin` or `end`.
        moment: &'static str,
    },
    /// A command could not be run.
    #[error("the command of {hook} can't be run")]
    Run {
        /// The hook.
        hook: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A command failed.
    #[error("the command of {hook} ended with {status}")]
    Command {
        /// The hook.
        hook: String,
        /// How.
        status: ExitStatus,
    },
    /// The broker's host has no address.
    #[error("the broker's host {host} has no address")]
    Resolve {
        /// The host.
        host: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The proxy could not be started.
    #[error("the proxy before the broker can't be started: {0}")]
    Proxy(String),
}

/// Commands by `NAME.begin` and `NAME.end`; a shell runs them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks(BTreeMap<String, String>);

impl Hooks {
    /// Reads `NAME.begin=COMMAND` and `NAME.end=COMMAND`.
    ///
    /// # Errors
    /// When one is not of that form.
    pub fn parse(hooks: &[String]) -> Result<Self, FaultError> {
        let mut parsed = BTreeMap::new();
        for hook in hooks {
            let (name, command) = hook
                .split_once('=')
                .ok_or_else(|| FaultError::Form(hook.clone()))?;
            let moment = name.rsplit_once('.').map(|(_, moment)| moment);
            if !matches!(moment, Some("begin" | "end")) || command.trim().is_empty() {
                return Err(FaultError::Form(hook.clone()));
            }
            parsed.insert(name.to_owned(), command.to_owned());
        }
        Ok(Self(parsed))
    }

    /// Whether they fit the scenario.
    ///
    /// # Errors
    /// When one belongs to no fault, or a fault that does nothing else has none.
    pub fn check(&self, scenario: &Scenario) -> Result<(), FaultError> {
        for hook in self.0.keys() {
            let fault = hook.rsplit_once('.').map_or(hook.as_str(), |(fault, _)| fault);
            if !scenario.fault.iter().any(|known| known.name == fault) {
                return Err(FaultError::Unknown {
                    hook: hook.clone(),
                    fault: fault.to_owned(),
                    known: scenario.fault.iter().map(|known| known.name.clone()).collect(),
                });
            }
        }
        for fault in scenario
            .fault
            .iter()
            .filter(|fault| fault.kind == FaultKind::Command)
        {
            for moment in ["begin", "end"] {
                if !self.0.contains_key(&format!("{}.{moment}", fault.name)) {
                    return Err(FaultError::Missing {
                        fault: fault.name.clone(),
                        moment,
                    });
                }
            }
        }
        Ok(())
    }

    /// Runs a command, if there is one, and waits for its end.
    pub(super) async fn run(&self, fault: &str, moment: &str) -> Result<(), FaultError> {
        let hook = format!("{fault}.{moment}");
        let Some(command) = self.0.get(&hook) else {
            return Ok(());
        };
        let ended = tokio::process::Command::new("sh")
            .args(["-c", command])
            .status()
            .await;
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(FaultError::Command { hook, status }),
            Err(source) => Err(FaultError::Run { hook, source }),
        }
    }
}

/// Makes faults and takes them away.
#[derive(Debug)]
pub(super) struct Faults {
    broker: Broker,
    proxy: Option<FaultProxy>,
}

impl Faults {
    pub(super) async fn new(broker: &Broker, proxy: bool) -> Result<Self, FaultError> {
        if !proxy {
            return Ok(Self {
                broker: broker.clone(),
                proxy: None,
            });
        }
        let none = || std::io::ErrorKind::NotFound.into();
        let found = lookup_host((broker.host.as_str(), broker.port)).await;
        let found = found.and_then(|mut found| found.next().ok_or_else(none));
        let upstream = found.map_err(|source| FaultError::Resolve {
            host: broker.host.clone(),
            source,
        })?;
        let proxy = FaultProxy::start(upstream)
            .await
            .map_err(|error| FaultError::Proxy(error.to_string()))?;
        Ok(Self {
            broker: Broker {
                host: proxy.address().ip().to_string(),
                port: proxy.address().port(),
            },
            proxy: Some(proxy),
        })
    }

    /// Where the benches connect.
    pub(super) fn broker(&self) -> Broker {
        self.broker.clone()
    }

    pub(super) fn begin(&self, kind: FaultKind, population: &Population) {
        match kind {
            FaultKind::BrokerAway => {
                if let Some(proxy) = &self.proxy {
                    proxy.set(ProxyFaults {
                        refuse: true,
                        ..ProxyFaults::default()
                    });
                    proxy.cut();
                }
            }
            FaultKind::Reconnect => population.reconnect_all(),
            FaultKind::Command => {}
        }
    }

    pub(super) fn end(&self, kind: FaultKind) {
        if let (FaultKind::BrokerAway, Some(proxy)) = (kind, &self.proxy) {
            proxy.set(ProxyFaults::default());
        }
    }
}
