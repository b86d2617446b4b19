//! Runs an attempt on a control unit: the effects of [`procedure::Engine`] over `DoIP`, with the journal.
//!
//! [`run`] gives exactly one [`FinalReport`], and has made it durable in the journal before. The caller appends the
//! final event to the spool, syncs it, and only then calls [`journal::settle`]. At the agent's start every journal
//! that [`journal::open`] finds goes through [`recover`], which never writes to a control unit.

mod link;
mod perform;
mod recover;
mod report;
mod signer;

use std::net::SocketAddr;
use std::sync::Arc;

use fleet_domain::JobId;
use procedure::{Inputs, Plan};

use crate::journal::{ArtifactNote, Header, Journal};

pub use perform::run;
pub use recover::recover;
pub use report::{EcuState, FinalReport, FinishedStep, ProcedureNote, RecordMaterial, Report};
pub use signer::{KeyRequest, Signer};

/// Where the vehicle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VehicleConfig {
    /// TCP address of the `DoIP` entity; vehicle identification goes to the same address by UDP.
    pub entity: SocketAddr,
    /// Logical address of this tester, 0E00 to 0FFF.
    pub tester_address: u16,
}

/// One attempt, complete: artifacts are in memory and their hash is checked.
#[derive(Debug)]
pub struct Attempt {
    /// The job.
    pub job_id: JobId,
    /// What is done.
    pub plan: Arc<Plan>,
    /// With what.
    pub inputs: Inputs,
    /// On which vehicle.
    pub vehicle: VehicleConfig,
    /// Who makes keys.
    pub signer: Signer,
    /// The journal, begun with [`header`].
    pub journal: Journal,
}

/// The journal's header for an attempt.
pub fn header(job_id: JobId, attempt: u32, fence: u64, plan: &Plan, inputs: &Inputs) -> Header {
    Header {
        job_id,
        attempt,
        fence,
        vin: inputs.vin.clone(),
        procedure: plan.source.clone(),
        artifacts: artifact_notes(inputs),
        parameters: inputs.parameters.clone(),
    }
}

fn artifact_notes(inputs: &Inputs) -> Vec<ArtifactNote> {
    inputs
        .artifacts
        .iter()
        .map(|(input, artifact)| ArtifactNote {
            input: input.clone(),
            name: artifact.name.clone(),
            version: artifact.version.clone(),
            sha256: artifact.sha256.clone(),
            size: artifact.bytes.len() as u64,
        })
        .collect()
}
