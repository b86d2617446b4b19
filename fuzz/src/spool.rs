//! The spool, over the simulated disk.

use std::collections::BTreeMap;

use ::spool::sim::SimDisk;
use ::spool::{DamageKind, Disk as _, Limits, Read, Spools};
use fleet_domain::{Seq, SpoolId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{folder, useful};

/// Small, so that a few events make several files.
const LIMITS: Limits = Limits {
    segment_bytes: 512,
    max_bytes: 64 * 1024,
    min_free_bytes: 0,
    reserve_bytes: 0,
    keep_receipted: std::time::Duration::from_hours(1),
};

/// Most positions read from one folder: a hole may stand for billions.
const MOST_READ: usize = 2_000;

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

/// What lies at every position without receipt, oldest spool first, as far as [`MOST_READ`].
fn content(spools: &mut Spools<SimDisk>) -> Vec<(SpoolId, Seq, Read)> {
    let order: Vec<_> = spools.order().collect();
    let mut found = Vec::new();
    for (spool, last, receipted) in order {
        assert!(receipted <= last, "nothing is receipted that was not written");
        let mut at = receipted + 1;
        while at <= last && found.len() < MOST_READ {
            let read = spools.read(spool, at).expect("the disk reads");
            let next = match &read {
                Read::Hole { to, .. } => {
                    assert!(*to >= at, "a hole goes on from where it was asked for");
                    to.saturating_add(1)
                }
                Read::Event(_) => at + 1,
                Read::Absent => panic!("nothing at {at} of {last}, not even a hole"),
            };
            found.push((spool, at, read));
            at = next;
        }
    }
    found
}

/// Any files. The first byte says whether checksums are put right, so that the readers behind them are reached.
pub(crate) fn folder(data: &[u8]) {
    let Some((mend, data)) = data.split_first() else {
        return;
    };
    let mut disk = SimDisk::new(1);
    for (name, mut content) in folder::unpack(data) {
        if mend & 1 == 1 {
            mend_checksums(&name, &mut content);
        }
        disk.create(&name).expect("names differ");
        disk.append(&name, &content).expect("the disk takes it");
        disk.sync(&name).expect("the disk takes it");
    }
    disk.sync_dir().expect("the disk takes it");
    let (mut spools, opened) = match Spools::open(disk.clone(), LIMITS, now()) {
        Ok(opened) => opened,
        Err(error) => return useful(&error),
    };
    for damage in &opened.damage {
        assert!(!damage.file.is_empty(), "damage names its file");
        assert!(!damage.to_string().is_empty());
    }
    let before = content(&mut spools);
    // Whatever was there, a new spool works, and what it takes is there after the next start.
    let id = SpoolId(Uuid::from_u128(u128::MAX));
    if spools.held().iter().any(|held| held.spool == id) || spools.former().iter().any(|f| f.spool == id) {
        return;
    }
    spools.begin(id).expect("a new spool begins");
    let position = spools.next_position().expect("it has begun");
    spools.append(position, b"new").expect("the disk takes it");
    spools.sync().expect("the disk takes it");
    spools.compact(now()).expect("the disk takes it");
    drop(spools);
    let (mut again, _) = Spools::open(disk, LIMITS, now()).expect("what we wrote can be opened");
    let after = content(&mut again);
    if before.len() < MOST_READ && after.len() < MOST_READ {
        assert_eq!(after.last(), Some(&(id, 1, Read::Event(b"new".to_vec()))));
    }
}

/// Bytes of a copy of a segment's header.
const HEADER_COPY: usize = 72;
/// Bytes of a record's head.
const RECORD_HEAD: usize = 16;
/// Bytes of a mark.
const MARK: usize = 40;

/// Puts right every checksum of a file of the spool. Where the format has changed it changes nothing of use.
fn mend_checksums(name: &str, content: &mut [u8]) {
    if name == "marks" {
        for mark in content.chunks_exact_mut(MARK) {
            seal(mark, MARK - 4);
        }
    } else if name == "state" {
        mend_state(content);
    } else {
        let header = content.len().min(2 * HEADER_COPY);
        let (header, mut records) = content.split_at_mut(header);
        for copy in header.chunks_exact_mut(HEADER_COPY) {
            seal(copy, HEADER_COPY - 4);
        }
        while let Some(head) = records.first_chunk::<RECORD_HEAD>() {
            let [l0, l1, l2, l3, ..] = *head;
            // The upper bits say how far the record was ahead of what was durable.
            let word = u32::from_le_bytes([l0, l1, l2, l3]) & 0x1F_FFFF;
            let len = usize::try_from(word).unwrap_or(usize::MAX);
            if len > records.len() - RECORD_HEAD {
                break;
            }
            let (record, rest) = records.split_at_mut(RECORD_HEAD + len);
            let crc = crc32c::crc32c_append(
                crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..16]),
                &record[16..],
            );
            record[4..8].copy_from_slice(&crc.to_le_bytes());
            records = rest;
        }
    }
}

