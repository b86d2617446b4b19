//! The three procedures of the demo come to `passed`, and the control unit agrees.

use device_agent::runner::Report;
use fleet_wire::event::{Outcome, Value, Verdict};
use procedure::EndState;

use crate::stand::{CALIBRATE, EOL, FLASH, Stand, plan, vehicle};

#[tokio::test(flavor = "multi_thread")]
async fn a_flash_passes_and_the_control_unit_runs_the_new_software() {
    let stand = Stand::new(vehicle(1)).await;
    let before = stand.state("ESP");
    assert_eq!(before.software.as_deref(), Some("2.0.0"));
    let (report, reports) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(report.software["ESP"], "2.1.0");
    assert_eq!(report.record.end_state, EndState::App);
    assert!(report.record.not_restored.is_empty());
    assert_eq!(
        report
            .record
            .before
            .as_ref()
            .unwrap()
            .identity
            .software
            .as_deref(),
        Some("2.0.0")
    );

    let after = stand.state("ESP");
    assert_eq!(after.software.as_deref(), Some("2.1.0"));
    assert!(after.app_valid);
    let flashed = after.flashed.unwrap();
    let image = stand.with_image().artifacts["image"].clone();
    assert_eq!(
        flashed.sha256, image.sha256,
        "the bytes that are stored are the bytes of the image"
    );
    assert_eq!((after.counters.erases, after.counters.downloads), (1, 1));
    assert_eq!(after.fingerprint, Some(stand.job_id.to_string()));
    assert_eq!(stand.vehicle.is_restored("ESP"), Some(true));
    assert_eq!(
        stand.vehicle.is_restored("IC"),
        Some(true),
        "the other control units are quiet no longer"
    );

    assert!(
        matches!(reports[0], Report::Started { steps_total: 17 }),
        "{:?}",
        reports[0]
    );
    let steps: Vec<_> = report
        .record
        .steps
        .iter()
        .map(|step| (step.index, step.step.as_str()))
        .collect();
    let expected = [
        "identify",
        "ubat",
        "ext",
        "ready",
        "quiet",
        "prog",
        "unlock",
        "fingerprint",
        "erase",
        "load",
        "check",
        "depends",
        "reset",
        "software",
        "author",
        "faults",
        "cleanup",
    ];
    let expected: Vec<_> = (0..).zip(expected).collect();
    assert_eq!(steps, expected);
    assert!(
        report
            .record
            .steps
            .iter()
            .all(|step| step.outcome == Outcome::Passed)
    );
    assert!(reports.contains(&Report::PastPointOfNoReturn));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flash_reads_everything_back_after_the_last_write() {
    let stand = Stand::new(vehicle(1)).await;
    stand.run(plan(FLASH), stand.with_image()).await;
    let requests = stand.vehicle.requests();
    let of = |begin: &[u8]| {
        requests
            .iter()
            .rposition(|one| one.ecu == "ESP" && one.bytes.starts_with(begin))
    };
    let last_write = of(&[0x36]).max(of(&[0x31, 0x01])).max(of(&[0x2E]));
    assert!(of(&[0x22, 0xF1, 0x89]) > last_write);
    assert!(
        of(&[0x22, 0xF1, 0x90]) > of(&[0x11, 0x01]),
        "the VIN is read again after the reset"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calibration_passes_and_the_camera_keeps_its_angles() {
    let stand = Stand::new(vehicle(2)).await;
    let (report, _) = stand
        .run(plan(CALIBRATE), stand.inputs(stand.vehicle.vin()))
        .await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let state = stand.state("CAM");
    assert_eq!(state.values["2301"].to_ascii_uppercase(), "FFE4");
    assert_eq!(state.counters.routines["0301"], 1);
    assert_eq!(state.counters.writes["2304"], 1);
    let yaw = report
        .record
        .steps
        .iter()
        .find(|step| step.step == "yaw")
        .unwrap();
    assert_eq!(yaw.measurements[0].value, Value::Number(-0.28));
    assert_eq!(yaw.measurements[0].raw, "ffe4");
    assert_eq!(yaw.measurements[0].unit.as_deref(), Some("deg"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_line_test_passes_and_every_output_is_returned() {
    let stand = Stand::new(vehicle(3)).await;
    let (report, _) = stand.run(plan(EOL), stand.inputs(stand.vehicle.vin())).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let state = stand.state("BCM");
    assert_eq!((state.counters.actuations, state.counters.returns), (2, 2));
    assert_eq!(state.counters.clears, 1);
    assert_eq!(state.dtcs.keys().collect::<Vec<_>>(), ["c10001"]);
    assert_eq!(stand.vehicle.is_restored("BCM"), Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_there_already_is_not_written_again() {
    let mut spec = vehicle(2);
    spec.ecus[0].values.insert(0x2304, hex::encode("WA-001"));
    let stand = Stand::new(spec).await;
    let (report, _) = stand
        .run(plan(CALIBRATE), stand.inputs(stand.vehicle.vin()))
        .await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    assert_eq!(stand.state("CAM").counters.writes.get("2304"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_software_is_programmed_a_second_time() {
    let stand = Stand::new(vehicle(1)).await;
    let (first, _) = stand.run(plan(FLASH), stand.with_image()).await;
    device_agent::journal::settle(&stand.journals(), stand.job_id, 1).unwrap();
    let (second, _) = stand.run(plan(FLASH), stand.with_image()).await;
    assert_eq!(
        (first.verdict, second.verdict),
        (Verdict::Passed, Verdict::Passed),
        "{second:#?}"
    );
    assert_eq!(stand.state("ESP").counters.downloads, 2);
}
