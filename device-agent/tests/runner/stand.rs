//! A simulated vehicle, a signer and a journal for one attempt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use device_agent::journal::{self, Journal};
use device_agent::runner::{Attempt, FinalReport, KeyRequest, Report, Signer, VehicleConfig, header, run};
use ecu_sim::{EcuMemory, Entity, Vehicle, VehicleSpec, key_of, serve};
use fleet_domain::JobId;
use procedure::{Artifact, Inputs, Plan};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

pub(crate) const FLASH: &str = "flash.esp.app";
pub(crate) const CALIBRATE: &str = "calibrate.camera";
pub(crate) const EOL: &str = "eol.test";

pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo")
}

pub(crate) fn procedure_source(id: &str) -> String {
    std::fs::read_to_string(demo().join(format!("procedures/{id}.yaml"))).unwrap()
}

pub(crate) fn plan(id: &str) -> Arc<Plan> {
    compiled(&procedure_source(id))
}

pub(crate) fn compiled(source: &str) -> Arc<Plan> {
    Arc::new(procedure::compile(source).unwrap_or_else(|errors| {
        panic!(
            "{}",
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        )
    }))
}

/// A vehicle of the demo, without the pauses that make the demo worth watching.
pub(crate) fn vehicle(number: usize) -> VehicleSpec {
    let yaml = std::fs::read_to_string(demo().join("vehicles.yaml")).unwrap();
    let mut spec = ecu_sim::parse_vehicles(&yaml)
        .unwrap()
        .vehicles
        .remove(number - 1);
    for ecu in &mut spec.ecus {
        ecu.block_ms = 0;
        ecu.erase_ms = 100;
        ecu.start_ms = 100;
        for routine in &mut ecu.routines {
            routine.duration_ms = 300;
        }
    }
    spec
}

pub(crate) struct Stand {
    pub(crate) vehicle: Arc<Vehicle>,
    pub(crate) entity: Entity,
    pub(crate) dir: TempDir,
    secrets: BTreeMap<String, Vec<u8>>,
    pub(crate) job_id: JobId,
}

impl Stand {
    pub(crate) async fn new(spec: VehicleSpec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vehicle = Arc::new(Vehicle::new(&spec, Some(dir.path())).unwrap());
        let entity = serve(Arc::clone(&vehicle)).await.unwrap();
        let secrets = spec
            .ecus
            .iter()
            .map(|ecu| (ecu.name.clone(), hex::decode(&ecu.secret).unwrap()))
            .collect();
        Self {
            vehicle,
            entity,
            dir,
            secrets,
            job_id: JobId(fleet_clock::new_uuid()),
        }
    }

    pub(crate) fn config(&self) -> VehicleConfig {
        VehicleConfig {
            entity: self.entity.address(),
            tester_address: 0x0E80,
        }
    }

    pub(crate) fn journals(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// What the state file of the simulator says: it is read as a stranger would.
    pub(crate) fn state(&self, ecu: &str) -> EcuMemory {
        let path = self.dir.path().join(format!("{}.json", self.vehicle.vin()));
        let bytes = std::fs::read(path).unwrap();
        let mut memory: ecu_sim::VehicleMemory = serde_json::from_slice(&bytes).unwrap();
        memory.ecus.remove(ecu).unwrap()
    }

    pub(crate) fn inputs(&self, vin: &str) -> Inputs {
        Inputs {
            vin: vin.to_owned(),
            job_id: self.job_id.to_string(),
            ..Inputs::default()
        }
    }

    pub(crate) fn with_image(&self) -> Inputs {
        let bytes = ecu_sim::build_image("A0009051234", "2.1.0", 98_304, 21).unwrap();
        let mut inputs = self.inputs(self.vehicle.vin());
        inputs
            .artifacts
            .insert("image".to_owned(), artifact("2.1.0", bytes));
        inputs
    }

    pub(crate) fn signer(&self) -> Signer {
        let (sender, mut requests) = mpsc::channel::<KeyRequest>(1);
        let secrets = self.secrets.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let key = secrets
                    .get(&request.ecu)
                    .map(|secret| key_of(secret, request.level, &request.seed).to_vec());
                let _ = request.reply.send(key);
            }
        });
        Signer::Task(sender)
    }

    pub(crate) fn attempt(&self, plan: Arc<Plan>, inputs: Inputs) -> Attempt {
        let header = header(self.job_id, 1, 7, &plan, &inputs);
        let journal = Journal::create(&self.journals(), &header).unwrap();
        Attempt {
            job_id: self.job_id,
            plan,
            inputs,
            vehicle: self.config(),
            signer: self.signer(),
            journal,
        }
    }

    /// Runs to the end; `on_report` sees every report and may cancel.
    pub(crate) async fn run_watching(
        &self,
        attempt: Attempt,
        mut on_report: impl FnMut(&Report) -> bool,
    ) -> (FinalReport, Vec<Report>) {
        let (reports, mut inbox) = mpsc::channel(16);
        let (cancel, canceled) = watch::channel(false);
        let running = tokio::spawn(run(attempt, reports, canceled));
        let mut seen = Vec::new();
        while let Some(report) = inbox.recv().await {
            if on_report(&report) {
                cancel.send_replace(true);
            }
            seen.push(report);
        }
        (running.await.unwrap(), seen)
    }

    pub(crate) async fn run(&self, plan: Arc<Plan>, inputs: Inputs) -> (FinalReport, Vec<Report>) {
        self.run_watching(self.attempt(plan, inputs), |_| false).await
    }

    /// What the journal of the attempt says.
    pub(crate) fn pending(&self) -> journal::Pending {
        let opened = journal::open(&self.journals()).unwrap();
        assert!(opened.unreadable.is_empty(), "{:?}", opened.unreadable);
        opened.pending.into_iter().next().unwrap()
    }

    /// Requests of one control unit that begin with these bytes.
    pub(crate) fn heard(&self, ecu: &str, begin: &[u8]) -> usize {
        let requests = self.vehicle.requests();
        requests
            .iter()
            .filter(|one| one.ecu == ecu && one.bytes.starts_with(begin))
            .count()
    }
}

pub(crate) fn artifact(version: &str, bytes: Vec<u8>) -> Artifact {
    Artifact {
        name: "esp-app".to_owned(),
        version: version.to_owned(),
        sha256: hex::encode(Sha256::digest(&bytes)),
        bytes: bytes.into(),
    }
}
