//! A file system of some megabytes in a file, to be filled: a real one, which says that it is full as a disk does.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use nix::sys::statvfs::statvfs;

const FILLER: &str = "filler";
const ROUNDS: usize = 12;
/// The last bytes are written, block by block.
const LEFT_TO_WRITING: u64 = 1 << 18;
/// Ends with the process that started it: the pipe is closed, however that process ended.
const WATCHDOG: &str = "read -r _; umount -l \"$1\"";

/// A mounted ext4 in a sparse file. Dropping it unmounts it; the file stays.
#[derive(Debug)]
pub struct LoopDisk {
    folder: PathBuf,
    watchdog: Child,
}

impl LoopDisk {
    /// Makes a file system of so many bytes in `image` and mounts it on `folder`. Needs root and loop devices.
    ///
    /// # Errors
    /// When it can't be made or mounted; what the program said is named.
    pub fn mount(image: &Path, folder: &Path, bytes: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = File::create(image).with_context(|| format!("cannot make {}", image.display()))?;
        file.set_len(bytes).context("cannot set a file's length")?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(folder))
            .context("a small disk needs root and loop devices")?;
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn();
        let watchdog = match watchdog {
            Ok(watchdog) => watchdog,
            Err(error) => {
                run(Command::new("umount").arg("-l").arg(folder))?;
                return Err(error).context("cannot start the watchdog (/bin/sh)");
            }
        };
        Ok(Self {
            folder: folder.to_owned(),
            watchdog,
        })
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves no free block: who writes gets `ENOSPC`.
    ///
    /// # Errors
    /// When the filler can't be written for another reason.
    pub fn fill(&self) -> anyhow::Result<()> {
        let path = self.folder.join(FILLER);
        let mut file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        // At once and without writing a byte. It may fail half-way, since the file system needs blocks for itself.
        for _ in 0..ROUNDS {
            let (free, length) = (self.free_bytes()?, file.metadata().context("no length")?.len());
            let more = free / 8 * 7;
            if more < LEFT_TO_WRITING {
                break;
            }
            let _ = run(Command::new("fallocate")
                .args(["-o", &length.to_string(), "-l", &more.to_string()])
                .arg(&path));
        }
        let mut at = std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).context("cannot seek")?;
        let block = [0_u8; 4096];
        loop {
            match file
                .write(&block)
                .and_then(|count| file.sync_data().map(|()| count))
            {
                Ok(count) => at += count as u64,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).with_context(|| format!("cannot fill the disk at {at}")),
            }
        }
    }

    fn free_bytes(&self) -> anyhow::Result<u64> {
        let now = statvfs(&self.folder).context("cannot ask the file system")?;
        Ok(now.blocks_free() * now.fragment_size())
    }

    /// Gives the free blocks back.
    ///
    /// # Errors
    /// When the filler can't be removed.
    pub fn free(&self) -> anyhow::Result<()> {
        let path = self.folder.join(FILLER);
        if !path.exists() {
            return Ok(());
        }
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // The end of its input tells it to unmount.
        drop(self.watchdog.stdin.take());
        if let Err(error) = self.watchdog.wait() {
            eprintln!("{} may still be mounted: {error}", self.folder.display());
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
