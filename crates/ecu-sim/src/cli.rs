//! The command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Parser;
use serde::Serialize;

use crate::entity::serve;
use crate::fault::FaultSpec;
use crate::spec::parse_vehicles;
use crate::vehicle::Vehicle;

/// Simulated vehicles over DoIP on the loopback interface.
#[derive(Debug, Parser)]
#[command(name = "ecu-sim", version)]
struct Arguments {
    /// File of vehicles (YAML).
    #[arg(long)]
    vehicles: PathBuf,
    /// Folder of the state files, `{vin}.json` each.
    #[arg(long)]
    state: PathBuf,
    /// File that says where each vehicle listens; written when all of them do.
    #[arg(long)]
    endpoints: PathBuf,
    /// A fault, `VIN/ECU=kind,key=value`, such as `WDB1110101A000001/ESP=power_loss,block=12`. Repeatable.
    #[arg(long = "fault")]
    faults: Vec<FaultSpec>,
}

#[derive(Serialize)]
struct Endpoints {
    pid: u32,
    vehicles: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Endpoint {
    vin: String,
    entity: String,
}

/// Runs until it is told to end (SIGINT or SIGTERM).
///
/// # Errors
/// Whatever keeps a vehicle from being served.
pub async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let path = &arguments.vehicles;
    let yaml = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = parse_vehicles(&yaml).with_context(|| format!("in {}", path.display()))?;
    fs::create_dir_all(&arguments.state)
        .with_context(|| format!("cannot create {}", arguments.state.display()))?;
    let mut entities = Vec::new();
    let mut vehicles = Vec::new();
    for spec in &file.vehicles {
        let vehicle = Arc::new(Vehicle::new(spec, Some(&arguments.state))?);
        let entity = serve(Arc::clone(&vehicle)).await.with_context(|| {
            format!(
                "cannot listen for {}; change `entity.port` in {}",
                spec.vin,
                path.display()
            )
        })?;
        vehicles.push(Endpoint {
            vin: spec.vin.clone(),
            entity: entity.address().to_string(),
        });
        entities.push((vehicle, entity));
    }
    for fault in arguments.faults {
        let known = entities.iter().any(|(vehicle, _)| {
            vehicle.vin() == fault.vin && vehicle.add_fault(&fault.ecu, fault.fault.clone())
        });
        if !known {
            bail!(
                "there is no control unit {} in a vehicle {}",
                fault.ecu,
                fault.vin
            );
        }
    }
    write_endpoints(
        &arguments.endpoints,
        &Endpoints {
            pid: std::process::id(),
            vehicles,
        },
    )?;
    end_wanted().await?;
    for (_, entity) in entities {
        entity.stop().await;
    }
    // A reader must not take it for a running simulator.
    fs::remove_file(&arguments.endpoints)
        .with_context(|| format!("cannot remove {}", arguments.endpoints.display()))
}

fn write_endpoints(path: &Path, endpoints: &Endpoints) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let text = serde_json::to_vec_pretty(endpoints)?;
    fs::write(&fresh, text)
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

async fn end_wanted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
