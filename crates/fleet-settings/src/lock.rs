//! One program per data folder, enforced by a lock of the kernel: it ends with the process, however that ends.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::Program;

/// Why the data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process of the same program has it.
    #[error(
        "data folder {folder} is held by another {program} ({holder}): stop it, or set data_dir to another folder"
    )]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Name of the program.
        program: &'static str,
        /// The holder's process and start, as it wrote them.
        holder: String,
    },
    /// The folder or the lock file can't be made or written.
    #[error("data folder {folder} can't be used: {action} failed")]
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

impl Program {
    /// Makes the data folder if need be and locks it. `now` is what the next one is told as the start.
    ///
    /// # Errors
    /// When another process holds it, naming that one, or when the folder can't be written.
    pub fn lock_folder(&self, folder: &Path, now: Timestamp) -> Result<FolderLock, LockError> {
        let io = |action| {
            move |source| LockError::Io {
                folder: folder.to_owned(),
                action,
                source,
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(self.folder_mode)
            .create(folder)
            .map_err(io("making it"))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(self.lock_file))
            .map_err(io("opening its lock file"))?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                return Err(LockError::Held {
                    folder: folder.to_owned(),
                    program: self.name,
                    holder: holder(&mut file).map_err(io("reading its lock file"))?,
                });
            }
            Err((_, errno)) => return Err(io("locking its lock file")(errno.into())),
        };
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "process {}\nsince {now}\n", std::process::id())?;
            file.sync_all()
        };
        write().map_err(io("writing its lock file"))?;
        Ok(FolderLock { _file: file })
    }
}

fn holder(file: &mut File) -> std::io::Result<String> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    // The holder may be about to write its name; without one it is a refusal all the same.
    Ok(match text.trim() {
        "" => "its name is not written yet".to_owned(),
        name => name.replace('\n', ", "),
    })
}
