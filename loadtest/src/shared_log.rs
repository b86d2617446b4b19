//! One log on the disk for many benches: what they write goes into one file, and one `fdatasync` makes it durable for
//! all that wait. Ten thousand benches share one disk here that in a plant have one each.
//!
//! A bench's files keep the spool's own format; they lie in the log in pieces, each with length and CRC-32C. Opening a
//! log reads it from the begin to the last whole piece, so a bench goes on with what was durable.
//!
//! **`sync` does not wait.** It notes what has to be durable, and the bench's [`Gate`] opens when it is. A bench holds
//! back whatever would leave it (an event to the broker, a sync, the claim that an event counts) until its gate is
//! open. From outside that is a bench whose `sync` took so long; inside, ten thousand benches need one thread. A log
//! whose write or `fdatasync` failed opens no gate any more.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use spool::Disk;
use tokio::sync::watch;

use crate::disks::{BenchDisk, Gate};
use piece::{Piece, Tag};

mod piece;

/// How often and how long the log was flushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flushes {
    /// Number of `fdatasync` calls.
    pub count: u64,
    /// Time in write and `fdatasync`.
    pub busy: Duration,
    /// The longest one.
    pub longest: Duration,
    /// Bytes written.
    pub bytes: u64,
}

/// Where a part of a file lies in the log.
#[derive(Debug, Clone, Copy)]
struct Extent {
    at: u64,
    in_log: u64,
    len: u64,
}

#[derive(Debug, Default)]
struct FileParts {
    len: u64,
    extents: Vec<Extent>,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers of the folders by name.
    folders: BTreeMap<String, u32>,
    /// Files by folder and name.
    names: BTreeMap<(u32, String), u32>,
    files: Vec<FileParts>,
    /// Not handed to the flusher.
    pending: Vec<u8>,
    pending_at: u64,
    /// With the flusher, or the last that was.
    writing: Arc<Vec<u8>>,
    writing_at: u64,
    /// Up to here somebody waits.
    asked: u64,
    closing: bool,
    failed: Option<String>,
    flushes: Flushes,
}

impl State {
    fn end(&self) -> u64 {
        self.pending_at + self.pending.len() as u64
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    file: File,
    state: Mutex<State>,
    wanted: Condvar,
    durable: AtomicU64,
    /// Rises with each flush; also told when the log has failed.
    flushed: watch::Sender<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_durable(&self, to: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= to
    }

    /// Has everything flushed that was asked for by a sync.
    pub(crate) fn flush(&self) {
        if self.state().asked > self.durable.load(Ordering::Acquire) {
            self.wanted.notify_one();
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.flushed.subscribe()
    }

    pub(crate) fn failed(&self) -> Option<String> {
        self.state().failed.clone()
    }

    fn flusher(&self) {
        loop {
            let mut state = self.state();
            while state.asked <= self.durable.load(Ordering::Acquire) && !state.closing {
                state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.pending.is_empty() || state.failed.is_some() {
                return;
            }
            let room = state.pending.len();
            let bytes = Arc::new(std::mem::replace(&mut state.pending, Vec::with_capacity(room)));
            let at = state.pending_at;
            state.pending_at += bytes.len() as u64;
            state.writing = Arc::clone(&bytes);
            state.writing_at = at;
            drop(state);
            let begun = Instant::now();
            let outcome = self
                .file
                .write_all_at(&bytes, at)
                .and_then(|()| self.file.sync_data());
            let took = begun.elapsed();
            let mut state = self.state();
            if let Err(error) = outcome {
                // Never tried again: a second fdatasync that succeeds proves nothing of the first one's bytes.
                state.failed = Some(format!("{}: {error}", self.path.display()));
                drop(state);
                self.flushed.send_modify(|number| *number += 1);
                return;
            }
            state.flushes.count += 1;
            state.flushes.busy += took;
            state.flushes.longest = state.flushes.longest.max(took);
            state.flushes.bytes += bytes.len() as u64;
            let number = state.flushes.count;
            self.durable.store(at + bytes.len() as u64, Ordering::Release);
            drop(state);
            self.flushed.send_replace(number);
        }
    }
}

/// The log. Dropping it flushes what is left and closes it.
#[derive(Debug)]
pub struct SharedLog {
    shared: Arc<Shared>,
    flusher: Option<JoinHandle<()>>,
}

impl SharedLog {
    /// Opens a log, creating it where there is none. What follows the last whole piece is cut off: nobody was told
    /// of it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut state = State::default();
        let end = replay(&file, &mut state)?;
        file.set_len(end)?;
        file.sync_all()?;
        state.pending_at = end;
        state.asked = end;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            file,
            state: Mutex::new(state),
            wanted: Condvar::new(),
            durable: AtomicU64::new(end),
            flushed: watch::Sender::new(0),
        });
        let for_thread = Arc::clone(&shared);
        let flusher = std::thread::Builder::new()
            .name("shared-log".to_owned())
            .spawn(move || for_thread.flusher())?;
        Ok(Self {
            shared,
            flusher: Some(flusher),
        })
    }

