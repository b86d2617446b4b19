//! Power lost at every write operation, and again while the next start tidies up.

use spool::DamageKind;
use spool::sim::{Fault, SimDisk};

use crate::workload::{Counted, limits, live, verify};

fn operations_of_a_life() -> u64 {
    let disk = SimDisk::new(1);
    let mut counted = Counted::default();
    live(&disk, &mut counted).expect("a disk without faults");
    assert!(counted.events.len() > 25);
    disk.operations()
}

#[test]
fn every_counted_event_survives_a_power_loss_at_every_write() {
    let operations = operations_of_a_life();
    let mut trimmed = 0;
    for seed in 0..8 {
        for operation in 0..operations {
            let disk = SimDisk::new(seed);
            disk.fault_at(operation, Fault::PowerLoss);
            let mut counted = Counted::default();
            live(&disk, &mut counted).expect_err("the power went");
            disk.power_on();
            let (lost, damage) = verify(&disk, &counted, 500);
            assert_eq!(lost, [], "seed {seed} operation {operation}: {damage:?}");
            let real = |kind: &DamageKind| matches!(kind, DamageKind::Lost { .. } | DamageKind::State);
            assert!(
                !damage.iter().any(|d| real(&d.kind)),
                "seed {seed} operation {operation}: {damage:?}"
            );
            trimmed += damage
                .iter()
                .filter(|d| matches!(d.kind, DamageKind::TrimmedTail { .. }))
                .count();
        }
    }
    assert!(trimmed > 40, "torn writes happened {trimmed} times");
}

#[test]
fn a_second_power_loss_while_starting_again_costs_nothing() {
    let operations = operations_of_a_life();
    for seed in 0..2 {
        for operation in 0..operations {
            for second in 0..6 {
                let disk = SimDisk::new(seed * 100 + second);
                disk.fault_at(operation, Fault::PowerLoss);
                let mut counted = Counted::default();
                live(&disk, &mut counted).expect_err("the power went");
                disk.power_on();
                disk.fault_in(second, Fault::PowerLoss);
                if let Ok((mut spools, _)) =
                    spool::Spools::open(disk.clone(), limits(), crate::workload::at(400))
                {
                    let _ = spools.begin(crate::workload::id(800));
                    counted.begun.push(crate::workload::id(800));
                    let _ = crate::workload::write(&mut spools, 2, &mut counted);
                }
                disk.power_on();
                let (lost, damage) = verify(&disk, &counted, 500);
                assert_eq!(
                    lost,
                    [],
                    "seed {seed} operation {operation} second {second}: {damage:?}"
                );
            }
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_and_what_it_left_is_durable_at_the_next_start() {
    let disk = SimDisk::new(3);
    let mut counted = Counted::default();
    let (mut spools, _) = spool::Spools::open(disk.clone(), limits(), crate::workload::at(0)).unwrap();
    spools.begin(crate::workload::id(1)).unwrap();
    counted.begun.push(crate::workload::id(1));
    crate::workload::write(&mut spools, 2, &mut counted).unwrap();
    let position = spools.next_position().unwrap();
    let bytes = crate::workload::content(position.spool, position.seq);
    spools.append(position, &bytes).unwrap();
    drop(spools);
    // Killed before its sync: the record lies in the page cache, the next start finds and names it.
    let (spools, _) = spool::Spools::open(disk.clone(), limits(), crate::workload::at(1)).unwrap();
    assert_eq!(
        spools.order().collect::<Vec<_>>(),
        [(crate::workload::id(1), 3, 0)]
    );
    drop(spools);
    disk.power_off();
    disk.power_on();
    counted.events.insert((position.spool, position.seq), bytes);
    assert_eq!(verify(&disk, &counted, 2).0, [], "a later start counted on it");
}
