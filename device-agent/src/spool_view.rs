//! `device-agent spool inspect|export`: what lies on the bench's disk, without changing it. Safe beside a running
//! agent.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use spool::inspect::{HoleAt, Inspection, Item, Summary, inspect};
use spool::{Damage, RealDisk, SpoolError};

/// Why the spool can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The folder can't be read.
    #[error("spool folder {folder} can't be read: is it the folder `spool` in the agent's data folder?")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The spool can't be read.
    #[error("the spool in {folder} can't be read")]
    Spool {
        /// Where.
        folder: PathBuf,
        /// Why.
        #[source]
        source: SpoolError,
    },
    /// The output can't be written.
    #[error("the output can't be written")]
    Output(#[source] io::Error),
}

fn look(folder: &Path) -> Result<Inspection<RealDisk>, ViewError> {
    let disk = RealDisk::read_only(folder).map_err(|source| ViewError::Folder {
        folder: folder.to_owned(),
        source,
    })?;
    inspect(disk, fleet_clock::wall_now()).map_err(|source| ViewError::Spool {
        folder: folder.to_owned(),
        source,
    })
}

/// What is in the folder: spools, files, holes, damage with file and offset; as text or as one JSON document.
///
/// # Errors
/// When the folder can't be read, or a newer agent wrote it. Damage is no error.
pub fn describe(folder: &Path, as_json: bool) -> Result<String, ViewError> {
    let found = look(folder)?;
    let spools = found.summaries();
    if as_json {
        let document = json!({
            "folder": folder.display().to_string(),
            "store_generation": found.generation,
            "outstanding": spools.iter().map(outstanding).sum::<u64>(),
            "spools": spools.iter().map(spool_json).collect::<Vec<_>>(),
            "damage": found.damage.iter().map(damage_json).collect::<Vec<_>>(),
        });
        return Ok(format!("{document:#}\n"));
    }
    let mut lines = vec![format!("spool folder {}", folder.display())];
    for spool in &spools {
        lines.push(spool_line(spool));
        lines.extend(spool.holes.iter().map(|hole| {
            let HoleAt { from, to, reason } = hole;
            format!("  hole {from} to {to}: {reason}")
        }));
    }
    let kept: usize = spools
        .iter()
        .flat_map(|spool| &spool.files)
        .map(|file| file.events)
        .sum();
    let without: u64 = spools.iter().map(outstanding).sum();
    lines.push(format!(
        "{} spools, {kept} events kept, {without} without receipt",
        spools.len()
    ));
    match found.damage.len() {
        0 => lines.push("no damage".to_owned()),
        count => lines.push(format!("damaged places: {count}")),
    }
    lines.extend(found.damage.iter().map(|damage| format!("  {damage}")));
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Writes everything that is kept as JSON lines, oldest first: `event` with its payload (as text where it is UTF-8,
/// else `payload_base64`), `hole`, and at the end `damage`.
///
/// # Errors
/// As for [`describe`], and when the output can't be written. Who closes it early has what was wanted.
pub fn export(folder: &Path, output: impl Write) -> Result<(), ViewError> {
    let mut found = look(folder)?;
    let mut output = BufWriter::new(output);
    let mut failed = None;
    let read = found.each(|item| match line(&mut output, &item_json(item)) {
        Ok(()) => true,
        Err(error) => {
            failed = Some(error);
            false
        }
    });
    read.map_err(|source| ViewError::Spool {
        folder: folder.to_owned(),
        source,
    })?;
    let written = match failed {
        Some(error) => Err(error),
        None => found
            .damage
            .iter()
            .try_for_each(|damage| line(&mut output, &with_kind("damage", damage_json(damage))))
            .and_then(|()| output.flush()),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ViewError::Output(error)),
        _ => Ok(()),
    }
}

fn line(output: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(output, "{value}")
}

fn outstanding(spool: &Summary) -> u64 {
    spool.last_seq.saturating_sub(spool.receipted)
}

fn spool_line(spool: &Summary) -> String {
    let bytes: u64 = spool.files.iter().map(|file| file.bytes).sum();
    let kept = if spool.gone {
        "all receipted and removed".to_owned()
    } else {
        format!(
            "kept from {} in {} files, {bytes} bytes",
            spool.first_kept,
            spool.files.len()
        )
    };
    format!(
        "{:3} {}  last {}, receipted {}; {kept}",
        spool.ordinal, spool.spool, spool.last_seq, spool.receipted
    )
}

fn spool_json(spool: &Summary) -> Value {
    let holes: Vec<_> = spool.holes.iter().map(hole_json).collect();
    let files: Vec<_> = spool
        .files
        .iter()
        .map(|file| json!({ "name": file.name, "bytes": file.bytes, "events": file.events }))
        .collect();
    json!({
        "spool": spool.spool,
        "ordinal": spool.ordinal,
        "predecessor": spool.predecessor,
        "first_kept": spool.first_kept,
        "last_seq": spool.last_seq,
        "receipted": spool.receipted,
        "outstanding": outstanding(spool),
        "gone": spool.gone,
        "holes": holes,
        "files": files,
    })
}

fn hole_json(hole: &HoleAt) -> Value {
    json!({ "from": hole.from, "to": hole.to, "reason": hole.reason.as_str() })
}

fn damage_json(damage: &Damage) -> Value {
    json!({
        "file": damage.file,
        "offset": damage.offset,
        "spool": damage.spool,
        "what": damage.to_string(),
    })
}

fn item_json(item: Item) -> Value {
    match item {
        Item::Event {
            spool,
            seq,
            receipted,
            file,
            offset,
            payload,
        } => {
            let (name, payload) = match String::from_utf8(payload) {
                Ok(text) => ("payload", text),
                Err(error) => ("payload_base64", STANDARD.encode(error.as_bytes())),
            };
            json!({
                "kind": "event",
                "spool": spool,
                "seq": seq,
                "receipted": receipted,
                "file": file,
                "offset": offset,
                name: payload,
            })
        }
        Item::Hole { spool, hole } => {
            let mut value = with_kind("hole", hole_json(&hole));
            if let Some(fields) = value.as_object_mut() {
                fields.insert("spool".to_owned(), json!(spool));
            }
            value
        }
    }
}

fn with_kind(kind: &str, mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("kind".to_owned(), json!(kind));
    }
    value
}