    /// The disks of a bench.
    pub fn bench(&self, name: &str) -> SharedBench {
        SharedBench {
            shared: Arc::clone(&self.shared),
            spool: self.folder(&format!("{name}/spool")),
            state: self.folder(&format!("{name}/state")),
            needs: Arc::new(AtomicU64::new(0)),
        }
    }

    fn folder(&self, name: &str) -> u32 {
        let mut state = self.shared.state();
        if let Some(known) = state.folders.get(name) {
            return *known;
        }
        let folder = number(state.folders.len());
        state.folders.insert(name.to_owned(), folder);
        push(&mut state, Tag::Folder, folder, 0, name.as_bytes());
        folder
    }

    /// How often it was flushed.
    pub fn flushes(&self) -> Flushes {
        self.shared.state().flushes
    }

    /// Why it opens no gate any more.
    pub fn failed(&self) -> Option<String> {
        self.shared.failed()
    }
}

impl Drop for SharedLog {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.closing = true;
        }
        self.shared.wanted.notify_one();
        if let Some(flusher) = self.flusher.take() {
            // A flusher that panicked has flushed nothing more; the gates stay closed.
            let _ = flusher.join();
        }
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Adds a piece; gives the place of its content in the log.
fn push(state: &mut State, tag: Tag, folder: u32, file: u32, content: &[u8]) -> u64 {
    piece::encode(&mut state.pending, tag, folder, file, content);
    state.end() - content.len() as u64
}

/// Reads the whole pieces; gives the place after the last one.
fn replay(file: &File, state: &mut State) -> io::Result<u64> {
    let mut pieces = piece::Reader::new(file)?;
    while let Some(piece) = pieces.next()? {
        apply(state, &piece);
    }
    Ok(pieces.end())
}

/// What a piece of an earlier process means. One that fits nothing changes nothing.
fn apply(state: &mut State, piece: &Piece) {
    let name = || String::from_utf8_lossy(&piece.content).into_owned();
    match piece.tag {
        Tag::Folder => {
            let folder = number(state.folders.len());
            state.folders.insert(name(), folder);
        }
        Tag::Create => {
            let file = number(state.files.len());
            state.files.push(FileParts::default());
            state.names.insert((piece.folder, name()), file);
        }
        Tag::Append => {
            if let Some(parts) = state.files.get_mut(piece.file as usize) {
                extend(parts, piece.content_at, piece.content.len() as u64);
            }
        }
        Tag::Rename => {
            if let Some((from, to)) = name().split_once('/') {
                rename(state, piece.folder, from, to);
            }
        }
        Tag::Remove => {
            state.names.remove(&(piece.folder, name()));
        }
    }
}

fn extend(parts: &mut FileParts, in_log: u64, len: u64) {
    parts.extents.push(Extent {
        at: parts.len,
        in_log,
        len,
    });
    parts.len += len;
}

fn rename(state: &mut State, folder: u32, from: &str, to: &str) -> bool {
    let Some(file) = state.names.remove(&(folder, from.to_owned())) else {
        return false;
    };
    if let Some(replaced) = state.names.insert((folder, to.to_owned()), file)
        && let Some(parts) = state.files.get_mut(replaced as usize)
    {
        *parts = FileParts::default();
    }
    true
}

/// A bench's part of a log.
#[derive(Debug, Clone)]
pub struct SharedBench {
    shared: Arc<Shared>,
    spool: u32,
    state: u32,
    needs: Arc<AtomicU64>,
}

impl SharedBench {
    fn disk(&self, folder: u32) -> SharedDisk {
        SharedDisk {
            shared: Arc::clone(&self.shared),
            folder,
            needs: Arc::clone(&self.needs),
        }
    }
}

