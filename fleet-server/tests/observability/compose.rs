//! `deploy/compose.yaml` and what it mounts, as far as that can be said without a Docker engine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fleet_testkit::services::ServiceProgram;
use fleet_testkit::{Process, Program};
use nix::unistd::Uid;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::support::{BINARY, list, repository, text, word, yaml};

const COMPOSE: &str = "deploy/compose.yaml";
/// From compose-go 2.16.2 (Apache-2.0): the schema that `docker compose` itself validates with.
const SCHEMA: &str = "fleet-server/tests/observability/schemas/compose-spec.json";
const SECRETS: &str = "/run/secrets/";

/// Puts what `<<` names into its place, as a reader of YAML 1.1 does.
fn merged(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(merged);
            if let Some(Value::Object(other)) = object.remove("<<") {
                for (key, value) in other {
                    object.entry(key).or_insert(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(merged),
        _ => {}
    }
}

fn compose() -> Value {
    let mut compose = yaml(COMPOSE);
    merged(&mut compose);
    compose
}

fn object<'a>(value: &'a Value, key: &str) -> &'a Map<String, Value> {
    value[key]
        .as_object()
        .unwrap_or_else(|| panic!("{key} is no table in {value}"))
}

/// The secrets, made anew by the script.
fn secrets() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let output = Command::new(repository("deploy/make-secrets.sh"))
        .arg(folder.path())
        .output()
        .expect("the script starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder
}

/// Where a file of compose.yaml lies; secrets lie in the given folder.
fn host_path(file: &str, secrets: &Path) -> PathBuf {
    file.strip_prefix("./secrets/")
        .map_or_else(|| repository("deploy").join(file), |secret| secrets.join(secret))
}

#[test]
fn it_is_a_compose_file_by_the_specification() {
    let schema: Value = serde_json::from_str(&text(SCHEMA)).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let faults = |compose: &Value| -> Vec<String> {
        validator
            .iter_errors(compose)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect()
    };
    let mut compose = compose();
    assert_eq!(faults(&compose), Vec::<String>::new());
    compose["services"]["server-1"]["depend_on"] = serde_json::json!(["postgres"]);
    assert_ne!(
        faults(&compose),
        Vec::<String>::new(),
        "a misspelt key is noticed"
    );
}

#[test]
fn it_says_what_was_not_run() {
    assert!(text(COMPOSE).contains("# Not run where this was written"));
    assert!(text("deploy/Dockerfile").contains("# Never built where this was written"));
}

#[test]
fn every_file_secret_volume_and_service_that_it_names_is_there() {
    let (compose, secrets) = (compose(), secrets());
    for group in ["configs", "secrets"] {
        for (name, entry) in object(&compose, group) {
            let path = host_path(word(entry, "file"), secrets.path());
            assert!(path.is_file(), "{group} {name}: {}", path.display());
        }
    }
    let services = object(&compose, "services");
    for (name, service) in services {
        for used in service["configs"].as_array().into_iter().flatten() {
            assert!(
                object(&compose, "configs").contains_key(word(used, "source")),
                "{name}: {used}"
            );
        }
        for used in service["secrets"].as_array().into_iter().flatten() {
            let used = used.as_str().expect("the short form");
            assert!(object(&compose, "secrets").contains_key(used), "{name}: {used}");
        }
        for used in service["volumes"].as_array().into_iter().flatten() {
            let (volume, _) = used
                .as_str()
                .and_then(|used| used.split_once(':'))
                .expect("name and place");
            assert!(
                object(&compose, "volumes").contains_key(volume),
                "{name}: {volume}"
            );
        }
        for used in service["depends_on"].as_object().into_iter().flat_map(Map::keys) {
            assert!(services.contains_key(used), "{name}: {used}");
        }
        let image = word(service, "image");
        let (_, tag) = image.rsplit_once(':').expect("a tag");
        assert!(
            tag.contains('.') && tag != "latest",
            "{name}: {image} is not pinned"
        );
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(
                port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")),
                "{name}: {port}"
            );
        }
    }
    let made: BTreeSet<String> = std::fs::read_dir(secrets.path())
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let named: BTreeSet<String> = object(&compose, "secrets").keys().cloned().collect();
    assert_eq!(made, named, "the script makes what is mounted, and nothing else");
}

#[test]
fn secrets_that_are_there_stay() {
    let secrets = secrets();
    let before = std::fs::read(secrets.path().join("mqtt-server.toml")).expect("a secret");
    let again = Command::new(repository("deploy/make-secrets.sh"))
        .arg(secrets.path())
        .output();
    assert!(again.expect("the script starts").status.success());
    assert_eq!(
        std::fs::read(secrets.path().join("mqtt-server.toml")).expect("a secret"),
        before
    );
}

