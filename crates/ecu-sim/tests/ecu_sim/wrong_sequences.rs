//! Wrong sequences and the negative response that a real control unit gives.

use crate::bench::{Bench, image, spec};

const GENERAL: [u8; 0] = [];

/// How the control unit is brought to where the wrong request comes.
type Prelude = fn(&mut Bench);

fn default(_: &mut Bench) {}
fn extended(bench: &mut Bench) {
    bench.extended();
}
fn extended_unlocked(bench: &mut Bench) {
    bench.extended().unlock(0x01);
}
fn programming(bench: &mut Bench) {
    bench.programming();
}
fn unlocked(bench: &mut Bench) {
    bench.unlocked();
}
fn erased(bench: &mut Bench) {
    bench.erased();
}
fn downloading(bench: &mut Bench) {
    bench.downloading();
}
fn first_block(bench: &mut Bench) {
    bench.downloading().good(&[0x36, 0x01, 9]);
}
fn downloaded(bench: &mut Bench) {
    bench.downloaded(&image());
}

/// (what is wrong, where, request, negative response code)
#[rustfmt::skip]
fn table() -> Vec<(&'static str, Prelude, Vec<u8>, u8)> {
    let block = |counter: u8, length: usize| {
        let mut request = vec![0x36, counter];
        request.extend(vec![0; length]);
        request
    };
    vec![
        ("an unknown service", default, vec![0xBA, 1], 0x11),
        ("a service without length", default, vec![0x22], 0x13),
        ("an unknown session", default, vec![0x10, 0x44], 0x12),
        ("programming straight from the default session", default, vec![0x10, 0x02], 0x7E),
        ("programming without its preconditions", extended, vec![0x10, 0x02], 0x22),
        ("preconditions outside a session", default, vec![0x31, 1, 2, 3], 0x7F),
        ("preconditions with a sub-function they lack", extended, vec![0x31, 3, 2, 3], 0x12),
        ("an unknown identifier", default, vec![0x22, 0x99, 0x99], 0x31),
        ("security in the default session", default, vec![0x27, 0x01], 0x7F),
        ("programming's level in the extended session", extended, vec![0x27, 0x11], 0x7E),
        ("the application's level in the programming session", programming, vec![0x27, 0x01], 0x7E),
        ("an unknown level", extended, vec![0x27, 0x21], 0x12),
        ("a key without a seed", extended, vec![0x27, 0x02, 1, 2, 3, 4, 5, 6, 7, 8], 0x24),
        ("a key of the wrong length", extended, vec![0x27, 0x02, 1], 0x13),
        ("communication control in the default session", default, vec![0x28, 1, 1], 0x7F),
        ("communication control in the programming session", programming, vec![0x28, 1, 1], 0x7F),
        ("an unknown communication control", extended, vec![0x28, 9, 1], 0x12),
        ("fault setting in the default session", default, vec![0x85, 2], 0x7F),
        ("a write in the default session", default, vec![0x2E, 0x23, 0x04, 1, 2], 0x7F),
        ("a write without security", extended, vec![0x2E, 0x23, 0x04, 1, 2], 0x33),
        ("a write of the wrong length", extended_unlocked, vec![0x2E, 0x23, 0x04, 1], 0x13),
        ("a write of what is read only", extended_unlocked, vec![0x2E, 0xF1, 0x90, 1], 0x31),
        ("a fingerprint outside programming", extended_unlocked, vec![0x2E, 0xF1, 0x5A, 1], 0x31),
        ("a fingerprint without security", programming, vec![0x2E, 0xF1, 0x5A, 1], 0x33),
        ("an output in the default session", default, vec![0x2F, 0x31, 0x01, 3, 1], 0x7F),
        ("an unknown output", extended, vec![0x2F, 0x99, 0x99, 3, 1], 0x31),
        ("an output without state", extended, vec![0x2F, 0x31, 0x01, 3], 0x13),
        ("a secured routine without security", extended, vec![0x31, 1, 3, 1], 0x33),
        ("an unknown routine", extended, vec![0x31, 1, 9, 9], 0x31),
        ("results of a routine that was not started", extended_unlocked, vec![0x31, 3, 3, 1], 0x24),
        ("an unknown routine action", extended, vec![0x31, 7, 3, 1], 0x12),
        ("erase outside programming", extended, vec![0x31, 1, 0xFF, 0x00], 0x31),
        ("erase without security", programming, vec![0x31, 1, 0xFF, 0x00], 0x33),
        ("erase without a fingerprint", unlocked, vec![0x31, 1, 0xFF, 0x00], 0x22),
        ("a download outside programming", extended, vec![0x34, 0, 0x11, 0, 9], 0x7F),
        ("a download without security", programming, vec![0x34, 0, 0x11, 0, 9], 0x33),
        ("a download without erase", unlocked, vec![0x34, 0, 0x11, 0, 9], 0x70),
        ("a download that is too large", erased, vec![0x34, 0, 0x41, 0, 0, 2, 0, 0], 0x31),
        ("a download of nothing", erased, vec![0x34, 0, 0x11, 0, 0], 0x31),
        ("a compressed download", erased, vec![0x34, 0x10, 0x11, 0, 9], 0x31),
        ("a block without download", erased, block(1, 4), 0x24),
        ("a block that is not the first", downloading, block(2, 4), 0x73),
        ("a block left out", first_block, block(3, 4), 0x73),
        ("a block that is too long", downloading, block(1, 129), 0x13),
        ("an empty block", downloading, block(1, 0), 0x13),
        ("the end without a download", erased, vec![0x37], 0x24),
        ("the end before the last block", first_block, vec![0x37], 0x24),
        ("a check before the download", erased, vec![0x31, 1, 2, 2, 0, 0, 0, 0], 0x24),
        ("a check without its checksum", downloaded, vec![0x31, 1, 2, 2], 0x13),
        ("dependencies before the check", downloaded, vec![0x31, 1, 0xFF, 1], 0x24),
        ("faults in the boot loader", programming, vec![0x19, 0x02, 0xFF], 0x11),
        ("an unknown reset", default, vec![0x11, 0x44], 0x12),
        ("clearing a group that is not there", default, vec![0x14, 0, 0, 1], 0x31),
    ]
}

