//! The demo's content (`demo/`): vehicles, procedures and images, as something to upload and to queue.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ecu_sim::{EcuSpec, VehiclesFile, build_image, parse_vehicles};
use procedure::Plan;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Api;

/// Vehicles and procedures of a folder.
#[derive(Debug)]
pub struct Workload {
    folder: PathBuf,
    /// The vehicles.
    pub vehicles: VehiclesFile,
    /// The procedures, compiled, in the order of their file names.
    pub procedures: Vec<Plan>,
}

impl Workload {
    /// Reads `{folder}/vehicles.yaml` and compiles `{folder}/procedures/*.yaml`.
    ///
    /// # Errors
    /// When a file cannot be read or a procedure does not compile; file, line and column are named.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let of_procedures = folder.join("procedures");
        let mut files = Vec::new();
        let entries = std::fs::read_dir(&of_procedures);
        for entry in entries.with_context(|| format!("cannot read {}", of_procedures.display()))? {
            let path = entry
                .with_context(|| format!("cannot read {}", of_procedures.display()))?
                .path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            }
        }
        files.sort();
        let procedures = files
            .iter()
            .map(|path| compile(path))
            .collect::<anyhow::Result<_>>()?;
        let of_vehicles = folder.join("vehicles.yaml");
        let yaml = std::fs::read_to_string(&of_vehicles);
        let yaml = yaml.with_context(|| format!("cannot read {}", of_vehicles.display()))?;
        let vehicles = parse_vehicles(&yaml).with_context(|| format!("in {}", of_vehicles.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            vehicles,
            procedures,
        })
    }

    /// Names of a vehicle's control units, for an agent's `ecus`.
    pub fn ecus(&self, vin: &str) -> Vec<&str> {
        let vehicle = self.vehicles.vehicles.iter().find(|vehicle| vehicle.vin == vin);
        vehicle
            .into_iter()
            .flat_map(|vehicle| &vehicle.ecus)
            .map(|ecu| ecu.name.as_str())
            .collect()
    }

    /// The control unit of a vehicle that a procedure is for: name, part and hardware fit.
    pub fn target(&self, vin: &str, plan: &Plan) -> Option<&EcuSpec> {
        let target = &plan.target;
        let vehicle = self.vehicles.vehicles.iter().find(|vehicle| vehicle.vin == vin)?;
        vehicle.ecus.iter().find(|ecu| {
            let hardware_fits = target.hw.is_empty() || target.hw.contains(&ecu.hw);
            ecu.name == target.ecu && target.part.contains(&ecu.part) && hardware_fits
        })
    }

    /// The vehicles that a procedure can run on, by VIN.
    pub fn candidates(&self, plan: &Plan) -> Vec<&str> {
        let vins = self.vehicles.vehicles.iter().map(|vehicle| vehicle.vin.as_str());
        vins.filter(|vin| self.target(vin, plan).is_some()).collect()
    }

    /// The file for the server's `signer.secrets_file`.
    pub fn secrets_file(&self) -> PathBuf {
        self.folder.join("secrets.toml")
    }

    /// The file for `ecu-sim --vehicles`.
    pub fn vehicles_file(&self) -> PathBuf {
        self.folder.join("vehicles.yaml")
    }

    /// A procedure by its id.
    ///
    /// # Errors
    /// When there is none; those that are there are named.
    pub fn procedure(&self, id: &str) -> anyhow::Result<&Plan> {
        let found = self.procedures.iter().find(|plan| plan.id == id);
        found.with_context(|| {
            let known: Vec<_> = self.procedures.iter().map(|plan| plan.id.as_str()).collect();
            format!("no procedure {id} below {}: {known:?}", self.folder.display())
        })
    }

    /// Uploads all procedures. Uploading the same again changes nothing.
    ///
    /// # Errors
    /// When the server refuses one, for example because this version is known with another content.
    pub async fn upload_procedures(&self, api: &Api) -> anyhow::Result<()> {
        for plan in &self.procedures {
            let path = format!("/api/v1/procedures/{}/{}", plan.id, plan.version);
            let done = api
                .put(&path, "text/yaml", plan.source.clone().into_bytes())
                .await;
            done.with_context(|| {
                format!(
                    "{} {}: when its file was changed, raise its `version`",
                    plan.id, plan.version
                )
            })?;
        }
        Ok(())
    }
}

/// A software image for a control unit of the simulator.
#[derive(Debug, Clone)]
pub struct SoftwareImage {
    /// Its name as an artifact.
    pub name: String,
    /// Its version, which the control unit tells as F189 once it runs.
    pub version: String,
    /// The bytes: the simulator's header, then bytes that follow from name and version.
    pub bytes: Vec<u8>,
}

impl SoftwareImage {
    /// Makes an image: the same arguments give the same bytes. `size` in bytes.
    ///
    /// # Errors
    /// When part or version is longer than the image's header can hold, or it does not fit the memory.
    pub fn build(ecu: &EcuSpec, version: &str, size: usize) -> anyhow::Result<Self> {
        if size > ecu.memory_bytes as usize {
            bail!(
                "{} takes images up to {} bytes, not {size}",
                ecu.name,
                ecu.memory_bytes
            );
        }
        let name = format!("{}-app", ecu.name.to_lowercase());
        let seed = Sha256::digest(format!("{name} {version}"));
        let seed = seed
            .iter()
            .take(8)
            .fold(0_u64, |seed, byte| seed << 8 | u64::from(*byte));
        let bytes = build_image(&ecu.part, version, size, seed).context("the image's header")?;
        Ok(Self {
            name,
            version: version.to_owned(),
            bytes,
        })
    }

    /// SHA-256 of the bytes, lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.bytes))
    }

    /// Uploads it.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn upload(&self, api: &Api) -> anyhow::Result<()> {
        upload_artifact(api, &self.name, &self.version, self.bytes.clone()).await
    }
}

/// Uploads a file for jobs to use.
///
/// # Errors
/// When the server refuses it.
pub async fn upload_artifact(api: &Api, name: &str, version: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
    let path = format!("/api/v1/artifacts/{name}/{version}");
    api.put(&path, "application/octet-stream", bytes).await?;
    Ok(())
}

/// The request for a job: `artifact` (name, version) fills every input that the procedure declares.
///
/// # Errors
/// When the procedure needs an artifact and none is given.
pub fn job_request(plan: &Plan, vin: &str, artifact: Option<(&str, &str)>) -> anyhow::Result<Value> {
    let mut artifacts = Vec::new();
    for input in &plan.artifacts {
        let Some((name, version)) = artifact else {
            bail!("{} needs {input}", plan.id)
        };
        artifacts.push(json!({ "input": input, "name": name, "version": version }));
    }
    Ok(json!({
        "kind": plan.kind,
        "vin": vin,
        "ecu": plan.target.ecu,
        "procedure": { "id": plan.id, "version": plan.version },
        "artifacts": artifacts,
        "parameters": {},
    }))
}

fn compile(path: &Path) -> anyhow::Result<Plan> {
    let yaml = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    procedure::compile(&yaml).map_err(|diagnostics| {
        let lines = diagnostics
            .iter()
            .map(|d| format!("{}:{}:{}: {}", path.display(), d.line, d.column, d.message));
        anyhow::anyhow!("it does not compile:\n{}", lines.collect::<Vec<_>>().join("\n"))
    })
}
