//! After a kill of the agent: the journal and the control unit decide, and nothing is written.

use device_agent::journal::{self, Journal};
use device_agent::runner::{header, recover};
use fleet_wire::event::Verdict;
use procedure::{EndState, Intent};

use crate::stand::{FLASH, Stand, plan, vehicle};

fn intent(stand_plan: &procedure::Plan, step: &str) -> Intent {
    let index = stand_plan.steps.iter().position(|one| one.id == step).unwrap();
    Intent {
        step_index: u32::try_from(index).unwrap(),
        step: step.to_owned(),
        point_of_no_return: stand_plan.steps[index].point_of_no_return,
    }
}

fn writes(stand: &Stand) -> usize {
    [0x2E, 0x2F, 0x31, 0x34, 0x36, 0x37, 0x14, 0x11]
        .iter()
        .map(|sid| stand.heard("ESP", &[*sid]))
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_attempt_gives_its_report_again() {
    let stand = Stand::new(vehicle(1)).await;
    let (report, _) = stand.run(plan(FLASH), stand.with_image()).await;
    let again = recover(stand.pending(), stand.config()).await;
    assert_eq!(again, report);
    journal::settle(&stand.journals(), stand.job_id, 1).unwrap();
    assert!(journal::open(&stand.journals()).unwrap().pending.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_without_intent_is_aborted_and_the_control_unit_left_alone() {
    let stand = Stand::new(vehicle(1)).await;
    drop(stand.attempt(plan(FLASH), stand.with_image()));
    let report = recover(stand.pending(), stand.config()).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::Aborted, "agent_restarted")
    );
    assert!(stand.vehicle.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unconfirmed_write_is_in_doubt_and_only_read() {
    let stand = Stand::new(vehicle(1)).await;
    let plan = plan(FLASH);
    let mut attempt = stand.attempt(plan.clone(), stand.with_image());
    attempt.journal.intent(&intent(&plan, "erase")).unwrap();
    drop(attempt);
    let report = recover(stand.pending(), stand.config()).await;
    assert_eq!(
        (report.verdict, report.reason_code.as_str()),
        (Verdict::InDoubt, "interrupted")
    );
    assert_eq!(report.record.end_state, EndState::App);
    assert_eq!(report.software["ESP"], "2.0.0");
    assert_eq!(writes(&stand), 0);
    assert_eq!(stand.heard("ESP", &[0x10]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_in_the_middle_of_a_flash_is_in_doubt_and_in_the_boot_loader() {
    let stand = Stand::new(vehicle(1)).await;
    let attempt = stand.attempt(plan(FLASH), stand.with_image());
    let (reports, mut inbox) = tokio::sync::mpsc::channel(16);
    let (_cancel, canceled) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(device_agent::runner::run(attempt, reports, canceled));
    while let Some(report) = inbox.recv().await {
        if matches!(&report, device_agent::runner::Report::Progress { bytes_done, .. } if *bytes_done > 0) {
            break;
        }
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let report = recover(stand.pending(), stand.config()).await;
    assert_eq!(report.verdict, Verdict::InDoubt, "{report:#?}");
    assert_eq!(report.record.end_state, EndState::Boot);
    // A block that was under way when the agent died may still arrive; after the first reading nothing does.
    let requests: Vec<u8> = stand.vehicle.requests().iter().map(|one| one.bytes[0]).collect();
    let block = requests.iter().rposition(|sid| *sid == 0x36).unwrap();
    assert!(
        requests[block + 1..].iter().all(|sid| matches!(sid, 0x22 | 0x19)),
        "{requests:02x?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_write_is_confirmed_the_verification_decides() {
    for (version, verdict) in [("2.0.0", Verdict::Passed), ("2.1.0", Verdict::Failed)] {
        let stand = Stand::new(vehicle(1)).await;
        let source = crate::stand::procedure_source(FLASH);
        let author = source.lines().find(|line| line.contains("id: author")).unwrap();
        let plan = crate::stand::compiled(&source.replace(author, ""));
        let mut inputs = stand.with_image();
        inputs.artifacts.get_mut("image").unwrap().version = version.to_owned();
        let mut attempt = stand.attempt(plan.clone(), inputs);
        for step in ["fingerprint", "erase", "load", "check", "depends"] {
            attempt.journal.intent(&intent(&plan, step)).unwrap();
            attempt.journal.confirmed(&intent(&plan, step)).unwrap();
        }
        drop(attempt);
        let report = recover(stand.pending(), stand.config()).await;
        assert_eq!(report.verdict, verdict, "{report:#?}");
        assert_eq!(writes(&stand), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vehicle_that_is_gone_leaves_it_in_doubt() {
    let stand = Stand::new(vehicle(1)).await;
    let plan = plan(FLASH);
    let mut attempt = stand.attempt(plan.clone(), stand.with_image());
    attempt.journal.intent(&intent(&plan, "erase")).unwrap();
    drop(attempt);
    let mut config = stand.config();
    config.entity = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let report = recover(stand.pending(), config).await;
    assert_eq!(report.verdict, Verdict::InDoubt);
    assert_eq!(report.record.end_state, EndState::Unknown);
}

#[test]
fn a_torn_last_line_was_never_begun_but_a_damaged_one_is_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(FLASH);
    let inputs = procedure::Inputs {
        vin: "WDB1110101A000001".to_owned(),
        ..procedure::Inputs::default()
    };
    let job_id = fleet_domain::JobId(fleet_clock::new_uuid());
    let header = header(job_id, 1, 1, &plan, &inputs);
    let mut journal = Journal::create(dir.path(), &header).unwrap();
    journal.intent(&intent(&plan, "fingerprint")).unwrap();
    let path = std::fs::read_dir(dir.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&path).unwrap();

    std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
    let torn = journal::open(dir.path()).unwrap().pending.remove(0);
    assert!(torn.intents.is_empty() && !torn.damaged);
    assert_eq!(torn.header, header);

    let mut damaged = whole.clone();
    let place = damaged.len() - 10;
    damaged[place] = b'\x00';
    std::fs::write(&path, &damaged).unwrap();
    assert!(journal::open(dir.path()).unwrap().pending.remove(0).damaged);

    std::fs::write(&path, b"{").unwrap();
    assert_eq!(journal::open(dir.path()).unwrap().unreadable.len(), 1);
    assert!(
        Journal::create(dir.path(), &header).is_err(),
        "an attempt is begun once"
    );
}
