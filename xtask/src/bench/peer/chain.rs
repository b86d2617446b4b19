//! The chain's processes and what arrived at its ends.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fleet_testkit::services::{
    Jars, Kafka, Mosquitto, MosquittoOptions, Postgres, ServiceProgram, services_folder,
};
use fleet_testkit::{Process, Program};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::processes::Watched;
use super::super::{program, stand};
use crate::workspace::{root, run_logged};

const DATABASE: &str = "fleet";
const TOPIC: &str = "peer";
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks without a new row after which nothing more is expected: Telegraf writes each second.
const QUIET_LOOKS: u32 = 10;

/// Builds Telegraf with the three plugins into the services' folder, once.
pub(super) fn build_telegraf() -> anyhow::Result<()> {
    let place = telegraf()?;
    if place.exists() {
        return Ok(());
    }
    println!("building Telegraf (Go; minutes, the first time)");
    let mut go = Command::new("go");
    go.current_dir(root().join("xtask/src/bench/peer"))
        .args(["build", "-o"])
        .arg(&place)
        .arg(".")
        .stdin(Stdio::null());
    run_logged(&mut go, &place.with_extension("log")).map(drop)
}

fn telegraf() -> anyhow::Result<PathBuf> {
    Ok(services_folder()?.join("telegraf"))
}

/// Dropping it kills it.
pub(super) struct Chain {
    pub(super) telegraf: Option<Process>,
    pub(super) mosquitto: Mosquitto,
    pub(super) postgres: Postgres,
    pub(super) kafka: Kafka,
    folder: PathBuf,
    clients: u32,
}

/// What the publishers say in the end.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Published {
    pub(super) given: u64,
    pub(super) acknowledged: u64,
    pub(super) latest_ms: u64,
}

/// The table no longer grows.
pub(super) struct Settled {
    pub(super) stored: u64,
    /// Until its last growth.
    pub(super) took: Duration,
}

