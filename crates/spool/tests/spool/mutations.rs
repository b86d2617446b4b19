//! 10,000 changes behind the spool's back: none goes unnoticed.

use spool::sim::SimDisk;
use spool::{DamageKind, Disk as _, Read, Spools};

use crate::workload::{Counted, at, id, limits, live, verify, write};

/// A number below `bound` (splitmix64).
fn below(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    usize::try_from((z ^ (z >> 31)) % (bound.max(1) as u64)).expect("below a usize")
}

#[test]
fn ten_thousand_mutations_are_all_detected() {
    let disk = SimDisk::new(1);
    let mut counted = Counted::default();
    live(&disk, &mut counted).expect("a disk without faults");
    let image = disk.image();
    let names = disk.clone().list().unwrap();
    let (mut state, mut with_loss, mut with_damage) = (42, 0, 0);
    for round in 0..10_000 {
        let disk = SimDisk::new(round);
        disk.restore(&image);
        let name = &names[below(&mut state, names.len())];
        let (mut what, mut changed) = (String::new(), false);
        disk.corrupt(name, |file| {
            let before = file.clone();
            let place = below(&mut state, file.len());
            match below(&mut state, 4) {
                0 => file.truncate(place),
                1 => {
                    let end = (place + 1 + below(&mut state, 64)).min(file.len());
                    file[place..end].fill(0);
                }
                _ => file[place] ^= 1 << below(&mut state, 8),
            }
            what = format!("round {round}: {name} at {place} of {}", before.len());
            changed = *file != before;
        });
        let (lost, damage) = verify(&disk, &counted, 500);
        let said_of_it: Vec<_> = damage.iter().filter(|damage| damage.file == *name).collect();
        assert!(
            lost.is_empty() || !said_of_it.is_empty(),
            "{what}: lost {lost:?}, said {damage:?}"
        );
        for (spool, seq) in &lost {
            let said = damage.iter().any(|damage| {
                damage.spool == Some(*spool)
                    && matches!(damage.kind, DamageKind::Lost { from, to } if (from..=to).contains(seq))
            });
            assert!(said, "{what}: {spool} {seq} is lost, said {damage:?}");
        }
        assert!(changed || damage.is_empty(), "{what}: {damage:?}");
        // One place, one record (a range may touch its neighbours).
        assert!(lost.len() <= 12, "{what}: lost {lost:?}");
        with_loss += usize::from(!lost.is_empty());
        with_damage += usize::from(!damage.is_empty());
    }
    println!("10,000 mutations: {with_damage} named, {with_loss} of them cost events");
    assert!(
        with_loss > 3_000 && with_damage > 8_000,
        "{with_loss} {with_damage}"
    );
}

/// Marks are not synced with each group (ADR 0012). So this image is what a power loss leaves at a bad moment: no mark
/// is there that was written since the last upkeep. Damage to any group but the last is named all the same, because
/// the group after it proves it.
#[test]
fn damage_is_also_detected_after_a_power_loss_that_took_the_marks() {
    let (mut state, mut with_loss, mut hung_on_the_mark) = (7, 0, 0);
    for round in 0..2_000 {
        let disk = SimDisk::new(round);
        let mut counted = Counted::default();
        let (mut spools, _) = Spools::open(disk.clone(), limits(), at(0)).unwrap();
        spools.begin(id(1)).unwrap();
        counted.begun.push(id(1));
        write(&mut spools, 2, &mut counted).unwrap();
        spools.compact(at(1)).unwrap();
        let upkeep = disk.content("marks").expect("written");
        let groups = [3, 1, 4, 1, 5];
        for events in groups {
            write(&mut spools, events, &mut counted).unwrap();
        }
        drop(spools);
        disk.power_off();
        disk.power_on();
        disk.corrupt("marks", |file| file.clone_from(&upkeep));
        let mut names = disk.clone().list().unwrap();
        names.retain(|name| name.ends_with("seg"));
        let name = &names[below(&mut state, names.len())];
        disk.corrupt(name, |file| {
            let place = below(&mut state, file.len());
            file[place] ^= 1 << below(&mut state, 8);
        });
        let last_group = 16 - groups[4] + 1;
        let (mut spools, opened) = Spools::open(disk.clone(), limits(), at(500)).unwrap();
        for ((spool, seq), bytes) in &counted.events {
            match spools.read(*spool, *seq).unwrap() {
                Read::Event(found) => assert_eq!(&found, bytes),
                Read::Hole { to, .. } => {
                    assert!(to >= *seq);
                    let said = opened.damage.iter().any(
                        |d| matches!(d.kind, DamageKind::Lost { from, to } if (from..=to).contains(seq)),
                    );
                    assert!(said, "round {round}: {seq} is lost, said {:?}", opened.damage);
                    with_loss += 1;
                }
                Read::Absent => {
                    assert!(*seq >= last_group, "round {round}: {seq} is gone without a hole");
                    let said = opened.damage.iter().any(|d| d.file == *name);
                    assert!(said, "round {round}: not a word of {name}");
                    hung_on_the_mark += 1;
                }
            }
        }
    }
    println!("{with_loss} events became holes, {hung_on_the_mark} were taken for an unfinished write");
    assert!(
        with_loss > 500 && hung_on_the_mark > 50,
        "{with_loss} {hung_on_the_mark}"
    );
}
