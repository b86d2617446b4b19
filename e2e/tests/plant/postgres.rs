//! PostgreSQL is away, takes no writes, is full or belongs to a newer version: the state has a name, nothing is
//! acknowledged, nothing is lost, and all goes on by itself.

use std::time::Duration;

use anyhow::ensure;
use fleet_testkit::services::{Postgres, PostgresOptions};

use crate::accounts::agree;
use crate::load::{Load, LoadOptions};
use crate::plant::Plant;
use crate::{WITHIN, kills, phase, services};

/// Longer than a receipt needs that was on its way.
const RECEIPTS_ARRIVE: Duration = Duration::from_secs(1);

/// One plant for all that a database that comes back can do: each fault begins with a plant that works again.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_down_at_the_start_then_killed_then_hangs_then_takes_no_writes() -> anyhow::Result<()>
{
    let mut services = services::alone().await?;
    let mut plant = Plant::new("db-faults", &services).await?;
    services.postgres.stop().await?;
    plant.start("a", &[]).await?;
    plant.named("a", "store", &["unreachable"]).await?;
    services.postgres.restart().await?;
    plant.becomes("a", "store", &["ok"], WITHIN).await?;
    plant.start_all(&["b"]).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    for _ in 0..kills()? {
        load.works(phase()?).await?;
        services.postgres.kill()?;
        holds_back(&plant, &load, "unreachable").await?;
        services.postgres.restart().await?;
        goes_on(&plant, &load).await?;

        services.postgres.freeze()?;
        holds_back(&plant, &load, "unreachable").await?;
        services.postgres.thaw()?;
        goes_on(&plant, &load).await?;

        services.postgres.set_read_only(true).await?;
        let held = holds_back(&plant, &load, "read_only").await;
        // Also when it did not: other walks use this server.
        services.postgres.set_read_only(false).await?;
        held?;
        goes_on(&plant, &load).await?;
    }
    agree(&plant, load).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_disk_is_full() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let folder = tempfile::TempDir::new()?;
    let options = PostgresOptions {
        small_disk: Some(64 << 20),
        ..PostgresOptions::default()
    };
    let mut small = Postgres::start(folder.path(), options).await?;
    let mut plant = Plant::new("db-full", &services).await?;
    plant.database = small.create_database("db_full").await?;
    plant.settings.set("store.url", plant.database.as_str());
    plant.start_all(&["a"]).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    load.works(phase()?).await?;
    small.fill_disk()?;
    holds_back(&plant, &load, "full").await?;
    small.free_disk()?;
    goes_on(&plant, &load).await?;
    agree(&plant, load).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_schema_is_newer_than_the_program() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let mut plant = Plant::new("db-newer", &services).await?;
    plant.start_all(&["a"]).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    load.works(phase()?).await?;
    plant.stop("a").await?;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99999999999999, 'of a newer version', true, '', 0)";
    services
        .postgres
        .execute_in(&plant.database_name(), newer)
        .await?;
    plant.start("a", &[]).await?;
    holds_back(&plant, &load, "schema_too_new").await?;
    // The backup from before the upgrade is put back, in effect.
    let older = "DELETE FROM _sqlx_migrations WHERE version = 99999999999999";
    services
        .postgres
        .execute_in(&plant.database_name(), older)
        .await?;
    goes_on(&plant, &load).await?;
    agree(&plant, load).await?;
    Ok(())
}

/// The fault has its name in time, and nothing is acknowledged.
async fn holds_back(plant: &Plant, load: &Load, state: &str) -> anyhow::Result<()> {
    plant.named("a", "store", &[state]).await?;
    nothing_is_acknowledged(load).await
}

/// All is well again without anybody's help.
async fn goes_on(plant: &Plant, load: &Load) -> anyhow::Result<()> {
    plant.becomes("a", "store", &["ok"], WITHIN).await?;
    load.works(phase()?).await
}

/// The benches go on writing and get no receipt.
async fn nothing_is_acknowledged(load: &Load) -> anyhow::Result<()> {
    tokio::time::sleep(RECEIPTS_ARRIVE).await;
    let before = load.acknowledged();
    load.writes(50, WITHIN).await?;
    let after = load.acknowledged();
    ensure!(
        after == before,
        "{} receipts without a database that writes",
        after - before
    );
    Ok(())
}
