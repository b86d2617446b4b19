//! The processes of a run, each behind its fault proxies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use fleet_testkit::services::{
    Kafka, KafkaOptions, LoopDisk, Mosquitto, MosquittoOptions, Postgres, PostgresOptions,
};
use fleet_testkit::{
    Agent, Api, EcuSim, FaultProxy, Faults, Process, Program, Server, Settings, Side, Workload,
};

use super::plan::{Component, Crowd, Link, LinkFault, Mode, SmallDisk, Target};
use crate::workspace::target_dir;

pub(super) const PLANT: &str = "chaos";
/// The first database of a server of the testkit.
pub(super) const DATABASE: &str = "fleet";
const LOG: &str = "info,mqtt5=warn";
const END_WITHIN: Duration = Duration::from_mins(1);
/// Room for the events of a run; it is full when it is to be.
const BENCH_DISK_BYTES: u64 = 768 << 20;
const SERVER_DISK_BYTES: u64 = 3 << 30;
/// In memory, of which only what is used is taken.
const DATABASE_DISK_BYTES: u64 = 6 << 30;

/// What kind of run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) mode: Mode,
    pub(super) crowd: Crowd,
    /// Benches of each process.
    pub(super) benches: usize,
    /// Events per second of all benches.
    pub(super) rate: f64,
    pub(super) seed: u64,
    /// Programs of the release profile.
    pub(super) release: bool,
}

impl Size {
    /// A program that was built.
    pub(super) fn program(self, name: &str) -> PathBuf {
        let profile = if self.release { "release" } else { "debug" };
        target_dir().join(profile).join(name)
    }
}

/// A process with simulated benches.
pub(super) struct Benches {
    pub(super) name: String,
    config: PathBuf,
    /// Below it lies the disk of each bench.
    pub(super) disks: PathBuf,
    pub(super) status: PathBuf,
    process: Option<Process>,
}

/// PostgreSQL and Mosquitto.
struct Services {
    postgres: Postgres,
    mosquitto: Mosquitto,
}

/// Everything that runs. Dropping it kills it.
pub(super) struct Stand {
    pub(super) size: Size,
    pub(super) folder: PathBuf,
    pub(super) history: PathBuf,
    pub(super) benches: Vec<Benches>,
    pub(super) workload: Workload,
    agents: Vec<Option<Agent>>,
    servers: Vec<Option<Server>>,
    sim: EcuSim,
    links: BTreeMap<Link, FaultProxy>,
    services: Option<Services>,
    kafka: Kafka,
    // After the processes that write on them.
    bench_disk: LoopDisk,
    server_disk: Option<LoopDisk>,
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

async fn proxy() -> anyhow::Result<FaultProxy> {
    FaultProxy::start(nowhere()).await
}

/// Host and port of `scheme://HOST:PORT`.
fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let (_, rest) = url
        .split_once("://")
        .with_context(|| format!("{url} is no URL"))?;
    rest.trim_end_matches('/')
        .parse()
        .with_context(|| format!("{url} names no address"))
}

impl Stand {
    /// Starts everything.
    pub(super) async fn start(folder: &Path, size: Size, workload: Workload) -> anyhow::Result<Self> {
        let history = folder.join("history");
        std::fs::create_dir_all(&history).with_context(|| format!("cannot make {}", history.display()))?;
        let links = links(size).await?;
        let kafka_link = links.get(&Link::ToKafka).context("a link")?;
        let options = KafkaOptions {
            advertised: Some(kafka_link.address()),
            ..KafkaOptions::default()
        };
        let of_kafka = folder.join("kafka");
        let kafka = Kafka::start(&of_kafka, options);
        let services = async {
            match size.mode {
                Mode::Plant => Services::start(folder).await.map(Some),
                Mode::Embedded => Ok(None),
            }
        };
        let (kafka, services) = tokio::try_join!(kafka, services)?;
        kafka_link.set_upstream(kafka.address());
        if let Some(services) = &services {
            for (link, proxy) in &links {
                match link {
                    Link::BenchesToBroker(_) | Link::AgentToBroker(_) | Link::ServersToBroker => {
                        proxy.set_upstream(services.mosquitto.address());
                    }
                    Link::ServersToDatabase => proxy.set_upstream(services.postgres.address()),
                    Link::AgentsToServer | Link::ToKafka => {}
                }
            }
        }
        let mount = |name: &str, bytes| {
            LoopDisk::mount(&folder.join(format!("{name}.ext4")), &folder.join(name), bytes)
        };
        let bench_disk = mount("bench-disk", BENCH_DISK_BYTES)?;
        let server_disk = match size.mode {
            Mode::Plant => None,
            Mode::Embedded => Some(mount("server-disk", SERVER_DISK_BYTES)?),
        };
        let vehicles = workload.vehicles_file();
        let sim = EcuSim::start(
            &size.program("ecu-sim"),
            &folder.join("ecu-sim"),
            &vehicles,
            &[],
            &[],
        )
        .await?;
        let mut stand = Self {
            size,
            folder: folder.to_owned(),
            history,
            benches: Vec::new(),
            workload,
            agents: (0..size.crowd.agents).map(|_| None).collect(),
            servers: (0..size.crowd.servers).map(|_| None).collect(),
            sim,
            links,
            services,
            kafka,
            bench_disk,
            server_disk,
        };
        for number in 0..size.crowd.benches {
            let benches = stand.benches_of(number)?;
            stand.benches.push(benches);
        }
        stand.start_all().await?;
        Ok(stand)
    }

