//! What goes wrong, and the verdict that is honest about it.

use std::time::Duration;

use device_agent::runner::{Report, Signer};
use ecu_sim::{Fault, build_image};
use fleet_wire::event::{Outcome, Verdict};
use procedure::EndState;

use crate::stand::{CALIBRATE, EOL, FLASH, Stand, artifact, compiled, plan, procedure_source, vehicle};

fn nrc(service: u8, bytes: &str, code: u8, times: u32) -> Fault {
    Fault::Nrc {
        service,
        bytes: bytes.to_owned(),
        code,
        times,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_software_after_a_flash_is_failed() {
    let stand = Stand::new(vehicle(1)).await;
    stand.vehicle.add_fault("ESP", Fault::WrongVersion);
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(report.verdict, Verdict::Failed, "{report:#?}");
    assert_eq!(report.reason_code, "check_missed");
    assert_eq!(report.software["ESP"], "2.0.0");
    assert!(report.detail.unwrap().contains("2.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_corruption_is_found_by_the_check_routine() {
    let stand = Stand::new(vehicle(1)).await;
    stand.vehicle.add_fault("ESP", Fault::Corruption { times: 1 });
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(report.verdict, Verdict::Failed, "{report:#?}");
    assert_eq!(report.record.end_state, EndState::Boot);
    assert!(!stand.state("ESP").app_valid);
    let check = report
        .record
        .steps
        .iter()
        .find(|step| step.step == "check")
        .unwrap();
    assert_eq!(check.outcome, Outcome::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_for_another_part_is_failed_by_the_dependencies() {
    let stand = Stand::new(vehicle(1)).await;
    let mut inputs = stand.with_image();
    let image = build_image("A9999999999", "2.1.0", 8192, 1).unwrap();
    inputs
        .artifacts
        .insert("image".to_owned(), artifact("2.1.0", image));
    let (report, _) = stand.run(plan(FLASH), inputs).await;
    assert_eq!(report.verdict, Verdict::Failed, "{report:#?}");
    assert_eq!(report.record.end_state, EndState::Boot);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_loss_in_the_middle_begins_again_and_passes() {
    let stand = Stand::new(vehicle(1)).await;
    stand
        .vehicle
        .add_fault("ESP", Fault::PowerLoss { block: 40, times: 1 });
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(report.record.restarts, 1);
    let state = stand.state("ESP");
    assert_eq!(
        (state.counters.erases, state.counters.downloads),
        (2, 1),
        "erased again, never gone on with"
    );
    assert_eq!(
        state.flashed.unwrap().sha256,
        stand.with_image().artifacts["image"].sha256
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_link_in_the_middle_never_goes_on_over_the_new_connection() {
    let stand = Stand::new(vehicle(1)).await;
    stand
        .vehicle
        .add_fault("ESP", Fault::LinkDrop { block: 40, times: 1 });
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let counters: Vec<u8> = stand
        .vehicle
        .requests()
        .iter()
        .filter(|one| one.ecu == "ESP" && one.bytes[0] == 0x36)
        .map(|one| one.bytes[1])
        .collect();
    assert_eq!(counters[39], 40, "the block that was lost");
    assert_eq!(
        counters[40], 1,
        "the next block that is sent is the first one again"
    );
    assert_eq!(stand.state("ESP").counters.erases, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_power_losses_leave_the_control_unit_in_doubt() {
    let stand = Stand::new(vehicle(1)).await;
    stand
        .vehicle
        .add_fault("ESP", Fault::PowerLoss { block: 5, times: 10 });
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(report.verdict, Verdict::InDoubt, "{report:#?}");
    assert_eq!(report.reason_code, "link_lost");
    assert_eq!(report.record.restarts, 2);
    assert_eq!(report.record.end_state, EndState::Boot);
    assert_eq!(stand.state("ESP").counters.erases, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_vehicle_is_aborted_before_anything_is_changed() {
    let stand = Stand::new(vehicle(1)).await;
    let mut inputs = stand.with_image();
    inputs.vin = "WDB1110101A000009".to_owned();
    let (report, _) = stand.run(plan(FLASH), inputs).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Aborted, "wrong_vin")
    );
    assert_eq!(stand.heard("ESP", &[0x10]), 0, "no session was changed");
    assert_eq!(stand.state("ESP").counters, ecu_sim::Counters::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_part_or_hardware_is_aborted_before_anything_is_changed() {
    for (reason, part, hw) in [
        ("wrong_part", "A0009059999", "HW07"),
        ("wrong_hardware", "A0009051234", "HW01"),
    ] {
        let mut spec = vehicle(1);
        spec.ecus[0].part = part.to_owned();
        spec.ecus[0].hw = hw.to_owned();
        let stand = Stand::new(spec).await;
        let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
        assert_eq!(
            (report.verdict, report.reason_code.as_str()),
            (Verdict::Aborted, reason)
        );
        assert_eq!(stand.heard("ESP", &[0x10]), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn low_voltage_is_aborted_with_the_measured_value() {
    let mut spec = vehicle(1);
    spec.ecus[0].supply_v = 11.9;
    let stand = Stand::new(spec).await;
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Aborted, "precondition_missed")
    );
    assert!(report.detail.unwrap().contains("11.9 V"));
    assert_eq!(stand.state("ESP").counters.programming_sessions, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_limit_is_failed_and_the_rest_is_measured_all_the_same() {
    let mut spec = vehicle(3);
    spec.ecus[0].values.insert(0x3004, "0064".to_owned());
    let stand = Stand::new(spec).await;
    let (report, _) = stand.run(plan(EOL), stand.inputs(stand.vehicle.vin())).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Failed, "limit_missed")
    );
    assert!(report.detail.unwrap().starts_with("standby: "));
    let missed = report
        .record
        .steps
        .iter()
        .find(|step| step.step == "standby")
        .unwrap();
    assert_eq!(missed.measurements[0].outcome, Outcome::Failed);
    assert!(
        report
            .record
            .steps
            .iter()
            .any(|step| step.step == "beam" && step.outcome == Outcome::Passed)
    );
    let state = stand.state("BCM");
    assert_eq!((state.counters.actuations, state.counters.returns), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_calibration_is_failed() {
    let mut spec = vehicle(2);
    spec.ecus[0].routines[0].status = "02".to_owned();
    let stand = Stand::new(spec).await;
    let (report, _) = stand
        .run(plan(CALIBRATE), stand.inputs(stand.vehicle.vin()))
        .await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Failed, "check_missed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_before_the_erase_is_a_clean_abort() {
    let stand = Stand::new(vehicle(1)).await;
    let attempt = stand.attempt(plan(FLASH), stand.with_image());
    let at = |report: &Report| matches!(report, Report::Step(step) if step.step == "quiet");
    let (report, _) = stand.run_watching(attempt, at).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Aborted, "canceled"),
        "{report:#?}"
    );
    let state = stand.state("ESP");
    assert_eq!(state.counters.erases, 0);
    assert_eq!(stand.vehicle.is_restored("ESP"), Some(true));
    assert_eq!(stand.vehicle.is_restored("IC"), Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_ends_a_wait_at_once() {
    let stand = Stand::new(vehicle(3)).await;
    let source = procedure_source(EOL).replace("hold_s: 0.5", "hold_s: 50");
    let attempt = stand.attempt(compiled(&source), stand.inputs(stand.vehicle.vin()));
    let at = |report: &Report| matches!(report, Report::Step(step) if step.step == "wiper_on");
    let run = stand.run_watching(attempt, at);
    let (report, _) = tokio::time::timeout(Duration::from_secs(20), run).await.unwrap();
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Aborted, "canceled")
    );
    assert_eq!(stand.state("BCM").counters.returns, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_after_the_point_of_no_return_is_not_heard() {
    let stand = Stand::new(vehicle(1)).await;
    let attempt = stand.attempt(plan(FLASH), stand.with_image());
    let (report, _) = stand
        .run_watching(attempt, |one| *one == Report::PastPointOfNoReturn)
        .await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_first_write_is_an_error() {
    let stand = Stand::new(vehicle(1)).await;
    stand.vehicle.add_fault("ESP", nrc(0x10, "02", 0x22, 1));
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Error, "ecu_refused")
    );
    let step = report
        .record
        .steps
        .iter()
        .find(|step| step.step == "prog")
        .unwrap();
    assert_eq!((step.outcome, step.nrc), (Outcome::Error, Some(0x22)));
    assert_eq!(stand.vehicle.is_restored("IC"), Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_programming_is_failed_and_the_end_state_is_the_boot_loader() {
    let stand = Stand::new(vehicle(1)).await;
    stand.vehicle.add_fault("ESP", nrc(0x36, "05", 0x72, 1));
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Failed, "programming_failed")
    );
    assert_eq!(report.record.end_state, EndState::Boot);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_tried_once_only() {
    let stand = Stand::new(vehicle(1)).await;
    let mut spec = vehicle(1);
    spec.ecus[0].secret = "00".to_owned();
    let other = Stand::new(spec).await;
    let mut attempt = stand.attempt(plan(FLASH), stand.with_image());
    attempt.signer = other.signer();
    let (report, _) = stand.run_watching(attempt, |_| false).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Error, "key_refused")
    );
    assert_eq!(stand.heard("ESP", &[0x27, 0x12]), 1);
    assert_eq!(stand.state("ESP").wrong_keys, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_signer_nothing_is_written() {
    let stand = Stand::new(vehicle(1)).await;
    let mut attempt = stand.attempt(plan(FLASH), stand.with_image());
    // Nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    attempt.signer = Signer::Backend {
        client: reqwest::Client::new(),
        url,
    };
    let (report, _) = stand.run_watching(attempt, |_| false).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Error, "signer_unavailable")
    );
    assert!(stand.pending().intents.is_empty());
    assert_eq!(stand.state("ESP").counters.erases, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_response_pending_is_an_error_before_the_first_write_and_in_doubt_after_it() {
    let source = procedure_source(FLASH).replace("pending_total_s: 120", "pending_total_s: 1");
    let source = source.replace("timeout_s: 30\n", "timeout_s: 1\n");
    for (service, bytes, verdict) in [(0x28, "", Verdict::Error), (0x31, "01ff00", Verdict::InDoubt)] {
        let stand = Stand::new(vehicle(1)).await;
        let bytes = bytes.to_owned();
        stand.vehicle.add_fault(
            "ESP",
            Fault::Pending {
                service,
                bytes,
                count: 40,
                every_ms: 100,
                times: 1,
            },
        );
        let (report, _) = stand.run(compiled(&source), stand.with_image()).await;
        assert_eq!(
            (report.verdict, report.reason_code.as_str()),
            (verdict, "ecu_silent"),
            "{report:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_block_repeats_the_block_and_passes() {
    let stand = Stand::new(vehicle(1)).await;
    stand.vehicle.add_fault(
        "ESP",
        Fault::Silent {
            service: 0x36,
            times: 1,
        },
    );
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(stand.heard("ESP", &[0x36, 0x01]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_address_is_an_error() {
    let stand = Stand::new(vehicle(1)).await;
    let mut attempt = stand.attempt(plan(FLASH), stand.with_image());
    attempt.vehicle.entity = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (report, reports) = stand.run_watching(attempt, |_| false).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Error, "link_lost")
    );
    assert!(!reports.contains(&Report::PastPointOfNoReturn));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_refused_before_the_session_is_changed() {
    let mut spec = vehicle(1);
    spec.ecus[0].software = "2.10.0".to_owned();
    let stand = Stand::new(spec).await;
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Aborted, "older_version")
    );
    assert_eq!(stand.heard("ESP", &[0x10]), 0);
}
