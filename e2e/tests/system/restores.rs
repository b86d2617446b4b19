//! An older database under running benches, and an older disk under a known bench.

use std::path::Path;

use anyhow::{Context as _, ensure};
use fleet_testkit::{Settings, eventually};

use crate::books;
use crate::plant::{Plant, WITHIN, Work};

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_is_filled_again_by_the_benches() -> anyhow::Result<()> {
    let mut plant = Plant::start(Settings::new(), &[], &[]).await?;
    plant.start_bench(1, &[])?;
    let first = plant.queue(Work::Calibrate).await?;
    plant.job_passes(&first).await?;
    plant.settles().await?;
    let before = plant.api().get("/api/v1/status").await?["store_generation"].clone();
    let (data, backup) = (plant.server.data_dir.clone(), plant.folder.path().join("backup"));
    plant.server.process.kill()?;
    copy(&data, &backup)?;

    plant.restart_server(&[]).await?;
    let second = plant.queue(Work::Calibrate).await?;
    plant.job_passes(&second).await?;
    plant.settles().await?;

    plant.server.process.kill()?;
    std::fs::remove_dir_all(&data)?;
    copy(&backup, &data)?;
    plant.restart_server(&[]).await?;
    let api = plant.api();
    let noticed = eventually("a new generation", WITHIN, async || {
        let status = api.get("/api/v1/status").await.ok()?;
        (status["store_generation"] != before).then_some(())
    });
    noticed.await?;
    plant.settles().await?;
    // The job that the backup does not know came back by the bench's own events.
    let job = plant.job_finishes(&second).await?;
    ensure!(job["verdict"] == "passed", "it passed once: {job}");
    let third = plant.queue(Work::Calibrate).await?;
    plant.job_passes(&third).await?;
    plant.settles().await?;
    books::agree(&mut plant).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_with_an_older_disk_says_so_and_repeats_nothing() -> anyhow::Result<()> {
    let mut plant = Plant::start(Settings::new(), &[], &[]).await?;
    let device = plant.start_bench(0, &[])?;
    let first = plant.queue(Work::Flash("2.1.1")).await?;
    plant.job_reaches(&first, &["running"]).await?;
    // A copy in the middle of the work, as a disk image would be.
    let data = plant.kill_bench(&device)?;
    let image = plant.folder.path().join("image");
    copy(&data, &image)?;
    plant.start_bench(0, &[])?;
    plant.job_finishes(&first).await?;
    plant.settles().await?;
    let verdict = plant.job_finishes(&first).await?["verdict"].clone();

    let data = plant.kill_bench(&device)?;
    std::fs::remove_dir_all(&data)?;
    copy(&image, &data)?;
    plant.start_bench(0, &[])?;
    let api = plant.api();
    eventually("the alarm that the disk is older", WITHIN, async || {
        let alarms = api.get("/api/v1/alarms").await.ok()?;
        let raised = alarms["items"]
            .as_array()?
            .iter()
            .any(|alarm| alarm["code"] == "bench_restored" && alarm["device"] == device.as_str());
        raised.then_some(())
    })
    .await?;
    plant.settles().await?;
    // The first result stands, whatever the old disk says about it now.
    let job = plant.job_finishes(&first).await?;
    ensure!(
        job["verdict"] == verdict,
        "{verdict} became {job} by an older disk"
    );
    let (vin, _) = plant.sim.vehicles.first().context("a vehicle")?;
    let downloads = plant.sim.ecu(vin, "ESP")?.counters.downloads;
    ensure!(downloads <= 1, "flashed {downloads} times");
    let (faults, _) = books::compare(&mut plant).await?;
    // What the lost disk had said stands in the outbox and on no disk any more.
    ensure!(
        faults.lost.is_empty() && faults.duplicates.is_empty() && faults.reordered.is_empty(),
        "{faults:?}"
    );
    ensure!(
        faults.changed.is_empty(),
        "content under an old number: {faults:?}"
    );
    Ok(())
}
