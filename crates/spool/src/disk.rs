//! The disk as the spool sees it: one flat folder of files that only grow.

use std::io;

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
    /// Bytes free for this process.
    ///
    /// # Errors
    /// What the disk says.
    fn free_bytes(&mut self) -> io::Result<u64>;
}

/// A folder of the file system.
#[derive(Debug)]
pub struct RealDisk {
    root: std::path::PathBuf,
    files: std::collections::HashMap<String, std::fs::File>,
}

impl RealDisk {
    /// Opens a folder, creating it with mode 0700 when it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(root: impl Into<std::path::PathBuf>) -> io::Result<Self> {
        let root = root.into();
        std::fs::create_dir_all(&root)?;
        Ok(Self {
            root,
            files: std::collections::HashMap::new(),
        })
    }
}
