//! One server per data folder, enforced by a lock of the kernel: it ends with the process, however that ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Name of the lock file in the data folder.
pub const LOCK_FILE: &str = "server.lock";

/// Why the data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another server has it.
    #[error(
        "data folder {folder} is held by another fleet-server ({holder}): stop it, or set data_dir to another folder"
    )]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Its process and start, as it wrote them.
        holder: String,
    },
    /// The folder or the lock file can't be made or written.
    #[error("data folder {folder} can't be used: {action}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The lock; the folder is free again when it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: Flock<File>,
}

impl FolderLock {
    /// Makes the folder if need be and locks it.
    ///
    /// # Errors
    /// When another server holds it, naming that server, or when the folder can't be written.
    pub fn take(folder: &Path, now: Timestamp) -> Result<Self, LockError> {
        let io = |action| {
            move |source| LockError::Io {
                folder: folder.to_owned(),
                action,
                source,
            }
        };
        std::fs::create_dir_all(folder).map_err(io("making it"))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(LOCK_FILE))
            .map_err(io("opening its lock file"))?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                // The holder may be about to write its name; an empty name is still a refusal.
                file.read_to_string(&mut holder)
                    .map_err(io("reading its lock file"))?;
                let holder = match holder.trim() {
                    "" => "its name is not written yet".to_owned(),
                    name => name.replace('\n', ", "),
                };
                return Err(LockError::Held {
                    folder: folder.to_owned(),
                    holder,
                });
            }
            Err((_, errno)) => return Err(io("locking its lock file")(errno.into())),
        };
        let written = (|| {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "process {}\nsince {now}\n", std::process::id())?;
            file.sync_all()
        })();
        written.map_err(io("writing its lock file"))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_and_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let first = FolderLock::take(folder.path(), now).unwrap();
        let refused = FolderLock::take(folder.path(), now).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        assert!(refused.contains("2026-01-02T03:04:05Z"), "{refused}");
        drop(first);
        FolderLock::take(folder.path(), now).unwrap();
    }
}