    /// Every process that there is.
    pub(super) fn targets(&self) -> Vec<Target> {
        let crowd = self.size.crowd;
        let count = |kind: &Component| match kind {
            Component::Benches => crowd.benches,
            Component::Agent => crowd.agents,
            Component::Server => crowd.servers,
            Component::Broker | Component::Database | Component::Kafka => 1,
        };
        // Services before their users.
        let kinds = Component::all(self.size.mode).iter().rev();
        kinds
            .flat_map(|kind| (0..count(kind)).map(|number| Target(*kind, number)))
            .collect()
    }

    /// Starts what does not run.
    pub(super) async fn start_all(&mut self) -> anyhow::Result<()> {
        for target in self.targets() {
            self.start_one(target).await?;
        }
        Ok(())
    }

    /// Starts a process unless it runs.
    pub(super) async fn start_one(&mut self, target: Target) -> anyhow::Result<()> {
        let Target(kind, number) = target;
        match kind {
            Component::Benches => self.start_benches(number),
            Component::Agent => self.start_agent(number),
            Component::Server => self.start_server(number).await,
            Component::Broker => {
                let service = &mut self.services()?.mosquitto;
                if service.is_running() {
                    Ok(())
                } else {
                    service.restart().await
                }
            }
            Component::Database => {
                let service = &mut self.services()?.postgres;
                if service.is_running() {
                    Ok(())
                } else {
                    service.restart().await
                }
            }
            Component::Kafka if !self.kafka.is_running() => self.kafka.restart().await,
            Component::Kafka => Ok(()),
        }
        .with_context(|| format!("{target} could not be started"))
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, Target(kind, number): Target) -> anyhow::Result<()> {
        match kind {
            Component::Benches => match self
                .benches
                .get_mut(number)
                .and_then(|benches| benches.process.take())
            {
                Some(mut process) => process.kill(),
                None => Ok(()),
            },
            Component::Agent => match self.agents.get_mut(number).and_then(Option::take) {
                Some(mut agent) => agent.process.kill(),
                None => Ok(()),
            },
            Component::Server => {
                let killed = match self.servers.get_mut(number).and_then(Option::take) {
                    Some(mut server) => server.process.kill(),
                    None => Ok(()),
                };
                self.point_at_servers()?;
                killed
            }
            Component::Broker => self.services()?.mosquitto.kill(),
            Component::Database => self.services()?.postgres.kill(),
            Component::Kafka => self.kafka.kill(),
        }
    }

    /// SIGSTOP, or SIGCONT. What does not run is left alone.
    pub(super) fn freeze(&mut self, Target(kind, number): Target, stop: bool) -> anyhow::Result<()> {
        let process = match kind {
            Component::Benches => self
                .benches
                .get_mut(number)
                .and_then(|benches| benches.process.as_mut()),
            Component::Agent => {
                let agent = self.agents.get_mut(number).and_then(Option::as_mut);
                agent.map(|agent| &mut agent.process)
            }
            Component::Server => {
                let server = self.servers.get_mut(number).and_then(Option::as_mut);
                server.map(|server| &mut server.process)
            }
            Component::Broker => {
                let broker = &mut self.services()?.mosquitto;
                return match (broker.is_running(), stop) {
                    (false, _) => Ok(()),
                    (true, true) => broker.freeze(),
                    (true, false) => broker.thaw(),
                };
            }
            Component::Database => {
                let database = &mut self.services()?.postgres;
                return match (database.is_running(), stop) {
                    (false, _) => Ok(()),
                    (true, true) => database.freeze(),
                    (true, false) => database.thaw(),
                };
            }
            Component::Kafka => {
                return match (self.kafka.is_running(), stop) {
                    (false, _) => Ok(()),
                    (true, true) => self.kafka.freeze(),
                    (true, false) => self.kafka.thaw(),
                };
            }
        };
        match (process, stop) {
            (None, _) => Ok(()),
            (Some(process), true) => process.stop(),
            (Some(process), false) => process.resume(),
        }
    }

