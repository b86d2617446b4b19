//! A bench's life on a simulated disk: starts, events, receipts, clean-up.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_domain::{Seq, SpoolId};
use jiff::{SignedDuration, Timestamp};
use spool::sim::SimDisk;
use spool::{Damage, HoleReason, Limits, Read, SpoolError, Spools};
use uuid::Uuid;

/// Small files, and receipted events are kept for a minute.
pub(crate) fn limits() -> Limits {
    Limits {
        segment_bytes: 400,
        keep_receipted: Duration::from_mins(1),
        ..Limits::default()
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

pub(crate) fn id(number: u128) -> SpoolId {
    SpoolId(Uuid::from_u128(number))
}

pub(crate) fn content(spool: SpoolId, seq: Seq) -> Vec<u8> {
    let text = format!("event {seq} of {spool} ");
    text.repeat(1 + usize::try_from(seq % 3).expect("small"))
        .into_bytes()
}

/// What the bench relies on.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counted {
    pub(crate) events: BTreeMap<(SpoolId, Seq), Vec<u8>>,
    pub(crate) settled: BTreeMap<SpoolId, Seq>,
    /// Spools that were begun, in order.
    pub(crate) begun: Vec<SpoolId>,
}

/// Appends `events` events and syncs them; repeats what the disk refused.
pub(crate) fn write(
    spools: &mut Spools<SimDisk>,
    events: u64,
    counted: &mut Counted,
) -> Result<(), SpoolError> {
    let mut written = Vec::new();
    for _ in 0..events {
        let position = spools.next_position().expect("begun");
        let bytes = content(position.spool, position.seq);
        retry(|| spools.append(position, &bytes))?;
        written.push((position.spool, position.seq, bytes));
    }
    retry(|| spools.sync())?;
    for (spool, seq, bytes) in written {
        counted.events.insert((spool, seq), bytes);
    }
    Ok(())
}

/// A refusal that passes is tried again; one that stays, such as a disk without power, is not.
fn retry(mut action: impl FnMut() -> Result<(), SpoolError>) -> Result<(), SpoolError> {
    match action() {
        Err(SpoolError::Disk { .. }) => action(),
        result => result,
    }
}

/// Three starts of an agent. Ends early when the disk does.
pub(crate) fn live(disk: &SimDisk, counted: &mut Counted) -> Result<(), SpoolError> {
    for start in 0..3_u128 {
        let now = i64::try_from(start).expect("small") * 100;
        let (mut spools, opened) = Spools::open(disk.clone(), limits(), at(now))?;
        assert_eq!(opened.damage, [], "start {start}");
        let spool = id(100 + start);
        counted.begun.push(spool);
        retry(|| spools.begin(spool))?;
        write(&mut spools, 1, counted)?;
        write(&mut spools, 5, counted)?;
        for (spool, last, receipted) in spools.order().collect::<Vec<_>>() {
            let through = receipted + (last - receipted) / 2;
            spools.settle(spool, through, at(now + 10));
            counted
                .settled
                .insert(spool, spools.receipted(spool).expect("known"));
        }
        retry(|| spools.compact(at(now + 20)))?;
        write(&mut spools, 4, counted)?;
        retry(|| spools.compact(at(now + 80)))?;
    }
    Ok(())
}

/// Checks everything that counted, and that the bench can go on. Gives what was lost.
pub(crate) fn verify(disk: &SimDisk, counted: &Counted, now: i64) -> (Vec<(SpoolId, Seq)>, Vec<Damage>) {
    let (mut spools, opened) = Spools::open(disk.clone(), limits(), at(now)).expect("opens");
    let mut gone = Vec::new();
    for ((spool, seq), bytes) in &counted.events {
        match spools.read(*spool, *seq).expect("the disk works") {
            Read::Event(found) => assert_eq!(&found, bytes, "other content at {spool} {seq}"),
            Read::Hole {
                reason: HoleReason::Expired,
                ..
            } if counted.settled.get(spool).is_some_and(|through| seq <= through) => {}
            Read::Hole { to, .. } => {
                assert!(to >= *seq);
                gone.push((*spool, *seq));
            }
            Read::Absent => panic!("{spool} {seq} is gone without a word"),
        }
    }
    let order: Vec<_> = spools.order().map(|(spool, ..)| spool).collect();
    let expected: Vec<_> = counted
        .begun
        .iter()
        .filter(|spool| order.contains(spool))
        .copied()
        .collect();
    assert_eq!(order, expected, "spools by age");
    let last = spools.order().last();
    spools.begin(id(900)).expect("begins");
    let position = spools.next_position().expect("begun");
    assert_eq!(
        position.predecessor.map(|p| (p.spool, p.last_seq)),
        last.map(|(spool, last, _)| (spool, last))
    );
    write(&mut spools, 2, &mut Counted::default()).expect("goes on");
    assert_eq!(
        spools.read(id(900), 2).expect("reads"),
        Read::Event(content(id(900), 2))
    );
    (gone, opened.damage)
}
