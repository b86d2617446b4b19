//! How the parts of the server stand, each in one stable word (`/readyz`, the page, `vds_component_state`).
//!
//! Nothing here asks a peer: the tasks that deal with the peers say how they are, so that the answer comes at once
//! also while one of them hangs.

use fleet_domain::Slot;

use crate::artifacts::FilesHealth;
use crate::broker::{self, Reach};
use crate::http::types::Check;
use crate::ingest::Slots;
use crate::relay::RelayView;
use crate::storage::{self, StoreHealth};

/// What readiness looks at.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) store: StoreHealth,
    pub(crate) reach: Reach,
    pub(crate) slots: Slots,
    pub(crate) files: FilesHealth,
    pub(crate) relay: RelayView,
    /// The database is a server of its own.
    pub(crate) remote_store: bool,
    /// How long a slot may stay with an owner that is gone.
    pub(crate) lease: std::time::Duration,
}

/// A check of a required part that is well in the state `ok` only.
fn required(name: &str, state: &str, detail: String, help: Option<&str>) -> Check {
    Check {
        name: name.to_owned(),
        state: state.to_owned(),
        ok: state == "ok",
        required: true,
        detail,
        help: help.map(str::to_owned),
    }
}

impl Health {
    /// Slots that are owned and connected.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The database can be used.
    pub(crate) fn store_is_usable(&self) -> bool {
        self.store.is_usable()
    }

    /// The state of a database server that can't even be read.
    pub(crate) fn store_is_away(&self) -> Option<&'static str> {
        let (state, _) = self.store.state();
        let readable = matches!(state, "ok" | "read_only" | "full" | "failing");
        (self.remote_store && !readable).then_some(state)
    }

    /// Each part as it is now.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let (state, detail) = self.store.state();
        vec![
            required("store", state, detail, storage::help(state)),
            self.broker(),
            self.slots_check(),
            self.relay.check(),
            self.files.check(),
        ]
    }

    fn broker(&self) -> Check {
        let mut state = self.reach.state();
        let said = self.slots.view().refused.or_else(|| self.slots.problem());
        if let Some(said) = said.filter(|_| matches!(state.state, "ok" | "limits_too_small")) {
            state = said;
        }
        required("broker", state.state, state.detail, broker::help(state.state))
    }

    fn slots_check(&self) -> Check {
        let all = usize::from(Slot::COUNT);
        let (ready, terms, view) = (self.slots.ready(), self.slots.terms().len(), self.slots.view());
        let (others, leased) = (view.others, view.others + terms);
        let how = match others {
            0 => format!("{ready} of {all} are owned and connected"),
            _ => format!("{ready} of {all} are owned and connected here, {others} belong to other servers"),
        };
        // A slot that has just lost its owner finds the next one within the lease and a look.
        let patience = self.lease * 2;
        let without_owner = view
            .incomplete_since
            .is_some_and(|since| fleet_clock::boot_now().saturating_sub(since) > patience);
        let (state, help) = if leased < all && without_owner {
            let help = "no server owns these slots: the benches keep their events; look at the checks of store and \
                        broker of every replica";
            ("not_owned", Some(help))
        } else if ready < terms {
            let help = "the slots' sessions are not connected: look at the check of the broker";
            ("not_connected", Some(help))
        } else if leased < all {
            ("handing_over", Some("wait a moment: slots change hands"))
        } else {
            ("ok", None)
        };
        required("slots", state, how, help)
    }
}
