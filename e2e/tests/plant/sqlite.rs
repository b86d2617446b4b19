//! The embedded server, SQLite and its own broker, with a Kafka URL.

use std::net::TcpListener;

use anyhow::{Context as _, ensure};
use fleet_domain::StoreGeneration;
use fleet_store_sqlite::SqliteStore;

use crate::load::{Load, LoadOptions};
use crate::plant::Plant;
use crate::{WITHIN, accounts, kills, phase, services};

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_servers_relay_is_killed_inside_a_transaction() -> anyhow::Result<()> {
    let services = services::shared().await?;
    let mut plant = Plant::embedded("embedded", &services)?;
    // The benches find it again at the same port.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    plant.broker = format!("mqtt://127.0.0.1:{port}");
    plant.settings.set("mqtt.listen", format!("127.0.0.1:{port}"));
    plant.start("a", &[]).await?;
    let load = Load::start(&plant.id, &plant.broker, &LoadOptions::from_env()?)?;
    for _ in 0..kills()? {
        for point in ["relay.in_transaction", "relay.after_commit"] {
            plant.stop("a").await?;
            plant
                .start("a", &[("FAILPOINTS", &format!("{point}=40*off->return"))])
                .await?;
            plant.dies("a").await?;
            plant.start("a", &[]).await?;
            plant.becomes("a", "kafka", &["ok"], WITHIN).await?;
            load.works(phase()?).await?;
        }
    }
    load.quiet();
    load.settles(WITHIN).await?;
    let made = load.end().await?;
    plant.relayed().await?;
    let ledger = plant.ledger().await?;
    accounts::totals(&ledger, &made)?;
    accounts::kafka(&plant, &made).await?;
    let data = plant.replica("a")?.data_dir.clone();
    plant.stop("a").await?;
    let generation = StoreGeneration(fleet_clock::new_uuid());
    let path = data.join("fleet.db");
    let store = SqliteStore::open(&path, plant.id.clone(), fleet_clock::wall_now(), generation).await;
    accounts::database(&store.context("the server's database")?, &made).await?;
    println!("{}: {} events agree; ledger {ledger}", plant.id, made.len());
    ensure!(made.len() > 100, "only {} events: nothing was proven", made.len());
    Ok(())
}