/// A copy of a configuration in which the container's paths are ours.
fn on_this_machine(file: &str, secrets: &Path, folder: &Path) -> PathBuf {
    let text = text(file)
        .replace(SECRETS, &format!("{}/", secrets.display()))
        .replace(
            "/etc/vds-fleet/signer.toml",
            &repository("demo/secrets.toml").display().to_string(),
        )
        .replace("/var/lib/vds-fleet", &folder.display().to_string());
    let path = folder.join(Path::new(file).file_name().expect("a name"));
    std::fs::write(&path, text).expect("a copy");
    path
}

fn environment(service: &Value, secrets: &Path) -> Vec<(String, String)> {
    object(service, "environment")
        .iter()
        .map(|(key, value)| {
            let value = value.as_str().expect("a text");
            (
                key.clone(),
                value.replace(SECRETS, &format!("{}/", secrets.display())),
            )
        })
        .collect()
}

#[test]
fn the_server_accepts_the_settings_of_both_replicas() {
    let (compose, secrets) = (compose(), secrets());
    let folder = TempDir::new().expect("a folder");
    let config = on_this_machine("deploy/server.toml", secrets.path(), folder.path());
    let check = |service: &str, extra: &[(&str, &str)]| {
        Command::new(BINARY)
            .args(["--config".as_ref(), config.as_os_str()])
            .args(["config", "check"])
            .env_clear()
            .envs(environment(&compose["services"][service], secrets.path()))
            .envs(extra.iter().copied())
            .output()
            .expect("the server starts")
    };
    for service in ["server-1", "server-2"] {
        let output = check(service, &[]);
        assert!(
            output.status.success(),
            "{service}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let wrong = check("server-1", &[("FLEET_SERVER__KAFKA__REPLICATION", "none")]);
    assert!(!wrong.status.success(), "a wrong setting is noticed");
}

#[test]
fn the_agents_settings_are_those_that_an_agent_knows() {
    let known = known_keys(&text("docs/config/device-agent.toml"));
    let compose = compose();
    let mut used = known_keys(&text("deploy/agent.toml"));
    for bench in ["bench-1", "bench-2"] {
        for key in object(&compose["services"][bench], "environment").keys() {
            let key = key.strip_prefix("DEVICE_AGENT__").expect("the agent's prefix");
            used.insert(key.to_lowercase().replace("__", "."));
        }
    }
    assert!(used.len() > 7, "{used:?}");
    assert_eq!(used.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The keys of a TOML file with their sections, also those that are commented out because they have no default.
fn known_keys(toml: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" =")
            && !key.contains(' ')
        {
            keys.insert(format!("{section}{key}"));
        }
    }
    keys
}

#[test]
fn the_simulator_has_the_vehicles_at_which_the_benches_look() {
    let vehicles = yaml("deploy/vehicles.yaml");
    let there: BTreeSet<String> = list(&vehicles, "vehicles")
        .iter()
        .map(|vehicle| format!("127.0.0.1:{}", vehicle["entity"]["port"]))
        .collect();
    let compose = compose();
    let wanted: BTreeSet<String> = ["bench-1", "bench-2"]
        .iter()
        .map(|bench| {
            word(
                &compose["services"][bench]["environment"],
                "DEVICE_AGENT__VEHICLE__ENTITY",
            )
            .to_owned()
        })
        .collect();
    assert_eq!(there, wanted);
    // The same vehicles as the demo's, but for the port.
    let of_the_demo = yaml("demo/vehicles.yaml");
    for vehicle in list(&vehicles, "vehicles") {
        let mut vehicle = vehicle.clone();
        vehicle.as_object_mut().expect("a vehicle").remove("entity");
        assert!(
            list(&of_the_demo, "vehicles").contains(&vehicle),
            "{}",
            word(&vehicle, "vin")
        );
    }
}

/// The real Mosquitto with deploy/mosquitto.conf, its paths and port moved to this machine.
async fn mosquitto(folder: &Path, secrets: &Path) -> (Process, u16) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let mut config = text("deploy/mosquitto.conf")
        .replace(SECRETS, &format!("{}/", secrets.display()))
        .replace(
            "/mosquitto/config/acl",
            &repository("deploy/mosquitto.acl").display().to_string(),
        )
        .replace("/mosquitto/data/", &format!("{}/", folder.display()))
        .replace("listener 1883", &format!("listener {port} 127.0.0.1"));
    if Uid::effective().is_root() {
        // In the image it runs as its own user, which may not read our temporary folder.
        config.insert_str(0, "user root\n");
    }
    let file = folder.join("mosquitto.conf");
    std::fs::write(&file, config).expect("a configuration");
    let log = folder.join("mosquitto.log");
    let program = ServiceProgram::Mosquitto.path().expect("Mosquitto");
    let mut process = Program::new("mosquitto", &program, &log)
        .args(["-c".as_ref(), file.as_os_str()])
        .start()
        .expect("Mosquitto starts");
    let running = || {
        std::fs::read_to_string(&log)
            .ok()?
            .contains(" running")
            .then_some(())
    };
    process
        .until_ready("Mosquitto", Duration::from_secs(20), running)
        .await
        .expect("it runs");
    (process, port)
}

/// What the broker says to a publish of a user: the reason of its acknowledgement, or why there is no connection.
async fn publish(port: u16, user: &str, password: &str, topic: &str) -> Result<PubAckReason, String> {
    let mut options = MqttOptions::new(format!("test-{user}"), "127.0.0.1", port);
    options.set_credentials(user, password);
    let (client, mut events) = AsyncClient::new(options, 10);
    client
        .publish(topic, QoS::AtLeastOnce, false, "x")
        .await
        .expect("queued");
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::PubAck(ack))) => return Ok(ack.reason),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn password(secrets: &Path, file: &str) -> String {
    let text = std::fs::read_to_string(secrets.join(file)).expect("a secret");
    text.lines()
        .find_map(|line| line.strip_prefix("password = \"")?.strip_suffix('"'))
        .expect("a password")
        .to_owned()
}

