//! A load test that can't keep its schedule says so: its figures would be kind.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use loadtest::disks::{BenchDisk, FolderBench};
use loadtest::run::validity;
use loadtest::scenario::Scenario;
use loadtest::schedule::{Curve, Stretch};
use loadtest::{Population, PopulationOptions};
use spool::{Disk, RealDisk};

use crate::support::Server;

/// A folder on a disk whose `sync` takes its time.
struct SlowBench {
    folder: FolderBench,
    sync_takes: Duration,
}

struct SlowDisk {
    disk: RealDisk,
    sync_takes: Duration,
}

impl BenchDisk for SlowBench {
    type Disk = SlowDisk;

    fn spool(&self) -> io::Result<SlowDisk> {
        Ok(SlowDisk {
            disk: self.folder.spool()?,
            sync_takes: self.sync_takes,
        })
    }

    fn state(&self) -> io::Result<SlowDisk> {
        Ok(SlowDisk {
            disk: self.folder.state()?,
            sync_takes: Duration::ZERO,
        })
    }
}

impl Disk for SlowDisk {
    fn create(&mut self, name: &str) -> io::Result<()> {
        self.disk.create(name)
    }
    fn append(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        self.disk.append(name, data)
    }
    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(name, offset, into)
    }
    fn sync(&mut self, name: &str) -> io::Result<()> {
        std::thread::sleep(self.sync_takes);
        self.disk.sync(name)
    }
    fn sync_dir(&mut self) -> io::Result<()> {
        self.disk.sync_dir()
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn list(&mut self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn len(&mut self, name: &str) -> io::Result<u64> {
        self.disk.len(name)
    }
    fn free_bytes(&mut self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

/// Why two seconds of this load are invalid.
async fn reasons(sync_takes: Duration) -> Vec<String> {
    let server = Server::start().await;
    let root: PathBuf = server.folder.path().join("benches");
    let broker = server.mqtt.parse().expect("an address");
    let options = PopulationOptions::new("plant-1".parse().expect("a plant"), broker, "slow", 4);
    let population = Population::start(&options, |_, device| {
        Ok(SlowBench {
            folder: FolderBench::new(root.join(device.as_str())),
            sync_takes,
        })
    });
    let population = population.expect("benches");
    let soon = Duration::from_secs(30);
    population.connected(soon).await.expect("connected");
    let lasts = Duration::from_secs(2);
    population.begin(&Curve(vec![Stretch { lasts, rate: 40.0 }]), &[lasts]);
    population
        .until("events", soon, |all| all.totals().receipted > 60)
        .await
        .expect("events");
    let figures = population.end().await.expect("an end").figures;
    server.stop().await;
    validity(
        &Scenario::load("peak").expect("a scenario"),
        &figures,
        figures.counts.not_told,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_its_time_makes_the_run_invalid() {
    let reasons = reasons(Duration::from_millis(60)).await;
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("could not keep its schedule")),
        "{reasons:?}"
    );
}
