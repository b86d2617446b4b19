//! The three programs of the product, started on folders of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use ecu_sim::{EcuMemory, VehicleMemory};
use serde_json::Value;

use crate::{Api, Process, Program, Settings};

/// A loaded machine compiles beside the tests, so this is generous; a program that ends is noticed at once.
const READY_WITHIN: Duration = Duration::from_mins(1);

fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(ToOwned::to_owned)
}

/// Writes the settings into `folder`, which it makes; gives their file and the program's data folder, which is
/// `{folder}/data` unless the settings name another.
fn write_settings(folder: &Path, name: &str, settings: &mut Settings) -> anyhow::Result<(PathBuf, PathBuf)> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    settings.set_default("data_dir", folder.join("data").display().to_string());
    let data_dir = settings.get("data_dir").and_then(Value::as_str);
    let data_dir = data_dir.map(PathBuf::from).context("data_dir is a path")?;
    let file = folder.join(name);
    settings
        .write(&file)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok((file, data_dir))
}

/// A running `fleet-server`.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Base address of its REST API and page, `http://127.0.0.1:PORT`.
    pub http: String,
    /// Address of its broker, `mqtt://127.0.0.1:PORT`.
    pub mqtt: String,
    /// Its data folder.
    pub data_dir: PathBuf,
}

impl Server {
    /// Starts the server on `{folder}/data` (unless the settings name another) and waits until it listens.
    /// Configuration and log lie in `folder`. Ports are free ones unless the settings name them.
    ///
    /// # Errors
    /// When it ends or does not listen within a minute; the message holds the end of its log.
    pub async fn start(
        binary: &Path,
        folder: &Path,
        mut settings: Settings,
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        settings.set_default("http.listen", "127.0.0.1:0");
        settings.set_default("mqtt.listen", "127.0.0.1:0");
        let (config, data_dir) = write_settings(folder, "fleet-server.toml", &mut settings)?;
        let mut process = Program::new("fleet-server", binary, &folder.join("fleet-server.log"))
            .args(["--config".as_ref(), config.as_os_str(), "run".as_ref()])
            .envs(env.iter().copied())
            .start()?;
        let (pid, file) = (process.pid(), data_dir.join("endpoints.json"));
        let (http, mqtt) = process
            .until_ready("fleet-server's endpoints.json", READY_WITHIN, || {
                // A killed predecessor leaves its file behind.
                let endpoints = read_json(&file).filter(|e| e["pid"] == pid)?;
                Some((text(&endpoints, "http")?, text(&endpoints, "mqtt")?))
            })
            .await?;
        Ok(Self {
            process,
            http,
            mqtt,
            data_dir,
        })
    }

    /// A client of its REST API.
    pub fn api(&self) -> Api {
        Api::new(&self.http)
    }
}

/// A running `device-agent`.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    /// Its data folder.
    pub data_dir: PathBuf,
}

impl Agent {
    /// Starts an agent on `{folder}/data` (unless the settings name another); configuration and log lie in
    /// `folder`. Whether it is connected is what the server says of it.
    ///
    /// # Errors
    /// When the files cannot be written or the program cannot be started.
    pub fn start(
        binary: &Path,
        folder: &Path,
        mut settings: Settings,
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let (config, data_dir) = write_settings(folder, "device-agent.toml", &mut settings)?;
        let name = settings
            .get("device")
            .and_then(Value::as_str)
            .unwrap_or("device-agent");
        let process = Program::new(name, binary, &folder.join("device-agent.log"))
            .args(["--config".as_ref(), config.as_os_str(), "run".as_ref()])
            .envs(env.iter().copied())
            .start()?;
        Ok(Self { process, data_dir })
    }
}

/// A running `ecu-sim`.
#[derive(Debug)]
pub struct EcuSim {
    /// The process.
    pub process: Process,
    /// VIN and address (`127.0.0.1:PORT`) of each vehicle.
    pub vehicles: Vec<(String, String)>,
    state: PathBuf,
}

impl EcuSim {
    /// Starts the vehicles of a file; their state lies in `{folder}/state` and outlives the process.
    ///
    /// # Errors
    /// When it ends or does not listen within a minute; the message holds the end of its log.
    pub async fn start(
        binary: &Path,
        folder: &Path,
        vehicles: &Path,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let state = folder.join("state");
        std::fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let endpoints = folder.join("endpoints.json");
        if endpoints.exists() {
            std::fs::remove_file(&endpoints)
                .with_context(|| format!("cannot remove {}", endpoints.display()))?;
        }
        let mut process = Program::new("ecu-sim", binary, &folder.join("ecu-sim.log"))
            .args(["--vehicles".as_ref(), vehicles.as_os_str()])
            .args(["--state".as_ref(), state.as_os_str()])
            .args(["--endpoints".as_ref(), endpoints.as_os_str()])
            .args(args)
            .envs(env.iter().copied())
            .start()?;
        let vehicles = process
            .until_ready("ecu-sim's endpoints file", READY_WITHIN, || {
                let listening = read_json(&endpoints)?;
                let vehicles = listening.get("vehicles")?.as_array()?;
                vehicles
                    .iter()
                    .map(|v| Some((text(v, "vin")?, text(v, "entity")?)))
                    .collect()
            })
            .await?;
        Ok(Self {
            process,
            vehicles,
            state,
        })
    }

    /// The address of a vehicle.
    pub fn entity(&self, vin: &str) -> Option<&str> {
        self.vehicles
            .iter()
            .find(|(known, _)| known == vin)
            .map(|(_, entity)| entity.as_str())
    }

    /// What the simulator itself holds about a vehicle: the judge of whether something was written.
    ///
    /// # Errors
    /// When there is no such file or it is not of its format.
    pub fn state(&self, vin: &str) -> anyhow::Result<VehicleMemory> {
        let path = self.state.join(format!("{vin}.json"));
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no state of a vehicle", path.display()))
    }

    /// What the simulator holds about a control unit.
    ///
    /// # Errors
    /// As [`EcuSim::state`], and when the vehicle has no such control unit.
    pub fn ecu(&self, vin: &str, ecu: &str) -> anyhow::Result<EcuMemory> {
        self.state(vin)?
            .ecus
            .remove(ecu)
            .with_context(|| format!("{vin} has no {ecu}"))
    }
}
