//! No space, input and output errors, a failed sync.

use spool::sim::{Fault, SimDisk};
use spool::{DamageKind, HoleReason, Limits, Read, SpoolError, Spools};

use crate::workload::{Counted, at, content, id, limits, live, verify, write};

fn operations() -> u64 {
    let disk = SimDisk::new(1);
    live(&disk, &mut Counted::default()).expect("a disk without faults");
    disk.operations()
}

#[test]
fn a_disk_that_refuses_once_costs_nothing_at_any_write() {
    for fault in [Fault::NoSpace, Fault::Io] {
        for operation in 0..operations() {
            for seed in 0..3 {
                let disk = SimDisk::new(seed);
                disk.fault_at(operation, fault);
                let mut counted = Counted::default();
                let ended = live(&disk, &mut counted);
                // A sync that fails is final; anything else passes.
                assert!(
                    matches!(
                        ended,
                        Ok(()) | Err(SpoolError::Poisoned { .. } | SpoolError::Disk { .. })
                    ),
                    "{fault:?} at {operation}: {ended:?}"
                );
                disk.power_off();
                disk.power_on();
                let (lost, damage) = verify(&disk, &counted, 500);
                assert_eq!(lost, [], "{fault:?} at {operation}, seed {seed}: {damage:?}");
            }
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_counts_until_the_next_start() {
    let mut poisoned = 0;
    for operation in 0..operations() {
        let disk = SimDisk::new(operation);
        disk.fault_at(operation, Fault::SyncFails);
        let mut counted = Counted::default();
        if let Err(SpoolError::Poisoned { .. }) = live(&disk, &mut counted) {
            poisoned += 1;
        }
        disk.power_off();
        disk.power_on();
        let (lost, damage) = verify(&disk, &counted, 500);
        assert_eq!(lost, [], "operation {operation}: {damage:?}");
    }
    assert!(poisoned > 10, "{poisoned}");
}

#[test]
fn a_poisoned_spool_refuses_everything() {
    let disk = SimDisk::new(5);
    let (mut spools, _) = Spools::open(disk.clone(), limits(), at(0)).unwrap();
    spools.begin(id(1)).unwrap();
    write(&mut spools, 1, &mut Counted::default()).unwrap();
    let position = spools.next_position().unwrap();
    spools.append(position, b"never counts").unwrap();
    disk.fault_in(0, Fault::SyncFails);
    assert!(matches!(
        spools.sync(),
        Err(SpoolError::Poisoned { source: Some(_), .. })
    ));
    assert!(
        matches!(spools.sync(), Err(SpoolError::Poisoned { source: None, .. })),
        "not as if it had worked"
    );
    let next = spools.next_position().unwrap();
    assert!(matches!(
        spools.append(next, b"x"),
        Err(SpoolError::Poisoned { .. })
    ));
    assert!(matches!(spools.begin(id(2)), Err(SpoolError::Poisoned { .. })));
    assert!(spools.room().unwrap().refusing.is_some());
    assert_eq!(
        spools.read(id(1), 2).unwrap(),
        Read::Absent,
        "it never counted, so it is never sent"
    );
    assert_eq!(spools.read(id(1), 1).unwrap(), Read::Event(content(id(1), 1)));
}

#[test]
fn a_place_that_was_refused_stays_free() {
    let disk = SimDisk::new(6);
    let (mut spools, _) = Spools::open(disk.clone(), limits(), at(0)).unwrap();
    spools.begin(id(1)).unwrap();
    let mut counted = Counted::default();
    counted.begun.push(id(1));
    write(&mut spools, 2, &mut counted).unwrap();
    let third = spools.next_position().unwrap();
    disk.fault_in(0, Fault::NoSpace);
    assert!(matches!(
        spools.append(third, b"other bytes"),
        Err(SpoolError::Disk { .. })
    ));
    assert_eq!(spools.next_position(), Some(third));
    write(&mut spools, 3, &mut counted).unwrap();
    drop(spools);
    assert_eq!(verify(&disk, &counted, 1).0, []);
}

#[test]
fn a_file_that_cannot_be_read_becomes_a_durable_hole() {
    let disk = SimDisk::new(7);
    let mut counted = Counted::default();
    live(&disk, &mut counted).unwrap();
    let (mut spools, _) = Spools::open(disk.clone(), limits(), at(300)).unwrap();
    let newest = counted.begun[2];
    let first = spools.held().last().unwrap().first_kept;
    let file = {
        let mut names = spool::Disk::list(&mut disk.clone()).unwrap();
        names.retain(|name| name.contains(&newest.to_string()));
        names.remove(0)
    };
    disk.make_unreadable(&file);
    let hole = spools.read(newest, first).unwrap();
    assert_eq!(
        hole,
        Read::Hole {
            to: first,
            reason: HoleReason::Unreadable
        }
    );
    drop(spools);
    let (mut spools, opened) = Spools::open(disk.clone(), limits(), at(300)).unwrap();
    let Read::Hole { to, reason } = spools.read(newest, first).unwrap() else {
        panic!("it was told of a hole");
    };
    assert!(
        to >= first && reason == HoleReason::Unreadable,
        "still a hole after a restart"
    );
    let named = opened
        .damage
        .iter()
        .any(|d| d.file == file && matches!(d.kind, DamageKind::Lost { .. }));
    assert!(named, "the rest of that file is named: {:?}", opened.damage);
}

#[test]
fn a_full_spool_refuses_jobs_and_still_takes_results() {
    let disk = SimDisk::new(8);
    let small = Limits {
        max_bytes: 2_000,
        ..limits()
    };
    let (mut spools, _) = Spools::open(disk.clone(), small, at(0)).unwrap();
    spools.begin(id(1)).unwrap();
    let mut counted = Counted::default();
    counted.begun.push(id(1));
    while spools.room().unwrap().refusing.is_none() {
        write(&mut spools, 1, &mut counted).unwrap();
    }
    let full = counted.events.len();
    write(&mut spools, 3, &mut counted).expect("a result of an accepted job is taken");
    spools.compact(at(1)).unwrap();
    assert!(
        spools.room().unwrap().refusing.is_some(),
        "nothing unreceipted is dropped"
    );
    // Receipts make room at once although 72 h (here: a minute) have not passed.
    spools.settle(id(1), full as u64, at(2));
    spools.compact(at(3)).unwrap();
    assert_eq!(spools.room().unwrap().refusing, None);
    disk.set_free(10);
    let refusing = spools.room().unwrap().refusing.expect("the disk is nearly full");
    assert!(refusing.contains("10 bytes free"), "{refusing}");
}
