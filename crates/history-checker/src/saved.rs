//! A saved history: a folder of JSON-lines files, which can be judged again at any time.
//!
//! | file | lines |
//! |---|---|
//! | `made-*.jsonl` | what a client noted, in order: [`MadeLine`]. One file for each start of a client; their names sort in the order of the starts |
//! | `database-*.jsonl` | the events in the database: [`ArrivedLine`] |
//! | `kafka-*.jsonl` | the records of the topics, of each partition in the order of offsets: [`ArrivedLine`] |
//! | `faults.jsonl` | what was broken when: [`FaultLine`] |
//!
//! A client that is killed may leave a torn last line in its `made-*` file: it is left out. Anything else that is not
//! as described is an error with file and line.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use fleet_domain::{EventId, Seq, SpoolId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::judge::{Begun, Judge, Source};
use crate::{Arrived, Hash, Judgement, Made, Place};

/// Why a saved history can't be judged.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// A file or folder can't be read.
    #[error("{path} can't be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is not as described.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The folder holds no history.
    #[error("{path} holds no made-*.jsonl: is it the folder of a history?")]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing to compare with.
    #[error("{path} holds neither database-*.jsonl nor kafka-*.jsonl: there is nothing to compare with")]
    NoSource {
        /// The folder.
        path: PathBuf,
    },
}

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// It is about to append an event.
    Append,
    /// The event is on the disk, fsynced.
    Counted,
    /// The event has its receipt.
    Receipted,
    /// The event was found on the disk after the client's end: it counts.
    OnDisk,
}

/// A line of `made-*.jsonl`. `id`, `hash` and `vin` stand in `append` and `on_disk` lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeLine {
    /// What happened.
    pub op: Op,
    /// The bench.
    pub device: String,
    /// Its spool.
    pub spool: SpoolId,
    /// The position.
    pub seq: Seq,
    /// The event's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// SHA-256 of its bytes, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Its vehicle; one that is too long is one that the server has to reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vin: Option<String>,
}

impl MadeLine {
    /// The line of an event that was found on a disk.
    pub fn on_disk(made: &Made) -> Self {
        Self {
            op: Op::OnDisk,
            device: made.place.device.clone(),
            spool: made.place.spool,
            seq: made.place.seq,
            id: Some(made.id),
            hash: Some(hex::encode(made.hash)),
            vin: made.vin.clone(),
        }
    }
}

/// A line of `database-*.jsonl` or `kafka-*.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivedLine {
    /// The bench.
    pub device: String,
    /// Its spool.
    pub spool: SpoolId,
    /// The position.
    pub seq: Seq,
    /// The event's id.
    pub id: EventId,
    /// SHA-256 of its bytes, hexadecimal.
    pub hash: String,
    /// Within a lane the order of a bench's events is promised. Empty: none is known.
    #[serde(default)]
    pub lane: String,
    /// Where it lies, for people.
    #[serde(default)]
    pub at: String,
    /// Place in the order in which the database took it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// Life of the database to which `order` belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
}

/// What of a line of `faults.jsonl` the judge reads; the other fields are for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultLine {
    /// A disk was put back to an image from before these files of clients began: what they wrote and got no receipt for
    /// may be gone.
    #[serde(default)]
    pub removed: Vec<String>,
}

