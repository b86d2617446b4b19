use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use fleet_settings::{ConfigError, Fault, defaults, load, parse};
use fleet_telemetry::LogFormat;

use crate::{KEYS, PROBE, Probe};

fn faults(result: Result<Probe, ConfigError>) -> Vec<Fault> {
    match result {
        Err(ConfigError::Faults(faults)) => faults.list,
        other => panic!("{other:?}"),
    }
}

/// One fault: key and why.
fn fault(toml: &str) -> (String, String) {
    let found = faults(parse(&format!("name = \"p\"\n{toml}")));
    assert_eq!(found.len(), 1, "{found:?}");
    let fault = found.into_iter().next().unwrap();
    (fault.key, fault.why)
}

#[test]
fn what_is_not_set_has_its_default() {
    let probe: Probe = parse("name = \"p\"\n").unwrap();
    assert_eq!(probe.name, "p");
    assert_eq!(probe.data_dir, Path::new("probe-data"));
    assert!(!probe.loud && probe.ecus.is_empty() && probe.secrets.is_none());
    assert_eq!((probe.most, probe.room), (250, 4096));
    assert_eq!(probe.wait, Duration::from_millis(20));
    assert_eq!(probe.listen.port(), 8080);
    assert_eq!(probe.telemetry.log_format, LogFormat::Text);
}

#[test]
fn a_key_that_must_be_set_and_is_not_is_a_fault() {
    let found = faults(defaults());
    assert_eq!(
        found[0].to_string(),
        "name = not set (from the defaults): must be set"
    );
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn every_fault_is_reported_at_once_with_key_and_value() {
    let toml = "nonsense = 1\nloud = \"x\"\necus = [[1]]\n[limits]\nmost = 0\nroom = 1\nwait = \"20\"\nport = 1\n\
                [http]\nlisten = \"nowhere\"\n[secrets]\nfile = \"/nowhere\"\n[telemetry]\nlog = []\n\
                log_format = \"xml\"\notlp_endpoint = \"collector:4318\"\n";
    let found = faults(parse(toml));
    let keys: Vec<&str> = found.iter().map(|fault| fault.key.as_str()).collect();
    let wanted = [
        "nonsense",
        "limits.port",
        "name",
        "loud",
        "ecus",
        "limits.most",
        "limits.room",
        "limits.wait",
        "http.listen",
        "secrets.file",
        "telemetry.log",
        "telemetry.log_format",
        "telemetry.otlp_endpoint",
    ];
    let sorted = |mut keys: Vec<&'static str>| {
        keys.sort_unstable();
        keys
    };
    let mut keys_sorted = keys.clone();
    keys_sorted.sort_unstable();
    assert_eq!(keys_sorted, sorted(wanted.to_vec()));
    let of = |key: &str| found.iter().find(|fault| fault.key == key).unwrap();
    assert_eq!(of("limits.wait").value, "\"20\"");
    assert_eq!(of("limits.most").value, "0");
    let text = ConfigError::Faults(fleet_settings::Faults {
        program: "probe",
        list: found,
    })
    .to_string();
    assert!(text.starts_with("13 setting(s) are wrong:\n  "), "{text}");
    assert!(
        text.ends_with("\n`probe config print --defaults` lists every key."),
        "{text}"
    );
}

#[test]
fn a_fault_says_what_is_wanted() {
    for (toml, key, why) in [
        (
            "limits.most = 1000001",
            "limits.most",
            "must be a whole number from 1 to 1000000",
        ),
        // Within the table's range, and too large for the type that the program reads.
        (
            "limits.most = 70000",
            "limits.most",
            "must be a whole number from 1 to 1000000",
        ),
        (
            "limits.room = -5",
            "limits.room",
            "must be a whole number of bytes, 1024 or more",
        ),
        (
            "limits.wait = \"2m\"",
            "limits.wait",
            "must be a duration such as \"30s\", from 10ms to 1m",
        ),
        (
            "http.listen = 8080",
            "http.listen",
            "must be an address with port, such as \"127.0.0.1:8080\"",
        ),
        ("data_dir = \"\"", "data_dir", "must be the path of a folder"),
        ("loud = 1", "loud", "must be true or false"),
        ("limits = 3", "limits", "there is no such setting"),
    ] {
        let found = faults(parse(&format!("name = \"p\"\n{toml}\n")));
        assert!(
            found.iter().any(|fault| fault.key == key && fault.why == why),
            "{toml}: {found:?}"
        );
    }
    let (key, why) = fault("telemetry.otlp_endpoint = \"https://collector:4318\"\n");
    assert_eq!(
        (key.as_str(), why.as_str()),
        ("telemetry.otlp_endpoint", "must begin with http://")
    );
}

#[test]
fn a_long_value_is_cut() {
    let found = faults(parse(&format!("name = \"p\"\nloud = \"{}\"\n", "ä".repeat(500))));
    assert_eq!(found[0].value.chars().count(), 80);
}

#[test]
fn the_printed_defaults_are_read_as_the_defaults_and_name_every_key() {
    let text = PROBE.defaults_toml();
    let with_name = format!("name = \"p\"\n{text}");
    assert_eq!(
        format!("{:?}", parse::<Probe>(&with_name).unwrap()),
        format!("{:?}", parse::<Probe>("name = \"p\"\n").unwrap())
    );
    for key in KEYS {
        let name = key.name.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{name} =")), "{text}");
        assert!(text.contains(&format!("# {}.\n", key.meaning)), "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_or_no_toml_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("probe.toml");
    let error = load::<Probe>(Some(&file)).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error:?}");
    assert!(error.to_string().contains("--config"), "{error}");
    std::fs::write(&file, "name = \n").unwrap();
    let error = load::<Probe>(Some(&file)).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { .. }), "{error:?}");
    assert!(error.to_string().contains("probe.toml"), "{error}");
}

/// An environment belongs to the whole process, so this test runs itself once more for each: with this
/// variable it only says what it read.
const PROBE_FILE: &str = "PROBE_FILE";

#[test]
fn a_file_wins_over_the_defaults_and_the_environment_over_the_file() {
    if let Some(file) = std::env::var_os(PROBE_FILE) {
        match load::<Probe>(Some(Path::new(&file))) {
            Ok(probe) => println!("{} {} {:?} {}", probe.name, probe.most, probe.ecus, probe.loud),
            Err(error) => println!("{error}"),
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("probe.toml");
    std::fs::write(&file, "name = \"file\"\nloud = true\n[limits]\nmost = 7\n").unwrap();
    let run = |variables: &[(&str, &str)]| {
        let Output { stdout, .. } = Command::new(std::env::current_exe().unwrap())
            .args([
                "sources::a_file_wins_over_the_defaults_and_the_environment_over_the_file",
                "--exact",
                "--nocapture",
            ])
            .env(PROBE_FILE, &file)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        String::from_utf8(stdout).unwrap()
    };
    let text = run(&[
        ("FLEET_PROBE__LIMITS__MOST", "8"),
        ("FLEET_PROBE__ECUS", "ESP, CAM"),
    ]);
    assert!(text.contains("file 8 [\"ESP\", \"CAM\"] true"), "{text}");
    let text = run(&[("FLEET_PROBE__LIMITS__MOST", "x"), ("FLEET_PROBE__NOBODY", "1")]);
    for line in [
        "limits.most = \"x\" (from environment variable FLEET_PROBE__LIMITS__MOST): must be",
        "nobody = 1 (from environment variable FLEET_PROBE__NOBODY): there is no such setting",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}