#[tokio::test]
async fn mosquitto_takes_its_configuration_and_lets_each_in_where_it_belongs() {
    let (folder, secrets) = (TempDir::new().expect("a folder"), secrets());
    let (_process, port) = mosquitto(folder.path(), secrets.path()).await;
    let server = password(secrets.path(), "mqtt-server.toml");
    let bench = password(secrets.path(), "mqtt-bench-1.toml");
    let own = "vds/v1/plant-1/7/bench-1/events";
    let others = "vds/v1/plant-1/7/bench-2/events";
    let refused = PubAckReason::NotAuthorized;
    let taken = |answer: Result<PubAckReason, String>| answer.is_ok_and(|reason| reason != refused);
    assert!(taken(publish(port, "fleet", &server, others).await));
    assert!(taken(publish(port, "bench-1", &bench, own).await));
    assert_eq!(publish(port, "bench-1", &bench, others).await, Ok(refused));
    assert_eq!(publish(port, "fleet", &server, "elsewhere").await, Ok(refused));
    let receipts = "vds/v1/plant-1/7/bench-1/receipts";
    assert!(taken(publish(port, "fleet", &server, receipts).await));
    assert_eq!(publish(port, "bench-1", &bench, receipts).await, Ok(refused));
    assert!(publish(port, "bench-1", &server, own).await.is_err());
    assert!(publish(port, "nobody", "", own).await.is_err());
}

#[test]
fn mosquitto_has_the_settings_of_the_documentation() {
    let documented = text("docs/brokers.md");
    let (_, section) = documented.split_once("### Mosquitto\n").expect("a section");
    let block = section.split("```").nth(1).expect("a block");
    let conf = text("deploy/mosquitto.conf");
    let own: BTreeSet<&str> = conf.lines().collect();
    // Where files lie is the image's to say.
    let places = ["persistence_location", "password_file", "acl_file"];
    let settings: Vec<&str> = block
        .lines()
        .filter(|line| !line.is_empty() && !places.iter().any(|place| line.starts_with(place)))
        .collect();
    assert!(settings.len() >= 6, "{settings:?}");
    for setting in settings {
        assert!(own.contains(setting), "{setting}");
    }
}

#[test]
fn the_dockerfile_copies_what_is_there_and_does_not_run_as_root() {
    let dockerfile = text("deploy/Dockerfile");
    let mut stages = BTreeSet::new();
    let mut last_user = "root";
    for line in dockerfile.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["FROM", image, ..] => {
                let (_, tag) = image.split_once(':').expect("a tag");
                assert_ne!(tag, "latest", "{line}");
                last_user = "root";
                if let ["FROM", _, "AS", stage] = words[..] {
                    stages.insert(stage.to_owned());
                }
            }
            ["COPY", first, ref rest @ ..] => {
                if let Some(stage) = first.strip_prefix("--from=") {
                    assert!(stages.contains(stage), "{line}");
                    continue;
                }
                // The last one is the target.
                let sources = rest.split_last().map_or(&[][..], |(_, sources)| sources);
                for source in std::iter::once(&first).chain(sources) {
                    assert!(repository(source).exists(), "{line}");
                }
            }
            ["USER", user] => last_user = user,
            _ => {}
        }
    }
    assert_ne!(last_user.split(':').next(), Some("root"));
    assert!(dockerfile.contains("\nHEALTHCHECK "));
    for program in ["fleet-server", "device-agent", "ecu-sim"] {
        assert!(dockerfile.contains(&format!("-p {program}")), "{program}");
    }
    assert!(
        text("rust-toolchain.toml").contains("channel = \"1.95"),
        "the image of Rust is the toolchain's"
    );
    assert!(dockerfile.contains("FROM rust:1.95-"));
}
