//! The program: configuration, what it refuses, how it ends.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fleet_server::endpoints::{ENDPOINTS_FILE, Endpoints};

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-server"));
    command
        .env_clear()
        .env("FLEET_SERVER__DATA_DIR", folder)
        .env("FLEET_SERVER__HTTP__LISTEN", "127.0.0.1:0")
        .env("FLEET_SERVER__MQTT__LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(folder: &Path) -> Self {
        let running = Self(program(folder).stderr(Stdio::null()).spawn().expect("it starts"));
        let end = Instant::now() + Duration::from_secs(30);
        while !folder.join(ENDPOINTS_FILE).exists() {
            assert!(Instant::now() < end, "the server did not become ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }
}

fn endpoints(folder: &Path) -> Endpoints {
    let bytes = std::fs::read(folder.join(ENDPOINTS_FILE)).expect("the file");
    serde_json::from_slice(&bytes).expect("endpoints")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path());
    assert_eq!(endpoints(folder.path()).pid, first.0.id());
    let second = program(folder.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(3), "{}", text(&second));
    assert!(
        text(&second).contains(&format!("process {}", first.0.id())),
        "{}",
        text(&second)
    );
    assert!(text(&second).contains("data_dir"), "{}", text(&second));
    assert!(
        endpoints(folder.path()).pid == first.0.id(),
        "the first one's file stays"
    );
}

#[test]
fn a_port_in_use_is_named_with_the_setting_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, setting) in [
        ("FLEET_SERVER__HTTP__LISTEN", "http.listen"),
        ("FLEET_SERVER__MQTT__LISTEN", "mqtt.listen"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let refused = program(folder.path()).env(variable, &address).output().unwrap();
        let said = text(&refused);
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(
            said.contains(&address) && said.contains(setting) && said.contains(variable),
            "{said}"
        );
        assert!(!folder.path().join(ENDPOINTS_FILE).exists());
    }
}

#[test]
fn every_fault_of_the_configuration_is_named_at_once_with_value_and_source() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    std::fs::write(
        &file,
        "plant = \"a/b\"\n[http]\nport = 80\nmax_body_bytes = \"many\"\n",
    )
    .unwrap();
    for command in [["config", "check"].as_slice(), &["run"], &[]] {
        let refused = program(folder.path())
            .env("FLEET_SERVER__INGEST__BATCH_WAIT", "soon")
            .env("FLEET_SERVER__MQTT__LISTEN", "0.0.0.0:1883")
            .env("FLEET_SERVER__NONSENSE", "1")
            .arg("--config")
            .arg(&file)
            .args(command)
            .output()
            .unwrap();
        let said = text(&refused);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        let path = file.display().to_string();
        for (key, value, source) in [
            ("plant", "\"a/b\"", path.as_str()),
            ("http.port", "80", &path),
            ("http.max_body_bytes", "\"many\"", &path),
            (
                "ingest.batch_wait",
                "\"soon\"",
                "FLEET_SERVER__INGEST__BATCH_WAIT",
            ),
            ("mqtt.listen", "\"0.0.0.0:1883\"", "FLEET_SERVER__MQTT__LISTEN"),
            ("nonsense", "1", "FLEET_SERVER__NONSENSE"),
        ] {
            let line = said
                .lines()
                .find(|line| line.trim_start().starts_with(&format!("{key} ")));
            let line = line.unwrap_or_else(|| panic!("{key} is not named in {said}"));
            assert!(line.contains(value) && line.contains(source), "{line}");
        }
    }
}

#[test]
fn a_configuration_file_that_is_missing_or_no_toml_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    let check = || {
        program(folder.path())
            .args(["config", "check", "--config"])
            .arg(&file)
            .output()
            .unwrap()
    };
    let refused = check();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("server.toml"), "{}", text(&refused));
    std::fs::write(&file, "plant = \n").unwrap();
    let refused = check();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused).contains("server.toml") && text(&refused).contains("line 1"),
        "{}",
        text(&refused)
    );
}

#[test]
fn the_printed_defaults_are_a_valid_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let printed = program(folder.path())
        .args(["config", "print", "--defaults"])
        .output()
        .unwrap();
    assert!(printed.status.success());
    let file = folder.path().join("server.toml");
    std::fs::write(&file, &printed.stdout).unwrap();
    let check = program(folder.path())
        .args(["config", "check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", text(&check));
}

#[test]
fn a_signal_ends_the_server_cleanly_and_its_endpoints_are_gone() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Running::start(folder.path());
        let kill = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(running.0.id().to_string())
            .status()
            .unwrap();
        assert!(kill.success());
        let end = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = running.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it did not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(0), "SIG{signal}");
        assert!(!folder.path().join(ENDPOINTS_FILE).exists());
    }
}

#[test]
fn a_killed_server_starts_again_at_once_on_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Running::start(folder.path());
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    std::fs::remove_file(folder.path().join(ENDPOINTS_FILE)).unwrap();
    let began = Instant::now();
    let second = Running::start(folder.path());
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "leases of the dead one are not waited for"
    );
    assert_eq!(endpoints(folder.path()).pid, second.0.id());
}
