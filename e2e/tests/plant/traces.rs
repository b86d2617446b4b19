//! One trace from the REST request to the record in Kafka, over a real bench and every service.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fleet_testkit::services::KafkaRecord;
use fleet_testkit::{Agent, Collector, EcuSim, Settings, Workload, eventually, job_request};
use serde_json::json;

use crate::plant::Plant;
use crate::{WITHIN, consumer, services};

const AGENT: &str = env!("CARGO_BIN_EXE_device-agent-under-test");
const SIM: &str = env!("CARGO_BIN_EXE_ecu-sim-under-test");
const END_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_the_request_into_the_records_header() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let collector = Collector::start().await?;
    let mut plant = Plant::new("traces", &services).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo");
    let workload = Workload::load(&root)?;
    plant
        .settings
        .set("telemetry.otlp_endpoint", collector.endpoint());
    plant.settings.set(
        "signer.secrets_file",
        workload.secrets_file().display().to_string(),
    );
    plant.start_all(&["a"]).await?;
    let api = plant.api("a")?;
    workload.upload_procedures(&api).await?;
    let sim = EcuSim::start(
        SIM.as_ref(),
        &plant.path("ecu-sim"),
        &workload.vehicles_file(),
        &[],
        &[],
    )
    .await?;
    let (vin, entity) = sim.vehicles.get(1).context("a second vehicle")?;
    let settings = Settings::new()
        .with("plant", plant.id.as_str())
        .with("device", "bench-2")
        .with("broker.url", plant.broker.as_str())
        .with("server.url", api.base())
        .with("vehicle.entity", entity.as_str())
        .with("telemetry.otlp_endpoint", collector.endpoint())
        .with("spool.min_free_bytes", 1024 * 1024);
    let mut agent = Agent::start(AGENT.as_ref(), &plant.path("bench-2"), settings, &[])?;
    let mut request = job_request(workload.procedure("calibrate.camera")?, vin, None)?;
    request["device"] = json!("bench-2");
    let job = api.post("/api/v1/jobs", &request).await?;
    let id = job["id"].as_str().context("a job has an id")?.to_owned();
    let path = format!("/api/v1/jobs/{id}");
    let mut last = job;
    let passed = eventually("the job's end", WITHIN, async || {
        last = api.get(&path).await.ok()?;
        (last["state"] == "finished").then_some(())
    })
    .await;
    passed.with_context(|| format!("the job is {last}"))?;
    ensure!(last["verdict"] == "passed", "it was to pass: {last}");
    plant.relayed().await?;
    agent.process.terminate(END_WITHIN).await?;
    plant.stop("a").await?;

    let root = collector
        .wait_for("the request's span", WITHIN, |spans| {
            spans.iter().find(|span| span.name == "http.post_job").cloned()
        })
        .await?;
    let finished = |record: &&KafkaRecord| record.header("type") == Some("vds.job.finished.v1");
    let enough = |records: &[KafkaRecord]| records.iter().any(|record| finished(&record));
    let records = consumer::records(&plant.kafka, plant.id.as_str(), enough).await?;
    let result = records.iter().find(finished).context("the result in Kafka")?;
    let traceparent = result.header("traceparent").context("its header traceparent")?;
    let parts: Vec<_> = traceparent.split('-').collect();
    ensure!(
        parts.len() == 4 && parts[1] == root.trace_id,
        "{traceparent} is not of the request's trace {}",
        root.trace_id
    );
    // The parent that it names is a span of the bench.
    collector
        .wait_for("the record's parent", WITHIN, |spans| {
            let parent = spans.iter().find(|span| span.span_id == parts[2])?;
            (parent.service == "device-agent").then_some(())
        })
        .await?;
    // The value says the same.
    let value = result.json()?;
    ensure!(
        value["traceparent"] == traceparent,
        "the header is {traceparent}, the event says {value}"
    );
    Ok(())
}
