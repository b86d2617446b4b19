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
    assert_eq!(report.detail, None, "nothing is left to be restored");
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

/// Answers one request as the server does, and gives what it was asked.
async fn backend(listener: tokio::net::TcpListener, secret: Vec<u8>) -> serde_json::Value {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    let asked: serde_json::Value = loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        if let Some(body) = text
            .split_once("\r\n\r\n")
            .and_then(|(_, body)| serde_json::from_str(body).ok())
        {
            break body;
        }
    };
    assert!(
        text.starts_with("POST /api/v1/security-access HTTP/1.1"),
        "{text}"
    );
    let seed = hex::decode(asked["seed"].as_str().unwrap()).unwrap();
    let level = u8::try_from(asked["level"].as_u64().unwrap()).unwrap();
    let body = serde_json::json!({ "key": hex::encode(ecu_sim::key_of(&secret, level, &seed)) }).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_comes_from_the_server_and_stands_in_no_record() {
    let spec = vehicle(2);
    let secret = hex::decode(&spec.ecus[0].secret).unwrap();
    let stand = Stand::new(spec).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(backend(listener, secret));
    let mut attempt = stand.attempt(plan(CALIBRATE), stand.inputs(stand.vehicle.vin()));
    attempt.signer = device_agent::runner::Signer::Backend {
        client: reqwest::Client::new(),
        url,
    };
    let (report, _) = stand.run_watching(attempt, |_| false).await;
    assert_eq!(report.verdict, Verdict::Passed, "{report:#?}");
    let asked = server.await.unwrap();
    assert_eq!(
        (asked["ecu"].as_str(), asked["level"].as_u64()),
        (Some("CAM"), Some(1))
    );
    assert_eq!(asked["vin"].as_str(), Some(stand.vehicle.vin()));
    assert_eq!(asked["job_id"].as_str(), Some(stand.job_id.to_string().as_str()));
    let record = serde_json::to_string(&report).unwrap();
    assert!(!record.contains(asked["seed"].as_str().unwrap()));
}
