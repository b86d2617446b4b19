//! What the settings may be, and what is said of the others.

use std::time::Duration;

use fleet_settings::{ConfigError, Fault, defaults, parse};

use super::{Config, Database};

fn faults(toml: &str) -> Vec<Fault> {
    match parse::<Config>(toml) {
        Err(ConfigError::Faults(faults)) => faults.list,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults_are_valid() {
    let config = defaults::<Config>().unwrap();
    assert_eq!(config.http.listen.port(), 8080);
    assert_eq!(config.mqtt.listen.port(), 1883);
    assert_eq!(config.time_zone, "UTC");
    assert_eq!(config.ingest.batch_wait, Duration::from_millis(20));
}

#[test]
fn every_fault_is_reported_at_once_with_key_and_value() {
    let found = faults(
        "plant = \"a/b\"\nnonsense = 1\n[http]\nlisten = \"nowhere\"\nport = 1\n[ingest]\nbatch_events = 0\nbatch_wait = \"20\"\n[telemetry]\nlog_format = \"xml\"\notlp_endpoint = \"collector:4318\"\n",
    );
    let keys: Vec<&str> = found.iter().map(|f| f.key.as_str()).collect();
    for key in [
        "nonsense",
        "http.port",
        "plant",
        "http.listen",
        "ingest.batch_events",
        "ingest.batch_wait",
        "telemetry.log_format",
        "telemetry.otlp_endpoint",
    ] {
        assert!(keys.contains(&key), "{key} not in {keys:?}");
    }
    assert_eq!(found.len(), 8, "{found:?}");
    assert!(found.iter().any(|f| f.key == "plant" && f.value == "\"a/b\""));
}

#[test]
fn a_time_zone_is_one_that_is_known() {
    let zone = |name: &str| parse::<Config>(&format!("time_zone = {name:?}"));
    assert_eq!(zone("Europe/Berlin").unwrap().time_zone, "Europe/Berlin");
    assert_eq!(zone("europe/berlin").unwrap().time_zone, "Europe/Berlin");
    for bad in ["", "Mars/Olympus", "+01:00", "CET-1CEST", "../../etc/passwd"] {
        let Err(ConfigError::Faults(found)) = zone(bad) else {
            panic!("{bad:?} was taken");
        };
        assert_eq!(found.list[0].key, "time_zone", "{found:?}");
    }
}

#[test]
fn another_address_than_loopback_must_be_allowed_by_name() {
    let found = faults("[mqtt]\nlisten = \"0.0.0.0:1883\"\n");
    assert!(found[0].why.contains("allow_remote"), "{found:?}");
    let allowed = "allow_remote = true\n[mqtt]\nlisten = \"0.0.0.0:1883\"\n";
    assert!(parse::<Config>(allowed).is_ok());
}

/// A file that is gone with the test.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn why(toml: &str, key: &str) -> String {
    let found = faults(toml);
    let fault = found.iter().find(|fault| fault.key == key);
    fault
        .unwrap_or_else(|| panic!("no fault of {key} in {found:?}"))
        .why
        .clone()
}

#[test]
fn without_urls_everything_runs_in_the_process() {
    let config = defaults::<Config>().unwrap();
    assert_eq!(config.store.database, Database::Sqlite);
    assert_eq!(config.mqtt.external, None);
    assert!(config.kafka.is_none());
    assert_eq!(config.ingest.lease, Duration::from_secs(6));
    assert_eq!(config.artifacts_folder(), config.data_dir.join("artifacts"));
}

#[test]
fn urls_choose_the_parts_of_a_plant() {
    let broker = file("username = \"fleet\"\npassword = \"quiet\"\n");
    let kafka = file("username = \"relay\"\npassword = \"quiet\"\nmechanism = \"PLAIN\"\n");
    let config = parse::<Config>(&format!(
        "[mqtt]\nurl = \"mqtt://broker.plant:1884\"\ncredentials_file = {:?}\n\
         [store]\nurl = \"postgres://db.plant:5432/fleet\"\ncredentials_file = {:?}\nretention = \"30days\"\n\
         [artifacts]\nfolder = \"/srv/files\"\n[replica]\nname = \"hall-2\"\n\
         [kafka]\nurl = \"kafkas://k1:9093,[::1]:9094\"\ncredentials_file = {:?}\nreplication = 3\n",
        broker.path(),
        broker.path(),
        kafka.path()
    ))
    .unwrap();
    let external = config.mqtt.external.as_ref().unwrap();
    assert_eq!(external.url(), "mqtt://broker.plant:1884");
    assert_eq!(external.credentials.as_ref().unwrap().username, "fleet");
    let Database::Postgres { url, password } = &config.store.database else {
        panic!("{:?}", config.store.database);
    };
    assert_eq!(url, "postgres://fleet@db.plant:5432/fleet");
    assert_eq!(password.as_ref().unwrap().reveal(), "quiet");
    assert_eq!(config.store.retention, Some(Duration::from_hours(30 * 24)));
    assert_eq!(config.artifacts_folder(), std::path::Path::new("/srv/files"));
    assert_eq!(config.replica.as_deref(), Some("hall-2"));
    let kafka = config.kafka.as_ref().unwrap();
    assert_eq!(
        (kafka.bootstrap.as_str(), kafka.tls),
        ("k1:9093,[::1]:9094", true)
    );
    assert_eq!(
        kafka.credentials.as_ref().unwrap().mechanism.as_deref(),
        Some("PLAIN")
    );
    assert_eq!(kafka.replication, Some(3));
    assert!(!format!("{config:#?}").contains("quiet"), "no secret is shown");
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    for (key, url) in [
        ("mqtt.url", "mqtt://fleet:hunter2@broker:1883"),
        ("mqtt.url", "mqtt://fleet:hun/ter2@broker:1883"),
        ("store.url", "postgres://fleet:hunter2@db:5432/fleet"),
        ("store.url", "postgres://fleet@db:5432/fleet?password=hunter2"),
        ("kafka.url", "kafka://relay:hunter2@kafka:9092"),
    ] {
        let (section, name) = key.split_once('.').unwrap();
        let found = faults(&format!("[{section}]\n{name} = {url:?}\n"));
        let fault = found.iter().find(|fault| fault.key == key).unwrap();
        assert!(
            fault.why.contains(&format!("{section}.credentials_file")),
            "{fault}"
        );
        let shown = fault.to_string();
        assert!(!shown.contains("hunter2") && !shown.contains("ter2"), "{shown}");
    }
}

#[test]
fn urls_of_another_form_say_which_one_is_wanted() {
    for url in ["mqtts://b:8883", "ssl://b:8883"] {
        assert!(why(&format!("[mqtt]\nurl = {url:?}\n"), "mqtt.url").contains("TLS"));
    }
    for url in [
        "b:1883",
        "http://b:1883",
        "mqtt://b",
        "mqtt://b:0",
        "mqtt://b:1883/x",
        "mqtt:///",
        "mqtt://:1",
    ] {
        assert!(why(&format!("[mqtt]\nurl = {url:?}\n"), "mqtt.url").starts_with("must be"));
    }
    assert!(why("[mqtt]\nurl = \"mqtt://me@b:1883\"\n", "mqtt.url").contains("mqtt.credentials_file"));
    for url in [
        "",
        "mysql://u@h:1/d",
        "postgres://u@h/d",
        "postgres://u@h:5432",
        "postgres://u@h:5432/a b",
    ] {
        assert!(why(&format!("[store]\nurl = {url:?}\n"), "store.url").starts_with("must be sqlite"));
    }
    assert!(why("[store]\nurl = \"postgres://h:5432/d\"\n", "store.url").contains("no user"));
    for url in [
        "kafka",
        "kafka://",
        "kafka://k",
        "kafka://k:9092,",
        "http://k:9092",
        "kafka://k:9092/topic",
    ] {
        assert!(why(&format!("[kafka]\nurl = {url:?}\n"), "kafka.url").starts_with("must be"));
    }
}

#[test]
fn a_file_of_credentials_is_judged_at_the_start() {
    for (text, word) in [
        ("username = \"fleet\"\n", "password"),
        ("password = \"hunter2\"\n", "username"),
        ("username = 5\npassword = \"hunter2\"\n", "each value a text"),
        ("hunter2", "TOML"),
        (
            "username = \"a\"\npassword = \"hunter2\"\ntoken = \"x\"\n",
            "token",
        ),
    ] {
        let file = file(text);
        let toml = format!(
            "[mqtt]\nurl = \"mqtt://b:1\"\ncredentials_file = {:?}\n",
            file.path()
        );
        let why = why(&toml, "mqtt.credentials_file");
        assert!(why.contains(word) && !why.contains("hunter2"), "{why}");
    }
    let missing = "[mqtt]\nurl = \"mqtt://b:1\"\ncredentials_file = \"/nowhere/x.toml\"\n";
    assert!(why(missing, "mqtt.credentials_file").contains("can't be read"));
    let odd = file("username = \"a\"\npassword = \"b\"\nmechanism = \"GSSAPI\"\n");
    let toml = format!(
        "[kafka]\nurl = \"kafka://k:1\"\ncredentials_file = {:?}\n",
        odd.path()
    );
    assert!(why(&toml, "kafka.credentials_file").contains("SCRAM-SHA-512"));
    let other = file("username = \"b\"\npassword = \"b\"\n");
    let toml = format!(
        "[store]\nurl = \"postgres://a@h:1/d\"\ncredentials_file = {:?}\n",
        other.path()
    );
    assert!(why(&toml, "store.url").contains("another user"));
}

#[test]
fn settings_that_nothing_would_read_are_refused() {
    let file = file("username = \"a\"\npassword = \"b\"\n");
    for section in ["mqtt", "store", "kafka"] {
        let toml = format!("[{section}]\ncredentials_file = {:?}\n", file.path());
        assert!(why(&toml, &format!("{section}.credentials_file")).contains("needs"));
    }
    let toml = format!("[kafka]\nurl = \"kafka://k:1\"\nca_file = {:?}\n", file.path());
    assert!(why(&toml, "kafka.ca_file").contains("kafkas://"));
}

#[test]
fn times_of_the_relay_fit_together() {
    let toml = "[kafka]\nlease = \"20s\"\ntransaction_timeout = \"15s\"\n";
    assert!(why(toml, "kafka.lease").contains("kafka.transaction_timeout (15 s)"));
    for timeout in ["4s", "16m"] {
        let toml = format!("[kafka]\ntransaction_timeout = {timeout:?}\n");
        assert!(why(&toml, "kafka.transaction_timeout").contains("5s to 15m"));
    }
}

#[test]
fn a_replica_has_a_short_plain_name() {
    for name in ["a b", "a/b", "ä", &"x".repeat(41)] {
        assert!(why(&format!("[replica]\nname = {name:?}\n"), "replica.name").contains("1 to 40"));
    }
}
