//! A plant on one machine: simulated vehicles, a server behind fault proxies, and benches.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use device_agent::status::{self, ProcessStatus};
use fleet_testkit::{
    Agent, Api, EcuSim, FaultProxy, Server, Settings, SoftwareImage, Workload, eventually, job_request,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_fleet-server-under-test");
const AGENT: &str = env!("CARGO_BIN_EXE_device-agent-under-test");
const SIM: &str = env!("CARGO_BIN_EXE_ecu-sim-under-test");

pub(crate) const PLANT: &str = "test";
/// Long enough for a flash, a resend after back-off and a sync on a loaded machine.
pub(crate) const WITHIN: Duration = Duration::from_mins(3);
const IMAGE_BYTES: usize = 32 * 1024;
/// An event that is never acknowledged must not stall an orderly end for ever.
const END_WITHIN: Duration = Duration::from_secs(15);

/// Environment of a program that dies at a fail point.
pub(crate) type Env<'a> = &'a [(&'a str, &'a str)];

/// A job of the demo's content, on the vehicle that it fits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Programs the ESP of the first vehicle with this version.
    Flash(&'static str),
    /// Calibrates the camera of the second vehicle.
    Calibrate,
    /// Tests the third vehicle.
    EndOfLine,
}

impl Work {
    fn procedure(self) -> &'static str {
        match self {
            Self::Flash(_) => "flash.esp.app",
            Self::Calibrate => "calibrate.camera",
            Self::EndOfLine => "eol.test",
        }
    }

    /// Place of its vehicle in the file.
    pub(crate) fn bench(self) -> usize {
        match self {
            Self::Flash(_) => 0,
            Self::Calibrate => 1,
            Self::EndOfLine => 2,
        }
    }
}

/// Everything that runs, and its folder.
pub(crate) struct Plant {
    pub(crate) folder: TempDir,
    pub(crate) workload: Workload,
    pub(crate) sim: EcuSim,
    pub(crate) server: Server,
    pub(crate) mqtt: FaultProxy,
    pub(crate) http: FaultProxy,
    pub(crate) agents: BTreeMap<String, Agent>,
    settings: Settings,
}

impl Plant {
    /// A server and vehicles, without benches. `faults` go to the simulator's command line.
    pub(crate) async fn start(
        settings: Settings,
        server_env: Env<'_>,
        faults: &[&str],
    ) -> anyhow::Result<Self> {
        let folder = TempDir::new().context("no temporary folder")?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let workload = Workload::load(&root.join("demo"))?;
        let secrets = workload.secrets_file();
        let arguments: Vec<_> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
        let sim = EcuSim::start(
            SIM.as_ref(),
            &folder.path().join("ecu-sim"),
            &workload.vehicles_file(),
            &arguments,
            &[],
        )
        .await?;
        let settings = settings
            .with("plant", PLANT)
            .with("signer.secrets_file", secrets.display().to_string());
        let server = start_server(folder.path(), &settings, server_env).await?;
        let mqtt = FaultProxy::start(address(&server.mqtt)?).await?;
        let http = FaultProxy::start(address(&server.http)?).await?;
        let plant = Self {
            folder,
            workload,
            sim,
            server,
            mqtt,
            http,
            agents: BTreeMap::new(),
            settings,
        };
        plant.workload.upload_procedures(&plant.api()).await?;
        Ok(plant)
    }

    /// The REST API of the server that runs now.
    pub(crate) fn api(&self) -> Api {
        self.server.api()
    }

    /// Starts the server again on its data, and leads the benches to it.
    pub(crate) async fn restart_server(&mut self, env: Env<'_>) -> anyhow::Result<()> {
        self.server.process.kill()?;
        self.server = start_server(self.folder.path(), &self.settings, env).await?;
        self.mqtt.set_upstream(address(&self.server.mqtt)?);
        self.http.set_upstream(address(&self.server.http)?);
        self.mqtt.cut();
        Ok(())
    }

    /// Waits until the server has died at its fail point.
    pub(crate) async fn server_dies(&mut self) -> anyhow::Result<()> {
        self.server
            .process
            .wait(WITHIN)
            .await
            .context("the server was to die at its fail point")?;
        Ok(())
    }

    /// Starts (again) the bench of a vehicle, by the vehicle's place in the file.
    pub(crate) fn start_bench(&mut self, index: usize, env: Env<'_>) -> anyhow::Result<String> {
        self.start_bench_with(index, Settings::new(), env)
    }

