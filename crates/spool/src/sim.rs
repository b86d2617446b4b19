//! A disk in memory that loses power, tears writes and fails on request. Seeded: a run replays.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;

/// What happens at a write operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes, before or in the middle of the operation.
    PowerLoss,
    /// No space left: an append is cut short. Passes.
    NoSpace,
    /// Input or output error. Passes.
    Io,
    /// A sync fails, and what it should have made durable never will be, though it can still be read.
    SyncFails,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    data: Vec<u8>,
    durable: usize,
    /// Ranges that a failed sync left out.
    lost: Vec<(usize, usize)>,
}

#[derive(Debug, Clone)]
enum DirOp {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

#[derive(Debug, Clone)]
struct Inner {
    inodes: Vec<Inode>,
    dir: BTreeMap<String, usize>,
    durable_dir: BTreeMap<String, usize>,
    pending: Vec<DirOp>,
    random: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    off: bool,
    unreadable: Vec<String>,
    free: u64,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

/// The whole content at one moment, for restoring an old image.
#[derive(Debug, Clone)]
pub struct Image(Inner);

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            inodes: Vec::new(),
            dir: BTreeMap::new(),
            durable_dir: BTreeMap::new(),
            pending: Vec::new(),
            random: seed,
            operations: 0,
            faults: BTreeMap::new(),
            off: false,
            unreadable: Vec::new(),
            free: u64::MAX,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write operations so far.
    pub fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// Lets the write operation of this number fail (the first is 0).
    pub fn fault_at(&self, operation: u64, fault: Fault) {
        self.inner().faults.insert(operation, fault);
    }

    /// Lets the write operation that comes after `operations` more fail.
    pub fn fault_in(&self, operations: u64, fault: Fault) {
        let mut inner = self.inner();
        let at = inner.operations + operations;
        inner.faults.insert(at, fault);
    }

    /// Forgets faults that have not happened.
    pub fn clear_faults(&self) {
        self.inner().faults.clear();
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.inner().off
    }

    /// Takes the power away now.
    pub fn power_off(&self) {
        self.inner().off = true;
    }

    /// Power comes back: what was not synced is gone, there, or torn.
    pub fn power_on(&self) {
        self.inner().lose_unsynced();
    }

    /// Reads of this file fail from now on.
    pub fn make_unreadable(&self, name: &str) {
        self.inner().unreadable.push(name.to_owned());
    }

    /// Sets the free space, bytes.
    pub fn set_free(&self, bytes: u64) {
        self.inner().free = bytes;
    }

    /// The durable content now.
    pub fn image(&self) -> Image {
        let mut inner = self.inner().clone();
        inner.lose_unsynced();
        Image(inner)
    }

    /// Puts an old image back.
    pub fn restore(&self, image: &Image) {
        let mut inner = self.inner();
        let (random, operations) = (inner.random, inner.operations);
        *inner = image.0.clone();
        (inner.random, inner.operations) = (random, operations);
    }

    /// A file's content.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        inner
            .dir
            .get(name)
            .and_then(|inode| inner.inodes.get(*inode))
            .map(|inode| inode.data.clone())
    }

    /// Changes a file's durable content behind everybody's back.
    pub fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.inner();
        let Some(index) = inner.dir.get(name).copied() else {
            return;
        };
        if let Some(inode) = inner.inodes.get_mut(index) {
            change(&mut inode.data);
            inode.durable = inode.data.len();
        }
    }
}

impl Inner {
    /// A number below `bound` (splitmix64).
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        usize::try_from(z % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn lose_unsynced(&mut self) {
        // Names: a journal keeps them in order, so some first part of the changes is there.
        let kept = self.below(self.pending.len() + 1);
        let ops: Vec<_> = self.pending.drain(..).take(kept).collect();
        for op in ops {
            apply(&mut self.durable_dir, op);
        }
        self.dir = self.durable_dir.clone();
        for index in 0..self.inodes.len() {
            let Some(inode) = self.inodes.get(index) else {
                continue;
            };
            let unsynced = inode.data.len() - inode.durable;
            let lost = inode.lost.clone();
            let (choice, part) = (self.below(4), self.below(unsynced + 1));
            let (zero_from, zero_len, junk) =
                (self.below(unsynced + 1), self.below(unsynced + 1), self.below(6));
            let Some(inode) = self.inodes.get_mut(index) else {
                continue;
            };
            let keep = match choice {
                0 => 0,
                1 => unsynced,
                _ => part,
            };
            inode.data.truncate(inode.durable + keep);
            let from = (inode.durable + zero_from).min(inode.data.len());
            let to = (from + zero_len).min(inode.data.len());
            if let Some(range) = inode.data.get_mut(from..to) {
                match junk {
                    0 => range.fill(0),
                    1 => range
                        .iter_mut()
                        .for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(7)),
                    _ => {}
                }
            }
            for (from, to) in lost {
                let to = to.min(inode.data.len());
                if let Some(range) = inode.data.get_mut(from.min(to)..to) {
                    range.fill(0);
                }
            }
            inode.lost.clear();
            inode.durable = inode.data.len();
        }
        self.off = false;
        self.faults.clear();
    }

