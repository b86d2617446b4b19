//! Rules 1 to 4: identity of spools, predecessors, former spools, how long events are kept.

use fleet_domain::StoreGeneration;
use spool::sim::SimDisk;
use spool::{Former, HoleReason, Predecessor, Read, SpoolError, Spools};
use uuid::Uuid;

use crate::workload::{Counted, at, content, id, limits, write};

fn open(disk: &SimDisk, now: i64) -> Spools<SimDisk> {
    let (spools, opened) = Spools::open(disk.clone(), limits(), at(now)).expect("opens");
    assert_eq!(opened.damage, []);
    spools
}

#[test]
fn a_spool_comes_to_be_with_its_first_event() {
    let disk = SimDisk::new(1);
    let mut spools = open(&disk, 0);
    assert_eq!(spools.next_position(), None);
    assert!(matches!(
        spools.append(spools.position(id(1), 1), b"x"),
        Err(SpoolError::NotBegun)
    ));
    spools.begin(id(1)).unwrap();
    drop(spools);
    let mut spools = open(&disk, 1);
    assert_eq!(spools.order().count(), 0, "no event, no spool");
    spools.begin(id(2)).unwrap();
    let first = spools.next_position().unwrap();
    assert_eq!((first.spool, first.seq, first.predecessor), (id(2), 1, None));
    let second = spools.position(id(2), 2);
    assert!(matches!(
        spools.append(second, b"x"),
        Err(SpoolError::NotNext { next: 1, .. })
    ));
}

#[test]
fn each_start_names_the_spool_before_and_an_earlier_one_is_never_written_again() {
    let disk = SimDisk::new(2);
    for start in 1..4_u128 {
        let mut spools = open(&disk, 0);
        spools.begin(id(start)).unwrap();
        write(&mut spools, 3, &mut Counted::default()).unwrap();
        assert!(matches!(spools.begin(id(1)), Err(SpoolError::Exists(_))));
    }
    let spools = open(&disk, 0);
    let predecessors: Vec<_> = spools.held().iter().map(|held| held.predecessor).collect();
    let named = |spool| {
        Some(Predecessor {
            spool: id(spool),
            last_seq: 3,
        })
    };
    assert_eq!(predecessors, [None, named(1), named(2)]);
    assert_eq!(spools.position(id(2), 1).predecessor, named(1));
    assert_eq!(
        spools.position(id(2), 2).predecessor,
        None,
        "on the first event only"
    );
}

#[test]
fn receipted_events_are_kept_for_their_time_and_former_spools_are_remembered() {
    let disk = SimDisk::new(3);
    let mut spools = open(&disk, 0);
    spools.begin(id(1)).unwrap();
    write(&mut spools, 9, &mut Counted::default()).unwrap();
    spools.begin(id(2)).unwrap();
    write(&mut spools, 1, &mut Counted::default()).unwrap();
    spools.settle(id(1), 9, at(10));
    spools.settle(id(2), 1, at(10));
    spools.compact(at(69)).unwrap();
    assert_eq!(
        spools.read(id(1), 1).unwrap(),
        Read::Event(content(id(1), 1)),
        "59 of 60 seconds"
    );
    spools.compact(at(70)).unwrap();
    let former = Former {
        spool: id(1),
        predecessor: None,
        last_seq: 9,
        receipted: 9,
    };
    assert_eq!(spools.former(), [former]);
    assert_eq!(spools.held().len(), 1, "the one being written stays");
    drop(spools);
    let mut spools = open(&disk, 100);
    assert_eq!(spools.former(), [former], "after a restart too");
    assert_eq!(
        spools.read(id(1), 4).unwrap(),
        Read::Hole {
            to: 9,
            reason: HoleReason::Expired
        }
    );
    assert!(matches!(spools.begin(id(1)), Err(SpoolError::Exists(_))));
}

#[test]
fn a_clock_that_jumps_back_keeps_events_longer() {
    let disk = SimDisk::new(4);
    let mut spools = open(&disk, 1_000_000);
    spools.begin(id(1)).unwrap();
    write(&mut spools, 9, &mut Counted::default()).unwrap();
    spools.begin(id(2)).unwrap();
    write(&mut spools, 1, &mut Counted::default()).unwrap();
    spools.settle(id(1), 9, at(1_000_000));
    spools.compact(at(5)).unwrap();
    assert_eq!(spools.former(), []);
}

#[test]
fn a_restored_server_lowers_what_is_receipted_durably_and_receipts_only_raise_it() {
    let disk = SimDisk::new(5);
    let mut spools = open(&disk, 0);
    spools.begin(id(1)).unwrap();
    write(&mut spools, 9, &mut Counted::default()).unwrap();
    spools.settle(id(1), 7, at(1));
    spools.settle(id(1), 3, at(1));
    assert_eq!(spools.receipted(id(1)), Some(7));
    spools.settle(id(1), 99, at(1));
    assert_eq!(spools.receipted(id(1)), Some(9), "never above what was written");
    let generation = StoreGeneration(Uuid::from_u128(7));
    spools.lower(generation, &[(id(1), 2)]).unwrap();
    drop(spools);
    disk.power_off();
    disk.power_on();
    let spools = open(&disk, 2);
    assert_eq!(
        (spools.receipted(id(1)), spools.generation()),
        (Some(2), Some(generation))
    );
    assert_eq!(spools.outstanding(), 7);
}

#[test]
fn a_declared_hole_is_the_same_hole_after_a_power_loss() {
    let disk = SimDisk::new(6);
    let mut spools = open(&disk, 0);
    spools.begin(id(1)).unwrap();
    write(&mut spools, 9, &mut Counted::default()).unwrap();
    spools.make_hole(id(1), 4, 4, HoleReason::TooLarge).unwrap();
    drop(spools);
    disk.power_off();
    disk.power_on();
    let mut spools = open(&disk, 2);
    assert_eq!(
        spools.read(id(1), 4).unwrap(),
        Read::Hole {
            to: 4,
            reason: HoleReason::TooLarge
        }
    );
    assert_eq!(spools.read(id(1), 5).unwrap(), Read::Event(content(id(1), 5)));
}

#[test]
fn a_newer_format_is_refused_with_the_file_and_both_versions() {
    let disk = SimDisk::new(7);
    let mut spools = open(&disk, 0);
    spools.begin(id(1)).unwrap();
    write(&mut spools, 1, &mut Counted::default()).unwrap();
    drop(spools);
    let mut names = spool::Disk::list(&mut disk.clone()).unwrap();
    names.retain(|name| name.contains("seg"));
    disk.corrupt(&names[0], |file| {
        for copy in file[..144].chunks_mut(72) {
            copy[8] = 9;
            let crc = crc32c::crc32c(&copy[..68]).to_le_bytes();
            copy[68..].copy_from_slice(&crc);
        }
    });
    let error = Spools::open(disk, limits(), at(0)).unwrap_err();
    assert!(
        matches!(&error, SpoolError::NewerFormat { version: 9, known: 2, file } if *file == names[0]),
        "{error}"
    );
}
