//! What the demo does: which benches, which procedures, which jobs, and how the simulator confirms them.

use std::path::Path;

use anyhow::{Context as _, bail};
use fleet_testkit::{Api, EcuSim};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::stand::Stand;
use crate::workspace::root;

pub(super) const PLANT: &str = "demo";

/// A bench of the demo. Benches and vehicles of `demo/vehicles.yaml` meet in their order.
pub(super) struct Bench {
    pub(super) device: &'static str,
    pub(super) station: &'static str,
}

pub(super) const BENCHES: [Bench; 3] = [
    Bench {
        device: "bench-1",
        station: "Flash station",
    },
    Bench {
        device: "bench-2",
        station: "Wheel alignment",
    },
    Bench {
        device: "bench-3",
        station: "End of line",
    },
];

/// A job that the server has.
pub(super) struct QueuedJob {
    pub(super) id: String,
    pub(super) title: String,
}

/// Writes the secrets of the simulated control units for the server's signer.
pub(super) fn secrets(file: &Path) -> anyhow::Result<()> {
    std::fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))
}

/// The jobs of one run.
pub(super) struct Plan {
    version: String,
}

impl Plan {
    pub(super) fn new(_stand: &Stand) -> anyhow::Result<Self> {
        Ok(Self {
            version: String::new(),
        })
    }

    pub(super) async fn queue(&self, _api: &Api) -> anyhow::Result<Vec<QueuedJob>> {
        Ok(Vec::new())
    }

    pub(super) fn confirm(&self, _stand: &Stand) -> anyhow::Result<()> {
        Ok(())
    }
}
