//! The killable program.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use fleet_testkit::{Api, Process, Program, eventually};
use loadtest::benches::{BenchesConfig, StatusFile};
use loadtest::books;
use loadtest::disks::FolderBench;
use loadtest::history::read_disk;
use serde_json::Value;

use crate::support::Server;

const SOON: Duration = Duration::from_secs(30);
const BENCHES: usize = 6;

fn config(server: &Server) -> BenchesConfig {
    let folder = |name: &str| server.folder.path().join(name);
    BenchesConfig {
        plant: "plant-1".parse().expect("a plant"),
        broker: server.mqtt.clone(),
        name: "kill".to_owned(),
        benches: BENCHES,
        folder: folder("benches"),
        history: folder("history"),
        status: folder("status.json"),
        rate: 60.0,
        drain: Some(folder("drain")),
        vins: 2000,
        refused_one_in: 20,
        restart_permille: 5,
        seed: 1,
        threads: 2,
        reconnect_at_most_ms: 500,
        disks_are_restored: false,
    }
}

fn start(folder: &Path, config: &BenchesConfig) -> Process {
    let file = folder.join("benches.toml");
    std::fs::write(&file, toml::to_string(config).expect("TOML")).expect("the settings");
    let program = Path::new(env!("CARGO_BIN_EXE_loadtest"));
    Program::new("loadtest benches", program, &folder.join("benches.log"))
        .args(["benches".as_ref(), "--config".as_ref(), file.as_os_str()])
        .start()
        .expect("it starts")
}

/// Waits for a status of this process.
async fn status(config: &BenchesConfig, process: &mut Process, what: &str, is: impl Fn(&StatusFile) -> bool) {
    let pid = process.pid();
    let said = eventually(what, SOON, async || {
        let status: StatusFile = serde_json::from_slice(&std::fs::read(&config.status).ok()?).ok()?;
        (status.pid == pid && is(&status)).then_some(())
    });
    let said = said.await;
    assert!(said.is_ok(), "{said:?}: {}", process.log_tail());
}

/// Places by what the client logs say of them; whole lines only.
fn claimed(folder: &Path, op: &str) -> BTreeSet<(String, String, u64)> {
    let mut places = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the history") {
        let text = std::fs::read_to_string(entry.expect("a file").path()).expect("text");
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let line: Value = serde_json::from_str(line).expect("a whole line is JSON");
            if line["op"] == op {
                let text = |name: &str| line[name].as_str().expect("a text").to_owned();
                places.insert((
                    text("device"),
                    text("spool"),
                    line["seq"].as_u64().expect("a number"),
                ));
            }
        }
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_nothing_that_counted_is_missing_anywhere() {
    let server = Server::start().await;
    let config = config(&server);
    let root = server.folder.path().to_owned();
    for kill in 0..3 {
        let mut process = start(&root, &config);
        status(&config, &mut process, "events", |of| of.receipted > 20).await;
        assert!(kill > 0 || process.ended().is_none());
        process.kill().expect("SIGKILL");
    }
    let mut process = start(&root, &config);
    status(&config, &mut process, "events", |of| of.receipted > 20).await;
    std::fs::write(config.drain.as_ref().expect("a file"), "").expect("the file");
    status(&config, &mut process, "receipts for everything", |of| {
        of.draining && of.settled
    })
    .await;
    let ended = process.terminate(SOON).await.expect("an orderly end");
    assert!(ended.success(), "{ended}: {}", process.log_tail());

    let mut made = Vec::new();
    let devices: Vec<_> = (0..BENCHES)
        .map(|n| format!("kill-{n:05}").parse().expect("a name"))
        .collect();
    for device in &devices {
        made.extend(read_disk(device, &FolderBench::new(config.disk(device)), &[]).expect("the disk"));
    }
    let on_disk: BTreeSet<_> = made
        .iter()
        .map(|made| {
            (
                made.place.device.clone(),
                made.place.spool.to_string(),
                made.place.seq,
            )
        })
        .collect();
    let (appended, counted) = (
        claimed(&config.history, "append"),
        claimed(&config.history, "counted"),
    );
    let lost: Vec<_> = counted.difference(&on_disk).collect();
    assert!(lost.is_empty(), "counted and not on the disk: {lost:?}");
    let unknown: Vec<_> = on_disk.difference(&appended).collect();
    assert!(unknown.is_empty(), "on the disk and never appended: {unknown:?}");
    let receipted = claimed(&config.history, "receipted");
    assert!(receipted.is_subset(&on_disk) && !receipted.is_empty());
    let ledgers = books::ledgers(&Api::new(&server.http), &devices)
        .await
        .expect("ledgers");
    assert_eq!(books::compare(&made, &ledgers, false), []);
    assert!(made.iter().any(|made| made.refused), "some had to be refused");
    server.stop().await;
}

#[test]
fn settings_that_can_not_be_used_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("benches.toml");
    let right = r#"
plant = "plant-1"
broker = "mqtt://127.0.0.1:1883"
name = "chaos"
benches = 4
folder = "disks"
history = "history"
status = "status.json"
rate = 10.0
"#;
    let read = |text: &str| {
        std::fs::write(&file, text).expect("the file");
        BenchesConfig::read(&file)
    };
    assert_eq!(read(right).expect("settings").threads, 4);
    for (from, to, said) in [
        ("mqtt://127.0.0.1:1883", "127.0.0.1", "key broker"),
        ("benches = 4", "benches = 0", "key benches"),
        ("rate = 10.0", "rate = inf", "key rate"),
        ("\"chaos\"", "\"cha os\"", "key name"),
        ("\"plant-1\"", "\"plant 1\"", "line 2"),
        ("rate = 10.0", "rates = 10.0", "rates"),
        ("folder = \"disks\"", "", "folder"),
    ] {
        let error = read(&right.replace(from, to)).expect_err(to).to_string();
        assert!(
            error.contains(said) && error.contains("benches.toml"),
            "{said}: {error}"
        );
    }
}
