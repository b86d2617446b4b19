//! The file of the agent's core: replaced as a whole, durable before anything else is done.

use std::io;

use spool::Disk;

const FILE: &str = "state";
const NEW: &str = "state.new";

/// The file on its disk.
#[derive(Debug)]
pub(crate) struct StateFile<D: Disk> {
    disk: D,
}

impl<D: Disk> StateFile<D> {
    pub(crate) fn open(disk: D) -> Self {
        Self { disk }
    }

    pub(crate) fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let len = match self.disk.len(FILE) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        self.disk.read_at(FILE, 0, &mut bytes)?;
        Ok(Some(bytes))
    }

    pub(crate) fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.disk.remove(NEW) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.disk.create(NEW)?;
        self.disk.append(NEW, bytes)?;
        self.disk.sync(NEW)?;
        self.disk.rename(NEW, FILE)?;
        self.disk.sync_dir()
    }
}
