//! The journal of attempts: what was about to be done, made durable before it is done.
//!
//! One file per attempt, `{dir}/{job_id}-{attempt}.journal`, one JSON document per line. A line counts when it is
//! complete: an incomplete last line is the write that a power cut interrupted, and what it announces was not begun.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fleet_domain::JobId;
use procedure::Intent;
use serde::{Deserialize, Serialize};

use crate::runner::FinalReport;

/// What is known of an attempt before it begins; enough to judge it after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The job.
    pub job_id: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Fencing number of the entry that was accepted.
    pub fence: u64,
    /// The vehicle.
    pub vin: String,
    /// The procedure, as it was compiled.
    pub procedure: String,
    /// Artifacts by the name of the input.
    pub artifacts: Vec<ArtifactNote>,
    /// Values of the parameters.
    pub parameters: std::collections::BTreeMap<String, String>,
}

/// An artifact without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactNote {
    /// Name of the input.
    pub input: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Length in bytes.
    pub size: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
enum Line {
    Begun { schema: u32, header: Box<Header> },
    Intent(Intent),
    Confirmed(Intent),
    Finished { report: Box<FinalReport> },
}

/// Version of the file's format.
const SCHEMA: u32 = 1;
const EXTENSION: &str = "journal";

/// Why the journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the journal {path}", path = path.display())]
pub struct JournalError {
    /// What was attempted.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |source| JournalError {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The journal of a running attempt.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Begins the journal of an attempt. Blocks for an fsync of the file and its folder.
    ///
    /// # Errors
    /// [`JournalError`], also when the attempt has a journal already: it was begun before.
    pub fn create(dir: &Path, header: &Header) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(failed("create the folder of", dir))?;
        let path = path_of(dir, header.job_id, header.attempt);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("create", &path))?;
        let mut journal = Self { file, path };
        journal.line(&Line::Begun {
            schema: SCHEMA,
            header: Box::new(header.clone()),
        })?;
        // The file's name has to survive as well as its content.
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("sync the folder of", dir))?;
        Ok(journal)
    }

    /// Makes an intent durable. Blocks for an fsync.
    ///
    /// # Errors
    /// [`JournalError`]: the step must not be begun.
    pub fn intent(&mut self, intent: &Intent) -> Result<(), JournalError> {
        self.line(&Line::Intent(intent.clone()))
    }

    /// Makes durable that an intent was carried out. Blocks for an fsync.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn confirmed(&mut self, intent: &Intent) -> Result<(), JournalError> {
        self.line(&Line::Confirmed(intent.clone()))
    }

    /// Makes the final report durable. Blocks for an fsync.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn finished(&mut self, report: &FinalReport) -> Result<(), JournalError> {
        self.line(&Line::Finished {
            report: Box::new(report.clone()),
        })
    }

    fn line(&mut self, line: &Line) -> Result<(), JournalError> {
        let mut bytes = serde_json::to_vec(line)
            .map_err(io::Error::from)
            .map_err(failed("encode an entry of", &self.path))?;
        bytes.push(b'\n');
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(failed("write", &self.path))
    }
}

fn path_of(dir: &Path, job_id: JobId, attempt: u32) -> PathBuf {
    dir.join(format!("{job_id}-{attempt}.{EXTENSION}"))
}

/// An attempt whose journal is still there: begun by an earlier process, or finished and not settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// What was known before.
    pub header: Header,
    /// Intents in their order, and whether each is confirmed.
    pub intents: Vec<(Intent, bool)>,
    /// The final report, when the attempt ended.
    pub finished: Option<Box<FinalReport>>,
    /// Something after the header cannot be read: what was done is unknown.
    pub damaged: bool,
}

/// What a folder of journals holds.
#[derive(Debug, Default)]
pub struct Opened {
    /// Attempts to be recovered, in the order of their files' names.
    pub pending: Vec<Pending>,
    /// Files whose header cannot be read, with the reason. They name no attempt; the agent's own state still
    /// knows the job, and without a journal it is in doubt.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Reads every journal of a folder. Writes nothing.
///
/// # Errors
/// [`JournalError`] when the folder or a file cannot be read.
pub fn open(dir: &Path) -> Result<Opened, JournalError> {
    let mut opened = Opened::default();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(opened),
        Err(error) => return Err(failed("read the folder of", dir)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("read the folder of", dir))?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(failed("read", &path))?;
        match parse(&bytes) {
            Ok(pending) => opened.pending.push(pending),
            Err(reason) => opened.unreadable.push((path, reason)),
        }
    }
    Ok(opened)
}

/// Reads the content of a journal. Total: damage behind the header is marked, not refused.
///
/// # Errors
/// Why the header can't be read.
pub fn parse(bytes: &[u8]) -> Result<Pending, String> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let header = match serde_json::from_slice(first) {
        Ok(Line::Begun {
            schema: SCHEMA,
            header,
        }) => *header,
        Ok(Line::Begun { schema, .. }) => return Err(format!("schema {schema} is not known to this agent")),
        Ok(_) => return Err("the first line is no header".to_owned()),
        Err(error) => return Err(format!("the first line cannot be read: {error}")),
    };
    let mut pending = Pending {
        header,
        intents: Vec::new(),
        finished: None,
        damaged: false,
    };
    for line in lines {
        if !line.ends_with(b"\n") {
            // Interrupted while it was written, so never synced: what it announces was not begun.
            break;
        }
        match serde_json::from_slice(line) {
            Ok(Line::Intent(intent)) => pending.intents.push((intent, false)),
            Ok(Line::Confirmed(intent)) => {
                match pending.intents.iter_mut().rev().find(|(open, _)| *open == intent) {
                    Some((_, confirmed)) => *confirmed = true,
                    None => pending.damaged = true,
                }
            }
            Ok(Line::Finished { report }) => pending.finished = Some(report),
            Ok(Line::Begun { .. }) | Err(_) => pending.damaged = true,
        }
    }
    Ok(pending)
}

/// Removes the journal of an attempt, once its final event is durable in the spool. Not there any more is fine.
/// Blocks for an fsync of the folder.
///
/// # Errors
/// [`JournalError`].
pub fn settle(dir: &Path, job_id: JobId, attempt: u32) -> Result<(), JournalError> {
    let path = path_of(dir, job_id, attempt);
    match fs::remove_file(&path) {
        Ok(()) => File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("sync the folder of", dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", &path)(error)),
    }
}
