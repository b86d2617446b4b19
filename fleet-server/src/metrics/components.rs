//! The named states of readiness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::labels::{ComponentLabels, Level};

/// Each component with its states. `docs/runbook.md` has a heading for every one that asks for something.
pub(crate) const STATES: [(&str, &[&str]); 6] = [
    (
        "store",
        &[
            "ok",
            "starting",
            "unreachable",
            "refused",
            "read_only",
            "full",
            "schema_too_new",
            "schema_too_old",
            "other_plant",
            "damaged",
            "failing",
        ],
    ),
    ("broker", &["ok", "unreachable", "refused", "limits_too_small"]),
    ("slots", &["ok", "handing_over", "not_owned", "not_connected"]),
    (
        "kafka",
        &[
            "off",
            "ok",
            "standby",
            "starting",
            "unreachable",
            "hanging",
            "refused",
            "topic_missing",
            "partitions_differ",
            "cursor_lost",
            "lost_data",
            "failing",
        ],
    ),
    ("offers", &["ok", "held"]),
    ("files", &["ok", "missing"]),
];

/// Metrics of the components.
#[derive(Debug, Clone)]
pub(crate) struct ComponentMetrics {
    /// `vds_component_state{component, state}`
    state: Family<ComponentLabels, Level>,
    /// `vds_ready`
    ready: Level,
    // The state that is 1, by component.
    current: Arc<Mutex<BTreeMap<String, String>>>,
}

impl ComponentMetrics {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let metrics = Self {
            state: Family::default(),
            ready: Level::default(),
            current: Arc::default(),
        };
        for (component, states) in STATES {
            for state in states {
                metrics.write(component, state, 0);
            }
        }
        registry.register(
            "vds_component_state",
            "1 for the state that a component of this replica is in, 0 for its other states",
            metrics.state.clone(),
        );
        registry.register(
            "vds_ready",
            "1 while every component that is required is ok",
            metrics.ready.clone(),
        );
        metrics
    }

    /// The components are in these states now; the states before are left. Nothing is known of a component that is
    /// not named: none of its states is 1.
    pub(crate) fn set_all<'a>(&self, states: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        for (component, state) in std::mem::take(&mut *current) {
            self.write(&component, &state, 0);
        }
        for (component, state) in states {
            self.write(component, state, 1);
            current.insert(component.to_owned(), state.to_owned());
        }
    }

    /// Whether the server is ready.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    fn write(&self, component: &str, state: &str, value: i64) {
        self.state
            .get_or_create(&ComponentLabels {
                component: component.to_owned(),
                state: state.to_owned(),
            })
            .set(value);
    }
}
