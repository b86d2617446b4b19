//! What the spool's bookkeeping costs: appends with group commit against a bare write and fdatasync of the same
//! bytes in the same groups, in turns within one run, so that a disk that gets slower is slower for both.
//!
//! `cargo run --release -p spool --example append_rate -- [--json] [--rounds N] [FOLDER]`

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleet_domain::SpoolId;
use jiff::Timestamp;
use spool::{Limits, RealDisk, Spools};
use uuid::Uuid;

/// Bytes of an event, about the mean of the real mix.
const EVENT: usize = 600;
/// Bytes that the spool adds to each.
const RECORD_HEAD: usize = 16;
/// Events between two syncs.
const GROUPS: [usize; 4] = [1, 8, 64, 500];
/// Syncs of one side before it is the other's turn.
const TURN: usize = 10;

struct Pair {
    group: usize,
    spool: Duration,
    bare: Duration,
    syncs: usize,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.spool.as_secs_f64() / self.bare.as_secs_f64()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut folder, mut json, mut rounds) = (PathBuf::from("."), false, 20_usize);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--rounds" => rounds = arguments.next().ok_or("--rounds needs a number")?.parse()?,
            _ => folder = argument.into(),
        }
    }
    let work = folder.join(format!("append-rate-{}", std::process::id()));
    let pairs = GROUPS
        .iter()
        .map(|group| compare(&work, *group, rounds))
        .collect::<Result<Vec<_>, _>>();
    std::fs::remove_dir_all(&work)?;
    report(&pairs?, json);
    Ok(())
}

fn compare(work: &Path, group: usize, rounds: usize) -> Result<Pair, Box<dyn Error>> {
    let disk = RealDisk::open(work.join(format!("spool-{group}")))?;
    let (mut spools, _) = Spools::open(disk, Limits::default(), Timestamp::UNIX_EPOCH)?;
    spools.begin(SpoolId(Uuid::from_u128(1)))?;
    let mut bare = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(work.join(format!("bare-{group}")))?;
    let event = vec![b'x'; EVENT];
    let bytes = vec![b'x'; (EVENT + RECORD_HEAD) * group];
    let mut pair = Pair {
        group,
        spool: Duration::ZERO,
        bare: Duration::ZERO,
        syncs: rounds * TURN,
    };
    // The first turn of each makes the files.
    for round in 0..=rounds {
        let ours = spool_turn(&mut spools, group, &event)?;
        let theirs = bare_turn(&mut bare, &bytes)?;
        if round > 0 {
            pair.spool += ours;
            pair.bare += theirs;
        }
    }
    Ok(pair)
}

fn spool_turn(spools: &mut Spools<RealDisk>, group: usize, event: &[u8]) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    for _ in 0..TURN {
        for _ in 0..group {
            let position = spools.next_position().ok_or("begun")?;
            spools.append(position, event)?;
        }
        spools.sync()?;
    }
    Ok(begun.elapsed())
}

fn bare_turn(file: &mut File, bytes: &[u8]) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    for _ in 0..TURN {
        file.write_all(bytes)?;
        file.sync_data()?;
    }
    Ok(begun.elapsed())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts far below the limit of a double"
)]
fn report(pairs: &[Pair], json: bool) {
    let per_sync = |time: Duration, pair: &Pair| time.as_secs_f64() * 1e6 / pair.syncs as f64;
    let (ours, theirs): (Duration, Duration) = (
        pairs.iter().map(|pair| pair.spool).sum(),
        pairs.iter().map(|pair| pair.bare).sum(),
    );
    let overall = ours.as_secs_f64() / theirs.as_secs_f64();
    if json {
        let groups: Vec<_> = pairs
            .iter()
            .map(|pair| {
                serde_json::json!({
                    "events_per_group": pair.group,
                    "event_bytes": EVENT,
                    "syncs": pair.syncs,
                    "spool_us_per_group": per_sync(pair.spool, pair),
                    "bare_us_per_group": per_sync(pair.bare, pair),
                    "spool_events_per_second": (pair.group * pair.syncs) as f64 / pair.spool.as_secs_f64(),
                    "ratio": pair.ratio(),
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "ratio": overall, "groups": groups }));
        return;
    }
    println!(
        "events of {EVENT} bytes; spool: append and sync; bare: one write and fdatasync of the same bytes"
    );
    for pair in pairs {
        println!(
            "{:4} per group: spool {:8.0} us, bare {:8.0} us per group, ratio {:.2}",
            pair.group,
            per_sync(pair.spool, pair),
            per_sync(pair.bare, pair),
            pair.ratio()
        );
    }
    println!("all together: ratio {overall:.2} (at most 1.3 is wanted)");
}
