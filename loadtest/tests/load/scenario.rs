//! Scenario files: what is right, and what is said of what is wrong.

use std::time::Duration;

use loadtest::run::faults::Hooks;
use loadtest::scenario::{BUILT_IN, FaultKind, Overrides, Scenario};

const RIGHT: &str = r#"
name = "mine"
about = "for this test"
benches = 10

[[phase]]
name = "one"
lasts = "30s"
rate = 100.0

[[fault]]
name = "cut"
kind = "broker-away"
begins = "10s"
lasts = "5s"
"#;

fn refused(text: &str) -> String {
    let error = Scenario::parse("mine.toml".as_ref(), text).expect_err(text);
    error.to_string()
}

#[test]
fn every_built_in_scenario_is_one() {
    for (name, _) in BUILT_IN {
        let scenario = Scenario::load(name).expect(name);
        assert_eq!(scenario.name, name);
    }
}

#[test]
fn a_shift_has_181_events_a_second_on_average_and_370_in_working_hours() {
    let shift = Scenario::load("shift").expect("a scenario");
    let (events, seconds) = (shift.curve().events(), shift.curve().lasts().as_secs_f64());
    assert!((events / seconds - 181.0).abs() < 0.5, "{}", events / seconds);
    assert!(shift.phase.iter().any(|phase| (phase.rate - 370.0).abs() < 0.1));
    assert!((seconds - 86_400.0).abs() < 1.0, "a day");
    let overrides = Overrides {
        compress: Some(48.0),
        ..Overrides::default()
    };
    let compressed = shift.with(&overrides).expect("the same in less time").curve();
    assert!((compressed.lasts().as_secs_f64() - 1800.0).abs() < 0.1);
    assert!(
        (compressed.events() / 1800.0 - 181.0).abs() < 0.5,
        "times are compressed, rates are not"
    );
}

#[test]
fn the_command_line_scales_times_and_rates_together() {
    let scenario = Scenario::load("broker-outage").expect("a scenario");
    let overrides = Overrides {
        benches: Some(7),
        seconds: Some(24.0),
        rate: Some(37.0),
        seed: Some(9),
        compress: None,
    };
    let scenario = scenario.with(&overrides).expect("a scenario");
    assert_eq!((scenario.benches, scenario.seed), (7, 9));
    assert_eq!(scenario.curve().lasts(), Duration::from_secs(24));
    assert!(
        scenario
            .phase
            .iter()
            .all(|phase| (phase.rate - 37.0).abs() < 1e-9)
    );
    let fault = &scenario.fault[0];
    assert_eq!(
        (fault.begins, fault.lasts),
        (Duration::from_secs(6), Duration::from_secs(6))
    );
    assert_eq!(
        scenario.phase_ends()[0],
        fault.begins,
        "the fault is where the phase is"
    );
}

#[test]
fn a_file_is_read_with_its_defaults() {
    let scenario = Scenario::parse("mine.toml".as_ref(), RIGHT).expect("a scenario");
    assert_eq!((scenario.vins, scenario.seed), (2000, 1));
    assert!(scenario.phase[0].measured);
    assert_eq!(scenario.fault[0].kind, FaultKind::BrokerAway);
    assert_eq!(scenario.valid.lag_p99, Duration::from_millis(50));
}

