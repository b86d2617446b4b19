//! A plant of one walk: a database, replicas of the server on the shared services, and their states.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use fleet_domain::PlantId;
use fleet_testkit::services::Kafka;
use fleet_testkit::{Api, Process, Program, Server, Settings, eventually};
use serde_json::Value;
use tempfile::TempDir;

use crate::services::Services;
use crate::{NAMED_WITHIN, WITHIN};

const SERVER: &str = env!("CARGO_BIN_EXE_fleet-server-under-test");

/// Variables of a program's environment.
pub(crate) type Env<'a> = &'a [(&'a str, &'a str)];
/// An orderly end.
const END_WITHIN: Duration = Duration::from_secs(20);
/// A command of the server's program.
const COMMAND_WITHIN: Duration = Duration::from_mins(1);
/// All slots of a plant.
pub(crate) const SLOTS: u64 = 16;

/// The plant.
#[derive(Debug)]
pub(crate) struct Plant {
    pub(crate) id: PlantId,
    /// Settings that all replicas share.
    pub(crate) settings: Settings,
    /// The replicas that were started and not ended, by name.
    pub(crate) replicas: BTreeMap<String, Server>,
    pub(crate) database: String,
    pub(crate) broker: String,
    /// Host and port of Kafka.
    pub(crate) kafka: String,
    // Dropped after the processes that write there.
    pub(crate) folder: TempDir,
}

impl Plant {
    /// A plant without replicas, with a database of its own.
    pub(crate) async fn new(name: &str, services: &Services) -> anyhow::Result<Self> {
        let id: PlantId = name.parse()?;
        let database = services.postgres.create_database(&name.replace('-', "_")).await?;
        let (broker, kafka) = (services.mosquitto.url(), services.kafka.bootstrap());
        let folder = TempDir::new().context("no temporary folder")?;
        let settings = Settings::new()
            .with("plant", name)
            .with("store.url", database.as_str())
            // Each connection is a process of PostgreSQL; a walk starts servers again and again.
            .with("store.max_connections", 6)
            .with("mqtt.url", broker.as_str())
            .with("kafka.url", services.kafka.url())
            .with(
                "artifacts.folder",
                folder.path().join("artifacts").display().to_string(),
            )
            .with("store.prune_interval", "24h");
        Ok(Self {
            id,
            settings,
            replicas: BTreeMap::new(),
            database,
            broker,
            kafka,
            folder,
        })
    }

    /// A plant of one embedded server with the shared Kafka.
    pub(crate) fn embedded(name: &str, services: &Services) -> anyhow::Result<Self> {
        let settings = Settings::new()
            .with("plant", name)
            .with("kafka.url", services.kafka.url())
            .with("store.prune_interval", "24h");
        Ok(Self {
            id: name.parse()?,
            settings,
            replicas: BTreeMap::new(),
            database: "sqlite".to_owned(),
            broker: String::new(),
            kafka: services.kafka.bootstrap(),
            folder: TempDir::new().context("no temporary folder")?,
        })
    }

    /// Uses a Kafka of the walk's own from the next start of a replica on.
    pub(crate) fn uses_kafka(&mut self, kafka: &Kafka) {
        self.kafka = kafka.bootstrap();
        self.settings.set("kafka.url", kafka.url());
    }

    /// Starts a replica (again) and waits until it answers.
    pub(crate) async fn start(&mut self, name: &str, env: Env<'_>) -> anyhow::Result<()> {
        let settings = self.settings.clone().with("replica.name", name);
        let folder = self.folder.path().join(name);
        let server = Server::start(SERVER.as_ref(), &folder, settings, env).await?;
        self.replicas.insert(name.to_owned(), server);
        Ok(())
    }

