//! SIGKILL at the points where something could be lost, doubled or claimed.

use anyhow::{Context as _, ensure};
use fleet_testkit::{Settings, eventually};
use serde_json::json;

use crate::books;
use crate::plant::{Plant, WITHIN, Work};

const FAILPOINTS: &str = "FAILPOINTS";

/// A flash during which the server dies at `point`, and a second server on the same data.
async fn server_killed_at(point: &str) -> anyhow::Result<()> {
    let mut plant = Plant::start(Settings::new(), &[(FAILPOINTS, point)], &[]).await?;
    plant.start_bench(0, &[])?;
    // The request itself may meet the dying server.
    let job = plant.queue(Work::Flash("2.1.1")).await?;
    plant.server_dies().await?;
    plant.restart_server(&[]).await?;
    plant.job_passes(&job).await?;
    plant.settles().await?;
    confirm(&plant, "2.1.1", 1)?;
    let events = books::agree(&mut plant).await?;
    ensure!(events > 10, "only {events} events: nothing was proven");
    Ok(())
}

/// A flash during which the agent dies at `point`, and a second agent on the same disk.
async fn agent_killed_at(point: &str) -> anyhow::Result<()> {
    let mut plant = Plant::start(Settings::new(), &[], &[]).await?;
    let device = plant.start_bench(0, &[(FAILPOINTS, point)])?;
    let job = plant.queue(Work::Flash("2.1.1")).await?;
    plant.bench_dies(&device).await?;
    plant.start_bench(0, &[])?;
    let job = plant.job_finishes(&job).await?;
    plant.settles().await?;
    honest(&plant, &job, "2.1.1")?;
    books::agree(&mut plant).await?;
    Ok(())
}

/// The simulator itself says that the ESP runs this version, after so many downloads.
fn confirm(plant: &Plant, version: &str, downloads: u64) -> anyhow::Result<()> {
    let (vin, _) = plant.sim.vehicles.first().context("a vehicle")?;
    let esp = plant.sim.ecu(vin, "ESP")?;
    ensure!(esp.software.as_deref() == Some(version), "it runs {esp:?}");
    ensure!(esp.counters.downloads == downloads, "it was flashed {esp:?}");
    Ok(())
}

/// `passed` only where the simulator agrees.
fn honest(plant: &Plant, job: &serde_json::Value, version: &str) -> anyhow::Result<()> {
    match job["verdict"].as_str() {
        Some("passed") => confirm(plant, version, 1),
        Some("in_doubt" | "aborted" | "error" | "failed") => Ok(()),
        other => anyhow::bail!("verdict {other:?} of {job}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_killed_after_commit_and_before_the_brokers_acknowledgement() -> anyhow::Result<()> {
    server_killed_at("ingest.after_commit=6*off->return").await
}

#[tokio::test(flavor = "multi_thread")]
async fn server_killed_after_the_brokers_acknowledgement_and_before_the_receipt() -> anyhow::Result<()> {
    server_killed_at("ingest.after_ack=6*off->return").await
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_killed_after_the_spools_fsync() -> anyhow::Result<()> {
    agent_killed_at("spool.after_fsync=5*off->return").await
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_killed_after_the_puback() -> anyhow::Result<()> {
    agent_killed_at("link.after_puback=4*off->return").await
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_killed_in_the_middle_of_a_flash_is_in_doubt_until_a_person_decides() -> anyhow::Result<()> {
    let mut plant = Plant::start(Settings::new(), &[], &[]).await?;
    let device = plant.start_bench(0, &[(FAILPOINTS, "runner.mid_flash=return")])?;
    let id = plant.queue(Work::Flash("2.1.1")).await?;
    plant.bench_dies(&device).await?;
    plant.start_bench(0, &[])?;
    let job = plant.job_finishes(&id).await?;
    ensure!(job["verdict"] == "in_doubt", "half a flash is {job}");
    // The vehicle stays held: another job waits until a person has decided.
    let next = plant.queue(Work::Flash("2.1.2")).await?;
    plant.settles().await?;
    let (api, path) = (plant.api(), format!("/api/v1/jobs/{next}"));
    let parked = eventually("the next job is parked", WITHIN, async || {
        let job = api.get(&path).await.ok()?;
        job["parked"].is_string().then_some(job)
    });
    let parked = parked.await?;
    ensure!(parked["state"] == "queued", "the vehicle is in doubt: {parked}");
    let reason = json!({ "reason": "the control unit was looked at" });
    plant
        .api()
        .post(&format!("/api/v1/jobs/{id}/take-over"), &reason)
        .await?;
    plant.job_passes(&next).await?;
    plant.settles().await?;
    confirm(&plant, "2.1.2", 1)?;
    books::agree(&mut plant).await?;
    Ok(())
}
