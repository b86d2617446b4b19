//! Disk operations with their errors, and the rule that a failed sync is final.

use std::io;

use crate::disk::Disk;
use crate::error::SpoolError;

/// The file of durable ends.
pub(crate) const MARKS: &str = "marks";
/// The file of receipts, holes and former spools.
pub(crate) const STATE: &str = "state";
/// Space set aside for results of accepted jobs: an empty file that has its blocks.
pub(crate) const RESERVE: &str = "reserve";
/// Ending of a file that replaces another one.
pub(crate) const NEW: &str = ".new";

/// Bytes read at once where the disk has bad places.
const CAREFUL_PIECE: usize = 4096;

/// A disk that remembers a failed sync.
#[derive(Debug)]
pub(crate) struct Files<D: Disk> {
    pub(crate) disk: D,
    poisoned: Option<String>,
}

impl<D: Disk> Files<D> {
    pub(crate) fn new(disk: D) -> Self {
        Self { disk, poisoned: None }
    }

    /// An error once a sync has failed.
    pub(crate) fn sound(&self) -> Result<(), SpoolError> {
        match &self.poisoned {
            None => Ok(()),
            Some(file) => Err(SpoolError::Poisoned {
                file: file.clone(),
                source: None,
            }),
        }
    }

    pub(crate) fn create(&mut self, name: &str) -> Result<(), SpoolError> {
        failed("create", name, self.disk.create(name))
    }

    pub(crate) fn append(&mut self, name: &str, data: &[u8]) -> Result<(), SpoolError> {
        failed("append", name, self.disk.append(name, data))
    }

    pub(crate) fn list(&mut self) -> Result<Vec<String>, SpoolError> {
        failed("list", ".", self.disk.list())
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<(), SpoolError> {
        match self.disk.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => failed("remove", name, result),
        }
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), SpoolError> {
        failed("rename", to, self.disk.rename(from, to))
    }

    pub(crate) fn sync(&mut self, name: &str) -> Result<(), SpoolError> {
        let result = self.disk.sync(name);
        self.poison(name, result)
    }

    pub(crate) fn sync_dir(&mut self) -> Result<(), SpoolError> {
        let result = self.disk.sync_dir();
        self.poison(".", result)
    }

    fn poison(&mut self, name: &str, result: io::Result<()>) -> Result<(), SpoolError> {
        result.map_err(|source| {
            self.poisoned = Some(name.to_owned());
            SpoolError::Poisoned {
                file: name.to_owned(),
                source: Some(source),
            }
        })
    }

    /// Replaces a file as a whole: after a power loss it has the old content or the new one.
    pub(crate) fn replace(&mut self, name: &str, content: &[u8]) -> Result<(), SpoolError> {
        self.sound()?;
        let new = format!("{name}{NEW}");
        self.remove(&new)?;
        self.create(&new)?;
        self.append(&new, content)?;
        self.sync(&new)?;
        self.rename(&new, name)?;
        self.sync_dir()
    }

    /// A whole file. Places that the disk can't read come as zeros, which no record survives.
    pub(crate) fn read_all(&mut self, name: &str) -> Result<Vec<u8>, SpoolError> {
        let len = failed("measure", name, self.disk.len(name))?;
        let mut content = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        if self.disk.read_at(name, 0, &mut content).is_ok() {
            return Ok(content);
        }
        let mut offset = 0;
        for piece in content.chunks_mut(CAREFUL_PIECE) {
            if self.disk.read_at(name, offset, piece).is_err() {
                piece.fill(0);
            }
            offset += u64::try_from(piece.len()).unwrap_or(0);
        }
        Ok(content)
    }
}

fn failed<T>(action: &'static str, file: &str, result: io::Result<T>) -> Result<T, SpoolError> {
    result.map_err(|source| SpoolError::Disk {
        action,
        file: file.to_owned(),
        source,
    })
}