    /// All links.
    pub(super) fn links(&self) -> Vec<Link> {
        self.links.keys().copied().collect()
    }

    /// Sets a link's fault; `None` ends it.
    pub(super) fn link(&self, link: Link, fault: Option<LinkFault>) -> anyhow::Result<()> {
        let proxy = self.links.get(&link).with_context(|| format!("no link {link}"))?;
        let mut faults = Faults::default();
        match fault {
            None => {}
            Some(LinkFault::Reset) => {
                proxy.cut();
                return Ok(());
            }
            Some(LinkFault::ServerGone) => {
                proxy.half_open(Side::Server);
                return Ok(());
            }
            Some(LinkFault::ClientGone) => {
                proxy.half_open(Side::Client);
                return Ok(());
            }
            Some(LinkFault::ResetAfter(bytes)) => faults.reset_after = Some(bytes),
            Some(LinkFault::ByteWise) => faults.byte_wise = true,
            Some(LinkFault::BlackHole) => faults.black_hole = true,
            Some(LinkFault::Refused) => {
                faults.refuse = true;
                proxy.cut();
            }
        }
        proxy.set(faults);
        Ok(())
    }

    /// Fills a disk, or frees it.
    pub(super) fn disk(&mut self, disk: SmallDisk, full: bool) -> anyhow::Result<()> {
        let of_loop = match disk {
            SmallDisk::Benches => Some(&self.bench_disk),
            SmallDisk::Server => self.server_disk.as_ref(),
            SmallDisk::Database => {
                let postgres = &mut self.services()?.postgres;
                return if full {
                    postgres.fill_disk()
                } else {
                    postgres.free_disk()
                };
            }
        };
        let of_loop = of_loop.context("no such disk")?;
        if full { of_loop.fill() } else { of_loop.free() }
    }

    /// Ends every fault and starts what is down.
    pub(super) async fn heal(&mut self) -> anyhow::Result<()> {
        self.disk(SmallDisk::Benches, false)?;
        match self.size.mode {
            Mode::Plant => self.disk(SmallDisk::Database, false)?,
            Mode::Embedded => self.disk(SmallDisk::Server, false)?,
        }
        for link in self.links.keys() {
            self.link(*link, None)?;
        }
        for target in self.targets() {
            self.freeze(target, false)?;
        }
        self.start_all().await
    }

