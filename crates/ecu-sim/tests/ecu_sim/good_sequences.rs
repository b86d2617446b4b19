//! What a control unit does when it is asked in the right order.

use ecu_sim::{Ecu, Fault};

use crate::bench::{Bench, VIN, image, spec};

#[test]
fn a_download_makes_the_new_software_run() {
    let mut bench = Bench::new();
    let image = image();
    bench.downloaded(&image);
    assert_eq!(bench.check(&image), [0x71, 0x01, 0x02, 0x02, 0x00]);
    assert_eq!(
        bench.good(&[0x31, 0x01, 0xFF, 0x01]),
        [0x71, 0x01, 0xFF, 0x01, 0x00]
    );
    let reset = bench.react(&[0x11, 0x01]);
    assert!(reset.closes);
    assert!(!bench.ecu.is_there(bench.now), "it starts again");
    assert!(bench.react(&[0x22, 0xF1, 0x89]).replies.is_empty());
    bench.wait(300);
    assert_eq!(bench.good(&[0x22, 0xF1, 0x89])[3..], *b"2.1.0");
    assert_eq!(bench.good(&[0x22, 0xF1, 0x86])[3..], [0x01]);
    let memory = bench.ecu.memory();
    assert!(memory.app_valid);
    assert_eq!(memory.flashed.as_ref().unwrap().crc32, uds::crc32(&image));
    assert_eq!(
        (
            memory.counters.erases,
            memory.counters.downloads,
            memory.counters.unlocks
        ),
        (1, 1, 1)
    );
}

#[test]
fn erasing_says_78_until_it_is_done() {
    let mut spec = spec();
    spec.erase_ms = 2500;
    let mut bench = Bench::of(spec);
    bench.unlocked().good(&[0x2E, 0xF1, 0x5A, b'J']);
    let reaction = bench.react(&[0x31, 0x01, 0xFF, 0x00]);
    let bytes: Vec<_> = reaction.replies.iter().map(|reply| reply.bytes.clone()).collect();
    assert_eq!(bytes.len(), 4);
    assert!(bytes[..3].iter().all(|reply| *reply == [0x7F, 0x31, 0x78]));
    assert_eq!(bytes[3], [0x71, 0x01, 0xFF, 0x00, 0x00]);
    let p2_star = std::time::Duration::from_secs(5);
    assert!(
        reaction
            .replies
            .windows(2)
            .all(|pair| pair[1].after < pair[0].after + p2_star)
    );
}

#[test]
fn a_repeated_block_is_answered_and_not_written_twice() {
    let mut bench = Bench::new();
    let image = image();
    bench.downloading();
    let mut first = vec![0x36, 0x01];
    first.extend(&image[..128]);
    bench.good(&first);
    assert_eq!(bench.good(&first), [0x76, 0x01]);
    for (index, chunk) in image[128..].chunks(128).enumerate() {
        let mut request = vec![0x36, u8::try_from(index + 2).unwrap()];
        request.extend(chunk);
        bench.good(&request);
    }
    bench.good(&[0x37]);
    assert_eq!(bench.check(&image)[4], 0x00);
}

#[test]
fn a_wrong_checksum_and_a_stored_fault_are_both_found() {
    let mut bench = Bench::new();
    let good = image();
    bench.downloaded(&good);
    assert_eq!(bench.good(&[0x31, 0x01, 0x02, 0x02, 0, 0, 0, 0])[4], 0x01);
    let mut bench = Bench::new();
    bench.ecu.add_fault(Fault::Corruption { times: 1 });
    bench.downloaded(&good);
    assert_eq!(bench.check(&good)[4], 0x01);
    assert!(!bench.ecu.memory().app_valid);
}

#[test]
fn after_a_power_loss_only_the_boot_loader_is_left() {
    let mut bench = Bench::new();
    bench.ecu.add_fault(Fault::PowerLoss { block: 2, times: 1 });
    bench.downloading().good(&[0x36, 0x01, 1, 2, 3]);
    let reaction = bench.react(&[0x36, 0x02, 4, 5, 6]);
    assert!(reaction.closes && reaction.replies.is_empty());
    bench.wait(300);
    assert_eq!(
        bench.refused(&[0x22, 0xF1, 0x89]),
        0x31,
        "there is no software to name"
    );
    assert_eq!(bench.refused(&[0x22, 0xF1, 0x81]), 0x31);
    assert_eq!(bench.good(&[0x22, 0xF1, 0x90])[3..], *VIN.as_bytes());
    assert_eq!(bench.refused(&[0x19, 0x02, 0xFF]), 0x11);
    assert_eq!(
        bench.refused(&[0x36, 0x02, 4, 5, 6]),
        0x7F,
        "the download is forgotten"
    );
    let memory = bench.ecu.memory().clone();
    let mut again = Bench {
        ecu: Ecu::new(VIN, spec(), Some(memory), 1),
        now: bench.now,
    };
    again.erased();
}

#[test]
fn without_the_tester_the_session_ends_after_five_seconds() {
    let mut bench = Bench::new();
    bench.extended();
    bench.wait(4_900);
    assert_eq!(bench.good(&[0x22, 0xF1, 0x86])[3], 0x03);
    bench.wait(4_900);
    assert!(bench.ask(&[0x3E, 0x80]).is_empty(), "suppressed");
    bench.wait(4_900);
    assert_eq!(bench.good(&[0x22, 0xF1, 0x86])[3], 0x03);
    bench.wait(5_100);
    assert_eq!(bench.good(&[0x22, 0xF1, 0x86])[3], 0x01);
}

