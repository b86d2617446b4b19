//! Networks that fail while a job runs.

use std::time::Duration;

use anyhow::ensure;
use fleet_testkit::{Faults, Settings, eventually};

use crate::books;
use crate::plant::{Plant, WITHIN, Work};

#[tokio::test(flavor = "multi_thread")]
async fn three_jobs_pass_while_the_network_is_cut_slow_and_silent() -> anyhow::Result<()> {
    let mut plant = Plant::start(Settings::new(), &[], &[]).await?;
    for index in 0..3 {
        plant.start_bench(index, &[])?;
    }
    let mut jobs = Vec::new();
    for work in [Work::Flash("2.1.1"), Work::Calibrate, Work::EndOfLine] {
        jobs.push(plant.queue(work).await?);
    }
    for job in &jobs {
        plant.job_reaches(job, &["running", "finished"]).await?;
    }
    let faults = [
        Faults {
            byte_wise: true,
            ..Faults::default()
        },
        Faults {
            reset_after: Some(3000),
            ..Faults::default()
        },
        Faults {
            black_hole: true,
            ..Faults::default()
        },
        Faults {
            refuse: true,
            ..Faults::default()
        },
    ];
    for fault in faults {
        plant.mqtt.set(fault);
        plant.mqtt.cut();
        // How long a fault holds is part of the scenario; nothing is awaited here.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    plant.mqtt.set(Faults::default());
    for job in &jobs {
        plant.job_passes(job).await?;
    }
    plant.settles().await?;
    let events = books::agree(&mut plant).await?;
    ensure!(events > 20, "only {events} events: nothing was proven");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_works_on_without_the_server_and_reports_when_it_is_back() -> anyhow::Result<()> {
    let mut plant = Plant::start(Settings::new(), &[], &[]).await?;
    let device = plant.start_bench(1, &[])?;
    let job = plant.queue(Work::Calibrate).await?;
    plant.job_reaches(&job, &["running", "finished"]).await?;
    plant.server.process.kill()?;
    // The bench alone brings it to its end.
    eventually("the job's end on the bench", WITHIN, async || {
        let status = plant.status(&device)?;
        (status.step.is_none() && status.outstanding > 0).then_some(())
    })
    .await?;
    plant.restart_server(&[]).await?;
    plant.job_passes(&job).await?;
    plant.settles().await?;
    books::agree(&mut plant).await?;
    Ok(())
}