    /// Starts replicas and waits until they own all slots together.
    pub(crate) async fn start_all(&mut self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            self.start(name, &[]).await?;
        }
        self.all_slots(WITHIN).await.map(|_| ())
    }

    pub(crate) fn replica(&mut self, name: &str) -> anyhow::Result<&mut Server> {
        self.replicas
            .get_mut(name)
            .with_context(|| format!("replica {name} runs"))
    }

    /// A client of a replica's REST API.
    pub(crate) fn api(&self, name: &str) -> anyhow::Result<Api> {
        let replica = self.replicas.get(name);
        Ok(replica.with_context(|| format!("replica {name} runs"))?.api())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let mut server = self
            .replicas
            .remove(name)
            .with_context(|| format!("replica {name} runs"))?;
        server.process.kill()
    }

    /// Asks a replica to end and waits for it.
    pub(crate) async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let mut server = self
            .replicas
            .remove(name)
            .with_context(|| format!("replica {name} runs"))?;
        let status = server.process.terminate(END_WITHIN).await?;
        ensure!(
            status.success(),
            "{name} ended with {status}:\n{}",
            server.process.log_tail()
        );
        Ok(())
    }

    /// Waits until a replica has died at its fail point.
    pub(crate) async fn dies(&mut self, name: &str) -> anyhow::Result<()> {
        let mut server = self
            .replicas
            .remove(name)
            .with_context(|| format!("replica {name} runs"))?;
        let ended = server.process.wait(WITHIN).await;
        ended.with_context(|| {
            format!(
                "{name} was to die at its fail point:\n{}",
                server.process.log_tail()
            )
        })?;
        Ok(())
    }

    /// Waits until a replica relays, or has died of doing so.
    pub(crate) async fn relays_or_died(&mut self, name: &str) -> anyhow::Result<()> {
        let api = self.api(name)?;
        let process = &mut self.replica(name)?.process;
        eventually(&format!("{name} relays"), WITHIN, async || {
            if process.ended().is_some() {
                return Some(());
            }
            let state = check(&api, "kafka").await?["state"].clone();
            (state == "ok").then_some(())
        })
        .await
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&mut self, name: &str) -> anyhow::Result<()> {
        self.replica(name)?.process.stop()
    }

    /// SIGCONT.
    pub(crate) fn thaw(&mut self, name: &str) -> anyhow::Result<()> {
        self.replica(name)?.process.resume()
    }

    /// A command of the server's program with a replica's settings, such as `relay reconcile`; gives its output.
    pub(crate) async fn command(&self, replica: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let folder = self.folder.path().join(replica);
        let log = self.folder.path().join(format!("{}.log", arguments.join("-")));
        let config = folder.join("fleet-server.toml");
        let mut process: Process = Program::new("fleet-server", SERVER.as_ref(), &log)
            .args(["--config".as_ref(), config.as_os_str()])
            .args(arguments)
            .start()?;
        let status = process.wait(COMMAND_WITHIN).await;
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let status = status.with_context(|| format!("{arguments:?} said:\n{said}"))?;
        ensure!(status.success(), "{arguments:?} ended with {status}:\n{said}");
        Ok(said)
    }

    /// A part of a replica as `/readyz` says; none when it does not answer.
    pub(crate) async fn check(&self, replica: &str, part: &str) -> Option<Value> {
        check(&self.api(replica).ok()?, part).await
    }

    /// Waits until a part of a replica is in one of these states by `/readyz` and by `/metrics`.
    pub(crate) async fn becomes(
        &self,
        replica: &str,
        part: &str,
        states: &[&str],
        within: Duration,
    ) -> anyhow::Result<Duration> {
        let (api, begun) = (self.api(replica)?, Instant::now());
        let mut last = (Value::Null, String::new());
        let what = format!("{part} of {replica} {states:?}");
        let reached = eventually(&what, within, async || {
            let check = check(&api, part).await?;
            let state = check["state"].as_str()?.to_owned();
            last.0 = check;
            if !states.contains(&state.as_str()) {
                return None;
            }
            last.1 = metrics(&api).await?;
            let labels = [("component", part), ("state", state.as_str())];
            (sample(&last.1, "vds_component_state", &labels) == Some(1.0)).then_some(())
        })
        .await;
        reached.with_context(|| {
            let of_part = last
                .1
                .lines()
                .filter(|line| line.contains(&format!("component=\"{part}\"")));
            format!("it is {}; metrics: {:?}", last.0, of_part.collect::<Vec<_>>())
        })?;
        println!("{}: {what} after {:.1?}", self.id, begun.elapsed());
        Ok(begun.elapsed())
    }

    /// A fault has its name in time.
    pub(crate) async fn named(&self, replica: &str, part: &str, states: &[&str]) -> anyhow::Result<()> {
        self.becomes(replica, part, states, NAMED_WITHIN)
            .await
            .map(|_| ())
    }

    /// Slots that a replica owns with a connected session.
    pub(crate) async fn slots(&self, replica: &str) -> Option<u64> {
        let text = metrics(&self.api(replica).ok()?).await?;
        sample(&text, "vds_slots_owned", &[]).map(|count| format!("{count:.0}").parse().unwrap_or_default())
    }

    /// Waits until the replicas that run own all slots together; gives the time that it took.
    pub(crate) async fn all_slots(&self, within: Duration) -> anyhow::Result<Duration> {
        let names: Vec<_> = self.replicas.keys().map(String::as_str).collect();
        self.shares(&names, within, |shares| shares.iter().sum::<u64>() == SLOTS)
            .await
    }

    /// Waits until each of the replicas owns its fair share.
    pub(crate) async fn fair_shares(&self, within: Duration) -> anyhow::Result<Duration> {
        let names: Vec<_> = self.replicas.keys().map(String::as_str).collect();
        let most = SLOTS.div_ceil(names.len() as u64);
        self.shares(&names, within, |shares| {
            shares.iter().sum::<u64>() == SLOTS && shares.iter().all(|share| *share <= most)
        })
        .await
    }

    async fn shares(
        &self,
        names: &[&str],
        within: Duration,
        fits: impl Fn(&[u64]) -> bool,
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut last = Vec::new();
        let reached = eventually("all slots owned and connected", within, async || {
            last.clear();
            for name in names {
                last.push(self.slots(name).await?);
            }
            fits(&last).then_some(())
        })
        .await;
        reached.with_context(|| format!("{names:?} own {last:?}"))?;
        Ok(begun.elapsed())
    }

    /// The replica that runs the relay, by what another one says.
    pub(crate) async fn relay(&self) -> anyhow::Result<String> {
        let relay = eventually("a replica that relays", WITHIN, async || {
            for name in self.replicas.keys() {
                let api = self.api(name).ok()?;
                let Some(check) = check(&api, "kafka").await else {
                    continue;
                };
                if check["state"] == "ok" {
                    return Some(name.clone());
                }
            }
            None
        });
        relay.await
    }

    /// A figure of the plant's ledger, by whichever replica answers.
    pub(crate) async fn ledger(&self) -> anyhow::Result<Value> {
        let mut last = None;
        for name in self.replicas.keys() {
            match self.api(name)?.get("/api/v1/ledger").await {
                Ok(ledger) => return Ok(ledger),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error.into()),
            None => bail!("no replica runs"),
        }
    }

    /// Waits until a figure of the ledger has reached a number.
    pub(crate) async fn ledger_reaches(
        &self,
        figure: &str,
        least: u64,
        within: Duration,
    ) -> anyhow::Result<()> {
        let mut ledger = Value::Null;
        let what = format!("{figure} of at least {least}");
        let reached = eventually(&what, within, async || {
            ledger = self.ledger().await.ok()?;
            (ledger[figure].as_u64()? >= least).then_some(())
        })
        .await;
        reached.with_context(|| format!("the ledger is {ledger}"))
    }

    /// Waits until nothing waits for the relay.
    pub(crate) async fn relayed(&self) -> anyhow::Result<()> {
        let mut last = Value::Null;
        let drained = eventually("an empty outbox", WITHIN, async || {
            last = self.ledger().await.ok()?;
            (last["in_outbox"] == 0 && last["outstanding"] == 0).then_some(())
        })
        .await;
        let Err(error) = drained else { return Ok(()) };
        let mut states = Vec::new();
        for name in self.replicas.keys() {
            states.push((name, self.check(name, "kafka").await));
        }
        Err(error.context(format!("the ledger is {last}, the relay is {states:?}")))
    }

    /// Waits for an alarm and gives it.
    pub(crate) async fn alarm(&self, replica: &str, code: &str, within: Duration) -> anyhow::Result<Value> {
        let api = self.api(replica)?;
        eventually(&format!("the alarm {code}"), within, async || {
            let alarms = api.get("/api/v1/alarms?limit=1000").await.ok()?;
            let items = alarms["items"].as_array()?;
            items.iter().find(|alarm| alarm["code"] == code).cloned()
        })
        .await
    }

    /// Waits until a replica owns all slots while another one that runs says nothing.
    pub(crate) async fn takes_all(&self, name: &str, within: Duration) -> anyhow::Result<Duration> {
        self.shares(&[name], within, |shares| shares == [SLOTS]).await
    }

    /// The name of its database.
    pub(crate) fn database_name(&self) -> String {
        self.id.as_str().replace('-', "_")
    }

    /// A file or folder of the walk.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        Path::join(self.folder.path(), name)
    }
}

async fn check(api: &Api, part: &str) -> Option<Value> {
    let readiness = match api.get("/readyz").await {
        Ok(readiness) => readiness,
        // Not ready is an answer too.
        Err(fleet_testkit::ApiError::Refused { problem, .. }) => problem,
        Err(fleet_testkit::ApiError::Transport { .. }) => return None,
    };
    let checks = readiness["checks"].as_array()?;
    checks.iter().find(|check| check["name"] == part).cloned()
}

async fn metrics(api: &Api) -> Option<String> {
    match api.get("/metrics").await.ok()? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The value of a metric whose labels hold all of these.
fn sample(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |line: &&str| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        (rest.starts_with('{') || rest.starts_with(' '))
            && labels
                .iter()
                .all(|(label, value)| rest.contains(&format!("{label}=\"{value}\"")))
    };
    text.lines().find(fits)?.rsplit(' ').next()?.parse().ok()
}
