//! The disk as the spool sees it: one flat folder of files that only grow.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

/// What the spool needs of a disk. A second implementation loses power on purpose (`spool::sim`).
///
/// Names are flat: no separators. A write is durable only after `sync` of the file, a new, renamed or
/// removed name only after `sync_dir`.
pub trait Disk {
    /// Creates an empty file.
    ///
    /// # Errors
    /// When the name exists or the disk refuses.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes at the end of a file. On an error any part of `data` may have been written.
    ///
    /// # Errors
    /// What the disk says, such as no space left.
    fn append(&mut self, name: &str, data: &[u8]) -> io::Result<()>;
    /// Reads exactly `into.len()` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end, else what the disk says.
    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Makes a file's content durable. After an error nothing is known of what was written since the last
    /// success, and another call proves nothing.
    ///
    /// # Errors
    /// What the disk says.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_dir(&mut self) -> io::Result<()>;
    /// Renames a file over another one, atomically.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// All names, sorted.
    ///
    /// # Errors
    /// What the disk says.
    fn list(&mut self) -> io::Result<Vec<String>>;
    /// Size of a file, bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&mut self, name: &str) -> io::Result<u64>;
    /// Sets blocks for so many bytes aside for a file whose size stays as it is. A disk without such a thing
    /// does nothing.
    ///
    /// # Errors
    /// What the disk says, such as no space left.
    fn reserve(&mut self, _name: &str, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
    /// Bytes free for this process.
    ///
    /// # Errors
    /// What the disk says.
    fn free_bytes(&mut self) -> io::Result<u64>;
}

/// A folder of the file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    open: HashMap<String, File>,
    read_only: bool,
}

impl RealDisk {
    /// Most files kept open at a time.
    const MOST_OPEN: usize = 32;

    /// Opens a folder, creating it with mode 0700 when it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        Ok(Self {
            root,
            open: HashMap::new(),
            read_only: false,
        })
    }

    /// A folder that is only looked at: every operation that would change something fails, and none is made
    /// where none is.
    ///
    /// # Errors
    /// When it is not there or can't be read.
    pub fn read_only(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::read_dir(&root)?;
        Ok(Self {
            root,
            open: HashMap::new(),
            read_only: true,
        })
    }

    fn may_write(&self) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        if !self.open.contains_key(name) {
            if self.open.len() >= Self::MOST_OPEN {
                self.open.clear();
            }
            let file = OpenOptions::new()
                .read(true)
                .append(!self.read_only)
                .open(self.root.join(name))?;
            self.open.insert(name.to_owned(), file);
        }
        self.open.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for RealDisk {
    fn create(&mut self, name: &str) -> io::Result<()> {
        self.may_write()?;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.root.join(name))?;
        self.open.insert(name.to_owned(), file);
        Ok(())
    }

    fn append(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        self.may_write()?;
        self.file(name)?.write_all(data)
    }

    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file(name)?.read_exact_at(into, offset)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.may_write()?;
        self.file(name)?.sync_data()
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.may_write()?;
        File::open(&self.root)?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.may_write()?;
        self.open.remove(from);
        self.open.remove(to);
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.may_write()?;
        self.open.remove(name);
        fs::remove_file(self.root.join(name))
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        Ok(self.file(name)?.metadata()?.len())
    }

    fn reserve(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        self.may_write()?;
        let len = i64::try_from(bytes).map_err(io::Error::other)?;
        let keep_size = nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match nix::fcntl::fallocate(self.file(name)?, keep_size, 0, len) {
            // A file system that can't: the limit of free space is all there is.
            Ok(()) | Err(nix::errno::Errno::EOPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.root)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}