#[test]
fn what_is_wrong_is_named_with_file_place_and_what_would_be_right() {
    let cases = [
        (
            RIGHT.replace("benches = 10", "bench = 10"),
            &["mine.toml", "line 4", "bench"][..],
        ),
        (
            RIGHT.replace("benches = 10", "benches = \"many\""),
            &["mine.toml", "line 4", "benches"],
        ),
        (
            RIGHT.replace("benches = 10", "benches = 0"),
            &["mine.toml", "key benches", "1 to"],
        ),
        (
            RIGHT.replace("lasts = \"30s\"", "lasts = \"soon\""),
            &["mine.toml", "line 8", "lasts"],
        ),
        (
            RIGHT.replace("lasts = \"30s\"", "lasts = \"0s\""),
            &["phase \"one\": lasts", "\"60s\""],
        ),
        (
            RIGHT.replace("rate = 100.0", "rate = -1.0"),
            &["phase \"one\": rate", "events per second"],
        ),
        (
            RIGHT.replace("rate = 100.0", "rate = nan"),
            &["phase \"one\": rate"],
        ),
        (RIGHT.replace("rate = 100.0", "rate = 0.0"), &["measured phase"]),
        (
            RIGHT.replace("broker-away", "earthquake"),
            &["mine.toml", "line 13", "kind", "broker-away"],
        ),
        (
            RIGHT.replace("begins = \"10s\"", "begins = \"40s\""),
            &["fault \"cut\": begins", "before the end"],
        ),
        (
            RIGHT.replace("lasts = \"5s\"", "lasts = \"25s\""),
            &["fault \"cut\": lasts"],
        ),
        (
            RIGHT.replace("\nlasts = \"5s\"", ""),
            &["fault \"cut\": lasts", "how long"],
        ),
        (
            RIGHT.replace("name = \"mine\"", "name = \"my own\""),
            &["key name", "one word"],
        ),
        (
            RIGHT.replace("about = \"for this test\"", "about = "),
            &["mine.toml", "line 3"],
        ),
        (String::new(), &["mine.toml", "name"]),
    ];
    for (text, parts) in cases {
        let said = refused(&text);
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
    }
    let error = Scenario::load("no-such-file.toml").expect_err("no file");
    assert!(error.to_string().contains("no-such-file.toml"), "{error}");
}

#[test]
fn a_command_line_that_makes_no_scenario_is_named() {
    for (overrides, part) in [
        (
            Overrides {
                compress: Some(1e-300),
                ..Overrides::default()
            },
            "too long",
        ),
        (
            Overrides {
                compress: Some(1e300),
                ..Overrides::default()
            },
            "lasts",
        ),
        (
            Overrides {
                compress: Some(f64::NAN),
                ..Overrides::default()
            },
            "compress",
        ),
        (
            Overrides {
                seconds: Some(0.0),
                ..Overrides::default()
            },
            "seconds",
        ),
        (
            Overrides {
                rate: Some(-5.0),
                ..Overrides::default()
            },
            "rate",
        ),
        (
            Overrides {
                benches: Some(0),
                ..Overrides::default()
            },
            "benches",
        ),
    ] {
        let shift = Scenario::load("shift").expect("a scenario");
        let error = shift.with(&overrides).expect_err(part).to_string();
        assert!(
            error.contains(part) && error.contains("command line"),
            "{part}: {error}"
        );
    }
}

#[test]
fn a_command_fits_a_fault_and_a_fault_of_commands_has_both() {
    let outage = Scenario::load("kafka-outage").expect("a scenario");
    let hooks = |hooks: &[&str]| {
        let hooks: Vec<_> = hooks.iter().map(ToString::to_string).collect();
        Hooks::parse(&hooks)
    };
    let both = hooks(&["kafka-outage.begin=true", "kafka-outage.end=true"]).expect("hooks");
    both.check(&outage).expect("they fit");
    let one = hooks(&["kafka-outage.begin=true"])
        .expect("hooks")
        .check(&outage)
        .expect_err("no end");
    assert!(one.to_string().contains("--on kafka-outage.end="), "{one}");
    let other = hooks(&["outage.begin=true"])
        .expect("hooks")
        .check(&outage)
        .expect_err("no such fault");
    assert!(other.to_string().contains("kafka-outage"), "{other}");
    for wrong in ["kafka-outage", "kafka-outage.begin=", "kafka-outage.middle=true"] {
        let error = hooks(&[wrong]).expect_err(wrong);
        assert!(error.to_string().contains("NAME.begin="), "{error}");
    }
}
