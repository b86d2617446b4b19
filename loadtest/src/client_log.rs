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

use fleet_domain::DeviceId;
use serde_json::json;
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

    fn write(&self, lines: &str) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(lines.as_bytes())
    }

    /// The event is about to be appended.
    ///
    /// # Errors
    /// What the file system says.
    pub fn append(&self, event: &Noted, event_type: &str, vin: Option<&str>) -> io::Result<()> {
        let hash: String = event.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = json!({
            "op": "append",
            "device": event.place.device,
            "spool": event.place.spool,
            "seq": event.place.seq,
            "id": event.id,
            "hash": hash,
            "type": event_type,
            "vin": vin,
        });
        self.write(&format!("{line}\n"))
    }

    /// These events count.
    ///
    /// # Errors
    /// What the file system says.
    pub fn counted<'a>(&self, events: impl IntoIterator<Item = &'a Noted>) -> io::Result<()> {
        let mut lines = String::new();
        for event in events {
            let line = json!({
                "op": "counted",
                "device": event.place.device,
                "spool": event.place.spool,
                "seq": event.place.seq,
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        self.write(&lines)
    }

    /// These events have their receipt.
    ///
    /// # Errors
    /// What the file system says.
    pub fn receipted(&self, device: &DeviceId, positions: &[Position]) -> io::Result<()> {
        let mut lines = String::new();
        for position in positions {
            let line = json!({
                "op": "receipted",
                "device": device.as_str(),
                "spool": position.spool,
                "seq": position.seq,
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        self.write(&lines)
    }
}