impl BenchDisk for SharedBench {
    type Disk = SharedDisk;

    fn spool(&self) -> io::Result<SharedDisk> {
        Ok(self.disk(self.spool))
    }

    fn state(&self) -> io::Result<SharedDisk> {
        Ok(self.disk(self.state))
    }

    fn gate(&self) -> Gate {
        Gate::of_log(Arc::clone(&self.shared), Arc::clone(&self.needs))
    }
}

/// A folder in the log. Its `sync` holds once the bench's [`Gate`] is open.
#[derive(Debug)]
pub struct SharedDisk {
    shared: Arc<Shared>,
    folder: u32,
    needs: Arc<AtomicU64>,
}

impl SharedDisk {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.shared.state();
        match &state.failed {
            None => Ok(state),
            Some(reason) => Err(io::Error::other(reason.clone())),
        }
    }

    fn file(&self, state: &State, name: &str) -> io::Result<u32> {
        let known = state.names.get(&(self.folder, name.to_owned()));
        known.copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn want_everything(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let end = state.end();
        state.asked = state.asked.max(end);
        self.needs.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }
}

impl Disk for SharedDisk {
    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state()?;
        let key = (self.folder, name.to_owned());
        if state.names.contains_key(&key) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = number(state.files.len());
        push(&mut state, Tag::Create, self.folder, file, name.as_bytes());
        state.files.push(FileParts::default());
        state.names.insert(key, file);
        Ok(())
    }

    fn append(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        let file = self.file(&state, name)?;
        let at = push(&mut state, Tag::Append, self.folder, file, data);
        if let Some(parts) = state.files.get_mut(file as usize) {
            extend(parts, at, data.len() as u64);
        }
        Ok(())
    }

    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.shared.state();
        let file = self.file(&state, name)?;
        let parts = state.files.get(file as usize).ok_or(io::ErrorKind::NotFound)?;
        if offset.saturating_add(into.len() as u64) > parts.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut extent = parts.extents.partition_point(|part| part.at + part.len <= offset);
        let mut done = 0;
        while done < into.len() {
            let part = parts.extents.get(extent).ok_or(io::ErrorKind::UnexpectedEof)?;
            let skip = offset + done as u64 - part.at;
            let left = usize::try_from(part.len - skip).unwrap_or(usize::MAX);
            let end = into.len().min(done.saturating_add(left));
            let into = into.get_mut(done..end).ok_or(io::ErrorKind::UnexpectedEof)?;
            read_log(&self.shared.file, &state, part.in_log + skip, into)?;
            done = end;
            extent += 1;
        }
        Ok(())
    }

    fn sync(&mut self, _name: &str) -> io::Result<()> {
        self.want_everything()
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.want_everything()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state()?;
        if !rename(&mut state, self.folder, from, to) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let content = format!("{from}/{to}");
        push(&mut state, Tag::Rename, self.folder, 0, content.as_bytes());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state()?;
        let file = state.names.remove(&(self.folder, name.to_owned()));
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        if let Some(parts) = state.files.get_mut(file as usize) {
            *parts = FileParts::default();
        }
        push(&mut state, Tag::Remove, self.folder, file, name.as_bytes());
        Ok(())
    }

    fn list(&mut self) -> io::Result<Vec<String>> {
        let state = self.shared.state();
        let all = state.names.range((self.folder, String::new())..);
        let own = all.take_while(|((folder, _), _)| *folder == self.folder);
        Ok(own.map(|((_, name), _)| name.clone()).collect())
    }

    fn len(&mut self, name: &str) -> io::Result<u64> {
        let state = self.shared.state();
        let file = self.file(&state, name)?;
        Ok(state.files.get(file as usize).map_or(0, |parts| parts.len))
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.shared.path)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}

/// Bytes of the log: from memory where they may not be in the file yet.
fn read_log(file: &File, state: &State, at: u64, into: &mut [u8]) -> io::Result<()> {
    let held = [
        (state.pending_at, &state.pending),
        (state.writing_at, &*state.writing),
    ];
    for (begin, bytes) in held {
        let from = at.checked_sub(begin).and_then(|from| usize::try_from(from).ok());
        if let Some(from) = from
            && let Some(found) = bytes.get(from..from.saturating_add(into.len()))
        {
            into.copy_from_slice(found);
            return Ok(());
        }
    }
    file.read_exact_at(into, at)
}
