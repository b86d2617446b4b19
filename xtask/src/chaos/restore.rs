//! What is put back: an older database, an older disk of a bench.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fleet_testkit::{Api, ApiError, eventually};
use serde_json::Value;

use super::plan::{Component, Mode, Target};
use super::stand::{DATABASE, Stand};

/// A loaded machine, a relay's lease, a transaction of a relay that has died.
const WITHIN: Duration = Duration::from_mins(3);
/// Events that Kafka has and the backup does not know.
const MORE_THAN_THE_BACKUP: u64 = 200;
/// Whether the relay stands still because of a restore is known so soon.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// State of a part of any server, as `/readyz` says.
async fn states(urls: &[String], part: &str) -> Vec<String> {
    let mut states = Vec::new();
    for url in urls {
        let readiness = match Api::new(url).get("/readyz").await {
            Ok(readiness) => readiness,
            // Not ready is an answer too.
            Err(ApiError::Refused { problem, .. }) => problem,
            Err(ApiError::Transport { .. }) => continue,
        };
        let checks = readiness["checks"].as_array().cloned().unwrap_or_default();
        let check = checks.iter().find(|check| check["name"] == part);
        if let Some(state) = check.and_then(|check| check["state"].as_str()) {
            states.push(state.to_owned());
        }
    }
    states
}

/// Waits until store and broker are well on every server and one of them relays.
pub(super) async fn until_healthy(stand: &Stand) -> anyhow::Result<()> {
    let urls = stand.urls();
    let mut last = Vec::new();
    let healthy = eventually("servers that are well", WITHIN, async || {
        let (store, kafka) = (states(&urls, "store").await, states(&urls, "kafka").await);
        let well = store.len() == urls.len()
            && store.iter().all(|state| state == "ok")
            && kafka.iter().any(|state| state == "ok");
        last = vec![store, kafka];
        well.then_some(())
    })
    .await;
    healthy.with_context(|| format!("store and kafka are {last:?}"))
}

fn backup_path(stand: &Stand) -> PathBuf {
    stand.folder.join("backup")
}

async fn in_kafka(stand: &Stand) -> Option<u64> {
    ledger(stand).await?["in_kafka"].as_u64()
}

/// Makes a backup. Gives how many events were in Kafka then.
pub(super) async fn backup(stand: &mut Stand) -> anyhow::Result<u64> {
    let backup = backup_path(stand);
    let relayed = in_kafka(stand).await.unwrap_or_default();
    match stand.size.mode {
        Mode::Plant => stand.postgres()?.dump(DATABASE, &backup).await?,
        Mode::Embedded => {
            stand.stop_server(0).await?;
            copy_database(&stand.sqlite(), &backup)?;
            stand.start_one(Target(Component::Server, 0)).await?;
        }
    }
    Ok(relayed)
}

/// Waits until Kafka has clearly more than the backup: else a restore would be of no consequence.
pub(super) async fn until_relayed(stand: &Stand, at_backup: u64) -> anyhow::Result<()> {
    eventually(
        "events in Kafka that the backup does not know",
        WITHIN,
        async || (in_kafka(stand).await? >= at_backup + MORE_THAN_THE_BACKUP).then_some(()),
    )
    .await
}