fn seal(entry: &mut [u8], at: usize) {
    let crc = crc32c::crc32c(&entry[..at]);
    entry[at..].copy_from_slice(&crc.to_le_bytes());
}

/// `vds-spool-state-1 XXXXXXXX`, a line end, JSON, a line end.
fn mend_state(content: &mut [u8]) {
    let Some(line) = content.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (head, json) = content.split_at_mut(line);
    let json = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    if let Some(digits) = head.len().checked_sub(8).and_then(|at| head.get_mut(at..)) {
        digits.copy_from_slice(format!("{:08x}", crc32c::crc32c(json)).as_bytes());
    }
}

/// A log that was written as the agent writes it.
struct Written {
    disk: SimDisk,
    /// Every event that was synced, by its place.
    events: BTreeMap<(SpoolId, Seq), Vec<u8>>,
    /// Of each spool what was receipted.
    receipted: BTreeMap<SpoolId, Seq>,
}

fn open(disk: &SimDisk) -> Spools<SimDisk> {
    Spools::open(disk.clone(), LIMITS, now())
        .expect("the disk is sound")
        .0
}

/// Each byte is a step: what it does, and how much of it.
fn write(steps: &[u8]) -> Written {
    let disk = SimDisk::new(1);
    let mut spools = open(&disk);
    let (mut events, mut receipted, mut unsynced) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut ids = (1..).map(|n| SpoolId(Uuid::from_u128(n)));
    spools
        .begin(ids.next().expect("endless"))
        .expect("the disk is sound");
    for step in steps {
        let amount = usize::from(step >> 3);
        match step & 7 {
            0..=3 => {
                let position = spools.next_position().expect("begun");
                let bytes = vec![*step ^ u8::try_from(position.seq % 251).unwrap_or(0); 1 + amount * 9];
                spools.append(position, &bytes).expect("the disk is sound");
                unsynced.push(((position.spool, position.seq), bytes));
            }
            4 | 5 => {
                spools.sync().expect("the disk is sound");
                events.extend(unsynced.drain(..));
            }
            6 => {
                let oldest = spools
                    .held()
                    .into_iter()
                    .find(|held| held.receipted + 1 < held.next_seq);
                if let Some(held) = oldest {
                    let through = (held.receipted + 1 + amount as u64).min(held.next_seq - 1);
                    spools.settle(held.spool, through, now());
                    spools.compact(now()).expect("the disk is sound");
                    receipted.insert(held.spool, through);
                }
            }
            _ => {
                spools.sync().expect("the disk is sound");
                events.extend(unsynced.drain(..));
                spools = open(&disk);
                spools
                    .begin(ids.next().expect("endless"))
                    .expect("the disk is sound");
            }
        }
    }
    spools.sync().expect("the disk is sound");
    events.extend(unsynced);
    spools.compact(now()).expect("the disk is sound");
    Written {
        disk,
        events,
        receipted,
    }
}

/// The first four bytes damage one place (which file, where in it, which bits); the rest are steps of writing.
///
/// What counted is there after one damaged byte, as it was written, or it is named with file and place.
pub(crate) fn damage(data: &[u8]) {
    let Some(([file, high, low, bits], steps)) = data.split_first_chunk::<4>() else {
        return;
    };
    let Written {
        mut disk,
        events,
        receipted,
    } = write(steps.get(..steps.len().min(200)).unwrap_or_default());
    let names = disk.list().expect("the disk reads");
    if names.is_empty() || *bits == 0 {
        return;
    }
    let name = names[usize::from(*file) % names.len()].clone();
    disk.corrupt(&name, |content| {
        let at = usize::from(u16::from_be_bytes([*high, *low]));
        if !content.is_empty() {
            let at = at % content.len();
            content[at] ^= bits;
        }
    });
    let (mut spools, opened) = Spools::open(disk, LIMITS, now()).expect("one bad byte stops nobody");
    let lost = |spool: SpoolId, seq: Seq| {
        opened.damage.iter().any(|damage| {
            damage.spool == Some(spool)
                && matches!(damage.kind, DamageKind::Lost { from, to } if (from..=to).contains(&seq))
        })
    };
    let mut missing = 0;
    for ((spool, seq), written) in events {
        if receipted.get(&spool).is_some_and(|through| seq <= *through) {
            continue;
        }
        match spools.read(spool, seq).expect("the disk reads") {
            Read::Event(bytes) => assert_eq!(bytes, written, "event {seq} has other bytes than were written"),
            Read::Hole { .. } => {
                assert!(lost(spool, seq), "event {seq} is gone and nobody says so");
                missing += 1;
            }
            Read::Absent => panic!("event {seq} is gone without a hole; {name} was damaged"),
        }
    }
    assert!(missing <= 1, "one bad byte in {name} cost {missing} events");
}