/// Judges the history in a folder.
///
/// # Errors
/// When a file can't be read or a line is not as described; file and line are named.
pub fn judge(folder: &Path) -> Result<Judgement, SavedError> {
    let files = files(folder)?;
    let named = |prefix: &str| -> Vec<PathBuf> {
        let fits = |path: &&PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        };
        files.iter().filter(fits).cloned().collect()
    };
    let made = named("made-");
    if made.is_empty() {
        return Err(SavedError::Nothing {
            path: folder.to_owned(),
        });
    }
    let mut removed = BTreeSet::new();
    for path in named("faults") {
        each_line(&path, false, |line: FaultLine| {
            removed.extend(line.removed);
            Ok(())
        })?;
    }
    let mut judge = Judge::new();
    for path in made {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        read_made(&mut judge, &path, removed.contains(name.as_ref()))?;
    }
    let sources = [("database-", Source::Database), ("kafka-", Source::Kafka)];
    let mut any = false;
    for (prefix, source) in sources {
        let paths = named(prefix);
        any |= !paths.is_empty();
        let mut order = Vec::new();
        for path in paths {
            judge.looks_at(source);
            read_arrived(&mut judge, source, &path, &mut order)?;
        }
        read_order(&mut judge, source, order);
    }
    if !any {
        return Err(SavedError::NoSource {
            path: folder.to_owned(),
        });
    }
    Ok(judge.judgement())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, SavedError> {
    let failed = |source| SavedError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_made(judge: &mut Judge, path: &Path, removed: bool) -> Result<(), SavedError> {
    each_line(path, true, |line: MadeLine| {
        let (device, spool, seq) = (line.device.as_str(), line.spool, line.seq);
        let place = || format!("{device} {spool} {seq}");
        let known = match line.op {
            Op::Append | Op::OnDisk => {
                let id = line.id.ok_or("no id")?;
                let hash = bytes(line.hash.as_deref().ok_or("no hash")?)?;
                let refused = line
                    .vin
                    .as_ref()
                    .is_some_and(|vin| vin.len() > fleet_wire::limits::MAX_ATTRIBUTE_BYTES);
                let free = judge.begun(&Begun {
                    device,
                    spool,
                    seq,
                    id,
                    hash,
                    refused,
                });
                if !free {
                    return Err(format!("{} was counted before with another content", place()));
                }
                if removed {
                    judge.removed(device, spool, seq);
                }
                line.op == Op::Append || judge.counted(device, spool, seq)
            }
            Op::Counted => judge.counted(device, spool, seq),
            Op::Receipted => judge.receipted(device, spool, seq),
        };
        // A receipt may be for an event of an earlier start whose file is not here.
        if known || line.op == Op::Receipted {
            Ok(())
        } else {
            Err(format!("{} counts and was never begun", place()))
        }
    })
}

/// An event's place in the database's order.
struct Ordered {
    generation: String,
    order: u64,
    place: Place,
    at: String,
}

fn read_arrived(
    judge: &mut Judge,
    source: Source,
    path: &Path,
    order: &mut Vec<Ordered>,
) -> Result<(), SavedError> {
    each_line(path, false, |line: ArrivedLine| {
        let event = Arrived {
            place: Place {
                device: line.device,
                spool: line.spool,
                seq: line.seq,
            },
            id: line.id,
            hash: bytes(&line.hash)?,
            lane: line.lane,
            at: line.at,
        };
        judge.arrived(source, &event);
        if let Some(number) = line.order {
            order.push(Ordered {
                generation: line.generation.unwrap_or_default(),
                order: number,
                place: event.place,
                at: event.at,
            });
        }
        Ok(())
    })
}

/// The order in which the database took the events of each bench.
fn read_order(judge: &mut Judge, source: Source, mut order: Vec<Ordered>) {
    order.sort_unstable_by(|a, b| (&a.generation, a.order).cmp(&(&b.generation, b.order)));
    for event in order {
        let lane = format!("commits of {}", event.generation);
        judge.next_in_lane(source, &lane, &event.place, &event.at);
    }
}

fn bytes(text: &str) -> Result<Hash, String> {
    let mut hash = Hash::default();
    hex::decode_to_slice(text, &mut hash).map_err(|error| format!("the hash {text:?}: {error}"))?;
    Ok(hash)
}

/// Reads a file line by line. `may_be_torn`: its writer may have been killed within the last one.
fn each_line<T: DeserializeOwned>(
    path: &Path,
    may_be_torn: bool,
    mut each: impl FnMut(T) -> Result<(), String>,
) -> Result<(), SavedError> {
    let failed = |source| SavedError::Read {
        path: path.to_owned(),
        source,
    };
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let (mut text, mut number) = (Vec::new(), 0);
    loop {
        text.clear();
        number += 1;
        if reader.read_until(b'\n', &mut text).map_err(failed)? == 0 {
            return Ok(());
        }
        let wrong = |problem: String| SavedError::Line {
            path: path.to_owned(),
            line: number,
            problem,
        };
        let whole = text.last() == Some(&b'\n');
        match serde_json::from_slice(&text) {
            Ok(line) => each(line).map_err(wrong)?,
            Err(_) if may_be_torn && !whole => return Ok(()),
            Err(error) => return Err(wrong(error.to_string())),
        }
    }
}