/// Puts the backup back and does what the runbook says.
pub(super) async fn database(stand: &mut Stand, declared: bool) -> anyhow::Result<()> {
    let backup = backup_path(stand);
    match stand.size.mode {
        Mode::Plant => {
            stand.postgres()?.restore(DATABASE, &backup).await?;
            if declared {
                stand.server_command(&["declare-restored"]).await?;
            }
            if is_noticed(stand).await {
                stand.server_command(&["relay", "reconcile"]).await?;
            }
        }
        Mode::Embedded => {
            stand.stop_server(0).await?;
            let database = stand.sqlite();
            let (name, folder) = (
                database.file_name().context("a file")?,
                database.parent().context("a folder")?,
            );
            for suffix in ["", "-wal", "-shm"] {
                let path = folder.join(format!("{}{suffix}", name.display()));
                if path.exists() {
                    std::fs::remove_file(&path)
                        .with_context(|| format!("cannot remove {}", path.display()))?;
                }
            }
            copy_database(&backup, &database)?;
            if declared {
                stand.server_command(&["declare-restored"]).await?;
                stand.server_command(&["relay", "reconcile"]).await?;
            } else {
                stand.start_one(Target(Component::Server, 0)).await?;
                if is_noticed(stand).await {
                    stand.stop_server(0).await?;
                    stand.server_command(&["relay", "reconcile"]).await?;
                }
            }
            stand.start_one(Target(Component::Server, 0)).await?;
        }
    }
    until_healthy(stand).await.context("after the restore")
}

/// The relay has noticed by itself that the database is older than Kafka. It need not: nothing was relayed since the
/// backup, or it could not ask yet.
async fn is_noticed(stand: &Stand) -> bool {
    let urls = stand.urls();
    let noticed = eventually("cursor_lost", NOTICED_WITHIN, async || {
        let states = states(&urls, "kafka").await;
        states.iter().any(|state| state == "cursor_lost").then_some(())
    });
    noticed.await.is_ok()
}

/// The database's files: what was committed last may lie in the log beside it.
fn copy_database(from: &Path, to: &Path) -> anyhow::Result<()> {
    for suffix in ["", "-wal"] {
        let beside = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let (from, to) = (beside(from), beside(to));
        if from.exists() {
            std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// Images of the disks of benches.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The files of clients' histories that there were when the image was made.
    known: BTreeSet<String>,
    /// Files whose events may be gone.
    removed: Vec<String>,
}

impl Kept {
    /// Copies the disks of a process with benches while it is down.
    pub(super) async fn image(&mut self, stand: &mut Stand, of: usize) -> anyhow::Result<()> {
        let target = Target(Component::Benches, of);
        stand.kill(target)?;
        let (disks, image) = paths(stand, of)?;
        copy(&disks, &image)?;
        self.known = histories(stand, of)?;
        stand.start_one(target).await
    }

    /// Puts them back.
    pub(super) async fn restore(&mut self, stand: &mut Stand, of: usize) -> anyhow::Result<()> {
        let target = Target(Component::Benches, of);
        stand.kill(target)?;
        let (disks, image) = paths(stand, of)?;
        std::fs::remove_dir_all(&disks).with_context(|| format!("cannot remove {}", disks.display()))?;
        copy(&image, &disks)?;
        let now = histories(stand, of)?;
        self.removed = now.difference(&self.known).cloned().collect();
        stand.start_one(target).await
    }

    /// Histories of which events may be gone since the last call.
    pub(super) fn take_removed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.removed)
    }
}

fn paths(stand: &Stand, of: usize) -> anyhow::Result<(PathBuf, PathBuf)> {
    let benches = stand.benches.get(of).context("no such benches")?;
    Ok((
        benches.disks.clone(),
        stand.folder.join(format!("{}-image", benches.name)),
    ))
}

fn histories(stand: &Stand, of: usize) -> anyhow::Result<BTreeSet<String>> {
    let name = &stand.benches.get(of).context("no such benches")?.name;
    let prefix = format!("made-{name}-");
    let entries = std::fs::read_dir(&stand.history).context("cannot read the history's folder")?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(&prefix)).collect())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let output = Command::new("cp").arg("-a").arg(from).arg(to).output();
    let output = output.context("cannot start cp")?;
    if !output.status.success() {
        bail!(
            "{} can't be copied: {}",
            from.display(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

/// The plant's ledger.
pub(super) async fn ledger(stand: &Stand) -> Option<Value> {
    stand.api().ok()?.get("/api/v1/ledger").await.ok()
}
