//! A real agent without broker, server and vehicle: lock, status, orderly end.

use device_agent::config::Config;
use fleet_settings::Settings as _;

use crate::support::{Running, agent, status_json, status_table, stderr, write_config};

#[test]
fn a_second_agent_is_refused_and_told_who_holds_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Running::start(dir.path());
    first.status();
    let second = agent().arg("--config").arg(first.config()).output().unwrap();
    assert_eq!(second.status.code(), Some(3));
    let text = stderr(&second);
    assert!(text.contains(&format!("process {}", first.pid())), "{text}");
    assert!(text.contains("data_dir"), "{text}");
}

#[test]
fn the_folder_is_free_again_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let first = Running::start(dir.path());
    first.status();
    drop(first);
    let folder = dir.path().join("data");
    Config::PROGRAM
        .lock_folder(&folder, fleet_clock::wall_now())
        .unwrap();
}

#[test]
fn status_says_what_runs_and_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let status = running.status();
    assert_eq!(status["device"], "bench-07");
    assert_eq!(status["desired_version"], 0);
    assert_eq!(status["process"]["pid"], running.pid());
    assert_eq!(status["process"]["connected"], false);
    assert_eq!(status["process"]["station"], "eol-3");
    // The agent's own start lies in the spool and has no receipt.
    assert_eq!(status["process"]["outstanding"], 1);
    let table = status_table(running.config());
    for part in [
        "bench-07",
        "not connected to 127.0.0.1:9",
        "1 events without receipt",
        "none answers",
    ] {
        assert!(table.contains(part), "{part:?} is not in\n{table}");
    }
}

#[test]
fn status_of_an_agent_that_does_not_run_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path());
    assert_eq!(status_json(&config)["running"], false);
    assert!(status_table(&config).contains("not running"));
}

#[test]
fn a_deep_data_folder_has_a_status_too() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    Running::start(&deep).status();
}

#[test]
fn asked_to_end_it_ends_in_order_and_the_next_start_has_a_spool_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Running::start(dir.path());
    let before = first.status();
    assert_eq!(first.terminate(), Some(0));
    assert!(!dir.path().join("data/agent.sock").exists());
    let second = Running::start(dir.path());
    let after = second.status();
    assert_ne!(before["process"]["spool_id"], after["process"]["spool_id"]);
    assert_eq!(before["process"]["public_key"], after["process"]["public_key"]);
    assert_eq!(
        after["process"]["outstanding"], 2,
        "the first start's event is still to be sent"
    );
}

#[test]
fn a_saved_state_that_was_changed_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start(dir.path());
    running.status();
    running.terminate();
    let state = dir.path().join("data/state");
    let mut bytes = std::fs::read(&state).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&state, bytes).unwrap();
    let output = agent().arg("--config").arg(running.config()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("data/state") && text.contains("checksum"), "{text}");
}