impl Chain {
    pub(super) async fn start(folder: &Path, clients: u32) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let postgres = stand::postgres(&folder.join("postgres")).await?;
        let kafka = stand::kafka(&folder.join("kafka")).await?;
        let mosquitto = Mosquitto::start(&folder.join("mosquitto"), MosquittoOptions::default()).await?;
        let mut chain = Self {
            telegraf: None,
            mosquitto,
            postgres,
            kafka,
            folder: folder.to_owned(),
            clients,
        };
        chain.make_topic()?;
        chain.start_telegraf().await?;
        Ok(chain)
    }

    pub(super) async fn start_telegraf(&mut self) -> anyhow::Result<()> {
        let file = self.folder.join("telegraf.toml");
        std::fs::write(&file, self.config()).context("cannot write Telegraf's settings")?;
        let log = self.folder.join("telegraf.log");
        let begin = std::fs::metadata(&log).map_or(0, |file| file.len());
        let mut process = Program::new("telegraf", &telegraf()?, &log)
            .args([&file])
            .start()?;
        process
            .until_ready("Telegraf's connection to the broker", READY_WITHIN, || {
                let bytes = std::fs::read(&log).ok()?;
                let said = String::from_utf8_lossy(bytes.get(usize::try_from(begin).ok()?..)?).into_owned();
                said.contains("Connected [tcp://").then_some(())
            })
            .await?;
        self.telegraf = Some(process);
        Ok(())
    }

    /// As real-world set-ups have it: batches of 5,000, 20,000 undelivered, a write each second.
    fn config(&self) -> String {
        format!(
            r#"[agent]
interval = "1s"
flush_interval = "1s"
metric_batch_size = 5000
metric_buffer_limit = 100000
omit_hostname = true

[[inputs.mqtt_consumer]]
servers = ["tcp://{}"]
topics = ["peer/+/events"]
qos = 1
client_id = "telegraf"
persistent_session = true
max_undelivered_messages = 20000
data_format = "value"
data_type = "string"

[[outputs.postgresql]]
connection = "postgres://fleet@{}/{DATABASE}?sslmode=disable"

[[outputs.kafka]]
brokers = ["{}"]
topic = "{TOPIC}"
required_acks = -1
data_format = "influx"
"#,
            self.mosquitto.address(),
            self.postgres.address(),
            self.kafka.bootstrap()
        )
    }

    pub(super) fn watched(&mut self) -> Watched {
        let mut watched = Watched::default();
        watched.add("telegraf", self.telegraf.as_ref().map(Process::pid));
        watched.add("mosquitto", self.mosquitto.pid());
        watched.add("postgresql", self.postgres.pid());
        watched.add("kafka", self.kafka.pid());
        watched
    }

    pub(super) fn publish(&self, rate: u32, seconds: u64) -> anyhow::Result<Publishing> {
        let log = self.folder.join("publish.log");
        let errors = std::fs::File::create(&log).context("cannot write a log")?;
        let child = Command::new(program("examples").join("publish"))
            .arg(self.mosquitto.url())
            .args([self.clients.to_string(), rate.to_string(), seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .context("cannot start the publishers")?;
        Ok(Publishing { child, log })
    }

    /// Rows in PostgreSQL; none when it does not answer or Telegraf has not made the table.
    pub(super) async fn stored(&self) -> Option<u64> {
        let sql = "SELECT count(*) FROM mqtt_consumer";
        self.postgres
            .execute_in(DATABASE, sql)
            .await
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Waits until the table has not grown for some seconds.
    pub(super) async fn settled(&self, within: Duration) -> anyhow::Result<Settled> {
        let begin = Instant::now();
        let (mut last, mut took, mut quiet) = (0, Duration::ZERO, 0);
        while quiet < QUIET_LOOKS && begin.elapsed() < within {
            let now = self.stored().await.unwrap_or(last);
            if now > last {
                (last, took, quiet) = (now, begin.elapsed(), 0);
            } else {
                quiet += 1;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(Settled { stored: last, took })
    }

    /// Lost and double at both ends, of so many that the publishers were given.
    pub(super) async fn books(&self, given: u64) -> anyhow::Result<Value> {
        let sql = "SELECT count(*), count(DISTINCT split_part(value, ' ', 1)) FROM mqtt_consumer";
        let row = self.postgres.execute_in(DATABASE, sql).await?;
        let (rows, distinct) = row.trim().split_once('|').context("two columns")?;
        let (rows, distinct): (u64, u64) = (rows.parse()?, distinct.parse()?);
        let (records, in_kafka) = self.read_kafka()?;
        Ok(json!({
            "postgresql": { "rows": rows, "lost": given.saturating_sub(distinct), "double": rows - distinct },
            "kafka": {
                "records": records, "lost": given.saturating_sub(in_kafka), "double": records - in_kafka,
            },
        }))
    }

    fn java(&self, class: &str) -> anyhow::Result<Command> {
        let jars = Jars::Kafka.provide()?;
        let mut java = Command::new(ServiceProgram::Java.path()?);
        java.args(["-Xmx512m", "-XX:+UseSerialGC", "-cp"])
            .arg(format!("{}/*", jars.display()))
            .arg(class)
            .args(["--bootstrap-server", &self.kafka.bootstrap(), "--topic", TOPIC])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        Ok(java)
    }

    fn make_topic(&self) -> anyhow::Result<()> {
        let status = self
            .java("org.apache.kafka.tools.TopicCommand")?
            .args(["--create", "--partitions", "8"])
            .stdout(Stdio::null())
            .status()
            .context("cannot start Kafka's tool")?;
        ensure!(status.success(), "Kafka's tool could not make a topic: {status}");
        Ok(())
    }

    /// Records, and distinct events among them.
    fn read_kafka(&self) -> anyhow::Result<(u64, u64)> {
        let output = self
            .java("org.apache.kafka.tools.consumer.ConsoleConsumer")?
            .args(["--from-beginning", "--timeout-ms", "5000"])
            .output()
            .context("cannot start Kafka's consumer")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut seen: HashMap<&str, u64> = HashMap::new();
        let mut records = 0;
        for line in text.lines() {
            // mqtt_consumer,topic=… value="N-M {…}" TIME
            let Some((_, value)) = line.split_once("value=\"") else {
                continue;
            };
            records += 1;
            *seen
                .entry(value.split(' ').next().unwrap_or_default())
                .or_default() += 1;
        }
        Ok((records, seen.len() as u64))
    }
}

/// The publishers' process.
pub(super) struct Publishing {
    child: Child,
    log: PathBuf,
}

impl Publishing {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) async fn connected(&mut self) -> anyhow::Result<()> {
        let log = self.log.clone();
        fleet_testkit::eventually("connected publishers", READY_WITHIN, async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            said.contains("connected").then_some(())
        })
        .await
    }

    pub(super) async fn ended(self) -> anyhow::Result<Published> {
        let wait = tokio::task::spawn_blocking(move || self.child.wait_with_output());
        let output = wait
            .await
            .context("the wait was cut off")?
            .context("cannot wait")?;
        ensure!(
            output.status.success(),
            "the publishers ended with {}",
            output.status
        );
        serde_json::from_slice(&output.stdout).context("the publishers' report is JSON")
    }
}