#[test]
fn the_end_of_a_session_gives_everything_back() {
    let mut bench = Bench::new();
    bench.extended().good(&[0x85, 0x02]);
    bench.good(&[0x28, 0x01, 0x01]);
    bench.good(&[0x2F, 0x31, 0x01, 0x03, 0x01]);
    assert_eq!(
        bench.good(&[0x22, 0x23, 0x01])[3..],
        [0x0F, 0xFF],
        "the output acts on what is measured"
    );
    assert!(!bench.ecu.is_restored());
    bench.good(&[0x10, 0x01]);
    assert!(bench.ecu.is_restored());
    assert_eq!(bench.good(&[0x22, 0x23, 0x01])[3..], [0x00, 0x10]);
    assert_eq!(
        (
            bench.ecu.memory().counters.actuations,
            bench.ecu.memory().counters.returns
        ),
        (1, 1)
    );
}

#[test]
fn a_routine_runs_and_its_results_stay() {
    let mut bench = Bench::new();
    bench.extended().unlock(0x01).good(&[0x31, 0x01, 0x03, 0x01]);
    assert_eq!(bench.good(&[0x31, 0x03, 0x03, 0x01])[4], 0x01, "running");
    bench.wait(1_000);
    assert_eq!(bench.good(&[0x31, 0x03, 0x03, 0x01])[4], 0x00);
    assert_eq!(bench.good(&[0x22, 0x23, 0x01])[3..], [0x00, 0x20]);
    assert_eq!(bench.ecu.memory().values["2301"], "0020");
}

#[test]
fn a_seed_of_zeros_says_that_the_level_is_open() {
    let mut bench = Bench::new();
    bench.extended().unlock(0x01);
    assert_eq!(bench.good(&[0x27, 0x01])[2..], [0; 8]);
}

#[test]
fn faults_are_cleared_but_those_that_are_still_there() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.good(&[0x19, 0x02, 0x01])[3..],
        [0x90, 0x0B, 0x11, 0x09],
        "failed now"
    );
    assert_eq!(bench.good(&[0x19, 0x02, 0x08]).len(), 3 + 2 * 4);
    bench.good(&[0x14, 0xFF, 0xFF, 0xFF]);
    assert_eq!(bench.good(&[0x19, 0x02, 0xFF])[3..], [0x90, 0x0B, 0x11, 0x09]);
}

#[test]
fn a_functional_request_hears_no_refusal_that_others_would_give_as_well() {
    let mut bench = Bench::new();
    for request in [&[0x22, 0x99, 0x99][..], &[0x28, 0x00, 0x01], &[0xBA, 0x01]] {
        assert!(
            bench.ecu.handle(request, true, bench.now).replies.is_empty(),
            "{request:02x?}"
        );
    }
    let conditions = bench.ecu.handle(&[0x14, 0x00, 0x00, 0x01], true, bench.now);
    assert!(conditions.replies.is_empty(), "31 is silent as well");
    let length = bench.ecu.handle(&[0x10], true, bench.now);
    assert_eq!(length.replies[0].bytes, [0x7F, 0x10, 0x13]);
}

#[test]
fn a_planned_refusal_delay_and_silence() {
    let mut bench = Bench::new();
    bench.ecu.add_fault(Fault::Nrc {
        service: 0x22,
        bytes: "f190".to_owned(),
        code: 0x21,
        times: 1,
    });
    assert_eq!(bench.good(&[0x22, 0xF1, 0x87])[0], 0x62, "another identifier");
    assert_eq!(bench.refused(&[0x22, 0xF1, 0x90]), 0x21);
    bench.good(&[0x22, 0xF1, 0x90]);
    bench.ecu.add_fault(Fault::Pending {
        service: 0x22,
        bytes: String::new(),
        count: 3,
        every_ms: 100,
        times: 1,
    });
    let reaction = bench.react(&[0x22, 0xF1, 0x90]);
    assert_eq!(reaction.replies.len(), 4);
    assert_eq!(reaction.replies[3].after.as_millis(), 330);
    bench.ecu.add_fault(Fault::Silent {
        service: 0x22,
        times: 1,
    });
    assert!(bench.ask(&[0x22, 0xF1, 0x90]).is_empty());
}

#[test]
fn the_vehicles_of_the_demo_have_valid_vins_and_the_secrets_of_the_signer() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo");
    let yaml = std::fs::read_to_string(format!("{demo}/vehicles.yaml")).unwrap();
    let secrets = std::fs::read_to_string(format!("{demo}/secrets.toml")).unwrap();
    let vehicles = ecu_sim::parse_vehicles(&yaml).unwrap().vehicles;
    assert_eq!(vehicles.len(), 3);
    for ecu in vehicles.iter().flat_map(|vehicle| &vehicle.ecus) {
        let line = format!("{} = \"{}\"", ecu.name, ecu.secret);
        assert!(secrets.lines().any(|one| one == line), "{line}");
    }
}

#[test]
fn vehicles_that_cannot_be_are_refused() {
    let good = "schema: vehicles/1\nvehicles:\n  - {vin: WDB1110101A000001, ecus: []}\n";
    assert!(ecu_sim::parse_vehicles(good).is_ok());
    for bad in [
        "WDB1110101A00000I",
        "WDB1110101A00000",
        "WDB1110101O000001",
        "wdb1110101a000001",
    ] {
        assert!(
            ecu_sim::parse_vehicles(&good.replace("WDB1110101A000001", bad)).is_err(),
            "{bad}"
        );
    }
    assert!(ecu_sim::parse_vehicles(&good.replace("ecus", "ecu")).is_err());
}
