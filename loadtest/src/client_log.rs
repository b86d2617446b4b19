//! What benches say of themselves while they work: a file of JSON lines.
//!
//! A line is written with one call before the benches go on, so that a killed process leaves whole lines and at most
//! one torn one at the end. `append` comes before the disk is asked, `counted` after its `fdatasync` has returned: an
//! event with the first and without the second may be there or not, and the disk has the last word.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use fleet_domain::{DeviceId, Seq, SpoolId};
use history_checker::saved::{MadeLine, Op};
use spool::Position;

use crate::history::Noted;

/// The file.
#[derive(Debug)]
pub struct ClientLog {
    file: Mutex<File>,
}

impl ClientLog {
    /// A new file.
    ///
    /// # Errors
    /// When it exists, or what the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            file: Mutex::new(file),
        })
    }

    fn lines(&self, lines: impl IntoIterator<Item = MadeLine>) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text)
    }

    /// The event is about to be appended.
    ///
    /// # Errors
    /// What the file system says.
    pub fn append(&self, event: &Noted, vin: Option<&str>) -> io::Result<()> {
        self.lines([MadeLine {
            id: Some(event.id),
            hash: Some(hex::encode(event.hash)),
            vin: vin.map(str::to_owned),
            ..line(
                Op::Append,
                &event.place.device,
                event.place.spool,
                event.place.seq,
            )
        }])
    }

    /// These events count.
    ///
    /// # Errors
    /// What the file system says.
    pub fn counted<'a>(&self, events: impl IntoIterator<Item = &'a Noted>) -> io::Result<()> {
        let counted = events.into_iter().map(|event| {
            let place = &event.place;
            line(Op::Counted, &place.device, place.spool, place.seq)
        });
        self.lines(counted)
    }

    /// These events have their receipt.
    ///
    /// # Errors
    /// What the file system says.
    pub fn receipted(&self, device: &DeviceId, positions: &[Position]) -> io::Result<()> {
        let receipted = positions
            .iter()
            .map(|position| line(Op::Receipted, device.as_str(), position.spool, position.seq));
        self.lines(receipted)
    }
}

fn line(op: Op, device: &str, spool: SpoolId, seq: Seq) -> MadeLine {
    MadeLine {
        op,
        device: device.to_owned(),
        spool,
        seq,
        id: None,
        hash: None,
        vin: None,
    }
}
