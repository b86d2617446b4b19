//! Any replica serves the API and the stream.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fleet_testkit::{Workload, job_request};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::plant::Plant;
use crate::{WITHIN, services};

/// A change made on one replica shows on the other one.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);

/// A reader of a replica's stream.
struct Reader {
    response: reqwest::Response,
    text: String,
}

impl Reader {
    async fn open(base: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let response = client.get(format!("{base}/api/v1/stream")).send().await?;
        let mut reader = Self {
            response: response.error_for_status()?,
            text: String::new(),
        };
        reader.until("hello", |_| true).await?;
        Ok(reader)
    }

    /// Reads to an event of this name that fits.
    async fn until(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let reading = async {
            loop {
                while let Some((event, rest)) = self.text.split_once("\n\n") {
                    let line = |key: &str| event.lines().find_map(|line| line.strip_prefix(key));
                    let of_name = line("event:").map(str::trim) == Some(name);
                    let data = line("data:").unwrap_or_default();
                    let data: Value = serde_json::from_str(data.trim()).unwrap_or_default();
                    let taken = self.text.len() - rest.len();
                    self.text.drain(..taken);
                    if of_name && fits(&data) {
                        return Ok(data);
                    }
                }
                let chunk = self.response.chunk().await?.context("the stream has ended")?;
                self.text.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        let read = timeout(SHOWS_WITHIN, reading).await;
        read.with_context(|| format!("no {name} that fits on the stream"))?
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_made_at_one_replica_is_seen_and_cancelled_at_the_other() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let mut plant = Plant::new("any-replica", &services).await?;
    plant.start_all(&["a", "b"]).await?;
    plant.fair_shares(WITHIN).await?;
    let (a, b) = (plant.api("a")?, plant.api("b")?);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo");
    let workload = Workload::load(&root)?;
    workload.upload_procedures(&a).await?;
    let procedure = workload.procedure("calibrate.camera")?;
    let vin = *workload.candidates(procedure).first().context("a vehicle")?;
    let (mut at_a, mut at_b) = (Reader::open(a.base()).await?, Reader::open(b.base()).await?);

    let job = a
        .post("/api/v1/jobs", &job_request(procedure, vin, None)?)
        .await?;
    let id = job["id"].as_str().context("a job has an id")?;
    at_b.until("job", |job| job["id"] == id).await?;
    ensure!(
        b.get(&format!("/api/v1/jobs/{id}")).await?["vin"] == vin,
        "b knows it"
    );

    let reason = json!({ "reason": "made by mistake" });
    b.post(&format!("/api/v1/jobs/{id}/cancel"), &reason).await?;
    let cancelled = |job: &Value| job["id"] == id && job["state"] == "canceled";
    at_a.until("job", cancelled).await?;
    let job = a.get(&format!("/api/v1/jobs/{id}")).await?;
    ensure!(job["state"] == "canceled", "it is {job}");
    // Every replica names every replica.
    for api in [&a, &b] {
        let replicas = api.get("/api/v1/replicas").await?;
        let items = replicas["items"].as_array().context("a list")?;
        let slots: usize = items
            .iter()
            .filter_map(|item| Some(item["slots"].as_array()?.len()))
            .sum();
        ensure!(items.len() == 2 && slots == 16, "{replicas}");
        ensure!(
            items.iter().filter(|item| item["relay"] == true).count() == 1,
            "one relays: {replicas}"
        );
    }
    Ok(())
}
