//! A Prometheus server of one's own, and its tool that checks rules.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::daemon::{Daemon, LastWill};
use super::port::Port;
use super::programs::ServiceProgram;
use crate::{Program, eventually};

const READY: &str = "Server is ready to receive web requests";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What a Prometheus server does.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// The job's name of all targets.
    pub job: String,
    /// `HOST:PORT` of what it scrapes, under `/metrics`.
    pub targets: Vec<String>,
    /// Files of rules that it evaluates.
    pub rules: Vec<PathBuf>,
    /// How often it scrapes and evaluates rules that say nothing else. Whole milliseconds.
    pub interval: Duration,
}

/// A running Prometheus server. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus {
    port: Port,
    daemon: Option<Daemon>,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts a server that keeps its data in `folder`.
    ///
    /// # Errors
    /// When Prometheus is not installed, refuses its configuration or does not listen; with the end of its log.
    pub async fn start(folder: &Path, options: &PrometheusOptions) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let config = folder.join("prometheus.yaml");
        // JSON is YAML.
        std::fs::write(&config, serde_json::to_vec_pretty(&configuration(options))?)?;
        let port = Port::choose()?;
        let log = folder.join("prometheus.log");
        let program = Program::new("prometheus", &ServiceProgram::Prometheus.path()?, &log).args([
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address={}", port.address()),
        ]);
        let will = LastWill {
            signal: Signal::SIGKILL,
            mounted: None,
            remove: None,
        };
        let mut daemon = Daemon::start(program, &log, will)?;
        daemon.until_logged(READY, READY_WITHIN).await?;
        Ok(Self {
            port,
            daemon: Some(daemon),
            client: reqwest::Client::new(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Base address of its API, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Asks its API: the `data` of the answer. `path` is below `/api/v1/`.
    ///
    /// # Errors
    /// When it does not answer, or answers an error; the message holds its words.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let mut url = reqwest::Url::parse(&format!("{}/api/v1/{path}", self.url()))?;
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.client.get(url).send().await?;
        let text = answer.text().await?;
        let mut answer: Value =
            serde_json::from_str(&text).with_context(|| format!("Prometheus answered {text:?}"))?;
        if answer["status"] != "success" {
            bail!("Prometheus says: {}", answer["error"].as_str().unwrap_or(&text));
        }
        Ok(answer["data"].take())
    }

    /// What a query gives now: each member with its labels and its value.
    ///
    /// # Errors
    /// When the query can't be read; the message holds Prometheus' words.
    pub async fn query(&self, query: &str) -> anyhow::Result<Vec<(Value, f64)>> {
        let data = self.get("query", &[("query", query)]).await?;
        let result = data["result"].as_array().cloned().unwrap_or_default();
        result
            .into_iter()
            .map(|mut member| {
                let value = member["value"][1].as_str().and_then(|value| value.parse().ok());
                Ok((member["metric"].take(), value.context("a member has a value")?))
            })
            .collect()
    }

    /// Waits until every target was scraped without a fault and its samples can be asked for.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn until_scraped(&self, targets: usize, within: Duration) -> anyhow::Result<()> {
        eventually("Prometheus has scraped its targets", within, async || {
            // Written together with the samples of the scrape; the list of targets says "up" before that.
            let up = self.query("up == 1").await.ok()?;
            (up.len() == targets).then_some(())
        })
        .await
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.daemon.take() {
            Some(daemon) => daemon.end(Signal::SIGTERM).await.map(drop),
            None => Ok(()),
        }
    }
}

fn configuration(options: &PrometheusOptions) -> Value {
    let interval = format!("{}ms", options.interval.as_millis());
    serde_json::json!({
        "global": { "scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval },
        "rule_files": options.rules,
        "scrape_configs": [{
            "job_name": options.job,
            "static_configs": [{ "targets": options.targets }],
        }],
    })
}

/// Runs Prometheus' own tool and gives what it said.
///
/// # Errors
/// When it is not installed, or finds a fault; the message holds all that it said.
pub fn promtool<S: AsRef<OsStr>>(arguments: &[S]) -> anyhow::Result<String> {
    let output = Command::new(ServiceProgram::Promtool.path()?)
        .args(arguments)
        .output()
        .context("promtool does not start")?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.success(), "promtool found faults:\n{said}");
    Ok(said)
}
