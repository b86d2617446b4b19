//! Slots move between two replicas under load.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::accounts::agree;
use crate::load::{Load, LoadOptions};
use crate::plant::Plant;
use crate::{WITHIN, kills, phase, services};

/// After SIGKILL the lease has to expire first.
const AFTER_A_KILL: Duration = Duration::from_secs(10);
/// An orderly stop gives the leases back; the others look each second.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Longer than the lease of slots and relay (6 s).
const BEYOND_THE_LEASE: Duration = Duration::from_secs(9);

#[tokio::test(flavor = "multi_thread")]
async fn slots_move_by_a_kill_and_by_an_orderly_stop_of_each_replica_in_turn() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let mut plant = Plant::new("hand-over", &services).await?;
    plant.start_all(&["a", "b"]).await?;
    plant.fair_shares(WITHIN).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    for _ in 0..kills()? {
        load.works(phase()?).await?;
        plant.kill("a")?;
        let after = plant.all_slots(AFTER_A_KILL).await?;
        println!("all slots {after:.1?} after SIGKILL of their owner");
        load.works(phase()?).await?;
        plant.start("a", &[]).await?;
        let fair = plant.fair_shares(WITHIN).await?;
        println!("fair shares {fair:.1?} after a replica came");
        // A rolling restart.
        for name in ["b", "a"] {
            load.works(phase()?).await?;
            let asked = Instant::now();
            plant.stop(name).await?;
            let ended = asked.elapsed();
            let after = plant.all_slots(AT_ONCE).await?;
            println!("all slots {after:.1?} after the end of their owner, which took {ended:.1?}");
            plant.start(name, &[]).await?;
            plant.fair_shares(WITHIN).await?;
        }
    }
    load.works(phase()?).await?;
    agree(&plant, load).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_stood_still_beyond_its_lease_is_fenced() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let mut plant = Plant::new("frozen", &services).await?;
    // The first one has the relay too.
    plant.start_all(&["a"]).await?;
    plant.becomes("a", "kafka", &["ok"], WITHIN).await?;
    plant.start_all(&["b"]).await?;
    plant.fair_shares(WITHIN).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    for _ in 0..kills()? {
        load.works(phase()?).await?;
        plant.freeze("a")?;
        let frozen = Instant::now();
        let b = plant.takes_all("b", AFTER_A_KILL).await?;
        println!("the other has all slots {b:.1?} after SIGSTOP");
        plant.becomes("b", "kafka", &["ok"], WITHIN).await?;
        load.works(phase()?).await?;
        // How long it stands still is the scenario.
        tokio::time::sleep(BEYOND_THE_LEASE.saturating_sub(frozen.elapsed())).await;
        plant.thaw("a")?;
        plant.fair_shares(WITHIN).await?;
        load.works(phase()?).await?;
    }
    let account = agree(&plant, load).await?;
    ensure!(
        account.events > 100,
        "only {} events: nothing was proven",
        account.events
    );
    Ok(())
}
