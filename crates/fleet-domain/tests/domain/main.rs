//! The pure core: tables for the machines, random histories for the ledger.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod cause;
mod jobs;
mod ledger;
mod presence;
mod restore;
mod withdraw;

use fleet_domain::{DeviceId, JobId, OfferId, RunId, SpoolId, StoreGeneration};
use uuid::Uuid;

fn device(name: &str) -> DeviceId {
    name.parse().unwrap()
}

fn job(n: u128) -> JobId {
    JobId(Uuid::from_u128(n))
}

fn offer(n: u128) -> OfferId {
    OfferId(Uuid::from_u128(n))
}

fn spool(n: u128) -> SpoolId {
    SpoolId(Uuid::from_u128(n))
}

fn run(n: u128) -> RunId {
    RunId(Uuid::from_u128(n))
}

fn generation(n: u128) -> StoreGeneration {
    StoreGeneration(Uuid::from_u128(n))
}
