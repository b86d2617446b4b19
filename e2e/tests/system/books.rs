//! The books: what each bench's disk holds against what the server would hand to Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, ensure};
use fleet_domain::{Seq, SpoolId};
use fleet_store::{OutboxRow, Store as _};
use fleet_store_sqlite::SqliteStore;
use spool::{Limits, Read, RealDisk, Spools};

use crate::plant::{PLANT, Plant};

const PAGE: u32 = 500;

/// An event's place.
type Place = (String, SpoolId, Seq);

/// What is wrong, each with its place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Counted on a bench's disk, not in the outbox.
    pub(crate) lost: Vec<Place>,
    /// More than once in the outbox.
    pub(crate) duplicates: Vec<Place>,
    /// After a later event of its spool, or before the end of the spool before.
    pub(crate) reordered: Vec<Place>,
    /// In the outbox with other bytes than on the disk.
    pub(crate) changed: Vec<Place>,
    /// In the outbox, on no disk.
    pub(crate) phantoms: Vec<Place>,
}

/// Stops the plant, reads disks and outbox, and refuses any fault. Gives the number of events.
pub(crate) async fn agree(plant: &mut Plant) -> anyhow::Result<usize> {
    let (faults, count) = compare(plant).await?;
    ensure!(faults == Faults::default(), "the books don't agree: {faults:?}");
    Ok(count)
}

/// Stops the plant and compares.
pub(crate) async fn compare(plant: &mut Plant) -> anyhow::Result<(Faults, usize)> {
    plant.stop().await?;
    let outbox = outbox(&plant.server.data_dir).await?;
    let mut on_disk = BTreeMap::new();
    for (device, agent) in &plant.agents {
        read_disk(device, &agent.data_dir.join("spool"), &mut on_disk)?;
    }
    ensure!(!on_disk.is_empty(), "benches without any event prove nothing");
    Ok((judge(&on_disk, &outbox), outbox.len()))
}

async fn outbox(data: &Path) -> anyhow::Result<Vec<OutboxRow>> {
    let generation = fleet_domain::StoreGeneration(fleet_clock::new_uuid());
    let path = data.join("fleet.db");
    let store = SqliteStore::open(&path, PLANT.parse()?, fleet_clock::wall_now(), generation);
    let store = store.await.context("the server's database")?;
    let mut rows: Vec<OutboxRow> = Vec::new();
    loop {
        let after = rows.last().map_or(0, |row| row.seq);
        let page = store.outbox_read(after, PAGE).await?;
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}

fn read_disk(device: &str, folder: &Path, into: &mut BTreeMap<Place, Vec<u8>>) -> anyhow::Result<()> {
    let disk = RealDisk::open(folder).with_context(|| format!("{} of {device}", folder.display()))?;
    let limits = Limits {
        min_free_bytes: 0,
        ..Limits::default()
    };
    let (mut spools, opened) = Spools::open(disk, limits, fleet_clock::wall_now())?;
    ensure!(opened.damage.is_empty(), "{device}: {:?}", opened.damage);
    for held in spools.held() {
        for seq in held.first_kept..held.next_seq {
            match spools.read(held.spool, seq)? {
                Read::Event(bytes) => {
                    into.insert((device.to_owned(), held.spool, seq), bytes);
                }
                other => anyhow::bail!("{device} {} {seq}: {other:?}", held.spool),
            }
        }
    }
    Ok(())
}

fn judge(on_disk: &BTreeMap<Place, Vec<u8>>, outbox: &[OutboxRow]) -> Faults {
    let mut faults = Faults::default();
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<(String, SpoolId), Seq> = BTreeMap::new();
    let mut current: BTreeMap<String, SpoolId> = BTreeMap::new();
    for row in outbox {
        let device = row.event.device.to_string();
        let place = (device.clone(), row.event.spool, row.event.seq);
        match on_disk.get(&place) {
            None => faults.phantoms.push(place.clone()),
            Some(bytes) if bytes[..] != row.event.bytes[..] => faults.changed.push(place.clone()),
            Some(_) => {}
        }
        let spool = (device.clone(), row.event.spool);
        let before = last.insert(spool.clone(), row.event.seq);
        let changes_spool = current.insert(device, row.event.spool) != Some(row.event.spool);
        // A spool that was left is never taken up again.
        if before.is_some_and(|before| before >= row.event.seq || changes_spool) {
            faults.reordered.push(place.clone());
        }
        if !seen.insert(place.clone()) {
            faults.duplicates.push(place);
        }
    }
    faults.lost = on_disk
        .keys()
        .filter(|place| !seen.contains(*place))
        .cloned()
        .collect();
    faults
}
