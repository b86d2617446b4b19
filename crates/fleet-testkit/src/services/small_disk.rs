//! A file system of a few megabytes, to be filled.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use nix::sys::statvfs::statvfs;

/// A mounted tmpfs. Dropping it unmounts it: its content is gone.
#[derive(Debug)]
pub(super) struct SmallDisk {
    folder: PathBuf,
    bytes: u64,
}

impl SmallDisk {
    /// Mounts it on `folder` with an empty `tablespace` folder of the owner in it.
    pub(super) fn mount(folder: &Path, bytes: u64, owner: Option<(u32, u32)>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=755"), "tmpfs"])
            .arg(folder))
        .context("a small disk needs root and the right to mount")?;
        let this = Self {
            folder: folder.to_owned(),
            bytes,
        };
        let tablespace = folder.join("tablespace");
        std::fs::create_dir(&tablespace).context("cannot make a folder")?;
        if let Some((uid, gid)) = owner {
            chown(&tablespace, Some(uid), Some(gid)).context("cannot give a folder away")?;
        }
        Ok(this)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Shrinks it to what is in it.
    pub(super) fn fill(&mut self) -> anyhow::Result<()> {
        let now = statvfs(&self.folder).context("cannot ask the file system")?;
        self.resize((now.blocks() - now.blocks_free()) * now.fragment_size())
    }

    /// Gives it its first size again.
    pub(super) fn free(&mut self) -> anyhow::Result<()> {
        self.resize(self.bytes)
    }

    fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        run(Command::new("mount")
            .args(["-o", &format!("remount,size={bytes}")])
            .arg(&self.folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&self.folder)) {
            eprintln!("{error:#}");
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}