    /// As [`Plant::start_bench`], with settings of its own.
    pub(crate) fn start_bench_with(
        &mut self,
        index: usize,
        settings: Settings,
        env: Env<'_>,
    ) -> anyhow::Result<String> {
        let device = format!("bench-{}", index + 1);
        let (_, entity) = self.sim.vehicles.get(index).context("there is such a vehicle")?;
        let settings = settings
            .with("plant", PLANT)
            .with("device", device.as_str())
            .with("station", format!("station {}", index + 1))
            .with("broker.url", format!("mqtt://{}", self.mqtt.address()))
            .with("server.url", format!("http://{}", self.http.address()))
            .with("vehicle.entity", entity.as_str())
            // The tests keep little and a build machine may be full.
            .with("spool.min_free_bytes", 1024 * 1024);
        let agent = Agent::start(AGENT.as_ref(), &self.folder.path().join(&device), settings, env)?;
        self.agents.insert(device.clone(), agent);
        Ok(device)
    }

    /// Waits until a bench has died at its fail point.
    pub(crate) async fn bench_dies(&mut self, device: &str) -> anyhow::Result<()> {
        let agent = self.agents.get_mut(device).context("the bench was started")?;
        agent
            .process
            .wait(WITHIN)
            .await
            .context("the bench was to die at its fail point")?;
        Ok(())
    }

    /// Kills a bench and gives its data folder.
    pub(crate) fn kill_bench(&mut self, device: &str) -> anyhow::Result<PathBuf> {
        let mut agent = self.agents.remove(device).context("the bench was started")?;
        agent.process.kill()?;
        Ok(agent.data_dir.clone())
    }

    /// Queues work for the bench that has its vehicle; gives the job's id.
    pub(crate) async fn queue(&self, work: Work) -> anyhow::Result<String> {
        let procedure = self.workload.procedure(work.procedure())?;
        let (vin, _) = self.sim.vehicles.get(work.bench()).context("a vehicle")?;
        let mut artifact = None;
        if let Work::Flash(version) = work {
            let spec = self.workload.target(vin, procedure).context("an ESP")?;
            let image = SoftwareImage::build(spec, version, IMAGE_BYTES)?;
            image.upload(&self.api()).await?;
            artifact = Some((image.name, image.version));
        }
        let artifact = artifact
            .as_ref()
            .map(|(name, version)| (name.as_str(), version.as_str()));
        let mut request = job_request(procedure, vin, artifact)?;
        request["device"] = json!(format!("bench-{}", work.bench() + 1));
        let job = self.api().post("/api/v1/jobs", &request).await?;
        Ok(job["id"].as_str().context("a job has an id")?.to_owned())
    }

    /// Waits until a job is in one of these states, and gives it.
    pub(crate) async fn job_reaches(&self, id: &str, states: &[&str]) -> anyhow::Result<Value> {
        let (api, path) = (self.api(), format!("/api/v1/jobs/{id}"));
        let mut last = Value::Null;
        let reached = eventually(&format!("job {id} {states:?}"), WITHIN, async || {
            // The server may be away: that is what these tests do.
            last = api.get(&path).await.ok()?;
            let state = last["state"].as_str()?;
            states.contains(&state).then(|| last.clone())
        })
        .await;
        reached.with_context(|| format!("the job is {last}"))
    }

    /// Waits until a job has finished and gives it.
    pub(crate) async fn job_finishes(&self, id: &str) -> anyhow::Result<Value> {
        self.job_reaches(id, &["finished"]).await
    }

    /// Waits until a job has passed.
    pub(crate) async fn job_passes(&self, id: &str) -> anyhow::Result<()> {
        let job = self.job_finishes(id).await?;
        ensure!(job["verdict"] == "passed", "it was to pass: {job}");
        Ok(())
    }

    /// What a bench says about itself.
    pub(crate) fn status(&self, device: &str) -> Option<ProcessStatus> {
        let agent = self.agents.get(device)?;
        status::ask(&agent.data_dir, PLANT, device).ok()?.process
    }

    /// Waits until every bench that runs is connected and has a receipt for every event.
    pub(crate) async fn settles(&self) -> anyhow::Result<()> {
        for device in self.agents.keys() {
            eventually(&format!("{device} settled"), WITHIN, async || {
                let status = self.status(device)?;
                (status.connected && status.outstanding == 0).then_some(())
            })
            .await
            .with_context(|| format!("its status is {:?}", self.status(device)))?;
        }
        Ok(())
    }

    /// Ends everything in order; the folder stays for the books.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        for agent in self.agents.values_mut() {
            agent.process.terminate(END_WITHIN).await?;
        }
        self.server.process.terminate(END_WITHIN).await?;
        Ok(())
    }
}

async fn start_server(folder: &Path, settings: &Settings, env: Env<'_>) -> anyhow::Result<Server> {
    Server::start(
        SERVER.as_ref(),
        &folder.join("fleet-server"),
        settings.clone(),
        env,
    )
    .await
}

fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let (_, address) = url.split_once("://").context("an address with a scheme")?;
    address.parse().with_context(|| format!("{url} names no address"))
}
