//! The processes of the demo: the server or the replicas of a plant, one simulator, one agent per vehicle.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use fleet_testkit::{Agent, Api, EcuSim, Server, Settings, Workload, eventually};

use super::plan::{BENCHES, PLANT};
use super::plant::{REPLICAS, Services};
use super::{END_WITHIN, below};
use crate::workspace::binary;

const ONLINE_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Small enough to be read to the end.
const LOG: &str = "info,mqtt5=warn";

/// Everything that runs. Dropping it kills it.
pub(super) struct Stand {
    pub(super) sim: EcuSim,
    /// One, or the replicas of a plant: each is as good as another.
    pub(super) servers: Vec<Server>,
    /// The services of a plant. Last: they are dropped after those that use them.
    pub(super) services: Option<Services>,
    agents: Vec<Agent>,
}

impl Stand {
    /// Starts everything and waits until all benches are online.
    pub(super) async fn start(data: &Path, workload: &Workload, plant: bool) -> anyhow::Result<Self> {
        println!("starting on {}", data.display());
        std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
        let services = if plant {
            Some(Services::start(data).await?)
        } else {
            None
        };
        let servers = start_servers(data, workload, services.as_ref()).await?;
        let vehicles = workload.vehicles_file();
        let sim = EcuSim::start(&binary("ecu-sim"), &below(data, "ecu-sim"), &vehicles, &[], &[]).await?;
        println!("  {:<14} {} vehicles over DoIP", "ecu-sim", sim.vehicles.len());
        let mut agents = Vec::new();
        // Files come from any replica.
        let their_servers = servers.iter().cycle();
        for ((bench, (vin, entity)), server) in BENCHES.iter().zip(&sim.vehicles).zip(their_servers) {
            let settings = Settings::new()
                .with("plant", PLANT)
                .with("device", bench.device)
                .with("station", bench.station)
                .with("ecus", workload.ecus(vin))
                .with("broker.url", server.mqtt.as_str())
                .with("server.url", server.http.as_str())
                .with("vehicle.entity", entity.as_str())
                .with("telemetry.log", LOG);
            agents.push(Agent::start(
                &binary("device-agent"),
                &below(data, bench.device),
                settings,
                &[],
            )?);
            println!("  {:<14} {} with vehicle {vin}", bench.device, bench.station);
        }
        let mut stand = Self {
            sim,
            servers,
            services,
            agents,
        };
        stand.until_online().await?;
        Ok(stand)
    }

    /// The API of the first server.
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        self.servers.first().map(Server::api).context("there is a server")
    }

    async fn until_online(&mut self) -> anyhow::Result<()> {
        let api = self.api()?;
        for bench in &BENCHES {
            let what = format!("{} online", bench.device);
            let path = format!("/api/v1/benches/{}", bench.device);
            let online = async || match api.get(&path).await {
                Ok(known) if known["online"] == true && known["vin"].is_string() => Some(Ok(())),
                _ => self.first_ended().map(Err),
            };
            match eventually(&what, ONLINE_WITHIN, online).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(error) => return Err(error.context(self.log_of(bench.device))),
            }
        }
        Ok(())
    }

    fn log_of(&self, device: &str) -> String {
        let agent = self.agents.iter().find(|agent| agent.process.name() == device);
        agent.map_or_else(String::new, |agent| {
            let process = &agent.process;
            format!(
                "its log {} ends with:\n{}\nnext: read both logs",
                process.log().display(),
                process.log_tail()
            )
        })
    }

    /// A program that has ended although nobody asked it to.
    fn first_ended(&mut self) -> Option<anyhow::Error> {
        let agents = self.agents.iter_mut().map(|agent| &mut agent.process);
        let servers = self.servers.iter_mut().map(|server| &mut server.process);
        let mut all = agents.chain(servers).chain([&mut self.sim.process]);
        let ended = all.find_map(|process| {
            let status = process.ended()?;
            Some(anyhow!(
                "{} ended ({status}). Its log {} ends with:\n{}",
                process.name(),
                process.log().display(),
                process.log_tail()
            ))
        });
        ended.or_else(|| self.services.as_mut().and_then(Services::first_ended))
    }

    /// Returns when a program has ended by itself. Cancellation safe.
    pub(super) async fn broken(&mut self) -> anyhow::Error {
        loop {
            if let Some(error) = self.first_ended() {
                return error;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends everything in order: benches, servers, vehicles, services. All are gone afterwards, whatever is returned.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        let agents = self.agents.iter_mut().map(|agent| &mut agent.process);
        let servers = self.servers.iter_mut().map(|server| &mut server.process);
        for process in agents.chain(servers).chain([&mut self.sim.process]) {
            if process.ended().is_none()
                && let Err(error) = process.terminate(END_WITHIN).await
            {
                faults.push(format!("{error:#} (log: {})", process.log().display()));
            }
        }
        if let Some(services) = self.services {
            faults.extend(services.stop().await);
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(anyhow!(faults.join("\n")))
        }
    }
}

/// The one server, or the replicas of a plant.
async fn start_servers(
    data: &Path,
    workload: &Workload,
    services: Option<&Services>,
) -> anyhow::Result<Vec<Server>> {
    let mut servers = Vec::new();
    let Some(services) = services else {
        let settings = Settings::new().with("mqtt.listen", usual_or_free(1883));
        servers.push(start_server(data, workload, "fleet-server", settings, 8080).await?);
        return Ok(servers);
    };
    for (replica, port) in (1..=REPLICAS).zip(8080..) {
        let name = format!("fleet-server-{replica}");
        let settings = services.settings(data, replica);
        servers.push(start_server(data, workload, &name, settings, port).await?);
    }
    Ok(servers)
}

async fn start_server(
    data: &Path,
    workload: &Workload,
    name: &str,
    settings: Settings,
    port: u16,
) -> anyhow::Result<Server> {
    let settings = settings
        .with("plant", PLANT)
        .with("http.listen", usual_or_free(port))
        .with(
            "signer.secrets_file",
            workload.secrets_file().display().to_string(),
        )
        .with("telemetry.log", LOG);
    let server = Server::start(&binary("fleet-server"), &below(data, name), settings, &[]).await?;
    println!("  {:<14} {} and {}", name, server.http, server.mqtt);
    Ok(server)
}

/// The usual port when nobody has it, else any free one.
fn usual_or_free(port: u16) -> String {
    if TcpListener::bind(("127.0.0.1", port)).is_ok() {
        return format!("127.0.0.1:{port}");
    }
    println!("  port {port} is taken: a free one is used");
    "127.0.0.1:0".to_owned()
}