    /// Counts a write operation; the fault that belongs to it.
    fn operation(&mut self) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(io::Error::other("power is off"));
        }
        let fault = self.faults.remove(&self.operations);
        self.operations += 1;
        match fault {
            Some(Fault::PowerLoss) => {
                self.off = true;
                Ok(fault)
            }
            Some(Fault::Io) => Err(io::Error::from_raw_os_error(nix::libc::EIO)),
            other => Ok(other),
        }
    }

    fn finish(&self) -> io::Result<()> {
        if self.off {
            Err(io::Error::other("power is off"))
        } else {
            Ok(())
        }
    }

    fn inode(&mut self, name: &str) -> io::Result<&mut Inode> {
        if self.off {
            return Err(io::Error::other("power is off"));
        }
        let index = *self.dir.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.inodes
            .get_mut(index)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change_dir(&mut self, op: DirOp) -> io::Result<()> {
        match self.operation()? {
            Some(Fault::NoSpace) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::PowerLoss) if self.below(2) == 0 => return self.finish(),
            _ => {}
        }
        apply(&mut self.dir, op.clone());
        self.pending.push(op);
        self.finish()
    }
}

fn apply(dir: &mut BTreeMap<String, usize>, op: DirOp) {
    match op {
        DirOp::Link(name, inode) => {
            dir.insert(name, inode);
        }
        DirOp::Unlink(name) => {
            dir.remove(&name);
        }
        DirOp::Rename(from, to) => {
            if let Some(inode) = dir.remove(&from) {
                dir.insert(to, inode);
            }
        }
    }
}

impl Disk for SimDisk {
    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.dir.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = inner.inodes.len();
        inner.inodes.push(Inode::default());
        inner.change_dir(DirOp::Link(name.to_owned(), inode))
    }

    fn append(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let fault = inner.operation()?;
        let part = inner.below(data.len() + 1);
        let index = *inner.dir.get(name).ok_or(io::ErrorKind::NotFound)?;
        let inode = inner.inodes.get_mut(index).ok_or(io::ErrorKind::NotFound)?;
        match fault {
            Some(Fault::NoSpace) => {
                inode.data.extend_from_slice(data.get(..part).unwrap_or(data));
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some(Fault::PowerLoss) => inode.data.extend_from_slice(data.get(..part).unwrap_or(data)),
            _ => inode.data.extend_from_slice(data),
        }
        inner.finish()
    }

    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.unreadable.iter().any(|unreadable| unreadable == name) {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        let inode = inner.inode(name)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let data = inode
            .data
            .get(from..from.saturating_add(into.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(data);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        let fault = inner.operation()?;
        inner.finish()?;
        let inode = inner.inode(name)?;
        if fault == Some(Fault::SyncFails) || fault == Some(Fault::NoSpace) {
            inode.lost.push((inode.durable, inode.data.len()));
            inode.durable = inode.data.len();
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        inode.durable = inode.data.len();
        Ok(())
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut inner = self.inner();
        let fault = inner.operation()?;
        inner.finish()?;
        if fault.is_some() {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        let ops: Vec<_> = inner.pending.drain(..).collect();
        for op in ops {
            apply(&mut inner.durable_dir, op);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.inode(from)?;
        inner.change_dir(DirOp::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.inode(name)?;
        inner.change_dir(DirOp::Unlink(name.to_owned()))
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let inner = self.inner();
        inner.finish()?;
        Ok(inner.dir.keys().cloned().collect())
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        let mut inner = self.inner();
        Ok(inner.inode(name)?.data.len() as u64)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let inner = self.inner();
        inner.finish()?;
        Ok(inner.free)
    }
}
