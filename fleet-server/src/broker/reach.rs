//! Whether this process reaches its broker, as everybody else sees it.

use std::time::Duration;

use tokio::sync::watch;

use super::{BrokerHealth, BrokerState};

/// The way to the broker. A clone shows the same.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    view: watch::Sender<View>,
    /// The broker inside the process, if it is that.
    embedded: Option<BrokerHealth>,
}

#[derive(Debug, Clone)]
struct View {
    state: BrokerState,
    /// Limits of the broker that are too small; it is used all the same.
    limits: Vec<String>,
    connected: bool,
    /// Boot time since when it is not connected.
    since: Duration,
}

impl Reach {
    /// The broker inside the process is reached while it runs.
    pub(crate) fn embedded(health: BrokerHealth) -> Self {
        Self::new(Some(health), true)
    }

    /// The plant's broker: [`Reach::is_up`] and [`Reach::is_down`] say how it is.
    pub(crate) fn external() -> Self {
        Self::new(None, false)
    }

    fn new(embedded: Option<BrokerHealth>, connected: bool) -> Self {
        Self {
            view: watch::Sender::new(View {
                state: BrokerState::new("unreachable", "not connected yet"),
                limits: Vec::new(),
                connected,
                since: fleet_clock::boot_now(),
            }),
            embedded,
        }
    }

    /// Connected now, with these limits that are too small.
    pub(crate) fn is_up(&self, limits: Vec<String>) {
        self.view.send_modify(|view| {
            view.connected = true;
            view.limits = limits;
        });
    }

    /// Not connected now.
    pub(crate) fn is_down(&self, state: BrokerState) {
        self.view.send_modify(|view| {
            if view.connected {
                view.since = fleet_clock::boot_now();
            }
            view.connected = false;
            view.state = state;
        });
    }

    /// Limits that showed on a connection.
    pub(crate) fn set_limits(&self, found: Vec<String>) {
        self.view.send_modify(|view| {
            for limit in found {
                if !view.limits.contains(&limit) {
                    view.limits.push(limit);
                }
            }
        });
    }

    /// Waits until it is connected. Safe to cancel.
    pub(crate) async fn connected(&self) {
        // The sender lives as long as self.
        let _ = self.view.subscribe().wait_for(|view| view.connected).await;
    }

    /// Connected now.
    pub(crate) fn is_connected(&self) -> bool {
        self.view.borrow().connected
    }

    /// How long it has not been connected.
    pub(crate) fn away_for(&self) -> Option<Duration> {
        let view = self.view.borrow();
        (!view.connected).then(|| fleet_clock::boot_now().saturating_sub(view.since))
    }

    /// How it stands.
    pub(crate) fn state(&self) -> BrokerState {
        if let Some(health) = &self.embedded {
            return if health.is_up() {
                BrokerState::new("ok", "the broker in the process takes connections")
            } else {
                BrokerState::new("unreachable", "the broker in the process has stopped")
            };
        }
        let view = self.view.borrow();
        if !view.connected {
            return view.state.clone();
        }
        if view.limits.is_empty() {
            BrokerState::new("ok", "connected")
        } else {
            BrokerState::new("limits_too_small", view.limits.join("; "))
        }
    }
}
