//! Settings: every fault at once, with key, value and source.

use crate::support::{agent, stderr};

#[test]
fn all_faults_are_reported_at_once_with_key_value_and_source() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    std::fs::write(
        &config,
        "plant = \"a/b\"\nnonsense = 1\necus = [[1]]\n[broker]\nurl = \"http://x\"\nport = 1\n\
         [vehicle]\nentity = \"nowhere\"\ntester_address = 0x0100\n[telemetry]\nlog_format = \"xml\"\n",
    )
    .unwrap();
    let output = agent()
        .arg("--config")
        .arg(&config)
        .args(["config", "check"])
        .env("DEVICE_AGENT__SPOOL__MAX_BYTES", "10")
        .env("DEVICE_AGENT__SERVER__URL", "ftp://x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    let file = config.display();
    for line in [
        format!("plant = \"a/b\" (from file {file})"),
        format!("nonsense = 1 (from file {file}): there is no such setting"),
        format!("ecus = a table or list (from file {file})"),
        format!("broker.port = 1 (from file {file}): there is no such setting"),
        format!("broker.url = \"http://x\" (from file {file}): must be mqtt://HOST:PORT"),
        format!("vehicle.entity = \"nowhere\" (from file {file})"),
        format!("vehicle.tester_address = 256 (from file {file})"),
        format!("telemetry.log_format = \"xml\" (from file {file})"),
        "device = not set (from the defaults): must be set".to_owned(),
        "spool.max_bytes = 10 (from environment variable DEVICE_AGENT__SPOOL__MAX_BYTES)".to_owned(),
        "server.url = \"ftp://x\" (from environment variable DEVICE_AGENT__SERVER__URL)".to_owned(),
    ] {
        assert!(text.contains(&line), "{line:?} is not in\n{text}");
    }
    assert!(text.contains("11 setting(s) are wrong"), "{text}");
}

#[test]
fn what_is_printed_is_what_is_used_and_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let print = |command: &mut std::process::Command| {
        let output = command.args(["config", "print"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let first = print(
        agent()
            .env("DEVICE_AGENT__DEVICE", "bench-07")
            .env("DEVICE_AGENT__ECUS", "ESP, CAM")
            .env("DEVICE_AGENT__VEHICLE__TESTER_ADDRESS", "0x0E81"),
    );
    assert!(first.contains("ecus = [\"ESP\", \"CAM\"]"), "{first}");
    assert!(first.contains("tester_address = 0x0E81"), "{first}");
    let config = dir.path().join("agent.toml");
    std::fs::write(&config, &first).unwrap();
    assert_eq!(print(agent().arg("--config").arg(&config)), first);
}

#[test]
fn the_printed_defaults_name_every_key() {
    let output = agent().args(["config", "print", "--defaults"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for key in device_agent::config::KEYS {
        let name = key.name.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!("{name} =")),
            "{} is not in\n{text}",
            key.name
        );
    }
}

#[test]
fn a_file_that_is_not_there_or_no_toml_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    let check = || {
        let output = agent()
            .arg("--config")
            .arg(&config)
            .args(["config", "check"])
            .output()
            .unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, text) = check();
    assert!(
        code == Some(2) && text.contains("agent.toml") && text.contains("--config"),
        "{text}"
    );
    std::fs::write(&config, "plant = \n").unwrap();
    let (code, text) = check();
    assert!(code == Some(2) && text.contains("is not TOML"), "{text}");
}

#[test]
fn the_broker_s_password_comes_by_file_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.toml");
    let print = |text: &str| {
        std::fs::write(&file, text).unwrap();
        agent()
            .args(["config", "print"])
            .env("DEVICE_AGENT__DEVICE", "bench-07")
            .env("DEVICE_AGENT__BROKER__CREDENTIALS_FILE", &file)
            .output()
            .unwrap()
    };
    let good = print("username = \"bench-07\"\npassword = \"hunter2\"\n");
    let text = String::from_utf8(good.stdout).unwrap();
    assert!(
        text.contains("credentials_file = ") && !text.contains("hunter2"),
        "{text}"
    );
    let bad = print("password = \"hunter2\"\n");
    assert_eq!(bad.status.code(), Some(2));
    let text = stderr(&bad);
    assert!(
        text.contains("has no username") && !text.contains("hunter2"),
        "{text}"
    );
    let url = agent()
        .args(["config", "check"])
        .env("DEVICE_AGENT__DEVICE", "bench-07")
        .env("DEVICE_AGENT__BROKER__URL", "mqtt://bench-07:hunter2@broker:1883")
        .output()
        .unwrap();
    let text = stderr(&url);
    assert!(
        text.contains("broker.credentials_file") && !text.contains("hunter2"),
        "{text}"
    );
}