#[test]
fn each_wrong_request_gets_its_negative_response() {
    for (wrong, prelude, request, nrc) in table() {
        let mut bench = Bench::new();
        prelude(&mut bench);
        let got = bench.refused(&request);
        assert_eq!(got, nrc, "{wrong}: {got:02X} instead of {nrc:02X}");
    }
}

#[test]
fn a_refused_request_changes_nothing_that_is_kept() {
    for (wrong, prelude, request, _) in table() {
        let mut bench = Bench::new();
        prelude(&mut bench);
        let before = bench.ecu.memory().clone();
        bench.refused(&request);
        assert_eq!(*bench.ecu.memory(), before, "{wrong}");
    }
}

#[test]
fn more_data_than_announced_stops_the_transfer() {
    let mut bench = Bench::new();
    bench.erased().download_of(4).good(&[0x36, 0x01, 1, 2, 3]);
    assert_eq!(bench.refused(&[0x36, 0x02, 4, 5]), 0x71);
}

#[test]
fn a_second_download_needs_a_second_erase() {
    let mut bench = Bench::new();
    bench.downloaded(&image());
    assert_eq!(bench.refused(&[0x34, 0, 0x11, 0, 9]), 0x70);
}

#[test]
fn a_change_of_session_locks_again_and_forgets_the_download() {
    let mut bench = Bench::new();
    bench.downloading().good(&[0x36, 0x01, 9]);
    bench.good(&[0x10, 0x03]);
    bench.good(&[0x31, 0x01, 0x02, 0x03]);
    bench.good(&[0x10, 0x02]);
    assert_eq!(bench.refused(&[0x36, 0x02, 9]), 0x33);
    bench.unlock(0x11);
    assert_eq!(bench.refused(&[0x36, 0x02, 9]), 0x24);
}

#[test]
fn the_silence_of_five_seconds_ends_programming_as_well() {
    let mut bench = Bench::new();
    bench.downloading();
    bench.wait(5_001);
    assert_eq!(bench.refused(&[0x36, 0x01, 9]), 0x7F);
}

#[test]
fn three_wrong_keys_lock_for_a_while_and_a_reset_does_not_help() {
    let mut bench = Bench::new();
    bench.programming();
    for nrc in [0x35, 0x35, 0x36] {
        bench.good(&[0x27, 0x11]);
        assert_eq!(bench.refused(&[0x27, 0x12, 1, 2, 3, 4, 5, 6, 7, 8]), nrc);
    }
    assert_eq!(bench.refused(&[0x27, 0x11]), 0x37);
    bench.react(&[0x11, 0x01]);
    bench.wait(300);
    bench.programming();
    assert_eq!(bench.refused(&[0x27, 0x11]), 0x37);
    for _ in 0..3 {
        bench.wait(4_000);
        bench.ask(&[0x3E, 0x80]);
    }
    bench.unlock(0x11);
    assert_eq!(bench.ecu.memory().wrong_keys, 0);
}

#[test]
fn a_used_seed_is_used_up() {
    let mut bench = Bench::new();
    bench.programming().good(&[0x27, 0x11]);
    assert_eq!(bench.refused(&[0x27, 0x12, 1, 2, 3, 4, 5, 6, 7, 8]), 0x35);
    assert_eq!(bench.refused(&[0x27, 0x12, 1, 2, 3, 4, 5, 6, 7, 8]), 0x24);
}

#[test]
fn low_voltage_is_refused_by_name() {
    let mut spec = spec();
    spec.supply_v = 10.5;
    let mut bench = Bench::of(spec);
    assert_eq!(bench.extended().refused(&[0x31, 0x01, 0x02, 0x03]), 0x93);
    assert_eq!(bench.unlock(0x01).refused(&[0x31, 0x01, 0x03, 0x01]), 0x93);
}

#[test]
fn a_control_unit_without_program_memory_cannot_be_programmed() {
    let mut spec = spec();
    spec.memory_bytes = 0;
    let mut bench = Bench::of(spec);
    bench.extended();
    assert_eq!(bench.refused(&[0x31, 0x01, 0x02, 0x03]), 0x31);
    assert_eq!(bench.refused(&[0x10, 0x02]), 0x12);
    assert_eq!(bench.refused(&[0x34, 0, 0x11, 0, 9]), 0x11);
}

#[test]
fn while_it_is_busy_it_says_so() {
    let mut spec = spec();
    spec.erase_ms = 1_000;
    let mut bench = Bench::of(spec);
    bench.unlocked().good(&[0x2E, 0xF1, 0x5A, b'J']);
    let now = bench.now;
    bench.react(&[0x31, 0x01, 0xFF, 0x00]);
    let during = bench.ecu.handle(
        &[0x22, 0xF1, 0x90],
        false,
        now + std::time::Duration::from_millis(500),
    );
    assert_eq!(during.replies[0].bytes, [0x7F, 0x22, 0x21]);
}

#[test]
fn an_empty_message_gets_no_answer() {
    assert!(Bench::new().react(&GENERAL).replies.is_empty());
}