    /// A program that was neither killed nor stopped by us and has ended: that is a finding.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        let benches = self
            .benches
            .iter_mut()
            .filter_map(|benches| benches.process.as_mut());
        let agents = self.agents.iter_mut().flatten().map(|agent| &mut agent.process);
        let servers = self
            .servers
            .iter_mut()
            .flatten()
            .map(|server| &mut server.process);
        for process in benches
            .chain(agents)
            .chain(servers)
            .chain([&mut self.sim.process])
        {
            if let Some(status) = process.ended() {
                bail!(
                    "{} ended by itself ({status}). Its log {} ends with:\n{}",
                    process.name(),
                    process.log().display(),
                    process.log_tail()
                );
            }
        }
        Ok(())
    }

    /// A client of a server that runs.
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        let running = self.servers.iter().flatten().next();
        running.map(Server::api).context("no server runs")
    }

    /// The addresses of the servers that run.
    pub(super) fn urls(&self) -> Vec<String> {
        self.servers
            .iter()
            .flatten()
            .map(|server| server.http.clone())
            .collect()
    }

    pub(super) fn postgres(&self) -> anyhow::Result<&Postgres> {
        let services = self.services.as_ref().context("no PostgreSQL in this mode")?;
        Ok(&services.postgres)
    }

    pub(super) fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// The file of the embedded server's database.
    pub(super) fn sqlite(&self) -> PathBuf {
        self.server_data(0).join("fleet.db")
    }

    /// Runs a command of the server's program with its settings.
    pub(super) async fn server_command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let config = self.folder.join("server-1/fleet-server.toml");
        let output = tokio::process::Command::new(self.size.program("fleet-server"))
            .args(["--config".as_ref(), config.as_os_str()])
            .args(arguments)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(END_WITHIN, output)
            .await
            .with_context(|| format!("fleet-server {arguments:?} does not end"))?
            .context("cannot start fleet-server")?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if !output.status.success() {
            bail!("fleet-server {arguments:?} ended with {}: {said}", output.status);
        }
        Ok(said)
    }

    /// Asks the embedded server to end.
    pub(super) async fn stop_server(&mut self, number: usize) -> anyhow::Result<()> {
        if let Some(mut server) = self.servers.get_mut(number).and_then(Option::take) {
            server.process.terminate(END_WITHIN).await?;
        }
        Ok(())
    }

    /// Asks benches and agents to end.
    pub(super) async fn stop_clients(&mut self) -> anyhow::Result<()> {
        for benches in &mut self.benches {
            if let Some(mut process) = benches.process.take() {
                process.terminate(END_WITHIN).await?;
            }
        }
        for agent in &mut self.agents {
            if let Some(mut agent) = agent.take() {
                agent.process.terminate(END_WITHIN).await?;
            }
        }
        Ok(())
    }

    /// Asks the servers to end. Database and Kafka stay.
    pub(super) async fn stop_servers(&mut self) -> anyhow::Result<()> {
        for number in 0..self.servers.len() {
            self.stop_server(number).await?;
        }
        Ok(())
    }

    /// Name and spool folder of each agent.
    pub(super) fn agent_spools(&self) -> Vec<(String, PathBuf)> {
        (0..self.size.crowd.agents)
            .map(|number| {
                let name = agent_name(number);
                let spool = self.folder.join(&name).join("data/spool");
                (name, spool)
            })
            .collect()
    }

    /// The file that tells the benches to write nothing new.
    pub(super) fn drain_file(&self) -> PathBuf {
        self.folder.join("drain")
    }

    /// The vehicles of the agents.
    pub(super) fn vins(&self) -> Vec<String> {
        let vehicles = self.sim.vehicles.iter().take(self.size.crowd.agents);
        vehicles.map(|(vin, _)| vin.clone()).collect()
    }

    fn services(&mut self) -> anyhow::Result<&mut Services> {
        self.services.as_mut().context("no such service in this mode")
    }

    fn proxy_url(&self, scheme: &str, link: Link) -> anyhow::Result<String> {
        let proxy = self.links.get(&link).with_context(|| format!("no link {link}"))?;
        Ok(format!("{scheme}://{}", proxy.address()))
    }

    fn benches_of(&self, number: usize) -> anyhow::Result<Benches> {
        let name = format!("line{}", number + 1);
        // The first one has the small disk.
        let disks = match number {
            0 => self.bench_disk.folder().join("disks"),
            _ => self.folder.join(&name).join("disks"),
        };
        let folder = self.folder.join(&name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (config, status) = (folder.join("benches.toml"), folder.join("status.json"));
        #[expect(clippy::cast_precision_loss, reason = "a handful of benches")]
        let of_one = self.size.rate / self.size.crowd.benches as f64;
        let settings = Settings::new()
            .with("plant", PLANT)
            .with("broker", self.proxy_url("mqtt", Link::BenchesToBroker(number))?)
            .with("name", name.as_str())
            .with("benches", self.size.benches)
            .with("folder", disks.display().to_string())
            .with("history", self.history.display().to_string())
            .with("status", status.display().to_string())
            .with("rate", of_one)
            .with("drain", self.drain_file().display().to_string())
            .with("vins", 500)
            .with("refused_one_in", 1000)
            .with("seed", self.size.seed)
            .with("disks_are_restored", true);
        settings
            .write(&config)
            .with_context(|| format!("cannot write {}", config.display()))?;
        Ok(Benches {
            name,
            config,
            disks,
            status,
            process: None,
        })
    }

    fn start_benches(&mut self, number: usize) -> anyhow::Result<()> {
        let program = self.size.program("loadtest");
        let benches = self.benches.get_mut(number).context("no such benches")?;
        if benches.process.is_some() {
            return Ok(());
        }
        let log = benches.config.with_extension("log");
        let process = Program::new(&benches.name, &program, &log)
            .args([
                "benches".as_ref(),
                "--config".as_ref(),
                benches.config.as_os_str(),
            ])
            .start()?;
        benches.process = Some(process);
        Ok(())
    }

    fn start_agent(&mut self, number: usize) -> anyhow::Result<()> {
        if self.agents.get(number).is_none_or(Option::is_some) {
            return Ok(());
        }
        let (vin, entity) = self
            .sim
            .vehicles
            .get(number)
            .context("a vehicle for each agent")?;
        let name = agent_name(number);
        let settings = Settings::new()
            .with("plant", PLANT)
            .with("device", name.as_str())
            .with("ecus", self.workload.ecus(vin))
            .with("broker.url", self.proxy_url("mqtt", Link::AgentToBroker(number))?)
            .with("server.url", self.proxy_url("http", Link::AgentsToServer)?)
            .with("vehicle.entity", entity.as_str())
            .with("telemetry.log", LOG);
        let agent = Agent::start(
            &self.size.program("device-agent"),
            &self.folder.join(&name),
            settings,
            &[],
        )?;
        if let Some(place) = self.agents.get_mut(number) {
            *place = Some(agent);
        }
        Ok(())
    }

    fn server_data(&self, number: usize) -> PathBuf {
        match &self.server_disk {
            Some(disk) => disk.folder().join("data"),
            None => self.folder.join(format!("server-{}/data", number + 1)),
        }
    }

    async fn start_server(&mut self, number: usize) -> anyhow::Result<()> {
        if self.servers.get(number).is_none_or(Option::is_some) {
            return Ok(());
        }
        let secrets = self.workload.secrets_file().display().to_string();
        let mut settings = Settings::new()
            .with("plant", PLANT)
            .with("data_dir", self.server_data(number).display().to_string())
            .with("replica.name", format!("server-{}", number + 1))
            .with("kafka.url", self.proxy_url("kafka", Link::ToKafka)?)
            .with("signer.secrets_file", secrets)
            .with(
                "artifacts.folder",
                self.folder.join("artifacts").display().to_string(),
            )
            .with("store.prune_interval", "24h")
            .with("telemetry.log", LOG);
        if self.services.is_some() {
            let link = self.links.get(&Link::ServersToDatabase).context("a link")?;
            let url = self.postgres()?.url_at(link.address(), DATABASE);
            settings.set("store.url", url);
            settings.set("store.max_connections", 8);
            settings.set("mqtt.url", self.proxy_url("mqtt", Link::ServersToBroker)?);
        }
        let folder = self.folder.join(format!("server-{}", number + 1));
        let server = Server::start(&self.size.program("fleet-server"), &folder, settings, &[]).await?;
        if let Some(place) = self.servers.get_mut(number) {
            *place = Some(server);
        }
        self.point_at_servers()
    }

    /// Links lead to a server that runs.
    fn point_at_servers(&self) -> anyhow::Result<()> {
        let Some(server) = self.servers.iter().flatten().next() else {
            return Ok(());
        };
        for (link, proxy) in &self.links {
            match link {
                Link::AgentsToServer => proxy.set_upstream(address(&server.http)?),
                Link::BenchesToBroker(_) | Link::AgentToBroker(_) if self.services.is_none() => {
                    proxy.set_upstream(address(&server.mqtt)?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn agent_name(number: usize) -> String {
    format!("agent-{}", number + 1)
}

async fn links(size: Size) -> anyhow::Result<BTreeMap<Link, FaultProxy>> {
    let benches = (0..size.crowd.benches).map(Link::BenchesToBroker);
    let agents = (0..size.crowd.agents).map(Link::AgentToBroker);
    let others = match size.mode {
        Mode::Plant => &[
            Link::AgentsToServer,
            Link::ServersToBroker,
            Link::ServersToDatabase,
            Link::ToKafka,
        ][..],
        Mode::Embedded => &[Link::AgentsToServer, Link::ToKafka],
    };
    let mut links = BTreeMap::new();
    for link in benches.chain(agents).chain(others.iter().copied()) {
        links.insert(link, proxy().await?);
    }
    Ok(links)
}

impl Services {
    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let options = PostgresOptions {
            small_disk: Some(DATABASE_DISK_BYTES),
            ..PostgresOptions::default()
        };
        let (of_postgres, of_mosquitto) = (folder.join("postgres"), folder.join("mosquitto"));
        let (postgres, mosquitto) = tokio::try_join!(
            Postgres::start(&of_postgres, options),
            Mosquitto::start(&of_mosquitto, MosquittoOptions::default()),
        )?;
        Ok(Self { postgres, mosquitto })
    }
}
