//! The program as a person calls it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use fleet_testkit::services::{Credentials, Mosquitto, MosquittoOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rumqttc::v5::mqttbytes::v5::Login;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::watch::{talkative, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_broker-conformance");
const PASSWORD: &str = "correct horse";

async fn call(args: &[&str]) -> Output {
    let called = Command::new(PROGRAM).args(args).stdin(Stdio::null()).output();
    tokio::time::timeout(Duration::from_mins(1), called)
        .await
        .expect("it ends")
        .expect("it can be called")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_wrong_call_ends_with_2_and_says_what_is_wrong() {
    let missing = [
        "mqtt://127.0.0.1:1",
        "--username",
        "u",
        "--password-file",
        "/no/such/file",
    ];
    for (args, said) in [
        (&[][..], "BROKER"),
        (&["localhost:1883"], "mqtt://HOST:PORT"),
        (&["mqtts://host:8883"], "not supported"),
        (&["mqtt://u:hush@host"], "--password-file"),
        (&["mqtt://host", "--username", "u"], "--password-file"),
        (&["mqtt://host", "--messages", "0"], "1..=1000000"),
        (&["mqtt://host", "--topic-prefix", "a/#"], "wildcards"),
        (&["mqtt://host", "--only", "wil"], "\"wil\""),
        (&missing, "/no/such/file"),
    ] {
        let output = call(args).await;
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(said), "{args:?}: {errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
}

#[tokio::test]
async fn without_a_broker_it_says_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let output = call(&[&format!("mqtt://{address}")]).await;
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains(&address) && errors.contains("check host and port"),
        "{errors}"
    );
}

#[tokio::test]
async fn something_that_is_no_broker_is_told_from_one() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let output = call(&[&format!("mqtt://{address}"), "--only", "limits"]).await;
    silent.abort();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("does not speak MQTT"), "{errors}");
}

async fn with_password(folder: &Path) -> Mosquitto {
    let options = MosquittoOptions {
        users: vec![Credentials {
            username: "tool".to_owned(),
            password: PASSWORD.to_owned(),
        }],
        ..talkative()
    };
    Mosquitto::start(folder, options).await.expect("Mosquitto starts")
}

#[tokio::test]
async fn it_logs_in_with_a_password_from_a_file_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = with_password(folder.path()).await;
    let (good, wrong) = (folder.path().join("password"), folder.path().join("wrong"));
    std::fs::write(&good, format!("{PASSWORD}\n")).expect("written");
    std::fs::write(&wrong, "battery staple\n").expect("written");
    let url = broker.url();
    let file = |path: &Path| path.to_str().expect("a path").to_owned();

    let refused = call(&[&url, "--username", "tool", "--password-file", &file(&wrong)]).await;
    let errors = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("--password-file") && !errors.contains("battery"),
        "{errors}"
    );

    let json = folder.path().join("report.json");
    let only = [
        "--only",
        "limits",
        "--only",
        "retained",
        "--only",
        "session",
        "--only",
        "keepalive.half_open",
    ];
    let credentials = [
        "--username",
        "tool",
        "--password-file",
        &file(&good),
        "--json",
        &file(&json),
    ];
    let args: Vec<&str> = [url.as_str()]
        .iter()
        .chain(&only)
        .chain(&credentials)
        .copied()
        .collect();
    let output = call(&args).await;
    let (table, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{table}{errors}");
    assert!(
        table.contains("session.absence") && !table.contains("queue.offline"),
        "{table}"
    );
    assert!(!table.contains(PASSWORD) && !errors.contains(PASSWORD));
    let report: Value = serde_json::from_slice(&std::fs::read(&json).expect("a report")).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    assert_eq!(checks.len(), 12);
    assert!(checks.iter().all(|check| check["verdict"] == "ok"), "{report}");
    assert_eq!(report["broker"], url.as_str());
    nothing_left(&broker).await;
}

/// Mosquitto has no session without connection and no retained message but its own.
async fn nothing_left(broker: &Mosquitto) {
    let port = broker.address().port();
    let login = || Some(Login::new("tool", PASSWORD));
    until(port, login(), "$SYS/broker/clients/disconnected", |sessions| {
        sessions == 0
    })
    .await;
    // Its own numbers are retained messages as well: between 30 and 60 in 2.0.11.
    until(port, login(), "$SYS/broker/clients/total", |clients| clients == 1).await;
}

#[tokio::test]
async fn after_ctrl_c_it_takes_away_what_it_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = with_password(folder.path()).await;
    let file = folder.path().join("password");
    std::fs::write(&file, PASSWORD).expect("written");
    let mut program = Command::new(PROGRAM)
        .args([&broker.url(), "--username", "tool", "--password-file"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it can be called");
    let mut lines = BufReader::new(program.stderr.take().expect("its errors")).lines();
    // The first groups are done, so there are sessions.
    let first = lines.next_line().await.expect("readable").expect("a line");
    assert!(first.starts_with("[1/"), "{first}");
    let pid = program
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .expect("it runs");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("it can be told");
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.expect("readable") {
        said.push(line);
    }
    let status = program.wait().await.expect("it ends");
    assert_eq!(status.code(), Some(1), "{said:?}");
    assert!(
        said.iter().any(|line| line.contains("were taken away")),
        "{said:?}"
    );
    nothing_left(&broker).await;
}
